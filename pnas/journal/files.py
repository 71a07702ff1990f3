"""Writing files so that nothing is lost, neither earlier results nor what was being written when a run died."""

import datetime
import fcntl
import glob
import json
import os
import re
import shutil
import socket
import tempfile
import warnings

ROOM = 2**24  # bytes that must be free in a folder before a run starts
VERSION = " version"  # ends the settings that hold the version of a package; another version is no other setting


def is_experiment_name(name):
    """Whether a value can name the files of an experiment. Such a name cannot lead out of their folders."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name) is not None


def set_aside(*paths):
    """Renames the files and folders that exist: the date and time are added to their names.

    Returns:
        List of the new paths.
    """
    moved = {path: _dated(path) for path in paths if os.path.exists(path)}
    for path, new_path in moved.items():
        os.rename(path, new_path)
    return list(moved.values())


def repair(path, content, reason):
    """Replaces the content of a file. A copy of the old file is kept under a dated name, and a warning says so.

    Args:
        path: of the file.
        content: bytes.
        reason: what was wrong and what is done about it, for the warning.
    """
    copy = _dated(path)
    shutil.copy2(path, copy)
    write_atomically(path, content)
    warnings.warn(f"{path}: {reason}. The file as it was is kept as {copy}", stacklevel=2)


def _dated(path):
    stem, ending = os.path.splitext(path)
    return f"{stem}.{datetime.datetime.now():%Y%m%d-%H%M%S-%f}{ending}"


def write_atomically(path, content):
    """Writes bytes so that the file holds either its old content or all of the new content."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise OSError(error.errno, error.strerror, path) from None


def read_json(path):
    """Reads the object of a JSON file.

    Returns:
        dict.
    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            kept = json.load(file)
        if not isinstance(kept, dict):
            raise ValueError("it holds no JSON object")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({str(error)[:200]}). Correct it, or move {os.path.dirname(path)} away to start over"
        ) from None
    return kept


def check_settings(path, settings, remedy, defaults={}):
    """Compares the settings that files were made with, which a JSON file beside them holds, with those of this run.

    Other versions of packages, the settings whose names end in VERSION, only give a warning.

    Args:
        path: of the JSON file.
        settings: dict of JSON types.
        remedy: what to do when they differ, for the message.
        defaults: dict of the values of settings that a file of an earlier version may lack.
    Returns:
        dict, the settings of the file, with the defaults of those that it lacks.
    Raises:
        ValueError: they differ, or the file is damaged.
        OSError: it cannot be read.
    """
    kept, folder = read_json(path), os.path.dirname(path)
    compared = [key for key in {**settings, **kept} if not key.endswith(VERSION)]
    lost = [key for key in compared if key not in kept and key not in defaults]
    if lost:
        raise ValueError(f"{path} is damaged: it lacks {', '.join(lost):.400}. Put this back, {remedy}")
    unknown = [key for key in compared if key not in settings]
    if unknown:
        names = ", ".join(f"{key!r:.40}" for key in unknown)
        raise ValueError(f"{path} holds settings that this version does not know: {names:.400}. Remove them, {remedy}")
    known = {**{key: json.loads(json.dumps(defaults[key])) for key in compared if key not in kept}, **kept}
    differences = ", ".join(
        f"{key} was {known[key]!r:.200} and is {settings[key]!r:.200}"
        for key in compared
        if known[key] != settings[key]
    )
    if differences:
        raise ValueError(
            f"{folder} was made with other settings: {differences:.2000}. Set them back to resume it, {remedy}"
        )
    versions = ", ".join(
        f"{key} was {kept[key]!r:.40} and is {settings[key]!r}"
        for key in settings
        if key.endswith(VERSION) and kept.get(key, settings[key]) != settings[key]
    )
    if versions:
        warnings.warn(f"{folder}: {versions}. The same seed may give slightly different rewards", stacklevel=2)
    return known


def remove_unfinished(*patterns):
    """Removes the temporary files of `write_atomically` that killed runs have left.

    Args:
        patterns: of the paths of the files that were being written, as in `glob`. No other process may be writing them.
    """
    for pattern in patterns:
        for path in glob.glob(f"{pattern}.*.tmp", recursive=True):
            if re.search(r"\.\d+\.tmp$", path):
                os.remove(path)


def append(path, content):
    """Adds text or bytes to a file's end. They are on the disk when this returns; none is there when this fails."""
    rest = memoryview(content if isinstance(content, bytes) else content.encode())
    with open(path, "ab", buffering=0) as file:
        end = file.tell()
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            os.truncate(path, end)
            raise OSError(error.errno, error.strerror, path) from None


def text_lines(content, errors="strict"):
    """Decodes a text file without a byte order mark and with the line end "\\n", however an editor has saved it.

    Args:
        content: bytes, UTF-8.
        errors: as in `bytes.decode`.
    Returns:
        str.
    Raises:
        ValueError: it is not UTF-8.
    """
    return content.decode("utf-8-sig", errors).replace("\r\n", "\n").replace("\r", "\n")


def lock(path):
    """Keeps other runs out until this process ends or the returned file is closed.

    The kernel holds the lock and releases it when the process dies. The file only names the holder.

    Raises:
        ValueError: another run holds it.
        OSError: the file cannot be written.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    file = open(path, "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(200).strip()
        file.close()
        raise ValueError(
            f"another run has this EXPERIMENT_NAME: {holder} holds {path}. Wait for it, stop it, or choose another name"
        ) from None
    except OSError as error:
        warnings.warn(f"{path} cannot be locked ({error}); make sure that no other run has this EXPERIMENT_NAME")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def check_writable(*folders):
    """Creates the folders and tries to write ROOM bytes into each.

    Raises:
        OSError: this fails.
    """
    for folder in folders:
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(ROOM))
        except OSError as error:
            raise OSError(f"the folder {folder} does not take {ROOM >> 20} MiB: {error.strerror}") from None

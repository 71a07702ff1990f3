"""Writing files so that nothing is lost: not what was there before, not what was written when a run dies."""

import datetime
import fcntl
import glob
import json
import os
import re
import socket
import tempfile
import warnings

ROOM = 2**24  # bytes; what there has to be room for before a run starts


def is_experiment_name(name):
    """Whether something can name the files of an experiment: such a name cannot lead out of their folders."""
    return isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name) is not None


def set_aside(*paths):
    """Renames the files and folders that exist, with the date and time behind their names."""
    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    for path in paths:
        if os.path.exists(path):
            stem, ending = os.path.splitext(path)
            os.rename(path, f"{stem}.{stamp}{ending}")


def write_atomically(path, content):
    """Writes bytes so that the file has either its old content or all of the new one."""
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
    """The object of a JSON file, a dict.

    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            kept = json.load(file)
        if not isinstance(kept, dict):
            raise ValueError("it holds no object")
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({str(error)[:200]}). Put it right, or move {os.path.dirname(path)} away to begin anew"
        ) from None
    return kept


def check_settings(path, settings, remedy):
    """Compares the settings that files were made with, which a JSON file beside them holds, with those of this run.

    Args:
        path: of the JSON file.
        settings: dict of JSON's types.
        remedy: what to do when they differ, for the message.
    Raises:
        ValueError: they differ, or the file is damaged.
        OSError: it cannot be read.
    """
    kept = read_json(path)
    other = [key for key in {**kept, **settings} if kept.get(key) != settings.get(key)]
    if other:
        differences = ", ".join(
            f"{key:.40} was {kept.get(key)!r:.200} and is {settings.get(key)!r:.200}" for key in other
        )
        raise ValueError(
            f"{os.path.dirname(path)} was made with other settings: {differences:.2000}. Set them back to go on with it, {remedy}"
        )


def remove_unfinished(*patterns):
    """Removes what `write_atomically` had not yet renamed when a run was killed.

    Args:
        patterns: of paths without the ending .tmp, as in `glob`; no other process may be writing there.
    """
    for pattern in patterns:
        for path in glob.glob(f"{pattern}.tmp", recursive=True):
            os.remove(path)


def append(path, text):
    """Adds text to the end of a file; it is on the disk when this returns, and none of it is there when this fails."""
    rest = memoryview(text.encode())
    with open(path, "ab", buffering=0) as file:
        end = file.tell()
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            os.truncate(path, end)
            raise OSError(error.errno, error.strerror, path) from None


def truncate_after(path, end):
    """Removes what is behind the last `end` in a file, which was being written when a run was killed.

    Args:
        path: of the file.
        end: bytes.
    Returns:
        bytes, the content that stays.
    """
    with open(path, "rb") as file:
        content = file.read()
    whole = content[: content.rfind(end) + len(end)] if end in content else b""
    if whole != content:
        write_atomically(path, whole)
    return whole


def lock(path):
    """Keeps other runs out until this process ends or the file that is returned is closed.

    The lock is the kernel's, which takes it back from a process that dies; the file only names who holds it.

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
        warnings.warn(f"{path} cannot be locked ({error}); see to it that no other run has this EXPERIMENT_NAME")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def check_writable(*folders):
    """Makes the folders and tries to write into each.

    Raises:
        OSError: one of them does not take ROOM bytes.
    """
    for folder in folders:
        try:
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(ROOM))
        except OSError as error:
            raise OSError(f"the folder {folder} does not take {ROOM >> 20} MiB: {error.strerror}") from None

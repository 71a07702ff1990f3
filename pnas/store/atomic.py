"""Writing files so that nothing is lost, neither earlier results nor what was being written when a run died."""

import datetime
import os
import tempfile
from pathlib import Path

ROOM = 2**24  # bytes that must be free in a folder before a run starts


def set_aside(*paths):
    """Renames the files and folders that exist: the date and time are added to their names."""
    for path in map(Path, paths):
        if path.exists():
            path.rename(path.with_name(f"{path.stem}.{datetime.datetime.now():%Y%m%d-%H%M%S-%f}{path.suffix}"))


def write_atomically(path, content):
    """Writes bytes so that the file holds either its old content or all of the new content."""
    temporary = f"{path}.tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


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


def file_content(model):
    """The bytes of a .keras file of a model, or of what has a `save` like one, including the state of its optimizer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.keras")
        model.save(path)
        return path.read_bytes()

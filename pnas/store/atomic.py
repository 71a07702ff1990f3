"""Writing files so that nothing is lost, neither earlier results nor what was being written when a run died."""

import datetime
import os
import tempfile
from pathlib import Path

ROOM = 2**24  # bytes that must be free in a folder before a run starts


def write_atomically(path: str | Path, content: bytes):
    """Writes bytes so that the file holds either its old content or all of the new content, also after a power cut.

    Raises:
        OSError: names the path.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # the new name is on the disk, too
        os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from None


def append(path: str | Path, content: bytes):
    """Adds bytes to the end of a file. They are on the disk when this returns.

    Raises:
        OSError: names the path.
    """
    try:
        with Path(path).open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None


def dated(path: str | Path) -> Path:
    """The path with the date and time before its ending."""
    path = Path(path)
    return path.with_name(f"{path.stem}.{datetime.datetime.now():%Y%m%d-%H%M%S-%f}{path.suffix}")


def set_aside(*paths: str | Path) -> list[Path]:
    """Gives the files and folders that exist dated names, and returns these."""
    return [Path(path).rename(dated(path)) for path in paths if Path(path).exists()]


def check_writable(*folders: str | Path):
    """Creates the folders and tries to write ROOM bytes into each.

    Raises:
        OSError: this fails.
    """
    for folder in map(Path, folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(bytes(ROOM))
        except OSError as error:
            for link in (folder, *folder.parents):
                if link.is_symlink() and not link.exists():
                    raise OSError(
                        f"{link} is a link to {link.readlink()}, which does not exist: create that, or remove the link"
                    ) from None
            raise OSError(f"the folder {folder} does not take {ROOM >> 20} MiB: {error.strerror}") from None


def file_content(model) -> bytes:
    """The bytes of a .keras file of a model, or of what has a `save` like one, including the state of its optimizer."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.keras")
        model.save(path)
        return path.read_bytes()

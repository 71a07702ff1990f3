"""Writing files so that nothing is lost: not what was there before, not what was written when a run dies."""

import datetime
import os


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
    with open(temporary, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def append(path, text):
    """Adds text to the end of a file; it is on the disk when this returns."""
    with open(path, "a") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())

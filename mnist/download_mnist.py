"""The four files of MNIST, found in a folder or downloaded into it, and verified either way.

    python -m mnist.download_mnist [DATA_DIR] [--npz]

prints their paths. With --npz, it also writes all of them as DATA_DIR/mnist.npz, in Keras's layout.
"""

import argparse
import hashlib
import http.client
import os
import re
import sys
import tempfile
import urllib.request
import warnings
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from mnist import DataError
from mnist.data_files import FILES, possible_paths, read_idx, read_npz

MIRRORS = (  # tried in this order
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "http://yann.lecun.com/exdb/mnist/",
)
TIMEOUT = 30  # seconds that a mirror may stay silent before the next one is tried
MD5 = {  # of the uncompressed content: the archives' own bytes differ between mirrors
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class DownloadError(OSError):
    """A file of MNIST is not in the data folder and could not be downloaded. The message has two lines."""


def read_verified(path: str | os.PathLike, name: str) -> np.ndarray:
    """uint8 array of one of MNIST's files.

    Args:
        path: IDX file, plain or gzip, or Keras's mnist.npz.
        name: of the file, as in `MD5`.
    Raises:
        DataError: the file is cut off, damaged, or another file.
        OSError: it cannot be read.
    """
    array = read_npz(path)[0][FILES[name]] if Path(path).suffix == ".npz" else read_idx(path)
    content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != MD5[name]:
        raise DataError(f"not the content of {name}: {array.dtype} {array.shape} with MD5 {digest}")
    return array


def find(name: str, data_dir: Path) -> Path | None:
    """Path of the valid file `name`, or None. Warns of every file that is not valid."""
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    archives = (folder / "mnist.npz" for folder in (data_dir, keras_home / "datasets"))
    for path in (*possible_paths(name, data_dir), *archives):
        try:
            read_verified(path, name)
            return path
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            pass
        except (OSError, DataError) as error:
            warnings.warn(f"{path} is not used: {error}", stacklevel=3)
    return None


def fetch(name: str, data_dir: Path, mirrors: Sequence[str]) -> Path:
    """Downloads the file `name` from the first mirror that has a valid one.

    Returns:
        Path of the file.
    Raises:
        OSError: no mirror has it.
    """
    mirrors_of = {}  # reason -> mirrors
    # A folder of its own inside data_dir: no unverified file gets the final name, and the move is atomic.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=data_dir) as scratch:
        path = Path(scratch, f"{name}.gz")
        for mirror in mirrors:
            try:
                with urllib.request.urlopen(f"{mirror}{path.name}", timeout=TIMEOUT) as response:
                    path.write_bytes(response.read())
                read_verified(path, name)
                return path.replace(data_dir / path.name)
            except (OSError, ValueError, http.client.HTTPException) as error:
                reason = re.sub("^HTTP Error |^<urlopen error |>$", "", str(error))
                mirrors_of.setdefault(reason, []).append(urlsplit(mirror).netloc)
    reasons = [f"{reason} ({', '.join(hosts)})" for reason, hosts in mirrors_of.items()]
    raise OSError("; ".join(reasons) or "no mirror to download from")


def download_mnist(data_dir: str | os.PathLike, mirrors: Sequence[str] = MIRRORS) -> dict[str, Path]:
    """Finds the four files of MNIST, and downloads those that are missing into data_dir.

    Each file may be plain or gzip, under its own name or Kaggle's (`train-images.idx3-ubyte`), in data_dir or in
    data_dir/MNIST/raw. Keras's mnist.npz, in data_dir or ~/.keras/datasets, holds all four.

    Valid files are never moved, renamed or overwritten. An invalid file is named in a warning and is not used; it is
    overwritten only by a verified download.

    Args:
        data_dir: folder, created if its parent exists.
        mirrors: URLs that end in '/', tried in turn; () downloads nothing.
    Returns:
        dict, file name as in `MD5` -> path of the verified file: gzip, plain, or mnist.npz.
    Raises:
        DownloadError: a file is missing and could not be downloaded or written. Says what to do, and which, and why.
    """
    data_dir = Path(data_dir)
    paths = {name: find(name, data_dir) for name in MD5}
    try:
        for name in [name for name in MD5 if paths[name] is None]:
            data_dir.mkdir(exist_ok=True)
            paths[name] = fetch(name, data_dir, mirrors)
    except OSError as error:  # do not wait for the same dead mirrors with the other files
        missing = ", ".join(name for name, path in paths.items() if path is None)
        raise DownloadError(
            f"Put MNIST's four files, .gz or unpacked, or Keras's mnist.npz into {data_dir.absolute()}; "
            f"they are at {MIRRORS[0]}.\nReason: no valid {missing} there, and downloading failed: {error}"
        ) from None
    return paths


def write_npz(path: Path, paths: dict[str, Path]) -> Path:
    """Writes the four files of `download_mnist` as one in Keras's layout, and returns its path.

    Raises:
        OSError: there is a file at `path`, which stays as it is, or it cannot be written.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists and is not overwritten")
    path.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".npz-", dir=path.parent) as scratch:
        whole = Path(scratch, path.name)
        np.savez_compressed(whole, **{FILES[name]: read_verified(file, name) for name, file in paths.items()})
        return whole.replace(path)


def main():
    parser = argparse.ArgumentParser(prog="python -m mnist.download_mnist", description=__doc__.split("\n")[0])
    parser.add_argument("data_dir", metavar="DATA_DIR", nargs="?", default="data", help="default: data")
    parser.add_argument("--npz", action="store_true", help="also write DATA_DIR/mnist.npz, in Keras's layout")
    arguments = parser.parse_args()
    warnings.formatwarning = lambda message, *_: f"{message}\n"  # without a line of source code
    try:
        paths = download_mnist(arguments.data_dir)
        print(*dict.fromkeys(paths.values()), sep="\n")  # one path if all are in mnist.npz
        if arguments.npz:
            print(write_npz(Path(arguments.data_dir, "mnist.npz"), paths))
    except OSError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""The four files of MNIST, found in a folder or downloaded into it, and verified either way.

    python -m mnist.download_mnist [DATA_DIR]

prints their paths.
"""

import argparse
import gzip
import hashlib
import http.client
import os
import sys
import tempfile
import urllib.request
import warnings
import zlib
from pathlib import Path

import numpy as np

from mnist.npz_files import read_arrays

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
KERAS_ARRAYS = dict(zip(MD5, ("x_train", "y_train", "x_test", "y_test")))  # of mnist.npz


class DownloadError(OSError):
    """A file of MNIST is not in the data folder and could not be downloaded."""


def read_verified(path, name):
    """Uncompressed content of one of MNIST's files.

    Args:
        path: IDX file, plain or gzip, or Keras's mnist.npz.
        name: of the file, as in `MD5`.
    Returns:
        bytes, in the IDX format.
    Raises:
        ValueError: the file is cut off, damaged, or another file.
        OSError: it cannot be read.
    """
    path = Path(path)
    if path.suffix == ".npz":
        array = read_arrays(path, tuple(KERAS_ARRAYS.values()))[0][KERAS_ARRAYS[name]]
        content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes() + array.tobytes()
    else:
        content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):  # the name does not tell: some browsers unpack a .gz and keep its name
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"damaged gzip archive: {error}") from None
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != MD5[name]:
        raise ValueError(f"not the content of {name}: {len(content):,} bytes with MD5 {digest}")
    return content


def possible_paths(name, data_dir):
    """Paths at which the file `name` may be, the preferred one first."""
    spellings = (name, name.replace("-idx", ".idx"))  # the second one is Kaggle's
    files = [f"{spelling}{ending}" for spelling in spellings for ending in (".gz", "")]
    for folder in (data_dir, data_dir / "MNIST" / "raw"):  # the second one is torchvision's
        for path in (folder / file for file in files):
            if os.path.isdir(path):  # Kaggle's archive unpacks into a folder for each file
                yield from (path / file for file in files)
            else:
                yield path
    keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    yield from (folder / "mnist.npz" for folder in (data_dir, keras_home / "datasets"))


def find(name, data_dir):
    """Path of the valid file `name`, or None. Warns of every file that is not valid."""
    for path in possible_paths(name, data_dir):
        try:
            read_verified(path, name)
            return path
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is not used: {error}", stacklevel=3)
    return None


def fetch(name, data_dir, mirrors):
    """Downloads the file `name` from the first mirror that has a valid one.

    Returns:
        Path of the file.
    Raises:
        OSError: no mirror has it.
    """
    reasons = []
    # A folder of its own inside data_dir: no unverified file gets the final name, and the move is atomic.
    with tempfile.TemporaryDirectory(prefix=".download-", dir=data_dir) as scratch:
        path = Path(scratch, f"{name}.gz")
        for mirror in mirrors:
            url = f"{mirror}{path.name}"
            try:
                with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
                    path.write_bytes(response.read())
                read_verified(path, name)
                return path.replace(data_dir / path.name)
            except (OSError, ValueError, http.client.HTTPException) as error:
                reasons.append(f"{url}: {str(error).removeprefix('HTTP Error ')}")
    raise OSError("; ".join([f"no mirror has a valid {name}", *reasons]))


def download_mnist(data_dir, mirrors=MIRRORS):
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
        DownloadError: a file is missing and could not be downloaded or written. Says which, where and why.
    """
    data_dir = Path(data_dir)
    paths = {}
    for name in MD5:
        paths[name] = find(name, data_dir)
    for name in MD5:
        if paths[name] is None:
            try:
                data_dir.mkdir(exist_ok=True)
                paths[name] = fetch(name, data_dir, mirrors)
            except OSError as error:  # do not wait for the same dead mirrors with the other files
                missing = ", ".join(name for name, path in paths.items() if path is None)
                raise DownloadError(
                    f"no valid {missing} in {data_dir.absolute()}, and downloading failed: {error}. "
                    "Put the four files of MNIST, .gz or unpacked, or Keras's mnist.npz into that folder."
                ) from None
    return paths


def main():
    parser = argparse.ArgumentParser(prog="python -m mnist.download_mnist", description=__doc__.split("\n")[0])
    parser.add_argument("data_dir", metavar="DATA_DIR", nargs="?", default="data", help="default: data")
    arguments = parser.parse_args()
    warnings.formatwarning = lambda message, *_: f"{message}\n"  # without a line of source code
    try:
        print(*dict.fromkeys(download_mnist(arguments.data_dir).values()), sep="\n")  # one path if all are in mnist.npz
    except DownloadError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

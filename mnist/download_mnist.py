"""The four files of MNIST, found in a folder or downloaded into it, and verified either way.

Alone:  python -m mnist.download_mnist [DATA_DIR]
"""

import argparse
import gzip
import hashlib
import os
import socket
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

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
    """A file of MNIST is neither in the data folder nor to be had from a mirror."""


def read_verified(path):
    """Uncompressed content of one of MNIST's files.

    Args:
        path: file named as in `MD5`, with or without .gz.
    Returns:
        bytes, in the IDX format.
    Raises:
        ValueError: the file is cut off, damaged, or another file.
    """
    path = Path(path)
    name = path.name.removesuffix(".gz")
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):  # not by name: some browsers unpack a .gz and leave it its name
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"damaged gzip archive: {error}") from None
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != MD5[name]:
        raise ValueError(f"not the content of {name}: {len(content):,} bytes with MD5 {digest}")
    return content


def find(name, data_dir):
    """Path of the valid file `name` in data_dir, .gz or not, or None; warns of each that is not valid."""
    for path in (data_dir / f"{name}.gz", data_dir / name):
        try:
            read_verified(path)
            return path
        except (FileNotFoundError, NotADirectoryError):
            pass
        except (OSError, ValueError) as error:
            warnings.warn(f"{path} is not used: {error}", stacklevel=3)
    return None


def fetch(name, data_dir, mirrors):
    """Path of the file `name`, downloaded from the first mirror that gives it whole; OSError if none does."""
    from keras.utils import get_file  # imported here: files that are there already need no keras

    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # get_file has no such argument and would wait for ever
    reasons = []
    try:
        # A folder of its own inside data_dir: nothing unverified bears the final name, and the move is atomic.
        with tempfile.TemporaryDirectory(prefix=".download-", dir=data_dir) as scratch:
            for mirror in mirrors:
                url = f"{mirror}{name}.gz"
                try:
                    path = get_file(f"{name}.gz", url, cache_dir=scratch, cache_subdir="", force_download=True)
                    read_verified(path)
                    os.replace(path, data_dir / f"{name}.gz")
                    return data_dir / f"{name}.gz"
                except Exception as error:  # get_file raises bare Exceptions
                    reasons.append(f"{url}: {str(error).removeprefix(f'URL fetch failure on {url}: ')}")
    finally:
        socket.setdefaulttimeout(timeout)
    raise OSError("; ".join([f"no mirror gave {name}", *reasons]))


def download_mnist(data_dir, mirrors=MIRRORS):
    """Makes sure that data_dir holds the four files of MNIST.

    A valid file is left as it is, and where all four are valid nothing is written. A bad one is named in a
    warning, never used, and replaced only by a verified one.

    Args:
        data_dir: folder, made if only its parent exists.
        mirrors: URLs that end in '/', tried in turn; () for not downloading at all.
    Returns:
        dict, file name as in `MD5` -> path of the verified file, gzip or plain.
    Raises:
        DownloadError: a file is missing and cannot be downloaded or written; says which, where and why.
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
            except OSError as error:  # one file is enough to know: the others would wait for the same dead mirrors
                missing = ", ".join(name for name, path in paths.items() if path is None)
                raise DownloadError(
                    f"no valid {missing} in {data_dir.absolute()}, and downloading failed: {error}. "
                    "Put the four files of MNIST, .gz or unpacked, into that folder."
                ) from None
    return paths


def main():
    parser = argparse.ArgumentParser(prog="python -m mnist.download_mnist", description=__doc__.split("\n")[0])
    parser.add_argument("data_dir", metavar="DATA_DIR", nargs="?", default="data", help="default: data")
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # else the start of TensorFlow, behind keras, drowns the answer
    try:
        print(*download_mnist(arguments.data_dir).values(), sep="\n")
    except DownloadError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

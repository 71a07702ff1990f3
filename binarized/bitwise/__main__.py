"""Evaluates a packed network on a test set, with numpy alone.

    python -m binarized.bitwise NETWORK.npz --images DATA_DIR
    python -m binarized.bitwise NETWORK.npz --images FILE.npz

Weights and activations are +1 or -1 and take one bit each. A word of 64 bits holds 64 channels, or several taps of a
kernel with fewer channels. One XNOR and one population count of a word are 64 multiply-accumulates. All accumulators
are integers.

    packing.pack(model).save("child.npz")      # from a Keras model
    network.load("child.npz").predict(images)  # classes

Source: Hubara et al. 2016, arXiv:1602.02830.
"""

import argparse
import glob
import gzip
import os
import sys
import zipfile
import zlib

import numpy as np

from binarized.bitwise.network import load


def read_idx(path):
    """Reads an IDX file, plain or gzip, into a uint8 array.

    The format: bytes 0, 0, 8, the number of axes, their sizes as big-endian int32, the data.
    """
    with open(path, "rb") as file:
        content = file.read()
    try:
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        axes = content[3] if content[:3] == b"\0\0\x08" else 0
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(np.frombuffer(content, ">i4", axes, 4))
    except (EOFError, IndexError, ValueError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is not an IDX file of bytes: {error}") from None


def read_npz(path):
    """Test images uint8 (n, height, width[, channels]) and classes, integers (n,), from x_test and y_test of a file."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images, labels = np.asarray(arrays["x_test"]), np.asarray(arrays["y_test"])
        if labels.shape not in ((len(images),), (len(images), 1)) or labels.dtype.kind not in "iu":
            raise ValueError(f"y_test must be integers ({len(images)},), got {labels.dtype} {labels.shape}")
    except (EOFError, LookupError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} has no test set: {' '.join(str(error).split())}") from None
    return images, labels.ravel()


def find(folder, name):
    """Path of a file of MNIST, plain or gzip, as Kaggle and torchvision also name and place it; or folder/name."""
    file = name.replace("-idx", "[-.]idx")
    places = "", file, "MNIST/raw", f"MNIST/raw/{file}"  # Kaggle's archive unpacks into a folder for each file
    patterns = [os.path.join(place, f"{file}{ending}") for place in places for ending in (".gz", "")]
    found = [path for pattern in patterns for path in glob.glob(pattern, root_dir=folder)]
    paths = [os.path.join(folder, path) for path in found]
    return next(filter(os.path.isfile, paths), os.path.join(folder, name))


def read_test_set(folder):
    """Reads MNIST's test images uint8 (n, 28, 28) and labels uint8 (n,) from its files or Keras's mnist.npz."""
    paths = [find(folder, name) for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")]
    keras_file = os.path.join(folder, "mnist.npz")
    if not os.path.exists(paths[0]) and os.path.exists(keras_file):
        return read_npz(keras_file)
    arrays = [read_idx(path) for path in paths]
    if arrays[0].ndim != 3 or arrays[1].shape != arrays[0].shape[:1]:
        raise ValueError(f"{folder} has images {arrays[0].shape} and labels {arrays[1].shape}, which do not match")
    return arrays


def main():
    parser = argparse.ArgumentParser(
        prog="python -m binarized.bitwise", description="Accuracy of a packed network on a test set."
    )
    parser.add_argument("network", metavar="NETWORK.npz")
    parser.add_argument("--images", default="data", help="folder of MNIST's files, or .npz file (default: data)")
    arguments = parser.parse_args()
    try:
        network = load(arguments.network)
        read = read_npz if arguments.images.endswith(".npz") else read_test_set
        images, labels = read(arguments.images)
        correct = np.count_nonzero(network.predict(images) == labels)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(network.summary())
    print(f"test accuracy {correct / len(labels):.4f}, {correct:,} of {len(labels):,} images")


if __name__ == "__main__":
    main()

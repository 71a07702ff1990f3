"""Names and format of MNIST's four files."""

import gzip
import struct
from pathlib import Path

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


NAMES = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS]


def idx(array):
    """Content of the IDX file of a uint8 array."""
    return struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder, contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def real(mnist_dir, name):
    path = Path(mnist_dir, name)
    return path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())

"""Evaluates a packed network on a test set, with numpy alone.

    python -m binarized.bitwise NETWORK.npz [--images FILE.npz]

FILE.npz has the layout of Keras's mnist.npz: `x_test`, uint8 images, and `y_test`, their classes. The default is
data/mnist.npz, which `python -m mnist.download_mnist data --npz` writes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from binarized.bitwise.network import load


def read_npz(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads the test set of a .npz file.

    Returns:
        Images, uint8 (n, height, width[, channels]), and classes, integers (n,), from `x_test` and `y_test`.
    Raises:
        ValueError: the file is damaged or has no test set. OSError: it does not exist or cannot be opened.
    """
    with Path(path).open("rb") as file:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                images, labels = np.asarray(arrays["x_test"]), np.asarray(arrays["y_test"])
            if not len(images):
                raise ValueError("x_test has no images")
            if labels.shape not in ((len(images),), (len(images), 1)) or labels.dtype.kind not in "iu":
                raise ValueError(f"y_test must be integers ({len(images)},), got {labels.dtype} {labels.shape}")
        except Exception as error:  # a damaged archive makes zipfile raise almost anything
            raise ValueError(f"{path} has no test set: {' '.join(str(error).split())}") from None
    return images, labels.ravel()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m binarized.bitwise", description="Accuracy of a packed network on a test set."
    )
    parser.add_argument("network", metavar="NETWORK.npz")
    parser.add_argument("--images", metavar="FILE.npz", default="data/mnist.npz", help="default: data/mnist.npz")
    arguments = parser.parse_args()
    try:
        network = load(arguments.network)
        images, labels = read_npz(arguments.images)
        correct = np.count_nonzero(network.predict(images) == labels)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(network.summary())
    print(f"test accuracy {correct / len(labels):.4f}, {correct:,} of {len(labels):,} images")


if __name__ == "__main__":
    main()

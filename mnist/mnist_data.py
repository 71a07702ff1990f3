"""MNIST as arrays for binary networks: images in [-1, +1], labels -1 or +1, and the expanded training set."""

import numbers
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage, sparse
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils import resample

from mnist.download_mnist import DownloadError, download_mnist, read_verified

SIDE = 28  # pixels
CLASSES = 10
MNIST_VALIDATION = 5000  # first images of the training file
DIGITS_TRAIN, DIGITS_VALIDATION = 1197, 300  # of 1,797 images; the other 300 are for testing
COPIES = 4  # distorted copies of each training image in the expanded set
MAX_ANGLE = 15  # degrees
MAX_SHIFT = 2  # pixels
PITCH = SIDE + MAX_SHIFT  # pixels from one row to the next in a flat padded image
CHUNK = 200  # images turned at a time, so that they stay in the processor's cache; a power of 2 would thrash it


class Data(NamedTuple):
    """Images float32 (n, 28, 28, 1) in [-1, +1]; labels float32 (n, 10), +1 for the class and -1 elsewhere."""

    name: str  # 'mnist' or 'digits', what was really loaded
    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_data(dataset="mnist", data_dir="data", train_size=None, use_expansion=False, seed=0):
    """Training, validation and test set.

    Where MNIST is not to be had, the digits are loaded in its place, with a warning; `Data.name` tells.

    Args:
        dataset: 'mnist' (55,000 / 5,000 / 10,000 images) or 'digits' (1,197 / 300 / 300), scikit-learn's 8x8
            digits enlarged. Both splits are fixed.
        data_dir: folder of MNIST's files, which are downloaded into it if need be.
        train_size: number of training images, drawn by class; None for all.
        use_expansion: if true, the training set is followed by four distorted copies of itself, see `expand`.
        seed: whole number, for the draw and the distortions.
    Returns:
        Data.
    Raises:
        ValueError: unknown dataset, or train_size is not a whole number from 10 to all there are.
    """
    if dataset not in ("mnist", "digits"):
        raise ValueError(f"dataset must be 'mnist' or 'digits', got {dataset!r}")
    if dataset == "mnist":
        try:
            images, labels = read_mnist(data_dir)
        except DownloadError as error:
            warnings.warn(
                "MNIST is not to be had: the 1,797 digits of scikit-learn are used INSTEAD, and the "
                f"results are not results on MNIST. Reason: {error}",
                stacklevel=2,
            )
            dataset = "digits"
    if dataset == "digits":
        images, labels = read_digits()
    x_train, x_val, x_test = images
    y_train, y_val, y_test = (2 * np.eye(CLASSES, dtype=np.float32)[part] - 1 for part in labels)

    if train_size is not None:
        if not isinstance(train_size, numbers.Integral) or not CLASSES <= train_size <= len(x_train):
            raise ValueError(
                f"train_size must be None or a whole number from {CLASSES} to {len(x_train)} (all of "
                f"{dataset}), got {train_size!r}"
            )
        # train_test_split would draw the same counts, but takes no size that leaves fewer than 10 images over.
        chosen = resample(
            np.arange(len(x_train)), replace=False, n_samples=train_size, stratify=labels[0], random_state=seed
        )
        x_train, y_train = x_train[chosen], y_train[chosen]
    if use_expansion:
        x_train = expand(x_train, seed)
        y_train = np.tile(y_train, (1 + COPIES, 1))
    return Data(dataset, x_train, y_train, x_val, y_val, x_test, y_test)


def read_mnist(data_dir):
    """Images in [-1, +1] and class numbers of MNIST, each a list for training, validation, test."""
    paths = download_mnist(data_dir).values()
    pixels, labels, test_pixels, test_labels = (parse_idx(read_verified(path)) for path in paths)
    images = [
        part[..., np.newaxis].astype(np.float32) / 127.5 - 1
        for part in (pixels[MNIST_VALIDATION:], pixels[:MNIST_VALIDATION], test_pixels)
    ]
    return images, [labels[MNIST_VALIDATION:], labels[:MNIST_VALIDATION], test_labels]


def parse_idx(content):
    """uint8 array in an IDX file: 0, 0, 8 (for uint8), the number of axes, their big-endian sizes, the data."""
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"no IDX file of bytes: it starts with {content[:4]!r}, not with 0, 0, 8, number of axes")
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if data.size != shape.prod():
        raise ValueError(f"IDX file with {data.size} bytes of data, its header says {shape.tolist()}")
    return data.reshape(shape)


def read_digits():
    """Images in [-1, +1] and class numbers of scikit-learn's digits, each a list for training, validation, test."""
    digits = load_digits()  # 8x8 pixels of 0 to 16
    zoom = SIDE / digits.images.shape[1]
    images = ndimage.zoom(digits.images, (1, zoom, zoom), order=1, mode="nearest", grid_mode=True)
    pixels = np.rint(images[..., np.newaxis] * (255 / 16))  # 8 bits, as MNIST has
    images = (pixels / 127.5 - 1).astype(np.float32)
    x_train, x_rest, y_train, y_rest = train_test_split(
        images, digits.target, train_size=DIGITS_TRAIN, stratify=digits.target, random_state=0
    )
    x_val, x_test, y_val, y_test = train_test_split(
        x_rest, y_rest, train_size=DIGITS_VALIDATION, stratify=y_rest, random_state=0
    )
    return [x_train, x_val, x_test], [y_train, y_val, y_test]


def draw_distortions(count, seed):
    """Angles int (count,) in degrees, -15 to +15, and shifts int (count, 2) in pixels down and right, -2 to +2."""
    rng = np.random.default_rng(seed)
    angles = rng.integers(-MAX_ANGLE, MAX_ANGLE, count, endpoint=True)
    return angles, rng.integers(-MAX_SHIFT, MAX_SHIFT, (count, 2), endpoint=True)


def rotation(angle):
    """Rotation of an image about its centre, with bilinear interpolation, as a matrix.

    Pixel p of the result is the image at c + [[cos, sin], [-sin, cos]] (p - c), from the four pixels around that
    point; c is the centre, what lies outside the image is 0.

    Args:
        angle: degrees, counter-clockwise.
    Returns:
        Sparse float32 (28 * 28, 28 * PITCH): flat result from flat image with PITCH pixels from row to row.
    """
    centre = (SIDE - 1) / 2
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    y, x = np.indices((SIDE, SIDE)).reshape(2, -1) - centre
    y, x = cos * y + sin * x + centre, cos * x - sin * y + centre
    rows = np.floor(y).astype(int) + [[0], [0], [1], [1]]
    columns = np.floor(x).astype(int) + [[0], [1], [0], [1]]
    weights = (1 - abs(y - rows)) * (1 - abs(x - columns))
    inside = (rows >= 0) & (rows < SIDE) & (columns >= 0) & (columns < SIDE)
    entries = weights[inside].astype(np.float32), (np.nonzero(inside)[1], (rows * PITCH + columns)[inside])
    return sparse.csr_array(entries, shape=(SIDE**2, SIDE * PITCH))


def expand(images, seed):
    """Images followed by four distorted copies of all of them, for training on more than there is.

    Each copy is shifted by whole pixels, at most 2 down or up and 2 left or right, then turned about the centre by
    whole degrees, at most 15 either way, each drawn uniformly. What comes in from outside is background, -1.

    Whole degrees make it fast: all images with the same angle are turned by one sparse matrix product.

    Args:
        images: float32 (n, 28, 28, 1) in [-1, +1].
        seed: whole number, see `draw_distortions`.
    Returns:
        float32 (5 * n, 28, 28, 1) in [-1, +1]; copy k = 1..4 of image i is at k * n + i.
    Source: expanding MNIST by distortions, Simard, Steinkraus and Platt 2003, "Best Practices for Convolutional
        Neural Networks Applied to Visual Document Analysis"; angles and shifts are this project's.
    """
    n = len(images)
    angles, shifts = draw_distortions(COPIES * n, seed)
    expanded = np.empty(((1 + COPIES) * n, SIDE, SIDE, 1), np.float32)
    expanded[:n] = images
    copies = expanded[n:].reshape(COPIES * n, SIDE**2)

    # In a flat image with background between its rows, a shift is another place to start reading. The row more at
    # the bottom is for the end of the last row, when the shift is down there and to the left.
    margins = ((0, 0), (MAX_SHIFT, MAX_SHIFT + 1), (MAX_SHIFT, 0))
    padded = np.pad(images[..., 0], margins, constant_values=-1).reshape(n, -1)
    padded += 1  # background 0, as `rotation` takes it
    shifted = sliding_window_view(padded, SIDE * PITCH, axis=1)
    starts = (MAX_SHIFT - shifts) @ (PITCH, 1)

    def turn(angle):
        matrix = rotation(angle)
        members = np.flatnonzero(angles == angle)
        for group in np.array_split(members, len(members) // CHUNK + 1):
            pixels = matrix @ shifted[group % n, starts[group]].T
            pixels -= 1
            copies[group] = np.minimum(pixels, 1, out=pixels).T  # rounding may leave white just above 1

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the matrix product runs outside Python's lock
        list(pool.map(turn, range(-MAX_ANGLE, MAX_ANGLE + 1)))  # list, to raise here what a thread raised
    return expanded

"""Data sets as arrays for binary networks: images in [-1, +1], labels -1 or +1, and the expanded training set."""

import functools
import numbers
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage, sparse
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.utils import resample

from mnist import DataError
from mnist.data_files import read_images
from mnist.download_mnist import DownloadError, download_mnist, read_verified

SIDE = 28  # pixels
MNIST_VALIDATION = 5000  # first images of the training file
DIGITS_TRAIN, DIGITS_VALIDATION = 1197, 300  # of 1,797 images; the other 300 are for testing
COPIES = 4  # distorted copies of each training image in the expanded set
MAX_ANGLE = 15  # degrees
MAX_SHIFT = 2  # pixels
CHUNK = 200  # images rotated at a time, so that they stay in the processor's cache; a power of 2 would thrash it


class Data(NamedTuple):
    """Images float32 (n, height, width, channels) in [-1, +1]; labels float32 (n, classes), +1 for the class or -1."""

    name: str  # of what was loaded: 'mnist', 'digits', or name and CRC-32 of a file or folder
    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    train_size: int | None = None  # number of training images that were chosen, without distorted copies; None for all


def load_data(
    dataset: str | os.PathLike = "mnist",
    data_dir: str | os.PathLike = "data",
    train_size: int | None = None,
    use_expansion: bool = False,
    seed: int = 0,
) -> Data:
    """Training, validation and test set.

    If MNIST could not be downloaded, the digits are loaded instead, with a warning; all of them where `train_size` is
    larger. `Data.name` and `Data.train_size` say what was loaded.

    Args:
        dataset: 'mnist' (55,000 / 5,000 / 10,000 images), 'digits' (1,197 / 300 / 300), scikit-learn's 8x8 digits
            enlarged to 28x28, or the path of a user's .npz file or folder of IDX files, see
            `mnist.data_files.read_images`. The splits of the first two are fixed. Without validation images, a tenth of
            a user's training images (rounded up, at least as many as there are classes), stratified by class.
        data_dir: folder of MNIST's files, which are downloaded into it if they are missing.
        train_size: number of training images, stratified by class, one of each class or more; None for all.
        use_expansion: if true, the training set is followed by four distorted copies of itself, see `expand`.
        seed: int, for the choice of training images, the validation split of a user's data, and the distortions.
    Returns:
        Data.
    Raises:
        DataError: unknown dataset, malformed files, too few images of a class for a validation split, or train_size is
            not an integer from the number of classes to the number of training images.
        OSError: the user's file cannot be read.
    """
    name = dataset
    if dataset == "mnist":
        try:
            images, labels = _read_mnist(data_dir)
        except DownloadError as error:
            name, reduced = "digits", ""
            if isinstance(train_size, numbers.Integral) and train_size > DIGITS_TRAIN:  # it was meant for MNIST
                reduced = f", all {DIGITS_TRAIN:,} for training instead of {train_size:,}"
                train_size = DIGITS_TRAIN
            warnings.warn(
                f"MNIST could not be downloaded: the 1,797 digits of scikit-learn are used INSTEAD{reduced}. {error}",
                stacklevel=2,
            )
    elif dataset != "digits":
        name, images, labels = _read_own(dataset, seed)
    if name == "digits":
        images, labels = _read_digits()
    x_train, x_val, x_test = images
    classes = int(labels[0].max()) + 1
    y_train, y_val, y_test = (2 * np.eye(classes, dtype=np.float32)[part] - 1 for part in labels)

    if train_size is not None:
        if not isinstance(train_size, numbers.Integral) or not classes <= train_size <= len(x_train):
            accepted = f"None or an integer from {classes} to {len(x_train)} (all of {name})"
            raise DataError(f"train_size (TRAIN_SIZE of train.py) must be {accepted}, got {train_size!r}")
        chosen = _choose(labels[0], train_size, seed)
        x_train, y_train = x_train[chosen], y_train[chosen]
    if use_expansion:
        x_train = expand(x_train, seed)
        y_train = np.tile(y_train, (1 + COPIES, 1))
    return Data(name, x_train, y_train, x_val, y_val, x_test, y_test, train_size)


def _choose(labels, count, seed):
    """Indices of `count` images, stratified by class, one of each class or more."""
    # train_test_split would choose the same counts, but refuses a size that leaves fewer images than classes.
    chosen = resample(np.arange(len(labels)), replace=False, n_samples=count, stratify=labels, random_state=seed)
    for rare in np.setdiff1d(labels, labels[chosen]):  # it takes the place of an image of the most frequent class
        frequent = np.bincount(labels[chosen]).argmax()
        chosen[np.argmax(labels[chosen] == frequent)] = np.argmax(labels == rare)
    return chosen


def _scale(pixels):
    """Pixels from 0 to 255 as float32 in [-1, +1]."""
    return pixels.astype(np.float32) / 127.5 - 1


def _read_mnist(data_dir):
    """Images in [-1, +1] and class numbers of MNIST, each a list for training, validation, test."""
    paths = download_mnist(data_dir).items()
    images, labels, x_test, y_test = (read_verified(path, name) for name, path in paths)
    parts = images[MNIST_VALIDATION:], images[:MNIST_VALIDATION], x_test
    labels = [labels[MNIST_VALIDATION:], labels[:MNIST_VALIDATION], y_test]
    return [_scale(part[..., np.newaxis]) for part in parts], labels


def _read_own(path, seed):
    """Name of a user's data set; images in [-1, +1] and class numbers, each a list for training, validation, test."""
    if not (path and isinstance(path, str | os.PathLike) and (str(path).endswith(".npz") or Path(path).is_dir())):
        accepted = "'mnist', 'digits', the path of an .npz file or of a folder of IDX files under MNIST's names"
        raise DataError(f"dataset must be {accepted}, got {path!r}")
    name, images, labels = read_images(path)
    if "val" not in images:
        train, counts = labels["train"], np.bincount(labels["train"])
        if counts.min() < 2:
            accepted = "two or more images of a class in x_train, or x_val and y_val"
            raise DataError(f"{path} must have {accepted}; class {counts.argmin()} has one")
        size = max(-(-len(train) // 10), len(counts))
        rows = train_test_split(np.arange(len(train)), test_size=size, stratify=train, random_state=seed)
        for whole in (images, labels):
            whole["train"], whole["val"] = (whole["train"][np.sort(part)] for part in rows)
    parts = "train", "val", "test"
    return name, [_scale(images[part]) for part in parts], [labels[part] for part in parts]


def _read_digits():
    """Images in [-1, +1] and class numbers of scikit-learn's digits, each a list for training, validation, test."""
    digits = load_digits()  # 8x8 pixels of 0 to 16
    zoom = SIDE / digits.images.shape[1]
    images = ndimage.zoom(digits.images, (1, zoom, zoom), order=1, mode="nearest", grid_mode=True)
    pixels = np.rint(images[..., np.newaxis] * (255 / 16))  # 8 bits, as MNIST has
    images, labels = (pixels / 127.5 - 1).astype(np.float32), digits.target
    split = functools.partial(train_test_split, random_state=0)
    x_train, x_rest, y_train, y_rest = split(images, labels, train_size=DIGITS_TRAIN, stratify=labels)
    x_val, x_test, y_val, y_test = split(x_rest, y_rest, train_size=DIGITS_VALIDATION, stratify=y_rest)
    return [x_train, x_val, x_test], [y_train, y_val, y_test]


def draw_distortions(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Angles int (count,) in degrees, -15 to +15, and shifts int (count, 2) in pixels down and right, -2 to +2."""
    rng = np.random.default_rng(seed)
    angles = rng.integers(-MAX_ANGLE, MAX_ANGLE, count, endpoint=True)
    return angles, rng.integers(-MAX_SHIFT, MAX_SHIFT, (count, 2), endpoint=True)


def rotation(angle: int, height: int, width: int) -> sparse.csr_array:
    """Rotation of an image about its center, with bilinear interpolation, as a matrix.

    Pixel p of the result is the image at c + [[cos, sin], [-sin, cos]] (p - c), interpolated from the four pixels
    around that point. c is the center; outside the image, pixels are 0.

    Args:
        angle: degrees, counter-clockwise.
        height, width: of the image, in pixels.
    Returns:
        Sparse float32 (height * width, height * pitch): flat result from a flat image whose rows are pitch = width +
        MAX_SHIFT pixels apart.
    """
    center_y, center_x = (height - 1) / 2, (width - 1) / 2
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    y, x = np.indices((height, width)).reshape(2, -1)
    y, x = y - center_y, x - center_x
    y, x = cos * y + sin * x + center_y, cos * x - sin * y + center_x
    rows = np.floor(y).astype(int) + [[0], [0], [1], [1]]
    columns = np.floor(x).astype(int) + [[0], [1], [0], [1]]
    weights = (1 - abs(y - rows)) * (1 - abs(x - columns))
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    pitch = width + MAX_SHIFT
    entries = weights[inside].astype(np.float32), (np.nonzero(inside)[1], (rows * pitch + columns)[inside])
    return sparse.csr_array(entries, shape=(height * width, height * pitch))


def expand(images: np.ndarray, seed: int) -> np.ndarray:
    """Images followed by four distorted copies of all of them, to enlarge a training set.

    Each copy is shifted by whole pixels, at most 2 down or up and 2 left or right, then rotated about the center by
    whole degrees, at most 15 either way, each drawn uniformly. Pixels from outside the image are background, -1.

    Whole degrees make it fast: all images with the same angle are rotated by one sparse matrix product.

    Args:
        images: float32 (n, height, width, channels) in [-1, +1].
        seed: int, see `draw_distortions`.
    Returns:
        float32 (5 * n, height, width, channels) in [-1, +1]; copy k = 1..4 of image i is at k * n + i.
    Source: expanding MNIST by distortions, Simard, Steinkraus and Platt 2003, "Best Practices for Convolutional
        Neural Networks Applied to Visual Document Analysis"; angles and shifts are this project's.
    """
    n, height, width, channels = images.shape
    angles, shifts = draw_distortions(COPIES * n, seed)
    expanded = np.empty(((1 + COPIES) * n, height, width, channels), np.float32)
    expanded[:n] = images
    copies = expanded[n:].reshape(COPIES * n, height * width, channels)

    # In a flat image with background between its rows, a shift is another place to start reading. A shift up and to the
    # left reads beyond the last row by MAX_SHIFT rows and MAX_SHIFT pixels, which are up to two rows of a narrow image.
    margins = ((0, 0), (0, 0), (MAX_SHIFT, MAX_SHIFT + 2), (MAX_SHIFT, 0))
    pitch = width + MAX_SHIFT
    starts = (MAX_SHIFT - shifts) @ (pitch, 1)
    matrices = [rotation(angle, height, width) for angle in range(-MAX_ANGLE, MAX_ANGLE + 1)]
    padded = np.pad(np.moveaxis(images, 3, 0), margins, constant_values=-1).reshape(channels, n, -1)
    padded += 1  # background 0, as `rotation` takes it
    shifted = sliding_window_view(padded, height * pitch, axis=2)

    def rotate(angle):
        members = np.flatnonzero(angles == angle)
        for group in np.array_split(members, len(members) // CHUNK + 1):
            for channel in range(channels):
                pixels = matrices[angle + MAX_ANGLE] @ shifted[channel, group % n, starts[group]].T
                pixels -= 1
                # Rounding may leave white just above 1.
                copies[group, :, channel] = np.minimum(pixels, 1, out=pixels).T

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # the matrix product runs outside Python's lock
        list(pool.map(rotate, range(-MAX_ANGLE, MAX_ANGLE + 1)))  # list, to raise here what a thread raised
    return expanded

"""Data sets as arrays for binary networks: images in [-1, +1], labels -1 or +1, and the expanded training set."""

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
from mnist.npz_files import read_images

SIDE = 28  # pixels
CLASSES = 10  # of MNIST and the digits
MNIST_VALIDATION = 5000  # first images of the training file
DIGITS_TRAIN, DIGITS_VALIDATION = 1197, 300  # of 1,797 images; the other 300 are for testing
COPIES = 4  # distorted copies of each training image in the expanded set
MAX_ANGLE = 15  # degrees
MAX_SHIFT = 2  # pixels
CHUNK = 200  # images rotated at a time, so that they stay in the processor's cache; a power of 2 would thrash it


class Data(NamedTuple):
    """Images float32 (n, height, width, channels) in [-1, +1]; labels float32 (n, classes), +1 for the class or -1."""

    name: str  # of what was loaded: 'mnist', 'digits', or name and CRC-32 of a file
    x_train: np.ndarray
    y_train: np.ndarray
    x_val: np.ndarray
    y_val: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray


def load_data(dataset="mnist", data_dir="data", train_size=None, use_expansion=False, seed=0):
    """Training, validation and test set.

    If MNIST could not be downloaded, the digits are loaded instead, with a warning; all of them where `train_size` is
    larger. `Data.name` says which.

    Args:
        dataset: 'mnist' (55,000 / 5,000 / 10,000 images), 'digits' (1,197 / 300 / 300), scikit-learn's 8x8 digits
            enlarged to 28x28, or the path of an .npz file, see `read_npz`. The splits of the first two are fixed.
        data_dir: folder of MNIST's files, which are downloaded into it if they are missing.
        train_size: number of training images, stratified by class; None for all.
        use_expansion: if true, the training set is followed by four distorted copies of itself, see `expand`.
        seed: int, for the choice of training images, the validation split of an .npz file, and the distortions.
    Returns:
        Data.
    Raises:
        ValueError: unknown dataset, malformed file, or train_size is not an integer from the number of classes to the
            number of training images.
        OSError: the .npz file cannot be read.
    """
    name, classes = dataset, CLASSES
    if isinstance(dataset, str) and dataset.endswith(".npz"):
        name, images, labels = read_npz(dataset, seed)
        classes = labels[0].max() + 1
    elif dataset not in ("mnist", "digits"):
        raise ValueError(f"dataset must be 'mnist', 'digits' or the path of an .npz file, got {dataset!r}")
    if dataset == "mnist":
        try:
            images, labels = read_mnist(data_dir)
        except DownloadError as error:
            warnings.warn(
                "MNIST could not be downloaded: the 1,797 digits of scikit-learn are used INSTEAD. The results are not "
                f"results on MNIST. Reason: {error}",
                stacklevel=2,
            )
            name = "digits"
            if isinstance(train_size, numbers.Integral):
                train_size = min(train_size, DIGITS_TRAIN)  # it was meant for MNIST
    if name == "digits":
        images, labels = read_digits()
    x_train, x_val, x_test = images
    y_train, y_val, y_test = (2 * np.eye(classes, dtype=np.float32)[part] - 1 for part in labels)

    if train_size is not None:
        if not isinstance(train_size, numbers.Integral) or not classes <= train_size <= len(x_train):
            raise ValueError(
                f"train_size must be None or an integer from {classes} to {len(x_train)} (all of {name}), "
                f"got {train_size!r}"
            )
        # train_test_split would choose the same counts, but refuses a size that leaves fewer images than classes.
        chosen = resample(
            np.arange(len(x_train)), replace=False, n_samples=train_size, stratify=labels[0], random_state=seed
        )
        x_train, y_train = x_train[chosen], y_train[chosen]
    if use_expansion:
        x_train = expand(x_train, seed)
        y_train = np.tile(y_train, (1 + COPIES, 1))
    return Data(name, x_train, y_train, x_val, y_val, x_test, y_test)


def read_mnist(data_dir):
    """Images in [-1, +1] and class numbers of MNIST, each a list for training, validation, test."""
    paths = download_mnist(data_dir).items()
    pixels, labels, test_pixels, test_labels = (parse_idx(read_verified(path, name)) for name, path in paths)
    parts = pixels[MNIST_VALIDATION:], pixels[:MNIST_VALIDATION], test_pixels
    images = [scale(part[..., np.newaxis]) for part in parts]
    return images, [labels[MNIST_VALIDATION:], labels[:MNIST_VALIDATION], test_labels]


def scale(pixels):
    """Pixels from 0 to 255 as float32 in [-1, +1]."""
    images = pixels.astype(np.float32)
    images /= 127.5
    images -= 1
    return images


def read_npz(path, seed):
    """A user's own data set.

    A file without x_val and y_val has a tenth of its training images (rounded up, at least as many as there are
    classes) split off for validation. `seed` chooses them, stratified by class.

    Args:
        path: of the .npz file, see `mnist.npz_files.read_images`.
        seed: int, for the split.
    Returns:
        (name, images in [-1, +1], class numbers), both lists for training, validation, test.
    Raises:
        ValueError: the file is malformed, or has fewer than two images of a class and no validation set.
        OSError: it cannot be read.
    """
    name, images, labels = read_images(path)
    if "val" not in images:
        counts = np.bincount(labels["train"])
        if counts.min() < 2:
            raise ValueError(
                f"{path} must have two or more images of a class in x_train, or x_val and y_val; "
                f"class {counts.argmin()} has one"
            )
        rows = train_test_split(
            np.arange(len(labels["train"])),
            test_size=max(-(-len(labels["train"]) // 10), len(counts)),
            stratify=labels["train"],
            random_state=seed,
        )
        for whole in (images, labels):
            whole["train"], whole["val"] = (whole["train"][part] for part in map(np.sort, rows))
    parts = "train", "val", "test"
    return name, [scale(images[part]) for part in parts], [labels[part] for part in parts]


def parse_idx(content):
    """uint8 array of an IDX file: 0, 0, 8 (for uint8), the number of axes, their big-endian sizes, the data."""
    if len(content) < 4 or content[:3] != b"\0\0\x08":
        raise ValueError(f"not an IDX file of bytes: it must start with 0, 0, 8, number of axes, got {content[:4]!r}")
    axes = content[3]
    shape = np.frombuffer(content, ">i4", axes, offset=4)
    data = np.frombuffer(content, np.uint8, offset=4 + 4 * axes)
    if data.size != shape.prod():
        raise ValueError(f"IDX file with {data.size} bytes of data, but its header says {shape.tolist()}")
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


def rotation(angle, height, width):
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


def expand(images, seed):
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
    margins = ((0, 0), (MAX_SHIFT, MAX_SHIFT + 2), (MAX_SHIFT, 0))
    pitch = width + MAX_SHIFT
    starts = (MAX_SHIFT - shifts) @ (pitch, 1)
    matrices = [rotation(angle, height, width) for angle in range(-MAX_ANGLE, MAX_ANGLE + 1)]

    for channel in range(channels):
        padded = np.pad(images[..., channel], margins, constant_values=-1).reshape(n, -1)
        padded += 1  # background 0, as `rotation` takes it
        shifted = sliding_window_view(padded, height * pitch, axis=1)

        def rotate(angle):
            members = np.flatnonzero(angles == angle)
            for group in np.array_split(members, len(members) // CHUNK + 1):
                pixels = matrices[angle + MAX_ANGLE] @ shifted[group % n, starts[group]].T
                pixels -= 1
                # Rounding may leave white just above 1.
                copies[group, :, channel] = np.minimum(pixels, 1, out=pixels).T

        with ThreadPoolExecutor(os.cpu_count()) as pool:  # the matrix product runs outside Python's lock
            list(pool.map(rotate, range(-MAX_ANGLE, MAX_ANGLE + 1)))  # list, to raise here what a thread raised
    return expanded

"""Data sets in files: .npz files in the layout of Keras's mnist.npz, and folders of IDX files under MNIST's names."""

import gzip
import io
import os
import re
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np

from mnist import DataError

LARGEST = 256  # height, width or channels of an image; for larger ones a network cannot be packed into bits
MOST_CHANNELS = 4  # of an image whose channels come first, as far as it is recognized
FILES = {  # MNIST's file -> array of Keras's mnist.npz
    "train-images-idx3-ubyte": "x_train",
    "train-labels-idx1-ubyte": "y_train",
    "t10k-images-idx3-ubyte": "x_test",
    "t10k-labels-idx1-ubyte": "y_test",
}
# What numpy, gzip and zipfile raise for damaged files. RuntimeError is also an unknown compression.
DAMAGED = (ValueError, LookupError, RuntimeError, EOFError, OSError, MemoryError, zipfile.BadZipFile, zlib.error)


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """uint8 array of an IDX file, plain or gzip: 0, 0, 8 (for uint8), the number of axes, their big-endian sizes, data.

    Raises:
        DataError: the file is damaged, or another file; one line says why.
        OSError: it cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        if content.startswith(b"\x1f\x8b"):  # the name does not tell: some browsers unpack a .gz and keep its name
            content = gzip.decompress(content)
        if not content.startswith(b"\0\0\x08"):
            raise ValueError(f"it must start with 0, 0, 8, got {content[:3]!r}")
        shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape.tolist())
    except DAMAGED as error:
        raise DataError(f"damaged, or no IDX file of bytes: {error}") from None


def read_npz(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], int]:
    """Reads an .npz file of x_train, y_train, x_test, y_test and perhaps x_val, y_val. Nothing in it is executed.

    Returns:
        (dict, name -> array; CRC-32 of the file)
    Raises:
        DataError: the file is damaged, or holds other arrays; one line says why.
        OSError: it cannot be read.
    """
    content = Path(path).read_bytes()
    required = {*FILES.values()}
    try:
        if not content.startswith(b"PK"):  # otherwise numpy would try other formats, pickle among them
            raise ValueError("not a zip archive")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            if {*archive} not in (required, required | {"x_val", "y_val"}):
                accepted = "x_train, y_train, x_test, y_test and optionally both x_val and y_val"
                raise ValueError(f"it must hold {accepted}; it holds {', '.join(sorted(archive)) or 'nothing'}")
            return {name: np.asarray(archive[name]) for name in archive}, zlib.crc32(content)
    except DAMAGED as error:
        raise DataError(" ".join(str(error).split())[:500] or type(error).__name__) from None


def possible_paths(name: str, folder: str | os.PathLike) -> list[Path]:
    """Paths at which MNIST's file `name` may be in a folder, the preferred one first."""
    spellings = name, name.replace("-idx", ".idx")  # the second one is Kaggle's
    files = [f"{spelling}{ending}" for spelling in spellings for ending in (".gz", "")]
    places = "", "MNIST/raw", "raw"  # torchvision's folders
    # Kaggle's archive unpacks into a folder for each file.
    return [Path(folder, place, outer, file) for place in places for outer in ("", *files) for file in files]


def read_images(path: str | os.PathLike) -> tuple[str, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Reads a user's data set, with any number of classes.

    Args:
        path: .npz file in the layout of Keras's mnist.npz, with x_train, y_train, x_test, y_test and optionally x_val,
            y_val; or folder of four IDX files, plain or gzip, under MNIST's names, as Fashion-MNIST, KMNIST and EMNIST
            have them. Images are uint8 (n, height, width) or (n, height, width, channels), labels integers (n,) or
            (n, 1) from 0 to classes - 1. IDX files may count the classes from 1, as EMNIST's letters do.
    Returns:
        (name, images, labels). The name is that of the file or folder and a CRC-32, such as 'fashion-1a2b3c4d', in
        letters, digits, '_' and '-'. `images` has 'train', 'test' and perhaps 'val' -> uint8 (n, height, width,
        channels), `labels` the same -> int64 (n,), from 0.
    Raises:
        DataError: it is no such data set; one line names what is wrong, what is wanted and what was found.
        OSError: it cannot be read.
    """
    is_folder = Path(path).is_dir()
    try:
        arrays, checksum = _read_folder(path) if is_folder else read_npz(path)
        images, labels = _check(arrays, least_class=(0, 1) if is_folder else (0,))
    except DataError as error:
        raise DataError(f"{path} is not a data set: {error}") from None
    brightest = max(images.values(), key=np.max)
    if 0 < brightest.max() < 128:
        found = f"from 0 to {brightest.max()}, not 255; multiply them by 255 / {brightest.max()}"
        warnings.warn(f"{path}: its pixels are {found}: {_as_uint8(brightest)}", stacklevel=4)
    stem = Path(path).resolve().name if is_folder else Path(path).stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")[:40] or "images"
    return f"{name}-{checksum:08x}", images, labels


def _read_folder(folder):
    """The arrays of four IDX files, under their names in mnist.npz, and a CRC-32 of them."""
    arrays, checksum = {}, 0
    for name, key in FILES.items():
        path = next(filter(os.path.isfile, possible_paths(name, folder)), None)
        if path is None:
            raise DataError(f"it must hold {', '.join(FILES)}, plain or .gz; it has no {name}")
        try:
            arrays[key] = read_idx(path)
        except DataError as error:
            raise DataError(f"{path.name}: {error}") from None
        checksum = zlib.crc32(arrays[key], checksum)
    return arrays, checksum


def _check(arrays, least_class):
    """Images and labels of the parts, all of one shape of image and with the classes of the training images."""
    images, labels = {}, {}
    for part in ("train", "val", "test"):
        if f"x_{part}" in arrays:
            images[part], labels[part] = _check_part(part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    classes = np.unique(labels["train"])
    first, last = classes[0], classes[-1]
    if len(classes) < 2 or first not in least_class or last - first != len(classes) - 1:
        accepted = f"2 or more classes, numbered from {' or '.join(map(str, least_class))} without gaps"
        raise DataError(f"y_train must have {accepted}, got {classes.tolist()!s:.80}")
    shape = images["train"].shape[1:]
    for part in images:
        if images[part].shape[1:] != shape:
            raise DataError(f"images of x_{part} must be {shape}, as those of x_train, got {images[part].shape[1:]}")
        least, most = labels[part].min(), labels[part].max()
        if least < first or most > last:
            raise DataError(f"y_{part} must be from {first} to {last}, the classes of y_train, got {least} to {most}")
        labels[part] -= first
    return images, labels


def _check_part(part, images, labels):
    """Images with four axes and labels with one."""
    found = f"got {images.dtype} {images.shape}"
    wanted = f"x_{part} must be uint8 (n, height, width) or (n, height, width, channels), {found}"
    if images.ndim == 4 and images.shape[1] <= MOST_CHANNELS < images.shape[3]:
        raise DataError(f"{wanted}, which has its channels first; use numpy.moveaxis(x, 1, -1)")
    if images.dtype.kind in "biuf" and images.dtype != np.uint8 and images.size and np.isfinite(images).all():
        raise DataError(f"{wanted}; convert by {_as_uint8(images)}")
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(wanted)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if not len(images) or not all(1 <= size <= LARGEST for size in images.shape[1:]):
        raise DataError(f"x_{part} must have an image or more, each axis from 1 to {LARGEST}, {found}")
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(images),), (len(images), 1)):
        wanted = f"y_{part} must be integers ({len(images)},), one for each image of x_{part}"
        raise DataError(f"{wanted}, got {labels.dtype} {labels.shape}")
    return images, labels.ravel().astype(np.int64)


def _as_uint8(images):
    """How to make pixels uint8 from 0 to 255, as an expression in x. At most 1 is taken for a fraction of white."""
    low, high = min(float(images.min()), 0), max(float(images.max()), 1)
    high = high if high < 128 else max(high, 255)
    shifted = f"(x + {-low:g})" if low else "x"
    return f"numpy.rint({shifted} * (255 / {high - low:g})).astype('uint8')"

"""Data sets in .npz files: a user's own images, and the layout of Keras's mnist.npz."""

import io
import re
import zipfile
import zlib
from pathlib import Path

import numpy as np

LARGEST = 256  # height, width or channels of an image; for larger ones a network cannot be packed into bits


def read_arrays(path, required, optional=()):
    """Reads arrays of an .npz file. Nothing in the file is executed.

    Args:
        path: of the file.
        required: names of arrays that must be there.
        optional: names of arrays that may be there. No others may.
    Returns:
        (dict, name -> array; int, CRC-32 of the file)
    Raises:
        ValueError: the file is damaged, or holds other arrays; one line says why.
        OSError: it cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        if not content.startswith(b"PK"):  # otherwise numpy would try other formats, pickle among them
            raise ValueError("not a zip archive")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            names = {*archive.files}
            if not {*required} <= names <= {*required, *optional}:
                accepted = ", ".join(required) + (f" and optionally {', '.join(optional)}" if optional else "")
                raise ValueError(f"it must hold {accepted}; it holds {', '.join(sorted(names)) or 'nothing'}")
            arrays = {name: archive[name] for name in names}
        for name, array in arrays.items():
            if not isinstance(array, np.ndarray):
                raise ValueError(f"{name} is not an array")
    # What numpy and zipfile raise for damaged files. RuntimeError is also an unknown compression.
    except (ValueError, RuntimeError, EOFError, OSError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(" ".join(str(error).split())[:500] or type(error).__name__) from None
    return arrays, zlib.crc32(content)


def read_images(path):
    """Reads a data set in the layout of Keras's mnist.npz, with any number of classes.

    Args:
        path: .npz file with x_train, y_train, x_test, y_test and optionally x_val, y_val. Images are uint8
            (n, height, width) or (n, height, width, channels), labels integers (n,) or (n, 1) from 0 to classes - 1.
    Returns:
        (name, images, labels). The name is that of the file and its CRC-32, such as 'fashion-1a2b3c4d', in letters,
        digits, '_' and '-'. `images` has 'train', 'test' and perhaps 'val' -> uint8 (n, height, width, channels),
        `labels` the same -> int64 (n,).
    Raises:
        ValueError: the file is no such data set; one line names what is wrong, what is wanted and what was found.
        OSError: it cannot be read.
    """
    try:
        arrays, checksum = read_arrays(path, ("x_train", "y_train", "x_test", "y_test"), ("x_val", "y_val"))
        images, labels = _check(arrays)
    except ValueError as error:
        raise ValueError(f"{path} is not a data set: {error}") from None
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", Path(path).stem).strip("_-")[:40] or "images"
    return f"{name}-{checksum:08x}", images, labels


def _check(arrays):
    """Images and labels of the parts, all of one shape of image and with the classes of the training images."""
    if ("x_val" in arrays) != ("y_val" in arrays):
        raise ValueError("it must hold both x_val and y_val, or neither")
    images, labels = {}, {}
    for part in ("train", "val", "test"):
        if f"x_{part}" in arrays:
            images[part], labels[part] = _check_part(part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    classes = np.unique(labels["train"])
    if len(classes) < 2 or classes[0] != 0 or classes[-1] != len(classes) - 1:
        raise ValueError(
            f"y_train must have 2 or more classes, numbered from 0 without gaps, got {classes.tolist()!s:.80}"
        )
    shape = images["train"].shape[1:]
    for part in images:
        if images[part].shape[1:] != shape:
            raise ValueError(f"images of x_{part} must be {shape}, as those of x_train, got {images[part].shape[1:]}")
        least, most = labels[part].min(), labels[part].max()
        if least < 0 or most >= len(classes):
            raise ValueError(
                f"y_{part} must be from 0 to {len(classes) - 1}, the classes of y_train, got {least} to {most}"
            )
    return images, labels


def _check_part(part, images, labels):
    """Images with four axes and labels with one."""
    found = f"got {images.dtype} {images.shape}"
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise ValueError(f"x_{part} must be uint8 (n, height, width) or (n, height, width, channels), {found}")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if not len(images) or not all(1 <= size <= LARGEST for size in images.shape[1:]):
        raise ValueError(f"x_{part} must have an image or more, each axis from 1 to {LARGEST}, {found}")
    if labels.dtype.kind not in "iu" or labels.shape not in ((len(images),), (len(images), 1)):
        raise ValueError(
            f"y_{part} must be integers ({len(images)},), one for each image of x_{part}, "
            f"got {labels.dtype} {labels.shape}"
        )
    return images, labels.ravel().astype(np.int64)

"""Checking the images and labels that children are trained on."""

from typing import Any

import numpy as np

from pnas import UsageError
from pnas.constants import NAME

MOST_CHANNELS = 4  # of an image whose channels come first, as far as `check_data` recognizes it


def check_data(data: Any, dense_layers: list[int]) -> tuple[np.ndarray, ...]:
    """Checks a data set, so that no child is trained on malformed or mismatched arrays.

    Args:
        data: has `name`, 1 to 64 letters, digits, '_' and '-', and these arrays:
            x_train, x_val: images (n, height, width, channels), float32 or another floating type, which is converted;
                finite and in [-1, +1]. Integers are refused: 8-bit pixels are scaled by `x / 127.5 - 1`.
            y_train, y_val: one-hot labels (n, classes), -1 and +1 or 0 and 1, of any numeric type or bool. At least two
                classes, and a training image of each.
        dense_layers: units of a child's dense layers. The last one must be the number of classes.
    Returns:
        x_train, y_train, x_val, y_val, as float32 arrays.
    Raises:
        UsageError: names the first thing that is wrong, what is wanted and what was found.
    """
    for name in ("name", "x_train", "y_train", "x_val", "y_val"):
        if not hasattr(data, name):
            raise UsageError(f"data must have name, x_train, y_train, x_val and y_val, got no {name}")
    name = data.name
    if not isinstance(name, str) or not NAME.fullmatch(name):
        accepted = "1 to 64 letters, digits, '_' and '-', a letter or digit first"
        raise UsageError(f"data.name must be {accepted}, got {name!r:.80}")
    x_train, y_train = _check_part(data, "train")
    x_val, y_val = _check_part(data, "val")
    classes = y_train.shape[1]
    if x_val.shape[1:] != x_train.shape[1:]:
        raise UsageError(f"data.x_val must have images {x_train.shape[1:]}, as data.x_train, {_found(x_val)}")
    if y_val.shape[1] != classes:
        raise UsageError(f"data.y_val must have {classes} classes (n, {classes}), as data.y_train, {_found(y_val)}")
    missing = np.flatnonzero(~(y_train == 1).any(axis=0))
    if len(missing):
        wanted = f"data.y_train must have an image of each of {classes} classes"
        raise UsageError(f"{wanted}, got none of class {missing[0]}")
    if not len(dense_layers) or dense_layers[-1] != classes:
        wanted = f"DENSE_LAYERS must end with {classes}, the number of classes of {name} (labels {y_train.shape})"
        raise UsageError(f"{wanted}, got {dense_layers!r:.80}")
    return x_train, y_train, x_val, y_val


def _array(data, name):
    try:
        return np.asarray(getattr(data, name))
    except Exception as error:  # whatever the conversion of a foreign object raises
        raise UsageError(f"data.{name} must be an array: {' '.join(str(error).split())[:200]}") from None


def _found(array):
    return f"got {array.dtype} {array.shape}"


def _check_part(data, part):
    """The images and labels of 'train' or 'val', as float32."""
    x, y = _array(data, f"x_{part}"), _array(data, f"y_{part}")
    wanted, found = f"data.x_{part} must be images (n, height, width, channels)", _found(x)
    if x.ndim != 4 or not x.size:
        raise UsageError(f"{wanted}, none of them 0, {found}")
    if x.shape[1] <= MOST_CHANNELS < x.shape[3]:
        raise UsageError(f"{wanted}, {found}, which has its channels first; use numpy.moveaxis(x, 1, -1)")
    wanted = f"data.x_{part} must be finite float32 in [-1, +1]"
    if x.dtype.kind != "f":
        raise UsageError(f"{wanted}, {found}{_scaling(x)}")
    x = x.astype(np.float32, copy=False)
    least, most = x.min(), x.max()
    if not (least >= -1 and most <= 1):  # NaN fails both
        image = np.argmin(((x >= -1) & (x <= 1)).all(axis=(1, 2, 3)))
        values = "NaN" if np.isnan(least) else f"{least:g} to {most:g}"
        raise UsageError(f"{wanted}, got {values} in {x.dtype} {x.shape}, first in image {image}{_scaling(x)}")

    wanted, found = f"data.y_{part} must be one-hot labels ({len(x)}, classes)", _found(y)
    if y.ndim != 2 or len(y) != len(x) or y.shape[1] < 2:
        raise UsageError(f"{wanted}, one row for each image of data.x_{part}, {found}")
    wanted = f"data.y_{part} must be +1 for the class and -1 (or 0) for the others"
    if y.dtype.kind not in "biuf":
        raise UsageError(f"{wanted}, {found}")
    if not any(np.isin(y, (low, 1)).all() for low in (-1, 0)):
        raise UsageError(f"{wanted}, {found} with {', '.join(f'{value:g}' for value in np.unique(y)[:5])}")
    in_row = (y == 1).sum(axis=1)
    if (in_row != 1).any():
        row = np.argmax(in_row != 1)
        raise UsageError(f"{wanted}, {found} with {in_row[row]} classes in row {row}")
    return x, y.astype(np.float32, copy=False)


def _scaling(x):
    """How to scale pixels from 0 to 255, or to another number, into [-1, +1]; the end of a message."""
    if x.dtype.kind not in "uif" or not (x.min() >= 0 and 0 < x.max() <= 255):
        return ""
    white = 255 if x.max() > 127 else x.max()
    return f"; scale pixels from 0 to {white:g} by x / {white / 2:g} - 1"

"""Checking the images and labels that children are trained on."""

import numpy as np

from pnas.journal.files import is_experiment_name

MOST_CHANNELS = 4  # of an image whose channels come first, as far as `check_data` recognizes it


def check_data(data, dense_layers: list[int]) -> tuple[np.ndarray, ...]:
    """Checks a data set, so that no child is trained on malformed or mismatched arrays.

    Args:
        data: has `name`, 1 to 64 letters, digits, '_' and '-', and these arrays:
            x_train, x_val: images (n, height, width, channels), float32 or another floating type, which is converted;
                finite and in [-1, +1]. Integers are refused: 8-bit pixels are scaled by `pixels / 127.5 - 1`.
            y_train, y_val: one-hot labels (n, classes), -1 and +1 or 0 and 1, of any numeric type or bool. At least two
                classes, and a training image of each.
        dense_layers: units of a child's dense layers. The last one must be the number of classes.
    Returns:
        x_train, y_train, x_val, y_val, as float32 arrays.
    Raises:
        ValueError: names the first thing that is wrong, what is wanted and what was found.
    """
    name = _attribute(data, "name")
    if not is_experiment_name(name):
        raise ValueError(
            f"data.name must be 1 to 64 letters, digits, '_' and '-', a letter or digit first, got {name!r:.80}"
        )
    x_train, y_train = _check_part(data, "train")
    x_val, y_val = _check_part(data, "val")
    if x_val.shape[1:] != x_train.shape[1:]:
        raise ValueError(
            f"data.x_val must have images {x_train.shape[1:]}, as data.x_train, got {x_val.dtype} {x_val.shape}"
        )
    classes = y_train.shape[1]
    if y_val.shape[1] != classes:
        raise ValueError(
            f"data.y_val must have {classes} classes (n, {classes}), as data.y_train, got {y_val.dtype} {y_val.shape}"
        )
    missing = np.flatnonzero(~(y_train == 1).any(axis=0))
    if len(missing):
        raise ValueError(
            f"data.y_train must have an image of each of {classes} classes, got none of class {missing[0]}"
        )
    if not len(dense_layers) or dense_layers[-1] != classes:
        raise ValueError(
            f"DENSE_LAYERS must end with {classes}, the number of classes of {name} (labels {y_train.shape}), "
            f"got {dense_layers!r:.80}"
        )
    return x_train, y_train, x_val, y_val


def _attribute(data, name):
    try:
        return getattr(data, name)
    except AttributeError:
        raise ValueError(f"data must have name, x_train, y_train, x_val and y_val, got no {name}") from None


def _array(data, name):
    try:
        return np.asarray(_attribute(data, name))
    except Exception as error:  # whatever the conversion of a foreign object raises
        raise ValueError(f"data.{name} must be an array: {' '.join(str(error).split())[:200]}") from None


def _check_part(data, part):
    """The images and labels of 'train' or 'val', as float32."""
    x, y = _array(data, f"x_{part}"), _array(data, f"y_{part}")
    found = f"got {x.dtype} {x.shape}"
    if not np.issubdtype(x.dtype, np.floating):
        raise ValueError(
            f"data.x_{part} must be float32 in [-1, +1], {found}; scale 8-bit pixels by pixels / 127.5 - 1"
        )
    wanted = f"data.x_{part} must be images (n, height, width, channels)"
    if x.ndim != 4 or not x.size:
        raise ValueError(f"{wanted}, none of them 0, {found}")
    if x.shape[1] <= MOST_CHANNELS < x.shape[3]:
        raise ValueError(f"{wanted}, {found}, which has its channels first; use numpy.moveaxis(x, 1, -1)")
    x = x.astype(np.float32, copy=False)
    least, most = x.min(), x.max()
    if not (least >= -1 and most <= 1):  # NaN fails both
        images = np.flatnonzero(~((x >= -1) & (x <= 1)).all(axis=(1, 2, 3)))
        value = "NaN" if np.isnan(least) else f"{least:g} to {most:g}"
        raise ValueError(
            f"data.x_{part} must be finite and in [-1, +1], got {value} in {x.dtype} {x.shape}, "
            f"first in image {images[0]}"
        )
    wanted = f"data.y_{part} must be one-hot labels ({len(x)}, classes), one row for each image of data.x_{part}"
    if y.ndim != 2 or len(y) != len(x) or y.shape[1] < 2:
        raise ValueError(f"{wanted}, got {y.dtype} {y.shape}")
    wanted, found = f"data.y_{part} must be +1 for the class and -1 (or 0) for the others", f"got {y.dtype} {y.shape}"
    if y.dtype.kind not in "biuf":
        raise ValueError(f"{wanted}, {found}")
    if not any(np.isin(y, (low, 1)).all() for low in (-1, 0)):
        values = ", ".join(f"{value:g}" for value in np.unique(y)[:5])
        raise ValueError(f"{wanted}, {found} with {values}")
    rows = np.flatnonzero((y == 1).sum(axis=1) != 1)
    if len(rows):
        raise ValueError(f"{wanted}, {found} with {(y[rows[0]] == 1).sum()} classes in row {rows[0]}")
    return x, y.astype(np.float32, copy=False)

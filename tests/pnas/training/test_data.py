"""What data sets are accepted for training children."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_training import settings_of

from pnas import UsageError
from pnas.manager import Manager
from pnas.training.data import check_data

RNG = np.random.default_rng(0)
IMAGES = {"train": RNG.uniform(-1, 1, (300, 8, 8, 3)).astype("float32"), "val": np.zeros((200, 8, 8, 3), "float32")}
CLASSES = {part: np.arange(len(images)) % 10 for part, images in IMAGES.items()}


def one_hot(classes, low=-1):
    return np.where(np.eye(10)[classes], 1, low).astype("float32")


def data(**changed):
    """A data set of 300 and 200 images of ten classes, with other attributes where they are given."""
    arrays = {f"x_{part}": images for part, images in IMAGES.items()}
    labels = {f"y_{part}": one_hot(classes) for part, classes in CLASSES.items()}
    return SimpleNamespace(**{"name": "noise", **arrays, **labels, **changed})


def with_entry(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


X, Y, X_VAL, Y_VAL = IMAGES["train"], one_hot(CLASSES["train"]), IMAGES["val"], one_hot(CLASSES["val"])
PIXELS = np.full(X.shape, 255, np.uint8)

MALFORMED = {  # attributes that are changed; pattern of the message
    "one NaN pixel": ({"x_train": with_entry(X, (17, 0, 0, 0), np.nan)}, "x_train .*finite.* NaN .*first in image 17"),
    "one infinite pixel": ({"x_val": with_entry(X_VAL, (3, 1, 1, 1), np.inf)}, "x_val .*got 0 to inf .*in image 3"),
    "a pixel above 1": ({"x_train": with_entry(X, (5, 0, 0, 0), 1.5)}, r"x_train .*\[-1, \+1\], got .* to 1.5 in"),
    "pixels of 0 to 255 as floats": ({"x_train": PIXELS.astype("float32")}, r"x_train .*\[-1, \+1\], got 255 to 255"),
    "8-bit pixels": ({"x_train": PIXELS}, r"x_train .*float32 .*got uint8 \(300, 8, 8, 3\); .*255 by x / 127.5 - 1"),
    "pixels of 0 to 16": ({"x_train": PIXELS // 15 - 1}, r"x_train .*got uint8 .*; .*from 0 to 16 by x / 8 - 1"),
    "pixels of 0 to 100": ({"x_train": PIXELS - 155}, r"x_train .*got uint8 .*; .*from 0 to 100 by x / 50 - 1"),
    "pixels of 0 to 16 as floats": ({"x_val": X_VAL + 16}, r"x_val .* 16 to 16 in .*; .*from 0 to 16 by x / 8 - 1"),
    "8-bit pixels for validation": ({"x_val": PIXELS[:200]}, r"x_val .*got uint8 \(200, 8, 8, 3\)"),
    "one image too few": ({"x_train": X[:299]}, r"y_train .*\(299, classes\).* got float32 \(300, 10\)"),
    "one validation image too few": ({"x_val": X_VAL[:199]}, r"y_val .*\(199, classes\).* got float32 \(200, 10\)"),
    "one label too few": ({"y_train": Y[:299]}, r"y_train .*\(300, classes\).* got float32 \(299, 10\)"),
    "class numbers": ({"y_train": CLASSES["train"]}, r"y_train .*one-hot .*\(300, classes\).* got int64 \(300,\)"),
    "class numbers in a column": ({"y_train": CLASSES["train"][:, None]}, r"y_train .*got int64 \(300, 1\)"),
    "validation classes": ({"y_val": CLASSES["val"][:, None]}, r"y_val .*\(200, classes\).* got int64 \(200, 1\)"),
    "channels first": ({"x_train": np.moveaxis(X, -1, 1)}, r"x_train .*got float32 \(300, 3, 8, 8\).*channels first"),
    "four channels first": ({"x_train": np.zeros((300, 4, 8, 8), "f")}, r"x_train .*\(300, 4, 8, 8\).*channels first"),
    "no axis for channels": ({"x_train": X[..., 0]}, r"x_train .*height, width, channels.*got float32 \(300, 8, 8\)"),
    "flat images": ({"x_train": X.reshape(300, -1)}, r"x_train .*got float32 \(300, 192\)"),
    "images of another size": ({"x_val": X_VAL[:, :7]}, r"x_val .*\(8, 8, 3\).* got float32 \(200, 7, 8, 3\)"),
    "images of other channels": ({"x_val": X_VAL[..., :1]}, r"x_val .*\(8, 8, 3\).* got float32 \(200, 8, 8, 1\)"),
    "no training images": ({"x_train": X[:0], "y_train": Y[:0]}, r"x_train .*got float32 \(0, 8, 8, 3\)"),
    "an empty validation set": ({"x_val": X[:0], "y_val": Y[:0]}, r"x_val .*got float32 \(0, 8, 8, 3\)"),
    "fewer label columns": ({"y_val": Y_VAL[np.arange(200) % 5, :5]}, r"y_val .*\(n, 10\).* got float32 \(200, 5\)"),
    "a class without images": ({"y_train": one_hot(CLASSES["train"] % 9)}, "y_train .*10 classes, got none of class 9"),
    "a row without a class": ({"y_train": with_entry(Y, 4, -1)}, "y_train .*0 classes in row 4"),
    "a row with two classes": ({"y_val": with_entry(Y_VAL, (6, [0, 6]), 1)}, "y_val .*2 classes in row 6"),
    "labels of three values": ({"y_train": with_entry(Y, (0, 1), 0)}, r"y_train .*\(300, 10\) with -1, 0, 1"),
    "smoothed labels": ({"y_train": 0.9 * Y}, "y_train .*with -0.9, 0.9"),
    "labels of a half and 1": ({"y_train": (Y + 3) / 4}, "y_train .*with 0.5, 1$"),
    "a NaN label": ({"y_train": with_entry(Y, (0, 0), np.nan)}, "y_train .*with -1, 1, nan"),
    "labels of text": ({"y_train": Y.astype(str)}, r"y_train .*got <U\d+ \(300, 10\)"),
    "one class": ({"y_train": Y[:, :1], "y_val": Y_VAL[:, :1]}, r"y_train .*got float32 \(300, 1\)"),
    "lists of unequal lengths": ({"x_train": [[1.0], [1.0, 2.0]]}, "x_train .*must be an array"),
    "images of objects": ({"x_train": X.astype(object)}, r"x_train .*got object \(300, 8, 8, 3\)"),
    "complex images": ({"x_train": X.astype(complex)}, r"x_train .*got complex128 \(300, 8, 8, 3\)"),
    "a name with a slash": ({"name": "a/b"}, "name .*letters, digits.* got 'a/b'"),
    "a name that leads out of the folder": ({"name": ".."}, "name .*got '..'"),
    "a name of 65 letters": ({"name": "a" * 65}, "name must be 1 to 64 letters"),
    "no name": ({"name": None}, "name .*got None"),
}  # fmt: skip


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_data_set_is_refused_in_one_line(fault):
    changed, message = MALFORMED[fault]
    with pytest.raises(UsageError, match=rf"^data\.{message}") as caught:
        check_data(data(**changed), [32, 10])
    assert " must " in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["name", "x_train", "y_train", "x_val", "y_val"])
def test_a_missing_attribute_is_named(name):
    incomplete = data()
    delattr(incomplete, name)
    with pytest.raises(UsageError, match=f"data must have name, .*, got no {name}$"):
        check_data(incomplete, [10])


@pytest.mark.parametrize("dense_layers", [[], [32], [10, 11], (10, 9)])
def test_the_last_dense_layer_must_have_a_unit_for_each_class(dense_layers):
    with pytest.raises(UsageError, match="DENSE_LAYERS must end with 10, .*, got ") as caught:
        check_data(data(), dense_layers)
    assert str(caught.value).endswith(f"got {dense_layers}")


def test_a_manager_refuses_malformed_data_before_it_starts_workers():
    with pytest.raises(UsageError, match="data.x_val must"):
        Manager(data(x_val=X_VAL[:0]), settings_of())


def test_float32_arrays_are_taken_as_they_are():
    arrays = data()
    assert [id(array) for array in check_data(arrays, [10])] == [
        id(array) for array in (arrays.x_train, arrays.y_train, arrays.x_val, arrays.y_val)
    ]


@pytest.mark.parametrize("name", ["a", "0_-", "z" * 64])
def test_short_and_long_names_are_accepted(name):
    check_data(data(name=name), [10])


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4"])
def test_other_floating_types_are_converted(dtype):
    x_train, _, x_val, _ = check_data(data(x_train=X.astype(dtype), x_val=X_VAL.astype(dtype)), [10])
    assert x_train.dtype == x_val.dtype == np.float32
    np.testing.assert_array_equal(x_train, X.astype(dtype).astype("float32"))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float64"])
def test_labels_of_0_and_1_are_accepted_as_they_are(dtype):
    labels = one_hot(CLASSES["train"], low=0)
    _, y_train, _, y_val = check_data(data(y_train=labels.astype(dtype)), [10])
    assert y_train.dtype == np.float32
    np.testing.assert_array_equal(y_train, labels)
    np.testing.assert_array_equal(y_val, Y_VAL)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 28, 1), (3, 40, 3), (4, 4, 4), (28, 28, 64)])
def test_images_of_any_size_are_accepted(shape):
    x = np.zeros((10, *shape), "float32")
    assert check_data(data(x_train=x, y_train=Y[:10], x_val=x, y_val=Y[:10]), [10])[0].shape == (10, *shape)

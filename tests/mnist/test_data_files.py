"""A user's own images in an .npz file or in IDX files: what is made of them, and what is refused."""

import gzip
import io
import re
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import damaged, many, some
from mnist_files import NAMES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, idx
from mnist_files import write as write_files

from mnist import DataError
from mnist.data_files import read_idx, read_images
from mnist.mnist_data import load_data

RNG = np.random.default_rng(0)


def arrays(shape=(6, 5, 3), classes=3, **changed):
    """A data set of 40 training images, the first 20 of class 0, and 8 test images, without arrays that are None."""
    labels = np.concatenate([np.zeros(20, int), 1 + np.arange(20) % (classes - 1)])
    images = RNG.integers(0, 256, (48, *shape), np.uint8)
    made = {
        "x_train": images[:40],
        "y_train": labels,
        "x_test": images[40:],
        "y_test": np.arange(8) % classes,
        **changed,
    }
    return {name: array for name, array in made.items() if array is not None}


def write(folder, name="shapes.npz", **contents):
    path = folder / name
    np.savez(path, **contents)
    return str(path)


def test_the_name_is_that_of_the_file_and_its_checksum(tmp_path):
    path = write(tmp_path, "my images, v2.npz", **arrays())
    checksum = zlib.crc32((tmp_path / "my images, v2.npz").read_bytes())
    assert load_data(path).name == f"my_images_v2-{checksum:08x}"


@pytest.mark.parametrize("name", ["..npz", "-.npz", "é.npz", "a" * 200 + ".npz", "_x-.npz", "../x y/0.npz"])
def test_the_name_can_name_files_whatever_the_file_is_called(name, tmp_path):
    (tmp_path / "x y").mkdir()
    (tmp_path / "folder").mkdir()
    found, _, _ = read_images(write(tmp_path / "folder", name, **arrays()))
    assert re.fullmatch("[A-Za-z0-9][A-Za-z0-9_-]{0,48}", found)


def test_other_images_have_another_name(tmp_path):
    one, other = (load_data(write(tmp_path, **arrays())).name for _ in range(2))
    assert one != other


def test_pixels_lie_in_minus_1_to_1_and_labels_are_minus_or_plus_1(tmp_path):
    made = arrays()
    data = load_data(write(tmp_path, **made))
    assert [part.shape for part in data[1:7]] == [(36, 6, 5, 3), (36, 3), (4, 6, 5, 3), (4, 3), (8, 6, 5, 3), (8, 3)]
    assert all(part.dtype == np.float32 for part in data[1:7])
    np.testing.assert_allclose(data.x_test, made["x_test"].astype(float) / 127.5 - 1, rtol=0, atol=1e-6)
    assert (data.y_test == np.where(np.eye(3)[made["y_test"]], 1, -1)).all()


@pytest.mark.parametrize("dtype, column", [(np.uint8, False), (np.int32, True), (np.uint64, False)])
def test_images_without_channels_and_labels_in_a_column_are_read(dtype, column, tmp_path):
    made = arrays(shape=(6, 5))
    labels = {
        name: array.astype(dtype).reshape((-1, 1) if column else -1) for name, array in made.items() if name[0] == "y"
    }
    data = load_data(write(tmp_path, **{**made, **labels}))
    np.testing.assert_allclose(data.x_test[..., 0], made["x_test"].astype(float) / 127.5 - 1, rtol=0, atol=1e-6)
    assert (data.y_test.argmax(1) == made["y_test"]).all() and data.y_test.shape == (8, 3)


def test_every_training_image_is_in_one_of_the_two_parts_under_its_label(tmp_path):
    made = arrays()
    data = load_data(write(tmp_path, **made))
    label_of = {image.tobytes(): label for image, label in zip(made["x_train"], made["y_train"], strict=True)}
    parts = [(data.x_train, data.y_train), (data.x_val, data.y_val)]
    split = [(image.tobytes(), label.argmax()) for x, y in parts for image, label in zip(as_pixels(x), y, strict=True)]
    assert len(split) == 40 and dict(split) == label_of
    places = {image: place for place, image in enumerate(label_of)}
    for part in (split[:36], split[36:]):  # each in the order of the file
        assert [places[image] for image, _ in part] == sorted(places[image] for image, _ in part)


def as_pixels(images):
    return np.rint((images + 1) * 127.5).astype(np.uint8)


def test_a_tenth_of_every_class_is_for_validation(tmp_path):
    labels = np.repeat([0, 1, 2], [200, 100, 50])
    data = load_data(write(tmp_path, **arrays(x_train=np.zeros((350, 6, 5, 3), np.uint8), y_train=labels)))
    assert (data.y_val == 1).sum(0).tolist() == [20, 10, 5] and (data.y_train == 1).sum(0).tolist() == [180, 90, 45]


@pytest.mark.parametrize("counts", [[2, 2, 2], [2, 50, 3], [30, 2, 2, 2, 2, 2], [500, 2]])
def test_every_class_of_a_small_data_set_stays_in_training(counts, tmp_path):
    count = sum(counts)
    labels = np.repeat(np.arange(len(counts)), counts)
    images = np.zeros((count, 6, 5, 3), np.uint8)
    data = load_data(write(tmp_path, **arrays(x_train=images, y_train=labels, y_test=np.zeros(8, int))))
    assert (data.y_train == 1).any(0).all()
    assert len(data.x_val) == max(-(-count // 10), len(counts)) and len(data.x_train) + len(data.x_val) == count


def test_the_split_follows_the_seed_and_the_test_set_does_not(tmp_path):
    path = write(tmp_path, **arrays())
    first, again, other = (load_data(path, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first.x_val, again.x_val) and not np.array_equal(first.x_val, other.x_val)
    assert np.array_equal(first.x_test, other.x_test) and first.name == other.name


def test_a_validation_set_of_the_file_is_used_as_it_is(tmp_path):
    made = arrays(x_val=RNG.integers(0, 256, (7, 6, 5, 3), np.uint8), y_val=np.arange(7) % 3)
    data = load_data(write(tmp_path, **made))
    assert np.array_equal(as_pixels(data.x_val), made["x_val"]) and np.array_equal(data.y_val.argmax(1), made["y_val"])
    assert np.array_equal(as_pixels(data.x_train), made["x_train"])


def test_a_part_of_the_training_images_is_chosen_by_class(tmp_path):
    data = load_data(write(tmp_path, **arrays()), train_size=18)
    assert (data.y_train == 1).sum(0).tolist() == [9, 5, 4] or (data.y_train == 1).sum(0).tolist() == [9, 4, 5]


@pytest.mark.parametrize("train_size", [2, 37])
def test_an_impossible_number_of_training_images_is_refused(train_size, tmp_path):
    with pytest.raises(DataError, match=rf"integer from 3 to 36 \(all of shapes-.*got {train_size}$"):
        load_data(write(tmp_path, **arrays()), train_size=train_size)


def test_the_channels_of_an_image_are_distorted_alike(tmp_path):
    grey = RNG.integers(0, 256, (48, 6, 5), np.uint8)
    four = np.stack([grey, grey, 255 - grey, grey], axis=-1)
    parts = [{"x_train": images[:40], "x_test": images[40:]} for images in (grey, four)]
    one, several = (load_data(write(tmp_path, **arrays(**part)), use_expansion=True).x_train for part in parts)
    assert one.shape == (180, 6, 5, 1) and several.shape == (180, 6, 5, 4)
    for channel in range(4):
        assert np.array_equal(several[..., channel : channel + 1], one) == (channel != 2)


@pytest.mark.parametrize("train_size", [3, 4, 10, 30])
def test_every_class_keeps_a_training_image_however_rare_it_is(train_size, tmp_path):
    labels = np.repeat([0, 1, 2], [997, 2, 1])
    images = (np.arange(1000).reshape(-1, 1, 1) // [1, 256] % 256).astype(np.uint8)  # all different
    parts = {"x_train": images, "x_val": images[:3], "x_test": images[:8], "y_train": labels, "y_val": np.arange(3)}
    path = write(tmp_path, **arrays(**parts))
    for seed in range(5):
        data = load_data(path, train_size=train_size, seed=seed)
        assert (data.y_train == 1).sum(0).min() == 1 and len(data.x_train) == data.train_size == train_size
        chosen = as_pixels(data.x_train).reshape(-1, 2) @ [1, 256]
        assert len(np.unique(chosen)) == train_size and (data.y_train.argmax(1) == labels[chosen]).all()


@pytest.mark.parametrize("shape", [(32, 32, 3), (8, 8), (5, 256, 1), (3, 3, 3), (4, 40), (6, 5, 64)], ids=str)
def test_colour_images_and_images_of_any_size_are_loaded(shape, tmp_path):
    made = arrays(shape=shape)
    data = load_data(write(tmp_path, **made), train_size=12, use_expansion=True)
    shape = (*shape, 1)[:3]
    assert (data.x_train.shape, data.x_val.shape) == ((60, *shape), (4, *shape))
    assert np.array_equal(as_pixels(data.x_test), made["x_test"].reshape(8, *shape))


@pytest.mark.parametrize("brightest, factor", [(16, "255 / 16"), (1, "255 / 1"), (127, "255 / 127")])
def test_dark_pixels_are_named_with_what_to_multiply_them_by(brightest, factor, tmp_path):
    made = arrays()
    dark = {name: array % (brightest + 1) if name[0] == "x" else array for name, array in made.items()}
    path = write(tmp_path, **dark)
    with pytest.warns(UserWarning, match=f"pixels are from 0 to {brightest}, not 255; .* by {factor}: ") as caught:
        load_data(path)
    message = str(caught[0].message)
    assert message.startswith(path) and caught[0].filename == __file__
    bright = converted(message, dark["x_train"])
    assert np.array_equal(bright, np.rint(dark["x_train"] * (255 / brightest)))


@pytest.mark.parametrize("brightest", [0, 128, 255])
def test_pixels_that_use_half_the_range_are_loaded_without_a_word(brightest, tmp_path):
    made = arrays()
    images = {name: np.minimum(array, brightest) for name, array in made.items() if name[0] == "x"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_data(write(tmp_path, **{**made, **images}))
        load_data(write(tmp_path, **{**made, "x_train": images["x_train"] // 2}))  # the test images are brighter


def converted(message, x):
    """uint8 images that the expression at the end of a message makes of x."""
    images = eval(re.search(r"numpy\.rint.*$", message)[0], {"numpy": np, "x": x})
    assert images.dtype == np.uint8
    return images


@pytest.mark.parametrize(
    "low, high, dtype",
    [(0, 1, "float32"), (0, 1, "bool"), (0, 16, "float64"), (0, 16, "int64"), (-1, 1, "float16"), (0, 255, "float64")],
)
def test_pixels_of_another_type_are_refused_with_the_way_to_convert_them(low, high, dtype, tmp_path):
    pixels = RNG.integers(0, 256, (40, 6, 5, 3))
    pixels[0, 0, 0, :2] = 0, 255
    steps = (pixels / 255 * (high - low) + low).astype(dtype)
    with pytest.raises(DataError, match=rf"x_train must be uint8 .*got {dtype} \(40, 6, 5, 3\); convert by") as caught:
        load_data(write(tmp_path, **arrays(x_train=steps)))
    expected = (steps.astype(float) - low) * 255 / (high - low)
    np.testing.assert_allclose(converted(str(caught.value), steps), expected, rtol=0, atol=0.6)


IMAGES, LABELS = arrays()["x_train"], arrays()["y_train"]
MALFORMED = {  # arrays that are changed; pattern of the message
    "no test images": ({"x_test": None}, "must hold x_train, y_train, x_test, y_test and .*; it holds x_train"),
    "another array": ({"x_valid": IMAGES}, "must hold .*; it holds .*x_valid"),
    "validation images without labels": ({"x_val": IMAGES}, "both x_val and y_val"),
    "floats": ({"x_train": IMAGES / 255}, r"x_train must be uint8 .*got float64 \(40, 6, 5, 3\)"),
    "wide integers": ({"x_test": np.zeros((8, 6, 5, 3), int)}, r"x_test must be uint8 .*got int64 \(8, 6, 5, 3\)"),
    "flat images": ({"x_train": IMAGES.reshape(40, -1)}, r"x_train must be .*got uint8 \(40, 90\)"),
    "channels first": (
        {"x_train": np.moveaxis(IMAGES, 3, 1)},
        r"x_train must be uint8 .*got uint8 \(40, 3, 6, 5\), which has its channels first; use numpy.moveaxis",
    ),
    "four channels first": ({"x_train": np.zeros((40, 4, 6, 5), np.uint8)}, r"\(40, 4, 6, 5\), .*channels first"),
    "channels first in the test images": ({"x_test": np.ones((8, 3, 6, 5), "f")}, r"x_test .*float32 .*channels first"),
    "images of text": ({"x_train": IMAGES.astype(str)}, r"x_train must be uint8 .*got <U3 \(40, 6, 5, 3\)$"),
    "five axes": ({"x_train": IMAGES[None]}, r"x_train must be .*got uint8 \(1, 40, 6, 5, 3\)"),
    "no images": ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, "x_test must have an image or more"),
    "images of no width": ({"x_train": IMAGES[:, :, :0]}, r"from 1 to 256, got uint8 \(40, 6, 0, 3\)"),
    "images too large": ({"x_train": np.zeros((40, 257, 1), np.uint8)}, r"from 1 to 256, got uint8 \(40, 257, 1\)"),
    "test images of another size": ({"x_test": IMAGES[:8, :4]}, r"x_test must be \(6, 5, 3\), .*got \(4, 5, 3\)"),
    "a label too few": ({"y_train": LABELS[1:]}, r"y_train must be integers \(40,\), .*got int64 \(39,\)"),
    "one-hot labels": ({"y_train": np.eye(3, dtype=int)[LABELS]}, r"y_train must be integers .*got int64 \(40, 3\)"),
    "labels of floats": ({"y_train": LABELS / 1}, r"y_train must be integers .*got float64 \(40,\)"),
    "labels of text": ({"y_test": np.full(8, "cat")}, r"y_test must be integers .*got <U3 \(8,\)"),
    "labels from 1": ({"y_train": LABELS + 1}, r"y_train must have .*from 0 without gaps, got \[1, 2, 3\]"),
    "a gap in the labels": ({"y_train": LABELS * 2}, r"without gaps, got \[0, 2, 4\]"),
    "negative labels": ({"y_train": LABELS - 1}, r"got \[-1, 0, 1\]"),
    "one class": ({"y_train": LABELS * 0}, r"2 or more classes, .*got \[0\]"),
    "a huge label": ({"y_train": np.where(LABELS == 2, 10**12, LABELS)}, r"got \[0, 1, 1000000000000\]"),
    "a class in the test set alone": ({"y_test": np.arange(8)}, "y_test must be from 0 to 2, .*got 0 to 7"),
    "a test label as large as the number of classes": ({"y_test": np.arange(8) % 4}, "y_test .* 0 to 2, .*0 to 3$"),
    "a validation label as large as the number of classes": (
        {"x_val": IMAGES[:4], "y_val": np.arange(4)},
        "y_val must be from 0 to 2, the classes of y_train, got 0 to 3",
    ),
    "a negative test label": ({"y_test": np.arange(8) % 3 - 1}, "y_test must be from 0 to 2, .*got -1 to 1"),
    "one image of a class": ({"y_train": LABELS + 3 * (np.arange(40) == 9)}, "two or more images .*class 3 has one"),
    "objects": ({"y_train": LABELS.astype(object)}, "Object arrays cannot be loaded"),
}  # fmt: skip


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_data_set_is_refused_in_one_line_that_names_the_file(fault, tmp_path):
    changed, message = MALFORMED[fault]
    path = write(tmp_path, **arrays(**changed))
    with pytest.raises(DataError, match=message) as caught:
        load_data(path)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.npz"):
        load_data(str(tmp_path / "none.npz"))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"<html>", b"\x80\x04N."], ids=repr)
def test_another_file_is_refused(content, tmp_path):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match="other.npz is not a data set: "):
        load_data(str(path))


def test_a_member_that_is_not_an_array_is_refused(tmp_path):
    path = write(tmp_path, **arrays(y_test=None))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y_test", "0 1 2")
    with pytest.raises(DataError, match=r"shapes.npz is not .*: y_test must be integers .*got \|S5 \(\)"):
        load_data(path)


@pytest.fixture(scope="module")
def whole():
    file = io.BytesIO()
    np.savez_compressed(file, **arrays(shape=(2, 2)))
    return file.getvalue()


def check_that_it_is_read_whole_or_refused_in_one_line(path):
    try:
        _, images, labels = read_images(path)
    except DataError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert (len(images["train"]), len(labels["train"]), images["test"].ndim) == (40, 40, 4)


@many
@given(data=st.data())
def test_a_damaged_npz_file_is_read_whole_or_refused_in_one_line(whole, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(data.draw(damaged(whole)))
    check_that_it_is_read_whole_or_refused_in_one_line(path)


@some
@given(data=st.data())
@pytest.mark.filterwarnings("ignore:.*its pixels are from 0")
def test_a_damaged_idx_file_is_read_whole_or_refused_in_one_line(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    files, name, packed = idx_files(), data.draw(st.sampled_from(NAMES)), data.draw(st.booleans())
    files[name] = data.draw(damaged(gzip.compress(files[name], mtime=0) if packed else files[name]))
    write_files(folder, files)
    check_that_it_is_read_whole_or_refused_in_one_line(folder)


def test_an_idx_file_is_read_as_its_header_says(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 20, 21, 255]))
    assert read_idx(path).tolist() == [[10, 11, 12], [20, 21, 255]] and read_idx(path).dtype == np.uint8


NO_IDX_FILES = {
    "empty": b"",
    "no axes": bytes([0, 0, 8]),
    "signed bytes": bytes([0, 0, 9, 1, 0, 0, 0, 1, 5]),
    "too short": bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 5]),
    "too long": bytes([0, 0, 8, 1, 0, 0, 0, 1, 5, 5]),
    "header cut off": bytes([0, 0, 8, 3, 0, 0, 0, 1]),
    "a size of -1": bytes([0, 0, 8, 1, 255, 255, 255, 255, 5, 5]),
    "archive cut off": gzip.compress(idx(np.arange(99, dtype=np.uint8)))[:-9],
}


@pytest.mark.parametrize("content", NO_IDX_FILES.values(), ids=NO_IDX_FILES)
def test_a_malformed_idx_file_is_refused(content, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(DataError, match="^damaged, or no IDX file of bytes: .+"):
        read_idx(tmp_path / "file")


def idx_files(first_class=0, classes=3, **changed):
    """dict, name of a file of MNIST -> content: 40 and 8 images of 6 x 5 pixels."""
    made = arrays(shape=(6, 5), classes=classes)
    labels = [(made[f"y_{part}"] + first_class).astype(np.uint8) for part in ("train", "test")]
    contents = dict(zip(NAMES, map(idx, (made["x_train"], labels[0], made["x_test"], labels[1])), strict=True))
    return {**contents, **changed}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["", "MNIST/raw", "raw"])
def test_a_folder_of_idx_files_is_loaded_as_the_same_arrays_in_an_npz_file(place, packed, tmp_path):
    folder, contents = tmp_path / "my fashion, v1.2", idx_files()
    (folder / place).mkdir(parents=True)
    write_files(
        folder / place,
        {f"{name}.gz": gzip.compress(content) for name, content in contents.items()} if packed else contents,
    )
    keys = "x_train", "y_train", "x_test", "y_test"
    path = write(tmp_path, **{key: read_idx_bytes(contents[name]) for key, name in zip(keys, NAMES, strict=True)})
    for choice in ({}, {"train_size": 20, "seed": 1}):
        one, other = load_data(folder, **choice), load_data(path, **choice)
        assert all(np.array_equal(a, b) for a, b in zip(one[1:7], other[1:7], strict=True))
    checksum = zlib.crc32(b"".join(content[16 if "images" in name else 8 :] for name, content in contents.items()))
    assert one.name == f"my_fashion_v1_2-{checksum:08x}"


def read_idx_bytes(content):
    """Array of an IDX file whose first axis is 40 or 8 and whose images are 6 x 5."""
    return (
        np.frombuffer(content[16:], np.uint8).reshape(-1, 6, 5) if content[3] == 3 else np.frombuffer(content[8:], "B")
    )


def test_a_folder_is_named_whatever_the_path_to_it(tmp_path, monkeypatch):
    folder = tmp_path / "letters"
    folder.mkdir()
    write_files(folder, idx_files())
    monkeypatch.chdir(folder)
    names = {load_data(path).name for path in (".", "../letters", "../letters/", str(folder), folder)}
    assert len(names) == 1 and names.pop().startswith("letters-")


def test_classes_of_idx_files_may_count_from_1(tmp_path):
    write_files(tmp_path, idx_files(first_class=1, classes=11))
    data = load_data(tmp_path)
    assert data.y_test.shape == (8, 11) and data.y_test.argmax(1).tolist() == list(range(8))


FAULTY_FOLDERS = {
    "no test labels": (lambda files: files.pop(TEST_LABELS), f"must hold {TRAIN_IMAGES}, .*; it has no {TEST_LABELS}$"),
    "a damaged file": (lambda files: files.update({TEST_IMAGES: b"junk"}), f"{TEST_IMAGES}: damaged, or no IDX file"),
    "images for labels": (
        lambda files: files.update({TRAIN_LABELS: files[TRAIN_IMAGES]}),
        r"y_train must be integers \(40,\), .*got uint8 \(40, 6, 5\)",
    ),
    "labels from 2": (
        lambda files: files.update(idx_files(first_class=2)),
        r"y_train must have 2 or more classes, numbered from 0 or 1 without gaps, got \[2, 3, 4\]",
    ),
    "a test label 0 beside labels from 1": (
        lambda files: files.update({**idx_files(first_class=1), TEST_LABELS: idx(np.arange(8, dtype=np.uint8) % 4)}),
        "y_test must be from 1 to 3, the classes of y_train, got 0 to 3",
    ),
}


@pytest.mark.parametrize("fault", FAULTY_FOLDERS)
def test_a_faulty_folder_is_refused_in_one_line_that_names_it(fault, tmp_path):
    change, message = FAULTY_FOLDERS[fault]
    files = idx_files()
    change(files)
    write_files(tmp_path, files)
    with pytest.raises(DataError, match=f"^{tmp_path} is not a data set: .*{message}") as caught:
        load_data(tmp_path)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700

"""A user's own images in an .npz file: what is made of them, and what is refused."""

import io
import re
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnist.mnist_data import load_data
from mnist.npz_files import read_images

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
    assert [part.shape for part in data[1:]] == [(36, 6, 5, 3), (36, 3), (4, 6, 5, 3), (4, 3), (8, 6, 5, 3), (8, 3)]
    assert all(part.dtype == np.float32 for part in data[1:])
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
    label_of = {image.tobytes(): label for image, label in zip(made["x_train"], made["y_train"])}
    parts = [(data.x_train, data.y_train), (data.x_val, data.y_val)]
    split = [(image.tobytes(), label.argmax()) for x, y in parts for image, label in zip(as_pixels(x), y)]
    assert len(split) == 40 and dict(split) == label_of


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
    with pytest.raises(ValueError, match=rf"integer from 3 to 36 \(all of shapes-.*got {train_size}$"):
        load_data(write(tmp_path, **arrays()), train_size=train_size)


def test_the_channels_of_an_image_are_distorted_alike(tmp_path):
    grey = RNG.integers(0, 256, (48, 6, 5), np.uint8)
    three = np.stack([grey, grey, 255 - grey], axis=-1)
    parts = [{"x_train": images[:40], "x_test": images[40:]} for images in (grey, three)]
    one, several = (load_data(write(tmp_path, **arrays(**part)), use_expansion=True).x_train for part in parts)
    assert one.shape == (180, 6, 5, 1) and several.shape == (180, 6, 5, 3)
    assert np.array_equal(several[..., :1], one) and np.array_equal(several[..., 1:2], one)
    assert not np.array_equal(several[..., 2:], one)


IMAGES, LABELS = arrays()["x_train"], arrays()["y_train"]
MALFORMED = {  # arrays that are changed; pattern of the message
    "no test images": ({"x_test": None}, "must hold x_train, y_train, x_test, y_test and .*; it holds x_train"),
    "another array": ({"x_valid": IMAGES}, "must hold .*; it holds .*x_valid"),
    "validation images without labels": ({"x_val": IMAGES}, "both x_val and y_val"),
    "floats": ({"x_train": IMAGES / 255}, r"x_train must be uint8 .*got float64 \(40, 6, 5, 3\)"),
    "wide integers": ({"x_test": np.zeros((8, 6, 5, 3), int)}, r"x_test must be uint8 .*got int64 \(8, 6, 5, 3\)"),
    "flat images": ({"x_train": IMAGES.reshape(40, -1)}, r"x_train must be .*got uint8 \(40, 90\)"),
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
    "one image of a class": ({"y_train": LABELS + 3 * (np.arange(40) == 9)}, "two or more images .*class 3 has one"),
    "objects": ({"y_train": LABELS.astype(object)}, "Object arrays cannot be loaded"),
}  # fmt: skip


@pytest.mark.parametrize("fault", MALFORMED)
def test_a_malformed_data_set_is_refused_in_one_line_that_names_the_file(fault, tmp_path):
    changed, message = MALFORMED[fault]
    path = write(tmp_path, **arrays(**changed))
    with pytest.raises(ValueError, match=message) as caught:
        load_data(path)
    assert str(caught.value).startswith(path) and "\n" not in str(caught.value) and len(str(caught.value)) < 700


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none.npz"):
        load_data(str(tmp_path / "none.npz"))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"<html>", b"\x80\x04N."], ids=repr)
def test_another_file_is_refused(content, tmp_path):
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="other.npz is not a data set: "):
        load_data(str(path))


def test_a_member_that_is_not_an_array_is_refused(tmp_path):
    path = write(tmp_path, **arrays(y_test=None))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y_test", "0 1 2")
    with pytest.raises(ValueError, match="y_test is not an array"):
        load_data(path)


@pytest.fixture(scope="module")
def whole():
    file = io.BytesIO()
    np.savez_compressed(file, **arrays(shape=(2, 2)))
    return file.getvalue()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.data())
def test_a_damaged_file_is_read_whole_or_refused_in_one_line(whole, tmp_path_factory, data):
    first, last = sorted((data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))))
    last = min(last, first + data.draw(st.sampled_from([0, 1, 8, len(whole)])))
    rest = whole[last:] if data.draw(st.booleans()) else b""
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(whole[:first] + data.draw(st.binary(max_size=6)) + rest)
    try:
        _, images, _ = read_images(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert images["train"].shape == (40, 2, 2, 1)

"""Arrays of MNIST and of the digits for binary networks.

Tests on the real files need the environment variable MNIST_DIR.
"""

import numpy as np
import pytest
from mnist_files import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, real, write
from scipy import ndimage
from sklearn.datasets import load_digits

from mnist import DataError, mnist_data
from mnist.mnist_data import draw_distortions, expand, load_data


def as_pixels(images):
    return np.rint((images[..., 0] + 1) * 127.5)


def test_mnist_is_split_and_scaled(mnist_dir):
    pixels = np.frombuffer(real(mnist_dir, TRAIN_IMAGES)[16:], np.uint8).reshape(-1, 28, 28)
    classes = np.frombuffer(real(mnist_dir, TRAIN_LABELS)[8:], np.uint8)
    test_pixels = np.frombuffer(real(mnist_dir, TEST_IMAGES)[16:], np.uint8).reshape(-1, 28, 28)
    test_classes = np.frombuffer(real(mnist_dir, TEST_LABELS)[8:], np.uint8)

    data = load_data("mnist", mnist_dir)
    assert data.name == "mnist"
    assert [len(part) for part in data[1:7]] == [55000, 55000, 5000, 5000, 10000, 10000]
    assert np.array_equal(as_pixels(data.x_val), pixels[:5000])
    assert np.array_equal(as_pixels(data.x_train), pixels[5000:])
    assert np.array_equal(as_pixels(data.x_test), test_pixels)
    assert np.array_equal(data.y_val.argmax(1), classes[:5000])
    assert np.array_equal(data.y_train.argmax(1), classes[5000:])
    assert np.array_equal(data.y_test.argmax(1), test_classes)


def test_pixels_lie_in_minus_1_to_1_and_labels_are_minus_or_plus_1(files, arrays, tmp_path):
    write(tmp_path, files)
    data = load_data("mnist", tmp_path)
    assert [part.shape for part in data[1:7]] == [
        (30, 28, 28, 1),
        (30, 10),
        (5000, 28, 28, 1),
        (5000, 10),
        (40, 28, 28, 1),
        (40, 10),
    ]
    assert all(part.dtype == np.float32 for part in data[1:7])
    for images, pixels in (
        (data.x_val, arrays[TRAIN_IMAGES][:5000]),
        (data.x_train, arrays[TRAIN_IMAGES][5000:]),
        (data.x_test, arrays[TEST_IMAGES]),
    ):
        np.testing.assert_allclose(images[..., 0], pixels.astype(float) / 127.5 - 1, rtol=0, atol=1e-6)
    assert data.x_val.min() == -1 and data.x_val.max() == 1
    for labels, classes in (
        (data.y_val, arrays[TRAIN_LABELS][:5000]),
        (data.y_train, arrays[TRAIN_LABELS][5000:]),
        (data.y_test, arrays[TEST_LABELS]),
    ):
        assert (labels[np.arange(len(classes)), classes] == 1).all()
        assert (labels == 1).sum() == len(classes) and (labels == -1).sum() == 9 * len(classes)


def test_the_digits_replace_a_missing_mnist_with_a_warning_of_two_lines(tmp_path):
    folder = tmp_path / "no" / "parent"
    with pytest.warns(UserWarning) as caught:
        data = load_data("mnist", folder)
    first, second = str(caught[0].message).split("\n")
    assert first.startswith(
        "MNIST could not be downloaded: the 1,797 digits of scikit-learn are used INSTEAD. Put MNIST's four files, "
    )
    assert f" into {folder}; " in first and second.startswith("Reason: no valid train-images")
    assert data.name == "digits" and len(data.x_train) == 1197 and data.train_size is None


@pytest.mark.parametrize(
    "train_size, used, said",
    [
        (5000, 1197, r"INSTEAD, all 1,197 for training instead of 5,000\."),
        (1197, 1197, r"INSTEAD\."),
        (100, 100, r"D\."),
    ],
)
def test_what_replaces_mnist_is_said_also_where_more_images_were_asked_for(train_size, used, said, tmp_path):
    with pytest.warns(UserWarning, match=said):
        data = load_data("mnist", tmp_path / "no" / "parent", train_size=train_size, use_expansion=True)
    assert len(data.x_train) == 5 * used and data.train_size == used


@pytest.mark.parametrize("dataset", ["cifar10", "no/such/folder", "", "Mnist", None, 5, ["mnist"]])
def test_an_unknown_data_set_is_refused(dataset):
    accepted = "'mnist', 'digits', the path of an .npz file or of a folder of IDX files under MNIST's names"
    with pytest.raises(DataError) as caught:
        load_data(dataset)
    assert str(caught.value) == f"dataset must be {accepted}, got {dataset!r}"


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_the_digits_are_split_by_class(digits):
    assert digits.name == "digits"
    assert [part.shape for part in digits[1:7]] == [
        (1197, 28, 28, 1),
        (1197, 10),
        (300, 28, 28, 1),
        (300, 10),
        (300, 28, 28, 1),
        (300, 10),
    ]
    assert all(part.dtype == np.float32 for part in digits[1:7])
    share = np.bincount(load_digits().target) / 1797
    for labels in (digits.y_train, digits.y_val, digits.y_test):
        assert set(np.unique(labels)) == {-1, 1} and (labels.sum(1) == -8).all()
        assert (abs((labels == 1).sum(0) - share * len(labels)) < 1.5).all()
    images = np.concatenate([digits.x_train, digits.x_val, digits.x_test])
    assert len(np.unique(images.reshape(1797, -1), axis=0)) == 1797  # no image is in two sets
    assert images.min() == -1 and images.max() == 1


def test_the_digits_are_enlarged_and_keep_their_labels(digits):
    small = load_digits()
    # 7x7 pixels of the large image cover 2x2 pixels of the small one. Their means agree up to bilinear blur.
    halves = small.images.reshape(-1, 4, 2, 4, 2).mean((2, 4)) / 8 - 1
    sevens = digits.x_test.reshape(-1, 4, 7, 4, 7).mean((2, 4))
    nearest = ((sevens[:, None] - halves[None]) ** 2).sum((2, 3)).argmin(1)
    assert np.mean(small.target[nearest] == digits.y_test.argmax(1)) > 0.97
    assert abs(sevens - halves[nearest]).mean() < 0.1


def test_the_split_of_the_digits_does_not_depend_on_the_seed(digits):
    for first, second in zip(digits[1:7], load_data("digits", seed=1)[1:7], strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("train_size", [10, 103, np.int64(500), 1190, 1197])
def test_a_part_of_the_training_set_is_drawn_by_class(train_size, digits):
    data = load_data("digits", train_size=train_size)
    share = (digits.y_train == 1).mean(0)
    assert len(data.x_train) == len(data.y_train) == data.train_size == train_size
    assert (abs((data.y_train == 1).sum(0) - share * train_size) < 1).all()
    label_of = {image.tobytes(): label.argmax() for image, label in zip(digits.x_train, digits.y_train, strict=True)}
    assert len({image.tobytes() for image in data.x_train}) == train_size
    assert all(
        label_of[image.tobytes()] == label.argmax() for image, label in zip(data.x_train, data.y_train, strict=True)
    )
    assert np.array_equal(data.x_val, digits.x_val) and np.array_equal(data.x_test, digits.x_test)


def test_the_seed_selects_the_training_images():
    first, again, other = (load_data("digits", train_size=100, seed=seed).x_train for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("train_size", [9, 0, -20, 1198, True, 100.0, "100", [100]])
def test_an_impossible_number_of_training_images_is_refused(train_size):
    with pytest.raises(DataError) as caught:
        load_data("digits", train_size=train_size)
    assert "train_size (TRAIN_SIZE of train.py) must be None or an integer from 10 to 1197" in str(caught.value)
    assert str(caught.value).endswith(f"got {train_size!r}")


def test_real_mnist_is_drawn_by_class(mnist_dir):
    classes = np.frombuffer(real(mnist_dir, TRAIN_LABELS)[8 + 5000 :], np.uint8)
    chosen = mnist_data._choose(classes, 1000, seed=0)
    assert len(np.unique(chosen)) == 1000
    assert (abs(np.bincount(classes[chosen]) - np.bincount(classes) / 55) < 1).all()


def background(n=1):
    return np.full((n, 28, 28, 1), -1, np.float32)


def distort(image, angle, shift, monkeypatch):
    """The copy of an image, when all four copies are rotated and shifted alike."""
    monkeypatch.setattr(
        mnist_data, "draw_distortions", lambda count, seed: (np.full(count, angle), np.tile(shift, (count, 1)))
    )
    original, *copies = expand(image, 0)
    assert np.array_equal(original, image[0])
    assert all(np.array_equal(copy, copies[0]) for copy in copies)
    return copies[0][..., 0]


@pytest.mark.parametrize("down", [-2, -1, 0, 2])
@pytest.mark.parametrize("right", [-2, 0, 1, 2])
@pytest.mark.parametrize("row, column", [(10, 12), (0, 0), (27, 27), (27, 0)])
def test_a_shift_moves_a_pixel_or_drops_it_at_the_border(row, column, down, right, monkeypatch):
    image, expected = background(), background()[0, ..., 0]
    image[0, row, column] = 1
    if 0 <= row + down < 28 and 0 <= column + right < 28:
        expected[row + down, column + right] = 1
    np.testing.assert_allclose(distort(image, 0, (down, right), monkeypatch), expected, rtol=0, atol=1e-6)


def test_pixels_from_outside_the_image_are_background(monkeypatch):
    white = -background()
    expected = np.ones((28, 28))
    expected[:2] = -1
    expected[:, 27:] = -1
    np.testing.assert_allclose(distort(white, 0, (2, -1), monkeypatch), expected, rtol=0, atol=1e-6)
    turned = distort(white, 15, (0, 0), monkeypatch)
    assert [turned[y, x] for y, x in ((0, 0), (0, 27), (27, 0), (27, 27))] == [-1, -1, -1, -1]
    np.testing.assert_allclose(turned[4:24, 4:24], 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("angle", [-15, 7, 15])
def test_rotations_are_counter_clockwise_about_the_centre(angle, monkeypatch):
    image = background()
    image[0, 13:15, 23:25] = 1  # a spot 10 pixels to the right of the centre (13.5, 13.5)
    ink = distort(image, angle, (0, 0), monkeypatch) + 1
    y, x = np.indices((28, 28))
    radians = np.radians(angle)
    assert (ink * y).sum() / ink.sum() == pytest.approx(13.5 - 10 * np.sin(radians), abs=0.1)
    assert (ink * x).sum() / ink.sum() == pytest.approx(13.5 + 10 * np.cos(radians), abs=0.1)
    assert ink.sum() == pytest.approx(4 * 2, rel=0.1)


@pytest.mark.parametrize("shape", [(28, 28, 1), (9, 14, 1), (3, 1, 1)])
def test_copies_are_the_images_shifted_and_rotated_by_scipy(shape):
    images = np.random.default_rng(1).uniform(-1, 1, (250, *shape)).astype(np.float32)
    angles, shifts = draw_distortions(1000, seed=5)
    settings = {"order": 1, "mode": "grid-constant", "cval": -1}
    shifted = [ndimage.shift(images[k % 250, ..., 0], shifts[k], **settings) for k in range(1000)]
    expected = [
        ndimage.rotate(image, angle, reshape=False, **settings) for image, angle in zip(shifted, angles, strict=True)
    ]
    expanded = expand(images, seed=5)
    assert np.array_equal(expanded[:250], images)
    np.testing.assert_allclose(expanded[250:, ..., 0], expected, rtol=0, atol=1e-5)


def test_distortions_are_drawn_evenly_within_their_bounds():
    angles, shifts = draw_distortions(31000, seed=0)
    assert np.unique(angles).tolist() == list(range(-15, 16))
    assert (abs(np.bincount(angles + 15) - 1000) < 200).all()  # 6 standard deviations
    for direction in shifts.T:
        assert (abs(np.bincount(direction + 2) - 6200) < 430).all()
    assert abs(np.corrcoef([angles, *shifts.T]) - np.eye(3)).max() < 0.04


@pytest.mark.parametrize("n", [1, 7])
def test_one_image_and_seven_images_are_expanded(n):
    expanded = expand(background(n), 0)
    assert expanded.shape == (5 * n, 28, 28, 1) and (expanded == -1).all()


def test_only_the_training_set_is_expanded_with_its_labels(digits):
    data = load_data("digits", train_size=50, use_expansion=True)
    plain = load_data("digits", train_size=50)
    assert data.x_train.shape == (250, 28, 28, 1) and data.x_train.dtype == np.float32
    assert np.array_equal(data.x_train[:50], plain.x_train)
    assert data.x_train.min() >= -1 and data.x_train.max() <= 1
    for copy in range(5):
        assert np.array_equal(data.y_train[50 * copy : 50 * (copy + 1)], plain.y_train)
    for name in ("x_val", "y_val", "x_test", "y_test"):
        assert np.array_equal(getattr(data, name), getattr(digits, name))


def test_the_seed_decides_the_expansion():
    first, again, other = (load_data("digits", use_expansion=True, seed=seed).x_train for seed in (2, 2, 3))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first[:1197], other[:1197])
    copies = first[1197:].reshape(4, 1197, -1)
    assert all((copies[a] != copies[b]).any(1).mean() > 0.98 for a in range(4) for b in range(a))

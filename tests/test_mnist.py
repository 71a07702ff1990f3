"""What mnist/ promises: verified files from any working mirror, and arrays as a binary network wants them.

The tests on the real data need the environment variable MNIST_DIR, a folder with MNIST's four files. Downloads come
from a server on this machine and are of made-up files.
"""

import gzip
import hashlib
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from sklearn.datasets import load_digits

from mnist import download_mnist as downloading
from mnist import mnist_data
from mnist.download_mnist import DownloadError, download_mnist, read_verified
from mnist.mnist_data import draw_distortions, expand, load_data, parse_idx

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
NAMES = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS]
ROOT = Path(__file__).parents[1]


def idx(array):
    """The IDX file of a uint8 array."""
    return struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def arrays():
    """Noise in the shape of MNIST: 5,030 images to train and validate, 40 to test."""
    rng = np.random.default_rng(0)
    shapes = (5030, 28, 28), 5030, (40, 28, 28), 40
    return {
        name: rng.integers(0, 256 if "images" in name else 10, shape, np.uint8) for name, shape in zip(NAMES, shapes)
    }


@pytest.fixture
def files(arrays, monkeypatch):
    """dict, name -> content of the four files; the table of checksums is theirs."""
    contents = {name: idx(array) for name, array in arrays.items()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(downloading, "MD5", sums)
    return contents


@pytest.fixture
def archives(files):
    return {f"{name}.gz": gzip.compress(content, 1) for name, content in files.items()}


@pytest.fixture
def serve(monkeypatch):
    """Starts a mirror: serve({file name: body}) -> its URL; what is not in the dict is a 404.

    A body may be (announced length, bytes) for one that breaks off, or a number of seconds to stay silent.
    """
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(bodies):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                server.asked.append(self.path.strip("/"))
                body = bodies.get(self.path.strip("/"))
                if body is None:
                    self.send_error(404)
                    return
                if isinstance(body, float):
                    time.sleep(body)
                    return
                length, body = body if isinstance(body, tuple) else (len(body), body)
                self.send_response(200)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.asked = []
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    start.servers = servers
    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def write(folder, contents):
    for name, content in contents.items():
        (folder / name).write_bytes(content)


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


# ---- The files ----


def test_the_checksums_are_of_the_four_files_of_mnist(mnist_dir):
    for name in NAMES:
        assert hashlib.md5(real(mnist_dir, name)).hexdigest() == downloading.MD5[name]


def test_four_files_are_downloaded_whole(serve, files, archives, tmp_path):
    socket.setdefaulttimeout(77)
    try:
        paths = download_mnist(tmp_path / "data", [serve(archives)])
        assert socket.getdefaulttimeout() == 77
    finally:
        socket.setdefaulttimeout(None)
    assert list(paths) == NAMES
    assert listing(tmp_path / "data") == sorted(archives)
    for name, path in paths.items():
        assert path == tmp_path / "data" / f"{name}.gz"
        assert read_verified(path) == gzip.decompress(path.read_bytes()) == files[name]


def flipped(archive):
    middle = len(archive) // 2
    return archive[:middle] + bytes([archive[middle] ^ 255]) + archive[middle + 1 :]


FAULTS = {
    "not found": (lambda archives, name: None, "404"),
    "a byte flipped": (lambda archives, name: flipped(archives[name]), "damaged|not the content"),
    "archive cut off": (lambda archives, name: archives[name][:-100], "damaged"),
    "transfer cut off": (lambda archives, name: (len(archives[name]), archives[name][:-100]), "retrieval incomplete"),
    "another file": (lambda archives, name: archives[f"{TEST_LABELS}.gz"], "not the content of train-images"),
    "a web page": (lambda archives, name: b"<html>Please log in</html>", "not the content"),
    "nothing": (lambda archives, name: b"", "not the content"),
    "silence": (lambda archives, name: 1.0, "timed out"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_second_mirror_is_used_when_the_first_has_a_fault(fault, serve, files, archives, tmp_path, monkeypatch):
    monkeypatch.setattr(downloading, "TIMEOUT", 0.3)
    name = f"{TRAIN_IMAGES}.gz"
    body, reason = FAULTS[fault]
    bad = serve({**archives, name: body(archives, name)})

    with pytest.raises(DownloadError, match=reason):
        download_mnist(tmp_path, [bad])
    assert listing(tmp_path) == []

    paths = download_mnist(tmp_path, [bad, serve(archives)])
    assert gzip.decompress(paths[TRAIN_IMAGES].read_bytes()) == files[TRAIN_IMAGES]
    assert listing(tmp_path) == sorted(archives)


def dead_mirror():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def test_the_second_mirror_is_used_when_the_first_is_dead(serve, archives, tmp_path):
    download_mnist(tmp_path, [dead_mirror(), serve(archives)])
    assert listing(tmp_path) == sorted(archives)


def test_only_what_is_missing_is_downloaded(serve, archives, tmp_path):
    write(tmp_path, {name: archives[name] for name in archives if not name.startswith(TEST_LABELS)})
    download_mnist(tmp_path, [serve(archives)])
    assert serve.servers[0].asked == [f"{TEST_LABELS}.gz"]


def test_a_corrupt_file_is_named_and_replaced(serve, archives, tmp_path):
    damaged = flipped(archives[f"{TEST_IMAGES}.gz"])
    write(tmp_path, {**archives, f"{TEST_IMAGES}.gz": damaged})
    with pytest.warns(UserWarning, match=f"{TEST_IMAGES}.gz is not used"):
        download_mnist(tmp_path, [serve(archives)])
    assert (tmp_path / f"{TEST_IMAGES}.gz").read_bytes() == archives[f"{TEST_IMAGES}.gz"]
    assert listing(tmp_path) == sorted(archives)


def test_a_corrupt_file_is_not_deleted_before_there_is_a_better_one(serve, archives, tmp_path):
    cut_off = archives[f"{TEST_IMAGES}.gz"][:1000]
    write(tmp_path, {**archives, f"{TEST_IMAGES}.gz": cut_off})
    with pytest.warns(UserWarning, match=f"{TEST_IMAGES}.gz is not used"), pytest.raises(DownloadError):
        download_mnist(tmp_path, [serve({f"{TEST_IMAGES}.gz": cut_off})])
    assert (tmp_path / f"{TEST_IMAGES}.gz").read_bytes() == cut_off
    assert listing(tmp_path) == sorted(archives)


def test_unpacked_files_are_accepted(files, tmp_path):
    write(tmp_path, files)
    assert download_mnist(tmp_path, []) == {name: tmp_path / name for name in NAMES}


def test_a_file_that_the_browser_unpacked_but_left_its_name_is_accepted(files, tmp_path):
    write(tmp_path, {f"{name}.gz": content for name, content in files.items()})
    paths = download_mnist(tmp_path, [])
    assert read_verified(paths[TRAIN_LABELS]) == files[TRAIN_LABELS]


def test_a_good_unpacked_file_stands_in_for_a_bad_archive(files, archives, tmp_path):
    write(tmp_path, {**archives, f"{TRAIN_LABELS}.gz": b"\x1f\x8b junk", TRAIN_LABELS: files[TRAIN_LABELS]})
    with pytest.warns(UserWarning, match=f"{TRAIN_LABELS}.gz is not used"):
        assert download_mnist(tmp_path, [])[TRAIN_LABELS] == tmp_path / TRAIN_LABELS


def test_nothing_is_written_into_a_folder_of_good_files(archives, tmp_path):
    write(tmp_path, archives)
    tmp_path.chmod(0o555)
    before = os.stat(tmp_path).st_mtime_ns  # root writes into any folder, but not without a trace
    try:
        download_mnist(tmp_path)
        assert os.stat(tmp_path).st_mtime_ns == before
    finally:
        tmp_path.chmod(0o755)


def test_the_error_says_what_is_missing_where_why_and_what_to_do(serve, archives, tmp_path):
    write(tmp_path, {f"{TRAIN_LABELS}.gz": archives[f"{TRAIN_LABELS}.gz"]})
    dead, empty = dead_mirror(), serve({})
    with pytest.raises(DownloadError) as caught:
        download_mnist(tmp_path, [dead, empty])
    text = str(caught.value)
    assert f"no valid {TRAIN_IMAGES}, {TEST_IMAGES}, {TEST_LABELS} in {tmp_path}" in text
    assert f"{dead}{TRAIN_IMAGES}.gz: " in text and "refused" in text
    assert f"{empty}{TRAIN_IMAGES}.gz: 404" in text
    assert "Put the four files" in text
    assert "\n" not in text
    assert listing(tmp_path) == [f"{TRAIN_LABELS}.gz"]


@pytest.mark.parametrize("place", ["no/such/folder", "a file", "a file/data"])
def test_a_folder_that_cannot_be_made_is_one_clear_error(place, serve, archives, tmp_path):
    (tmp_path / "a file").write_text("")
    with pytest.raises(DownloadError, match=f"in {tmp_path / place}, and downloading failed: .*Errno"):
        download_mnist(tmp_path / place, [serve(archives)])
    assert listing(tmp_path) == ["a file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into any folder")
def test_a_folder_that_cannot_be_written_is_one_clear_error(serve, archives, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(DownloadError, match="Permission denied"):
        download_mnist(tmp_path, [serve(archives)])
    tmp_path.chmod(0o755)


def script(data_dir):
    return subprocess.run(
        [sys.executable, "-m", "mnist.download_mnist", data_dir], cwd=ROOT, capture_output=True, text=True
    )


def test_the_script_prints_where_the_files_are(mnist_dir):
    run = script(mnist_dir)
    lines = run.stdout.splitlines()
    assert (run.returncode, run.stderr, len(lines)) == (0, "", 4)
    assert all(Path(line).is_file() and name in line for name, line in zip(NAMES, lines))


def test_the_script_fails_with_one_line(tmp_path):
    run = script(tmp_path / "no" / "parent")
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (1, "", 1)
    assert run.stderr.startswith(f"no valid {TRAIN_IMAGES}")


# ---- The IDX format ----


def test_an_idx_file_is_read_as_its_header_says():
    content = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 10, 11, 12, 20, 21, 255])
    assert parse_idx(content).tolist() == [[10, 11, 12], [20, 21, 255]]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        bytes([0, 0, 8]),
        bytes([0, 0, 9, 1, 0, 0, 0, 1, 5]),
        bytes([0, 0, 8, 1, 0, 0, 0, 3, 5, 5]),
        bytes([0, 0, 8, 1, 0, 0, 0, 1, 5, 5]),
        bytes([0, 0, 8, 3, 0, 0, 0, 1]),
    ],
    ids=["empty", "no axes", "signed bytes", "too short", "too long", "header cut off"],
)
def test_a_malformed_idx_file_is_refused(content):
    with pytest.raises(ValueError):
        parse_idx(content)


# ---- MNIST ----


@pytest.fixture
def mnist_dir():
    if "MNIST_DIR" not in os.environ:
        pytest.skip("MNIST_DIR, a folder with the four files of MNIST, is not set")
    return os.path.abspath(os.environ["MNIST_DIR"])


def real(mnist_dir, name):
    path = Path(mnist_dir, name)
    return path.read_bytes() if path.exists() else gzip.decompress(Path(f"{path}.gz").read_bytes())


def as_pixels(images):
    return np.rint((images[..., 0].astype(float) + 1) * 127.5)


def test_mnist_is_split_and_scaled(mnist_dir):
    pixels = np.frombuffer(real(mnist_dir, TRAIN_IMAGES)[16:], np.uint8).reshape(-1, 28, 28)
    classes = np.frombuffer(real(mnist_dir, TRAIN_LABELS)[8:], np.uint8)
    test_pixels = np.frombuffer(real(mnist_dir, TEST_IMAGES)[16:], np.uint8).reshape(-1, 28, 28)
    test_classes = np.frombuffer(real(mnist_dir, TEST_LABELS)[8:], np.uint8)

    data = load_data("mnist", mnist_dir)
    assert data.name == "mnist"
    assert [len(part) for part in data[1:]] == [55000, 55000, 5000, 5000, 10000, 10000]
    assert np.array_equal(as_pixels(data.x_val), pixels[:5000])
    assert np.array_equal(as_pixels(data.x_train), pixels[5000:])
    assert np.array_equal(as_pixels(data.x_test), test_pixels)
    assert np.array_equal(data.y_val.argmax(1), classes[:5000])
    assert np.array_equal(data.y_train.argmax(1), classes[5000:])
    assert np.array_equal(data.y_test.argmax(1), test_classes)


def test_pixels_go_from_minus_to_plus_one_and_labels_are_either(files, arrays, tmp_path):
    write(tmp_path, files)
    data = load_data("mnist", tmp_path)
    assert [part.shape for part in data[1:]] == [
        (30, 28, 28, 1),
        (30, 10),
        (5000, 28, 28, 1),
        (5000, 10),
        (40, 28, 28, 1),
        (40, 10),
    ]
    assert all(part.dtype == np.float32 for part in data[1:])
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


def test_without_mnist_the_digits_are_used_and_said_to_be(tmp_path):
    with pytest.warns(UserWarning, match="digits of scikit-learn are used INSTEAD.*Reason: no valid train-images"):
        data = load_data("mnist", tmp_path / "no" / "parent")
    assert data.name == "digits" and len(data.x_train) == 1197


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ValueError, match="dataset must be 'mnist' or 'digits', got 'cifar10'"):
        load_data("cifar10")


# ---- The digits ----


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_the_digits_are_split_by_class(digits):
    assert digits.name == "digits"
    assert [part.shape for part in digits[1:]] == [
        (1197, 28, 28, 1),
        (1197, 10),
        (300, 28, 28, 1),
        (300, 10),
        (300, 28, 28, 1),
        (300, 10),
    ]
    assert all(part.dtype == np.float32 for part in digits[1:])
    share = np.bincount(load_digits().target) / 1797
    for labels in (digits.y_train, digits.y_val, digits.y_test):
        assert set(np.unique(labels)) == {-1, 1} and (labels.sum(1) == -8).all()
        assert (abs((labels == 1).sum(0) - share * len(labels)) < 1.5).all()
    images = np.concatenate([digits.x_train, digits.x_val, digits.x_test])
    assert len(np.unique(images.reshape(1797, -1), axis=0)) == 1797  # no image is in two parts
    assert images.min() == -1 and images.max() == 1


def test_the_digits_are_enlarged_upright_under_their_own_labels(digits):
    small = load_digits()
    # 7x7 pixels of the large image lie on 2x2 of the small one: their means agree but for the bilinear blur.
    halves = small.images.reshape(-1, 4, 2, 4, 2).mean((2, 4)) / 8 - 1
    sevens = digits.x_test.reshape(-1, 4, 7, 4, 7).mean((2, 4))
    nearest = ((sevens[:, None] - halves[None]) ** 2).sum((2, 3)).argmin(1)
    assert np.mean(small.target[nearest] == digits.y_test.argmax(1)) > 0.97
    assert abs(sevens - halves[nearest]).mean() < 0.1


def test_the_split_of_the_digits_does_not_depend_on_the_seed(digits):
    for first, second in zip(digits[1:], load_data("digits", seed=1)[1:]):
        assert np.array_equal(first, second)


# ---- Fewer training images ----


@pytest.mark.parametrize("train_size", [10, 103, np.int64(500), 1190, 1197])
def test_a_part_of_the_training_set_is_drawn_by_class(train_size, digits):
    data = load_data("digits", train_size=train_size)
    share = (digits.y_train == 1).mean(0)
    assert len(data.x_train) == len(data.y_train) == train_size
    assert (abs((data.y_train == 1).sum(0) - share * train_size) < 1).all()
    label_of = {image.tobytes(): label.argmax() for image, label in zip(digits.x_train, digits.y_train)}
    assert len({image.tobytes() for image in data.x_train}) == train_size
    assert all(label_of[image.tobytes()] == label.argmax() for image, label in zip(data.x_train, data.y_train))
    assert np.array_equal(data.x_val, digits.x_val) and np.array_equal(data.x_test, digits.x_test)


def test_the_draw_follows_the_seed():
    first, again, other = (load_data("digits", train_size=100, seed=seed).x_train for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize("train_size", [9, 0, -20, 1198, True, 100.0, "100", [100]])
def test_an_impossible_number_of_training_images_is_refused(train_size):
    with pytest.raises(ValueError) as caught:
        load_data("digits", train_size=train_size)
    assert "train_size must be None or a whole number from 10 to 1197" in str(caught.value)
    assert str(caught.value).endswith(f"got {train_size!r}")


def test_real_mnist_is_drawn_by_class(mnist_dir):
    classes = np.frombuffer(real(mnist_dir, TRAIN_LABELS)[8 + 5000 :], np.uint8)
    data = load_data("mnist", mnist_dir, train_size=1000)
    assert (abs((data.y_train == 1).sum(0) - np.bincount(classes) / 55) < 1).all()


# ---- The expanded training set ----


def background(n=1):
    return np.full((n, 28, 28, 1), -1, np.float32)


def distort(image, angle, shift, monkeypatch):
    """The one way in which all four copies of an image are distorted."""
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
def test_a_shift_moves_a_pixel_and_loses_it_at_the_border(row, column, down, right, monkeypatch):
    image, expected = background(), background()[0, ..., 0]
    image[0, row, column] = 1
    if 0 <= row + down < 28 and 0 <= column + right < 28:
        expected[row + down, column + right] = 1
    np.testing.assert_allclose(distort(image, 0, (down, right), monkeypatch), expected, rtol=0, atol=1e-6)


def test_background_comes_in_where_the_image_leaves(monkeypatch):
    white = -background()
    expected = np.ones((28, 28))
    expected[:2] = -1
    expected[:, 27:] = -1
    np.testing.assert_allclose(distort(white, 0, (2, -1), monkeypatch), expected, rtol=0, atol=1e-6)
    turned = distort(white, 15, (0, 0), monkeypatch)
    assert [turned[y, x] for y, x in ((0, 0), (0, 27), (27, 0), (27, 27))] == [-1, -1, -1, -1]
    np.testing.assert_allclose(turned[4:24, 4:24], 1, rtol=0, atol=1e-6)


@pytest.mark.parametrize("angle", [-15, 7, 15])
def test_a_turn_is_counter_clockwise_about_the_centre(angle, monkeypatch):
    image = background()
    image[0, 13:15, 23:25] = 1  # a spot 10 pixels to the right of the centre, which is at 13.5, 13.5
    ink = distort(image, angle, (0, 0), monkeypatch) + 1
    y, x = np.indices((28, 28))
    radians = np.radians(angle)
    assert (ink * y).sum() / ink.sum() == pytest.approx(13.5 - 10 * np.sin(radians), abs=0.1)
    assert (ink * x).sum() / ink.sum() == pytest.approx(13.5 + 10 * np.cos(radians), abs=0.1)
    assert ink.sum() == pytest.approx(4 * 2, rel=0.1)


def test_copies_are_what_scipy_makes_of_each_image_by_itself():
    images = np.random.default_rng(1).uniform(-1, 1, (250, 28, 28, 1)).astype(np.float32)
    angles, shifts = draw_distortions(1000, seed=5)
    settings = dict(order=1, mode="grid-constant", cval=-1)
    shifted = [ndimage.shift(images[k % 250, ..., 0], shifts[k], **settings) for k in range(1000)]
    expected = [ndimage.rotate(image, angle, reshape=False, **settings) for image, angle in zip(shifted, angles)]
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
def test_an_expansion_of_few_images_is_whole(n):
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


def test_the_expansion_follows_the_seed():
    first, again, other = (load_data("digits", use_expansion=True, seed=seed).x_train for seed in (2, 2, 3))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert np.array_equal(first[:1197], other[:1197])
    copies = first[1197:].reshape(4, 1197, -1)
    assert all((copies[a] != copies[b]).any(1).mean() > 0.98 for a in range(4) for b in range(a))

"""Verified files of MNIST from any working mirror.

A server on this machine sends made-up files. Tests on the real files need the environment variable MNIST_DIR.
"""

import gzip
import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from messages import without_foreign_warnings
from mnist_files import NAMES, TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS, idx, real, write

from mnist import download_mnist as downloading
from mnist.download_mnist import DownloadError, download_mnist, read_verified, write_npz

ROOT = Path(__file__).parents[2]


@pytest.fixture
def serve(monkeypatch):
    """Function (dict, file name -> body) that starts a mirror and returns its URL. Other files are answered with 404.

    A body is bytes, (announced length, bytes) for an incomplete transfer, or a float for seconds of silence.
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


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


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
        assert idx(read_verified(path, name)) == gzip.decompress(path.read_bytes()) == files[name]


def flipped(archive):
    middle = len(archive) // 2
    return archive[:middle] + bytes([archive[middle] ^ 255]) + archive[middle + 1 :]


FAULTS = {
    "not found": (lambda archives, name: None, "404"),
    "a byte flipped": (lambda archives, name: flipped(archives[name]), "damaged|not the content"),
    "archive cut off": (lambda archives, name: archives[name][:-100], "damaged"),
    "transfer cut off": (
        lambda archives, name: (len(archives[name]), archives[name][:-100]),
        "IncompleteRead.*100 more expected",
    ),
    "another file": (lambda archives, name: archives[f"{TEST_LABELS}.gz"], "not the content of train-images"),
    "a web page": (lambda archives, name: b"<html>Please log in</html>", r"no IDX file of bytes: .*got b'<ht'"),
    "nothing": (lambda archives, name: b"", "no IDX file of bytes"),
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


def test_a_corrupt_file_stays_until_a_valid_one_is_there(serve, archives, tmp_path):
    cut_off = archives[f"{TEST_IMAGES}.gz"][:1000]
    write(tmp_path, {**archives, f"{TEST_IMAGES}.gz": cut_off})
    with pytest.warns(UserWarning, match=f"{TEST_IMAGES}.gz is not used"), pytest.raises(DownloadError):
        download_mnist(tmp_path, [serve({f"{TEST_IMAGES}.gz": cut_off})])
    assert (tmp_path / f"{TEST_IMAGES}.gz").read_bytes() == cut_off
    assert listing(tmp_path) == sorted(archives)


def test_unpacked_files_are_accepted(files, tmp_path):
    write(tmp_path, files)
    assert download_mnist(tmp_path, []) == {name: tmp_path / name for name in NAMES}


def test_an_unpacked_file_that_kept_its_gz_name_is_accepted(files, tmp_path):
    write(tmp_path, {f"{name}.gz": content for name, content in files.items()})
    paths = download_mnist(tmp_path, [])
    assert idx(read_verified(paths[TRAIN_LABELS], TRAIN_LABELS)) == files[TRAIN_LABELS]


def test_a_valid_unpacked_file_replaces_a_bad_archive(files, archives, tmp_path):
    write(tmp_path, {**archives, f"{TRAIN_LABELS}.gz": b"\x1f\x8b junk", TRAIN_LABELS: files[TRAIN_LABELS]})
    with pytest.warns(UserWarning, match=f"{TRAIN_LABELS}.gz is not used"):
        assert download_mnist(tmp_path, [])[TRAIN_LABELS] == tmp_path / TRAIN_LABELS


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("folder", [".", "MNIST/raw"])
def test_files_of_kaggle_and_torchvision_are_found(folder, ending, files, tmp_path):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    contents = {
        name.replace("-idx", ".idx") + ending: gzip.compress(content, 1) if ending else content
        for name, content in files.items()
    }
    write(tmp_path / folder, contents)
    assert list(download_mnist(tmp_path, []).values()) == [tmp_path / folder / name for name in contents]


@pytest.mark.parametrize("folder", [".", "MNIST/raw"])
@pytest.mark.parametrize("spelling", ["-idx", ".idx"])
def test_a_folder_named_as_a_file_is_searched_for_that_file(spelling, folder, files, tmp_path):
    for name, content in files.items():
        inner = tmp_path / folder / name
        inner.mkdir(parents=True)
        write(inner, {name.replace("-idx", spelling): content})
    assert download_mnist(tmp_path, []) == {
        name: tmp_path / folder / name / name.replace("-idx", spelling) for name in NAMES
    }


def write_keras_file(folder, arrays, **changed):
    folder.mkdir(exist_ok=True)
    named = dict(zip(("x_train", "y_train", "x_test", "y_test"), (arrays[name] for name in NAMES), strict=True))
    np.savez(folder / "mnist.npz", **{**named, **changed})
    return folder / "mnist.npz"


@pytest.mark.parametrize("place", ["data", "datasets"])
def test_all_four_are_found_in_the_file_of_keras(place, files, arrays, keras_home, tmp_path):
    path = write_keras_file(keras_home / place if place == "datasets" else tmp_path, arrays)
    found = download_mnist(tmp_path, [])
    assert found == dict.fromkeys(NAMES, path)
    assert {name: idx(read_verified(path, name)) for name in NAMES} == files


def test_the_data_folder_comes_before_that_of_keras(files, arrays, keras_home, tmp_path):
    write_keras_file(keras_home / "datasets", arrays)
    path = write_keras_file(tmp_path, arrays)
    assert download_mnist(tmp_path, []) == dict.fromkeys(NAMES, path)


def test_a_file_of_keras_with_other_images_is_named_and_not_used(files, arrays, tmp_path):
    write_keras_file(tmp_path, arrays, x_test=arrays[TEST_IMAGES][:, ::-1])
    with (
        pytest.warns(UserWarning, match="mnist.npz is not used: not the content of t10k-images"),
        pytest.raises(DownloadError, match=f"no valid {TEST_IMAGES} there, .*: no mirror"),
    ):
        download_mnist(tmp_path, [])


def test_objects_in_a_file_of_keras_are_not_unpickled(files, arrays, tmp_path):
    write_keras_file(tmp_path, arrays, y_test=arrays[TEST_LABELS].astype(object))
    with pytest.warns(UserWarning, match="mnist.npz is not used: Object arrays"), pytest.raises(DownloadError):
        download_mnist(tmp_path, [])


def test_only_what_no_folder_has_is_downloaded(serve, archives, arrays, files, tmp_path):
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    write(tmp_path / "MNIST" / "raw", {TRAIN_IMAGES: files[TRAIN_IMAGES], TRAIN_LABELS: files[TRAIN_LABELS]})
    write(tmp_path, {TEST_IMAGES.replace("-idx", ".idx"): files[TEST_IMAGES]})
    before = listing(tmp_path)
    download_mnist(tmp_path, [serve(archives)])
    assert serve.servers[0].asked == [f"{TEST_LABELS}.gz"]
    assert listing(tmp_path) == sorted([*before, f"{TEST_LABELS}.gz"])


def test_nothing_is_written_beside_four_valid_files(archives, tmp_path):
    write(tmp_path, archives)
    tmp_path.chmod(0o555)
    before = tmp_path.stat().st_mtime_ns  # root can write into any folder, but that changes the time
    try:
        download_mnist(tmp_path)
        assert tmp_path.stat().st_mtime_ns == before
    finally:
        tmp_path.chmod(0o755)


def test_the_error_says_in_two_lines_what_to_do_and_what_is_missing_where_and_why(serve, archives, tmp_path):
    write(tmp_path, {f"{TRAIN_LABELS}.gz": archives[f"{TRAIN_LABELS}.gz"]})
    dead, empty = dead_mirror(), serve({})
    with pytest.raises(DownloadError) as caught:
        download_mnist(tmp_path, [dead, empty, dead])
    remedy, reason = str(caught.value).split("\n")
    assert remedy.startswith("Put MNIST's four files, .gz or unpacked, or Keras's mnist.npz into")
    assert f" into {tmp_path}; they are at https://" in remedy
    assert reason.startswith(f"Reason: no valid {TRAIN_IMAGES}, {TEST_IMAGES}, {TEST_LABELS} there, ")
    first, second = (url.removeprefix("http://").strip("/") for url in (dead, empty))
    assert "refused" in reason and reason.count("refused") == 1  # the same reason of two mirrors is said once
    assert f"({first}, {first}); 404: " in reason and reason.endswith(f" ({second})")
    assert listing(tmp_path) == [f"{TRAIN_LABELS}.gz"]


def test_the_message_without_a_connection_is_short(tmp_path, monkeypatch):
    def no_connection(url, timeout):
        raise urllib.error.URLError(socket.gaierror(-3, "Temporary failure in name resolution"))

    monkeypatch.setattr(downloading.urllib.request, "urlopen", no_connection)
    with pytest.raises(DownloadError) as caught:
        download_mnist(tmp_path)
    remedy, reason = str(caught.value).replace(str(tmp_path), "data").split("\n")
    assert len(remedy) < 160 and len(reason) < 320
    assert reason.count("Temporary failure in name resolution (storage.googleapis.com, ossci-") == 1


@pytest.mark.parametrize("place", ["no/such/folder", "a file", "a file/data"])
def test_a_folder_that_cannot_be_made_is_one_clear_error(place, serve, archives, tmp_path):
    (tmp_path / "a file").write_text("")
    with pytest.raises(DownloadError, match=f"into {tmp_path / place}; .*\n.*downloading failed: .*Errno"):
        download_mnist(tmp_path / place, [serve(archives)])
    assert listing(tmp_path) == ["a file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into any folder")
def test_a_folder_that_cannot_be_written_is_one_clear_error(serve, archives, tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(DownloadError, match="Permission denied"):
        download_mnist(tmp_path, [serve(archives)])
    tmp_path.chmod(0o755)


def script(*arguments):
    command = [sys.executable, "-m", "mnist.download_mnist", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_script_prints_where_the_files_are(mnist_dir):
    run = script(mnist_dir)
    lines = run.stdout.splitlines()
    assert (run.returncode, without_foreign_warnings(run.stderr), len(lines)) == (0, "", 4)
    assert all(Path(line).is_file() and name in line for name, line in zip(NAMES, lines, strict=True))


def test_the_script_imports_neither_keras_nor_tensorflow(tmp_path):
    code = (
        "import runpy, sys\n"
        "for name in ('tensorflow', 'keras'): sys.modules[name] = None\n"
        "sys.argv = ['download_mnist', sys.argv[1]]\n"
        "runpy.run_module('mnist.download_mnist', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, tmp_path / "no" / "parent"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    message = without_foreign_warnings(run.stderr)
    assert (run.returncode, run.stdout, message.count("\n")) == (1, "", 2)
    assert message.startswith("Put MNIST's four files") and f"\nReason: no valid {TRAIN_IMAGES}" in message


def test_the_script_fails_with_two_lines(tmp_path):
    run = script(tmp_path / "no" / "parent")
    message = without_foreign_warnings(run.stderr)
    assert (run.returncode, run.stdout, message.count("\n")) == (1, "", 2)
    assert message.startswith("Put MNIST's four files") and f"\nReason: no valid {TRAIN_IMAGES}" in message


def test_the_files_are_written_as_one_in_the_layout_of_keras(files, arrays, tmp_path):
    (tmp_path / "files").mkdir()
    write(tmp_path / "files", files)
    path = tmp_path / "new" / "mnist.npz"
    write_npz(path, download_mnist(tmp_path / "files", []))
    assert listing(path.parent) == ["mnist.npz"]
    with np.load(path) as written:
        assert [*written] == ["x_train", "y_train", "x_test", "y_test"]
        assert all(np.array_equal(written[key], arrays[name]) for key, name in zip(written, NAMES, strict=True))
        assert all(written[key].dtype == np.uint8 for key in written)
    assert download_mnist(path.parent, []) == dict.fromkeys(NAMES, path)


def test_an_existing_file_is_never_overwritten(files, tmp_path):
    write(tmp_path, {**files, "mnist.npz": b"my own"})
    with pytest.raises(FileExistsError, match=f"^{tmp_path}/mnist.npz exists and is not overwritten$"):
        write_npz(tmp_path / "mnist.npz", download_mnist(tmp_path, []))
    assert (tmp_path / "mnist.npz").read_bytes() == b"my own"
    assert listing(tmp_path) == sorted([*files, "mnist.npz"])


def test_the_command_writes_one_file_on_request(files, tmp_path, monkeypatch, capsys):
    write(tmp_path, files)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # so that the test restores what main sets
    monkeypatch.setattr(sys, "argv", ["download_mnist", str(tmp_path), "--npz"])
    downloading.main()
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in [*NAMES, "mnist.npz"]]
    with pytest.raises(SystemExit, match="mnist.npz exists and is not overwritten"):
        downloading.main()
    monkeypatch.setattr(sys, "argv", ["download_mnist", str(tmp_path)])
    (tmp_path / "mnist.npz").unlink()
    downloading.main()
    assert listing(tmp_path) == sorted(files)

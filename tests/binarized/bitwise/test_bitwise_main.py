"""The command `python -m binarized.bitwise`."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packed_networks import noise

from binarized.bitwise.__main__ import read_npz, read_test_set

ROOT = Path(__file__).parents[3]


def run_command(path, folder):
    """Runs the command in a process in which importing tensorflow, keras or scipy is an error."""
    code = (
        "import runpy, sys\n"
        "for name in ('tensorflow', 'keras', 'scipy', 'sklearn', 'pnas', 'mnist'): sys.modules[name] = None\n"
        "runpy.run_module('binarized.bitwise', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(path), "--images", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def write_idx(path, array):
    content = struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_the_command_needs_numpy_alone(network, path, tmp_path):
    images = noise(30)[..., 0]
    labels = network.predict(images).astype(np.uint8)
    labels[:3] = (labels[:3] + 1) % 10
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", labels)
    done = run_command(path, tmp_path)
    assert done.stderr == ""
    assert done.stdout == f"{network.summary()}\ntest accuracy 0.9000, 27 of 30 images\n"


@pytest.mark.parametrize(
    "place",
    ["t10k-{}.gz", "MNIST/raw/t10k-{}", "MNIST/raw/t10k-{}.gz", "{kaggle}", "{kaggle}/{kaggle}", "t10k-{}/{kaggle}"],
)
def test_mnist_is_found_where_kaggle_and_torchvision_leave_it(place, tmp_path):
    arrays = {"images-idx3-ubyte": noise(3)[..., 0], "labels-idx1-ubyte": np.arange(3, dtype=np.uint8)}
    for name, array in arrays.items():
        file = tmp_path / place.format(name, kaggle=f"t10k-{name.replace('-idx', '.idx')}")
        file.parent.mkdir(parents=True, exist_ok=True)
        write_idx(file, array)
    for found, array in zip(read_test_set(tmp_path), arrays.values(), strict=True):
        np.testing.assert_array_equal(found, array)


def test_mnist_is_found_in_the_file_of_keras(tmp_path):
    images, labels = noise(3)[..., 0], np.arange(3)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    for found, array in zip(read_test_set(tmp_path), (images, labels), strict=True):
        np.testing.assert_array_equal(found, array)


def test_the_command_says_in_one_line_what_is_wrong(path, tmp_path):
    done = run_command(path, tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "t10k-images" in done.stderr
    write_idx(tmp_path / "t10k-images-idx3-ubyte", noise(2)[..., 0])
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02\1")
    done = run_command(path, tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "not an IDX file" in done.stderr
    path.write_bytes(b"")
    done = run_command(path, tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "not a packed network" in done.stderr


@pytest.mark.parametrize("shape", [(30,), (30, 1)])
def test_the_command_takes_the_test_set_of_an_npz_file(shape, network, path, tmp_path):
    images = noise(30)
    labels = network.predict(images)
    labels[:3] = (labels[:3] + 1) % 10
    np.savez(tmp_path / "own.npz", x_train=images, x_test=images, y_test=labels.reshape(shape))
    done = run_command(path, tmp_path / "own.npz")
    assert done.stderr == ""
    assert done.stdout.endswith("test accuracy 0.9000, 27 of 30 images\n")


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x_test": noise(3)}, "y_test is not a file in the archive"),
        ({"x_test": noise(3), "y_test": np.zeros(2, int)}, r"must be integers \(3,\), got int64 \(2,\)"),
        ({"x_test": noise(3), "y_test": np.zeros(3)}, r"must be integers \(3,\), got float64 \(3,\)"),
        ({"x_test": noise(3), "y_test": np.zeros(3, object)}, "Object arrays cannot be loaded"),
        ({"x_test": np.uint8(3), "y_test": np.zeros(3, int)}, "len"),
        (None, "x.npz has no test set"),
    ],
)
def test_a_malformed_npz_file_is_refused_in_one_line(arrays, message, tmp_path):
    if arrays is None:
        (tmp_path / "x.npz").write_bytes(b"PK\3\4 no archive")
    else:
        np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        read_npz(tmp_path / "x.npz")
    assert "\n" not in str(caught.value)

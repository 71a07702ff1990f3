"""The command `python -m binarized.bitwise`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packed_networks import noise

from binarized.bitwise.__main__ import read_npz

ROOT = Path(__file__).parents[3]


def run_command(folder, *arguments):
    """Runs the command in a process in which importing tensorflow, keras or scipy is an error."""
    code = (
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "for name in ('tensorflow', 'keras', 'scipy', 'sklearn', 'pnas', 'mnist'): sys.modules[name] = None\n"
        "runpy.run_module('binarized.bitwise', run_name='__main__')"
    )
    return subprocess.run([sys.executable, "-c", code, *arguments], cwd=folder, capture_output=True, text=True)


def labelled(network):
    """Images and labels, 27 of the 30 as the network predicts them."""
    images = noise(30)
    labels = network.predict(images)
    labels[:3] = (labels[:3] + 1) % 10
    return images, labels


def test_the_command_needs_numpy_alone_and_reads_data_mnist_npz(network, path, tmp_path):
    images, labels = labelled(network)
    (tmp_path / "data").mkdir()
    np.savez(
        tmp_path / "data" / "mnist.npz", x_train=images, y_train=labels, x_test=images[..., 0], y_test=np.uint8(labels)
    )
    done = run_command(tmp_path, path.name)
    assert done.stderr == ""
    assert done.stdout == f"{network.summary()}\ntest accuracy 0.9000, 27 of 30 images\n"


@pytest.mark.parametrize("shape", [(30,), (30, 1)])
def test_labels_may_have_a_second_axis(shape, network, path, tmp_path):
    images, labels = labelled(network)
    np.savez(tmp_path / "own.npz", x_test=images, y_test=labels.reshape(shape))
    for found, array in zip(read_npz(tmp_path / "own.npz"), (images, labels), strict=True):
        np.testing.assert_array_equal(found, array)


def test_the_command_says_in_one_line_what_is_wrong(path, tmp_path):
    for images, network, reason in (
        ("no.npz", path.name, "no.npz"),
        (path.name, path.name, "has no test set"),
        (path.name, "damaged.npz", "not a packed network"),
    ):
        (tmp_path / "damaged.npz").write_bytes(b"")
        done = run_command(tmp_path, network, "--images", images)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and reason in done.stderr


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x_test": noise(3)}, "y_test is not a file in the archive"),
        ({"x_test": noise(3), "y_test": np.zeros(2, int)}, r"must be integers \(3,\), got int64 \(2,\)"),
        ({"x_test": noise(3), "y_test": np.zeros(3)}, r"must be integers \(3,\), got float64 \(3,\)"),
        ({"x_test": noise(3), "y_test": np.zeros(3, object)}, "Object arrays cannot be loaded"),
        ({"x_test": np.uint8(3), "y_test": np.zeros(3, int)}, "len"),
        ({"x_test": noise(3)[:0], "y_test": np.zeros(0, int)}, "x_test has no images"),
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

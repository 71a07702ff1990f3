"""The command `python -m binarized.bitwise`."""

import gzip
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
from packed_networks import noise

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

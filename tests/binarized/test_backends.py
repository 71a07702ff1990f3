"""Which backends of Keras `binarized` accepts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(code, backend):
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("module", ["binary_ops", "binary_layers", "kernels", "normalization", "depthwise"])
def test_other_backends_are_refused_in_one_line(module):
    done = run(f"import binarized.{module}", "numpy")
    expected = "ImportError: binarized: the backend of Keras must be 'tensorflow' or 'jax', got 'numpy'"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == expected


def test_packed_networks_need_no_keras():
    done = run("import sys; sys.modules['keras'] = None; import binarized.bitwise.network", "torch")
    assert (done.returncode, done.stderr) == (0, "")

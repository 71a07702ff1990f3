"""Which backends of Keras `binarized` accepts. No backend is imported to find out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def import_binarized(folder, code="import binarized.bitwise.network", **environment):
    """Imports `binarized` in a process with a keras.json in `folder`, in which importing torch is an error."""
    code = f"import sys; sys.modules['torch'] = None; {code}"
    clean = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment = {**clean, "KERAS_HOME": str(folder), "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "code", ["import binarized", "import binarized.binary_layers", "from binarized.normalization import Normalization"]
)
@pytest.mark.parametrize("backend", ["torch", "numpy", "openvino"])
def test_other_backends_are_refused_in_one_line(tmp_path, code, backend):
    done = import_binarized(tmp_path, code, KERAS_BACKEND=backend)
    expected = f"ImportError: binarized: the backend of Keras must be 'tensorflow' or 'jax', got {backend!r}"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == expected


def test_a_backend_that_a_loaded_keras_uses_is_refused(tmp_path):
    keras = "types.SimpleNamespace(backend=types.SimpleNamespace(backend=lambda: 'torch'))"
    code = f"import types; sys.modules['keras'] = {keras}; import binarized"
    assert import_binarized(tmp_path, code, KERAS_BACKEND="jax").stderr.endswith("got 'torch'\n")


def test_the_backend_in_the_configuration_of_keras_is_refused_unless_the_environment_names_another(tmp_path):
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "torch"}))
    assert import_binarized(tmp_path).stderr.endswith("got 'torch'\n")
    assert import_binarized(tmp_path, KERAS_BACKEND="").stderr.endswith("got 'torch'\n")
    assert import_binarized(tmp_path, KERAS_BACKEND="jax").returncode == 0


@pytest.mark.parametrize("configuration", [None, "{", "[]", "{}", '{"backend": "jax"}'])
def test_packed_networks_need_no_configuration_of_keras(tmp_path, configuration):
    if configuration:
        (tmp_path / "keras.json").write_text(configuration)
    assert import_binarized(tmp_path).returncode == 0

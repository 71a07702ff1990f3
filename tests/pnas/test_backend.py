"""How Keras is started, and memory of a worker after training children."""

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from tiny_training import images, trained_child

from pnas.backend import keras

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow that keeps them")
def test_a_worker_releases_the_children_it_has_trained():
    read = []

    def variables_left(number):
        x, y = images(50)
        # enough filters that normalization is compiled
        assert not trained_child(arrays=(x, y, x, y), seed=number, NUM_CELL_FILTERS=[48]).error
        read.append(weakref.ref(x))
        del x
        gc.collect()
        return sum(isinstance(thing, keras.Variable) for thing in gc.get_objects())

    assert variables_left(1) == variables_left(2) == variables_left(3)
    assert all(reference() is None for reference in read)  # otherwise a worker maps the images again for each child


def test_a_script_builds_and_saves_a_float32_network_silently_whatever_keras_json_says(tmp_path):
    settings = {"image_data_format": "channels_first", "floatx": "float16", "backend": "tensorflow", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    code = """import pnas.model
import keras
model = pnas.model.build_child([0, "3x3 bconv", 0, "3x3 maxpool"], 1, [2], [10])
print(model.get_layer("flatten").input.shape, model.output.dtype)
model.save("child.keras")
print(keras.models.load_model("child.keras").name)"""
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.stderr == ""
    # Two filters and the image's one channel, of half its height and width.
    assert result.stdout == "(None, 14, 14, 3) float32\nchild_0_3x3_bconv_0_3x3_maxpool\n"


def test_keras_is_imported_with_any_mplbackend():
    code = """import os
import pnas.backend, matplotlib
print(os.environ["MPLBACKEND"], matplotlib.get_backend())
matplotlib.use("pdf")
pnas.backend._import_matplotlib()
print(matplotlib.get_backend())"""
    started = {}
    for name in ("module://matplotlib_inline.backend_inline", "svg"):  # the one of notebooks
        environment = {**os.environ, "MPLBACKEND": name, "PYTHONPATH": str(ROOT)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        started[name] = subprocess.Popen([sys.executable, "-c", code], env=environment, **pipes)
    for name, process in started.items():
        stdout, stderr = process.communicate()
        assert stderr == ""
        (kept, used), (last,) = map(str.split, stdout.splitlines())
        assert kept == name and (used == "svg") == (name == "svg") and last == "pdf"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="reads /proc")
def test_closed_standard_streams_are_replaced(tmp_path):
    """Otherwise the file would get the number of one of them, and what a library prints to it."""
    code = """import os, sys
import pnas.backend
with open("file", "w") as file:
    os.write(1, b"of a library")
    os.write(2, b"of a library")
    print("of ours", file=sys.stderr)
    print(sys.stdin.read() == "", sys.stdout.isatty(), file.fileno() > 2, file=file)
subprocess = __import__("subprocess").run([sys.executable, "-c", "import os; os.fstat(1), os.fstat(2)"])
sys.exit(subprocess.returncode)"""
    command = f"{sys.executable} -W error -c '{code}' <&- >&- 2>&-"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(command, shell=True, cwd=tmp_path, env=environment).returncode == 0
    assert (tmp_path / "file").read_text() == "True False True\n"

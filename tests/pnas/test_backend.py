"""How Keras is started, and memory of a worker after training children."""

import gc
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
from tiny_training import CELL, images

from pnas.backend import keras
from pnas.child import Child
from pnas.training import child as training


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow that keeps them")
def test_a_worker_releases_the_children_it_has_trained():
    # enough filters that normalization is compiled
    network = {"num_cells": 1, "filters": [48], "dense_layers": [10], "input_shape": (8, 8, 1)}
    read = []

    def variables_left(number):
        x, y = images(50)
        child = Child(number, CELL, 0.5, seed=number)
        child = training.train_child(child, network, {"batch_size": 16, "learning_rate": (0.01, 0.01)}, 1, x, y, x, y)
        assert not child.error
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
    path = os.pathsep.join([str(Path(__file__).parents[3]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "PYTHONPATH": path}
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.stderr == ""
    # Two filters and the image's one channel, of half its height and width.
    assert result.stdout == "(None, 14, 14, 3) float32\nchild_0_3x3_bconv_0_3x3_maxpool\n"

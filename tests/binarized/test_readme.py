"""The example in binarized/README.md runs as it is printed."""

import inspect
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import binarized.binary_layers
import binarized.normalization
from binarized.bitwise.network import load

README = Path(__file__).parents[2] / "binarized" / "README.md"


def test_the_example_trains_saves_and_packs_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 640)
    pixels = rng.integers(0, 100, (640, 28, 28, 1), np.uint8)
    for row, label in enumerate(labels):  # a bright stripe at a height of its own for each class
        pixels[row, 2 * label : 2 * label + 4] += 150
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    keras.utils.set_random_seed(0)
    names = {"pixels": pixels, "labels": labels}
    exec(example, names)
    assert names["accuracy"] > 0.5  # 0.1 by guessing
    np.testing.assert_array_equal(
        load("network.npz").predict(pixels[:50]), names["model"].predict(pixels[:50] / 127.5 - 1, verbose=0).argmax(1)
    )
    keras.models.load_model("network.keras")


STOCK = {
    "BinaryDense": keras.layers.Dense,
    "BinaryConv2D": keras.layers.Conv2D,
    "BinaryDepthwiseConv2D": keras.layers.DepthwiseConv2D,
    "BinarySeparableConv2D": keras.layers.SeparableConv2D,
    "Normalization": keras.layers.BatchNormalization,
    "DropoutNoScale": keras.layers.Dropout,
}


def arguments(layer):
    return set(inspect.signature(layer.__init__).parameters) - {"self", "kwargs"}


@pytest.mark.parametrize("name", STOCK)
def test_the_table_says_which_arguments_a_layer_adds_and_does_not_take(name):
    own = arguments(getattr(binarized.binary_layers, name, None) or getattr(binarized.normalization, name))
    stock = arguments(STOCK[name])
    (row,) = re.findall(rf"^\| `{name}\(.*", README.read_text(), re.MULTILINE)
    _, _, added, not_taken, _ = row.split("|")
    assert set(re.findall("`(\\w+)`", added)) - {"binary_tanh"} == own - stock
    missing = {name for name in stock - own if not name.endswith("_constraint")} - {"activity_regularizer"}
    listed = set(re.findall("`([a-z]\\w+)`", not_taken)) - {"epsilon"}
    assert listed <= missing and (listed == missing or "all of" in not_taken)
    assert ("constraints" in not_taken) == name.startswith("Binary")

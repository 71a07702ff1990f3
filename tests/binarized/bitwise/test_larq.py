"""Export to Larq Compute Engine."""

import importlib.util
import sys
import types

import keras
import numpy as np
import pytest
from packed_networks import child, noise, scaled

from binarized.binary_layers import BinaryDense, BinarySeparableConv2D
from binarized.bitwise.larq import export_lce
from binarized.bitwise.packing import pack
from binarized.normalization import Normalization


def test_without_larq_compute_engine_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "larq_compute_engine", None)
    with pytest.raises(ImportError, match="pip install larq-compute-engine tensorflow"):
        export_lce(child([0, "linear", 0, "linear"]), tmp_path / "child.tflite")


@pytest.fixture
def exported(monkeypatch, tmp_path):
    """Function (model, images) -> the scores of what the converter gets, without Larq Compute Engine."""

    def scores(model, images):
        import tensorflow as tf

        def convert(folder):
            signature = tf.saved_model.load(folder).signatures["serving_default"]
            found.extend(next(iter(signature(tf.constant(scaled(image[None]))).values())) for image in images)
            return b"converted"

        found = []
        for name in ("larq_compute_engine", "larq_compute_engine.mlir", "larq_compute_engine.mlir.python"):
            monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
        converter = types.SimpleNamespace(convert_saved_model=convert)
        monkeypatch.setitem(sys.modules, "larq_compute_engine.mlir.python.converter", converter)
        assert export_lce(model, tmp_path / "child.tflite") == len(b"converted")
        assert (tmp_path / "child.tflite").read_bytes() == b"converted"
        return np.concatenate(found)

    return scores


def test_the_converter_gets_the_network(exported):
    model = child([0, "3x3 bconv", 0, "3x3 sep-bconv", 1, "3x3 maxpool", 0, "3x3 avgpool", -1, "linear", 2, "linear"])
    images = noise(20)
    np.testing.assert_allclose(exported(model, images), model.predict(scaled(images), verbose=0), rtol=1e-4, atol=1e-5)


def test_accumulators_that_float32_cannot_hold_are_refused(exported):
    layers = [keras.layers.AveragePooling2D(7, 1, "same", name="wide"), Normalization(), keras.layers.Flatten()]
    layers += [BinaryDense(2, use_bias=False), Normalization(False)]
    model = keras.Sequential([keras.Input((9, 9, 1)), *layers])
    with pytest.raises(ValueError, match="layer 'wide' has accumulators up to 44,982,000"):  # 255 * 420 * 420
        exported(model, noise(1, (9, 9, 1)))


@pytest.mark.skipif(
    not importlib.util.find_spec("larq_compute_engine"), reason="larq_compute_engine is not installed (it is optional)"
)
def test_larq_compute_engine_gets_binary_convolutions(tmp_path):
    cell = [0, "3x3 bconv", 0, "3x3 sep-bconv", 0, "3x3 maxpool", 0, "1x7-7x1 bconv"]
    model = child(cell, filters=(32, 64), dense_layers=(64, 10))
    size = export_lce(model, tmp_path / "child.tflite")
    assert size == (tmp_path / "child.tflite").stat().st_size
    network = pack(model)
    merged = sum(  # bits of a separable convolution as one convolution
        np.prod(layer.kernel_size) * layer.input.shape[-1] * layer.filters
        for layer in model.layers
        if isinstance(layer, BinarySeparableConv2D)
    )
    assert size < network.float_bytes / 6
    assert size < 2 * (network.packed_bytes + merged / 8) + 16384  # channels fill words of 32; 16 KiB for the graph

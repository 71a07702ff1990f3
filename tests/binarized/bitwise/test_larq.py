"""Export to Larq Compute Engine."""

import importlib.util
import sys

import numpy as np
import pytest
from packed_networks import child

from binarized.binary_layers import BinarySeparableConv2D
from binarized.bitwise.larq import export_lce
from binarized.bitwise.packing import pack


def test_without_larq_compute_engine_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "larq_compute_engine", None)
    with pytest.raises(ImportError, match="pip install larq-compute-engine tensorflow"):
        export_lce(child([0, "linear", 0, "linear"]), tmp_path / "child.tflite")


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

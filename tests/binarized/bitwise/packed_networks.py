"""Networks as no training leaves them, images for them, and their packed form compared with Keras.

Pre-activations of Keras are the expected values; what an accumulator counts in (1/255 where a layer reads the image,
1/36 for a 3x3 average) is from the definitions.
"""

import keras
import numpy as np

from binarized.bitwise.packing import pack
from binarized.normalization import Normalization
from pnas.model import build_child, count_binary_weights, count_macs

ROUNDING = 1e-2  # of Keras's float32 sums, in units of the integer accumulators: far below the distance of 1


def randomized(model, seed=0):
    """The model with moments, scales and offsets as no training would leave them, a third of the scales negative."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, Normalization):
            n = layer.gamma.shape[0]
            layer.gamma.assign(rng.uniform(0.2, 2, n) * rng.choice([-1, 1, 1], n))
            layer.beta.assign(rng.normal(0, 1, n))
            layer.mean.assign(rng.normal(0, 2, n))
            layer.variance.assign(rng.uniform(0.1, 30, n))
    return model


def child(cell, seed=0, num_cells=2, filters=(6, 11), dense_layers=(9, 10), **more):
    keras.utils.set_random_seed(seed)
    return randomized(build_child(cell, num_cells, list(filters), list(dense_layers), **more), seed)


def noise(count=70, shape=(28, 28, 1), seed=1):
    """Images of all 256 pixel values, a corner of each black."""
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    images[:, : shape[0] // 3, : shape[1] // 2] = 0
    return images


def scaled(images):
    return images.astype(np.float32) / 127.5 - 1


def assert_exact(model, images):
    """Accumulators are the pre-activations of Keras, scores and classes its predictions."""
    network = pack(model)
    accumulators = network.accumulators(images)
    layers = [layer for layer in model.layers if type(layer).__name__.startswith(("Binary", "MaxP", "AverageP"))]
    assert sorted(accumulators) == sorted(layer.name for layer in layers)
    expected = keras.Model(model.inputs, [layer.output for layer in layers] + model.outputs).predict(
        scaled(images), verbose=0
    )
    for layer, output in zip(layers, expected[:-1], strict=True):
        unit = 255 if layer.input.shape[1:] == model.input.shape[1:] else 1  # no other tensor is as large
        unit *= 36 if "avgpool" in layer.name else 1
        acc = accumulators[layer.name]
        assert acc.dtype == np.int64
        difference = np.abs(output.reshape(acc.shape) * unit - acc).max()
        assert difference <= (ROUNDING if unit > 1 else 0), layer.name  # ±1 sums are exact in float32
    np.testing.assert_allclose(network.scores(images), expected[-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(network.predict(images), expected[-1].argmax(1))
    assert network.weights == count_binary_weights(model)
    assert network.macs == count_macs(model)
    return network

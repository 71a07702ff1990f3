"""Batch normalization, with and without the binarization behind it, against its formulas in numpy."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy_reference import random, sign

from binarized.binary_ops import binary_tanh
from binarized.normalization import Normalization

EPSILON = 0.01


GAMMA, BETA = np.float32([1.5, 0.5, -2]), np.float32([0.3, -0.2, 0.1])  # a negative one turns signs around


def normalization(binary, gamma=GAMMA, beta=BETA):
    """A built layer on 3 channels with these gamma and beta."""
    layer = Normalization(binary, EPSILON)
    layer.build((None, 3))
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    return layer


def normalized(x, mean, variance, binary):
    """Ioffe and Szegedy 2015, and binary_tanh."""
    y = GAMMA * (x - mean) / np.sqrt(variance + EPSILON) + BETA
    if not binary:
        return y
    assert abs(y).min() > 1e-5, "a number so near to 0 may fall to either side"
    return sign(y)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(40, 3), (4, 3, 5, 3), (2, 27, 26, 3)], ids=["vectors", "images", "compiled by XLA"])
def test_normalization_in_training_is_that_by_the_batchs_moments(shape, binary):
    x = 3 * random(*shape) + 2
    flat = x.reshape(-1, 3).astype("float64")
    expected = normalized(x, flat.mean(0), flat.var(0), binary)
    np.testing.assert_allclose(normalization(binary)(x, training=True), expected, atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(40, 3), (4, 3, 5, 3), (2, 27, 26, 3)], ids=["vectors", "images", "compiled by XLA"])
def test_the_gradients_written_by_hand_are_those_of_the_plain_formulation(gradients, shape, binary):
    x, upstream = 3 * random(*shape) + 2, random(*shape, seed=1)
    axes = tuple(range(len(shape) - 1))

    def plain(x, gamma, beta):
        mean, variance = ops.mean(x, axes), ops.var(x, axes)
        y = gamma * (x - mean) / ops.sqrt(variance + EPSILON) + beta
        return ops.sum(upstream * (binary_tanh(y) if binary else y))

    layer = normalization(binary)
    image = keras.Variable(x)
    found = gradients(
        lambda: ops.sum(upstream * layer(image + 0, training=True)),
        [x, GAMMA, BETA],
        [image, layer.gamma, layer.beta],
    )
    for got, expected in zip(found, gradients(plain, [x, GAMMA, BETA])):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["gathering", "training"])
def test_stored_moments_are_the_mean_over_the_batches_since_the_reset(how):
    layer = normalization(binary=True)
    layer(random(10, 3) * 50 + 9, training=True)  # to be forgotten
    layer.reset()
    batches = [random(10, 3, seed=1) + 1, 2 * random(10, 3, seed=2), 3 * random(10, 3, seed=3) - 5]
    layer.gathering = how == "gathering"
    for batch in batches:
        outputs = np.asarray(layer(batch, training=how == "training"))
        np.testing.assert_array_equal(outputs, normalized(batch, batch.mean(0), batch.var(0), binary=True))
    np.testing.assert_allclose(layer.mean, np.mean([batch.mean(0) for batch in batches], 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.variance, np.mean([batch.var(0) for batch in batches], 0), rtol=1e-5)


def test_after_100_batches_the_memory_of_the_moments_fades():
    layer = normalization(binary=False)
    early, late = np.float32([[-1, 0, 1]]), np.float32([[3, 3, 3]])
    for _ in range(100):
        layer(early, training=True)
    np.testing.assert_allclose(layer.mean, early[0], atol=1e-6)
    layer(late, training=True)
    layer(late, training=True)
    np.testing.assert_allclose(layer.mean, 0.99**2 * early[0] + (1 - 0.99**2) * late[0], rtol=1e-4)


@pytest.mark.parametrize("binary", [True, False])
def test_normalization_at_inference_uses_the_stored_moments(binary):
    layer = normalization(binary)
    batch = 2 * random(10, 3) + 1
    layer(batch, training=True)
    x = random(7, 4, 3, seed=1)
    expected = normalized(x, batch.mean(0), batch.var(0), binary)
    np.testing.assert_allclose(layer(x, training=False), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.mean, batch.mean(0), rtol=1e-5)  # and leaves them alone

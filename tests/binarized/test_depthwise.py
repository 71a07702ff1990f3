"""Gradients of wide depthwise kernels, against numpy."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy_reference import patches, random

from binarized.depthwise import depthwise_conv


@pytest.mark.parametrize("size, strides", [((5, 5), 2), ((7, 7), 2), ((5, 5), 1), ((3, 7), 2), ((4, 6), 1)])
@pytest.mark.parametrize("height, width, depth_multiplier", [(14, 14, 1), (7, 4, 2), (5, 8, 1)])
def test_a_wide_depthwise_convolution_has_the_gradients_of_the_plain_formulation(
    gradients, size, strides, height, width, depth_multiplier
):
    x, w = random(3, height, width, 4), random(*size, 4, depth_multiplier, seed=1)
    pair = (strides, strides)
    seen = patches(x, size, pair, "same")
    upstream = random(*seen.shape[:3], 4 * depth_multiplier, seed=2)
    split = upstream.reshape(*seen.shape[:3], 4, depth_multiplier)
    found = gradients(
        lambda x, w: ops.sum(upstream * depthwise_conv(x, w, pair, "same", "channels_last", (1, 1))), [x, w]
    )
    expected = np.einsum("nijabc,nijcm->abcm", seen, split)
    np.testing.assert_allclose(found[1], expected, rtol=1e-5, atol=1e-5 * abs(expected).max())
    # What a pixel gives: the derivative of the sum by it, pixel by pixel.
    one_by_one = np.eye(height * width, dtype="float32").reshape(-1, height, width, 1)
    reach = patches(one_by_one, size, pair, "same")[..., 0]
    expected = np.einsum("pijab,abcm,nijcm->npc", reach, w, split).reshape(x.shape)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


def test_a_wide_dilated_depthwise_convolution_has_the_gradient_of_the_plain_formulation(gradients):
    x, w = random(3, 14, 13, 4), random(5, 5, 4, 1, seed=1)
    seen = patches(x, (5, 5), (1, 1), "same", dilation=2)
    upstream = random(*seen.shape[:3], 4, seed=2)
    found = gradients(
        lambda x, w: ops.sum(upstream * depthwise_conv(x, w, (1, 1), "same", "channels_last", (2, 2))), [x, w]
    )
    expected = np.einsum("nijabc,nijc->abc", seen, upstream)[..., None]
    np.testing.assert_allclose(found[1], expected, rtol=1e-5, atol=1e-5 * abs(expected).max())


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow's kernel")
def test_the_gradient_of_a_wide_depthwise_kernel_spells_its_padding_out_and_xla_compiles_it():
    import tensorflow as tf

    x, w = random(3, 7, 6, 4), random(5, 5, 4, 1, seed=1)

    def gradient(x, w):
        with tf.GradientTape() as tape:
            tape.watch(w)
            y = depthwise_conv(x, w, (2, 2), "same", "channels_last", (1, 1))
        return tape.gradient(y, w)

    step = tf.function(gradient).get_concrete_function(*map(tf.convert_to_tensor, (x, w)))
    (node,) = (op for op in step.graph.get_operations() if op.type == "DepthwiseConv2dNativeBackpropFilter")
    assert node.get_attr("padding") == b"EXPLICIT"
    compiled = tf.function(gradient, jit_compile=True)(x, tf.convert_to_tensor(w))
    np.testing.assert_allclose(compiled, step(tf.convert_to_tensor(x), tf.convert_to_tensor(w)), rtol=1e-4, atol=1e-5)

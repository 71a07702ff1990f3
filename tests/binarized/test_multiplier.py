"""What `kernel_lr_multiplier` does to the steps of every optimizer of Keras."""

import keras
import numpy as np
import pytest
from keras import ops

from binarized.binary_layers import BinaryDense

MULTIPLIED = ["SGD", "Adam", "AdamW", "Adamax", "Nadam", "Adadelta", "Adagrad", "RMSprop", "Lion", "Muon"]
MULTIPLIED += ["ScheduleFreeAdamW"]
NOT_MULTIPLIED = ["Lamb", "Adafactor", "Ftrl"]  # a step is in proportion to the stored weights
WRAPPERS = ["Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"]


def steps(optimizer, multiplier, gradients):
    """Latent kernel (8, 6) before and after steps with these gradients."""
    start = lambda shape, dtype=None: ops.convert_to_tensor(np.linspace(0.1, 0.2, 48).reshape(shape), dtype)
    layer = BinaryDense(6, use_bias=False, kernel_initializer=start, kernel_lr_multiplier=multiplier)
    layer.build((None, 8))
    before = np.asarray(layer.kernel)
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient)], layer.trainable_variables)
    return before, np.asarray(layer.kernel)


def movement(name, multiplier):
    gradients = np.random.default_rng(1).normal(0.5, 1, (50, 8, 6)).astype("float32")
    before, after = steps(getattr(keras.optimizers, name)(1e-4, weight_decay=0.0), multiplier, gradients)
    return np.abs(after - before).mean()


@pytest.mark.parametrize("name", MULTIPLIED)
def test_a_multiplier_of_10_moves_the_kernel_10_times_as_far(name):
    assert movement(name, 10.0) / movement(name, 1.0) == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize("name", NOT_MULTIPLIED)
def test_the_documented_exceptions_ignore_the_multiplier(name):
    assert movement(name, 10.0) / movement(name, 1.0) == pytest.approx(1, rel=0.1)


def test_the_documentation_names_every_optimizer_of_keras():
    import binarized.kernels

    known = [*MULTIPLIED, *NOT_MULTIPLIED]
    optimizers = {name for name in dir(keras.optimizers) if isinstance(getattr(keras.optimizers, name), type)}
    assert optimizers - set(WRAPPERS) <= set(known)
    assert all(name in binarized.kernels.__doc__ for name in known)


@pytest.mark.parametrize("multiplier", [1.0, 20.0])
def test_weight_decay_shrinks_the_kernel_without_the_multiplier(multiplier):
    optimizer = keras.optimizers.SGD(0.01, weight_decay=0.1)
    before, after = steps(optimizer, multiplier, np.zeros((100, 8, 6), "float32"))
    np.testing.assert_allclose(after / before, (1 - 0.01 * 0.1) ** 100, rtol=1e-4)


def test_a_kernel_regularizer_decays_with_the_multiplier():
    layer = BinaryDense(6, use_bias=False, kernel_regularizer=keras.regularizers.L2(0.05), kernel_lr_multiplier=20.0)
    model = keras.Sequential([keras.Input((8,)), layer])
    model.compile(keras.optimizers.SGD(0.01), lambda target, output: 0 * ops.sum(output), jit_compile=False)
    before = np.asarray(layer.kernel)
    model.fit(np.ones((100, 8), "float32"), np.ones((100, 6), "float32"), batch_size=1, verbose=0)
    np.testing.assert_allclose(layer.kernel, before * (1 - 20 * 0.01 * 0.1) ** 100, rtol=1e-3)

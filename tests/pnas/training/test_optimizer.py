"""The step of Adam that TensorFlow has a kernel for is Keras's own."""

import keras
import numpy as np
import pytest

from pnas.training.optimizer import decaying_adam


def trained(optimizer):
    """Weights of a small network after 12 steps of an optimizer."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7, "tanh"), keras.layers.Dense(3)])
    model.compile(optimizer, "mse")
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    model.fit(x, x[:, :3] ** 2, batch_size=16, epochs=3, shuffle=False, verbose=0)
    return model


def test_it_moves_weights_and_moments_as_keras_does():
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 12, 1e-3)
    expected, got = trained(keras.optimizers.Adam(decay)), trained(decaying_adam(0.1, 1e-4, 12))
    for one, other in zip(got.weights + got.optimizer.variables, expected.weights + expected.optimizer.variables):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow's kernel")
def test_a_variable_takes_one_operation(monkeypatch):
    def fail(*arguments):
        raise AssertionError("Keras's own step was taken")

    monkeypatch.setattr(keras.optimizers.Adam, "update_step", fail)
    trained(decaying_adam(0.1, 1e-4, 12))


def test_what_is_saved_is_a_keras_adam_that_goes_on_where_it_was(tmp_path):
    model = trained(decaying_adam(0.1, 1e-4, 12))
    model.save(tmp_path / "network.keras")
    optimizer = keras.models.load_model(tmp_path / "network.keras").optimizer
    assert type(optimizer) is keras.optimizers.Adam and int(optimizer.iterations) == 12
    assert float(optimizer.learning_rate) == pytest.approx(1e-4, rel=1e-5)
    for one, other in zip(optimizer.variables, model.optimizer.variables):
        np.testing.assert_array_equal(one.numpy(), other.numpy())

"""Adam by TensorFlow's kernel takes the steps of keras.optimizers.Adam."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from pnas.training.optimizer import fast_adam

DECAY = keras.optimizers.schedules.ExponentialDecay(0.1, 12, 1e-3)


def trained(optimizer):
    """Weights of a small network after 12 steps of an optimizer."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7, "tanh"), keras.layers.Dense(3)])
    model.compile(optimizer, "mse")
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    model.fit(x, x[:, :3] ** 2, batch_size=16, epochs=3, shuffle=False, verbose=0)
    return model


@pytest.fixture(scope="module")
def model():
    return trained(fast_adam(DECAY))


def test_weights_and_moments_move_as_in_keras(model):
    expected = trained(keras.optimizers.Adam(DECAY))
    for one, other in zip(model.weights + model.optimizer.variables, expected.weights + expected.optimizer.variables):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow's kernel")
def test_a_variable_is_updated_by_one_operation(monkeypatch):
    def fail(*arguments):
        raise AssertionError("Keras's own step was taken")

    monkeypatch.setattr(keras.optimizers.Adam, "update_step", fail)
    trained(fast_adam(DECAY))


def test_the_optimizer_is_saved_as_adam_of_keras(model, tmp_path):
    model.save(tmp_path / "network.keras")
    optimizer = keras.models.load_model(tmp_path / "network.keras").optimizer
    assert type(optimizer) is keras.optimizers.Adam and int(optimizer.iterations) == 12
    assert float(optimizer.learning_rate) == pytest.approx(1e-4, rel=1e-5)
    for one, other in zip(optimizer.variables, model.optimizer.variables):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


REPLICAS = """
import sys
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
import keras
import numpy as np
from pnas.training.optimizer import fast_adam

with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    model.compile(fast_adam(0.1), "mse")
x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
before = model.get_weights()[0]
model.fit(x, x[:, :3] ** 2, batch_size=16, epochs=1, verbose=0)
one, other = (copy.numpy() for copy in model.trainable_variables[0].value.values)
assert np.abs(one - before).max() > 0.1
print(np.abs(one - other).max())
"""


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow's kernel")
def test_the_copies_of_a_variable_on_two_replicas_stay_equal():
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", REPLICAS, str(root)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == 0


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX has no float64 unless it is told to")
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_precisions_take_the_step_of_keras(dtype):
    def variable_after_steps(adam):
        variable = keras.Variable(np.linspace(-1, 1, 5), dtype=dtype)
        for _ in range(3):
            adam.apply([keras.ops.cast([0.1, -0.2, 0.3, 1e-3, 0.7], dtype)], [variable])
        assert variable.dtype == dtype
        return np.asarray(variable)

    np.testing.assert_array_equal(
        variable_after_steps(fast_adam(DECAY)), variable_after_steps(keras.optimizers.Adam(DECAY))
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has sparse gradients")
def test_a_sparse_gradient_takes_the_step_of_keras():
    def table_after_an_epoch(adam):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((3,)), keras.layers.Embedding(6, 2)])
        model.compile(adam, "mse", jit_compile=False)
        model.fit(np.array([[0, 1, 1], [4, 0, 2]]), np.ones((2, 3, 2)), epochs=3, verbose=0)
        return model.get_weights()[0]

    np.testing.assert_allclose(
        table_after_an_epoch(fast_adam(DECAY)),
        table_after_an_epoch(keras.optimizers.Adam(DECAY)),
        rtol=1e-6,
    )

"""Without a private name of another package, results are the same, and one warning names it."""

import importlib.metadata

import keras
import numpy as np
import pytest
from tiny_training import trained_child

from pnas.training import child, optimizer, private_names

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="private names are TensorFlow's")


@pytest.fixture(autouse=True)
def nothing_known():
    """Clears what is cached, so that each test looks for names and warns by itself."""
    for cached in (private_names._warn, private_names._graphs_list_python_functions):
        cached.cache_clear()
    yield
    for cached in (private_names._warn, private_names._graphs_list_python_functions):
        cached.cache_clear()


def patch_during(monkeypatch, user, function, patch):
    """Applies `patch` only while the module `user` calls `function`, so that the other package works as before."""
    original = getattr(user, function)

    def patched(*arguments):
        with monkeypatch.context() as context:
            patch(context)
            return original(*arguments)

    monkeypatch.setattr(user, function, patched)


def only_warning(caught, package, name):
    """Asserts that there was one RuntimeWarning, about this name in the installed version."""
    (message,) = [str(each.message) for each in caught if each.category is RuntimeWarning]
    assert message.startswith(f"{package} {importlib.metadata.version(package)} has no {name} as expected here: ")


def trained(adam):
    """Weights of a small network after 12 steps."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7, "tanh"), keras.layers.Dense(3)])
    model.compile(adam, "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(64, 5)).astype("float32")
    model.fit(x, x[:, :3] ** 2, batch_size=16, epochs=3, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("name", ["_get_variable_index", "_momentums", "_velocities"])
def test_without_adams_moments_weights_move_as_in_keras(name, monkeypatch):
    expected = trained(keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.1, 12, 1e-3)))
    adam = optimizer.fast_adam(keras.optimizers.schedules.ExponentialDecay(0.1, 12, 1e-3))
    owner = next((cls for cls in type(adam).__mro__ if name in vars(cls)), adam)
    patch_during(monkeypatch, optimizer, "adam_moments", lambda context: context.delattr(owner, name))
    with pytest.warns(RuntimeWarning) as caught:
        weights = trained(adam)
    only_warning(caught, "keras", "Adam._momentums and _velocities")
    for got, wanted in zip(weights, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


def reward_and_losses():
    child = trained_child()
    assert not child.error
    return child.reward, child.history["loss"]


def test_without_the_gradient_registry_rewards_are_the_same(monkeypatch):
    from tensorflow.python.framework import ops

    reward, losses = reward_and_losses()
    patch_during(monkeypatch, child, "registered_gradients", lambda context: context.delattr(ops, "gradient_registry"))
    with pytest.warns(RuntimeWarning) as caught:
        assert reward_and_losses() == (reward, pytest.approx(losses))
        reward_and_losses()  # without another warning
    only_warning(caught, "tensorflow", "gradient_registry._registry")


def test_without_the_function_list_rewards_are_the_same(monkeypatch):
    import tensorflow as tf

    class Functions:
        """A container that is not a list."""

        def append(self, function):
            pass

    def patch(context):
        private_names._graphs_list_python_functions.cache_clear()
        context.setattr(tf.Graph, "_py_funcs_used_in_graph", Functions(), raising=False)

    reward, losses = reward_and_losses()
    patch_during(monkeypatch, child, "python_functions", patch)
    with pytest.warns(RuntimeWarning) as caught:
        assert reward_and_losses() == (reward, pytest.approx(losses))
        reward_and_losses()  # without another warning
    only_warning(caught, "tensorflow", "Graph._py_funcs_used_in_graph")

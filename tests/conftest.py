"""Shared by all tests: the path of the project, gradients under the running backend, and searches."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pnas.backend import keras  # noqa: E402  # isort: skip  (first: it imports Keras without its messages)
import numpy as np  # noqa: E402
import pytest  # noqa: E402


@pytest.fixture
def gradients():
    """Function (function, arrays, variables) -> gradients of a scalar function, one numpy array for each of `arrays`.

    Without `variables`, the function takes the arrays. With them, it takes nothing, and the arrays replace the values
    of these Keras variables.
    """

    def gradients_of(function, arrays, variables=None):
        def value(*tensors):
            if variables is None:
                return function(*tensors)
            with keras.StatelessScope(state_mapping=list(zip(variables, tensors))):
                return function()

        tensors = [keras.ops.convert_to_tensor(array) for array in arrays]
        if keras.backend.backend() == "jax":
            import jax

            found = jax.grad(value, argnums=tuple(range(len(tensors))))(*tensors)
        elif keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                tape.watch(tensors)
                result = value(*tensors)
            found = tape.gradient(result, tensors)
        else:
            pytest.skip(f"gradients are not implemented here for the backend {keras.backend.backend()}")
        return [np.asarray(gradient) for gradient in found]

    return gradients_of


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory):
    """Folder in which the tiny search has run to its end."""
    import tiny_search

    folder = tmp_path_factory.mktemp("uninterrupted")
    tiny_search.run(folder)
    return folder


@pytest.fixture
def cluster(tmp_path):
    """A Cluster that is stopped after the test. Its `start` starts it."""
    from dask_cluster import Cluster

    machines = Cluster(tmp_path / "cluster")
    yield machines
    machines.stop()

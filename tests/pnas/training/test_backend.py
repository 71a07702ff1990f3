"""Memory of a worker after training children."""

import gc
import weakref

import pytest
from tiny_training import CELL, images

from pnas.journal.children import Child
from pnas.training import child as training
from pnas.training.backend import keras


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow that keeps them")
def test_a_worker_releases_the_children_it_has_trained():
    # enough filters that normalization is compiled
    network = {"num_cells": 1, "filters": [48], "dense_layers": [10], "input_shape": (8, 8, 1)}
    read = []

    def variables_left(number):
        x, y = images(50)
        child = Child(number, CELL, 0.5, seed=number)
        child = training.train_child(child, network, {"batch_size": 16, "learning_rate": (0.01, 0.01)}, 1, x, y, x, y)
        assert not child.error
        read.append(weakref.ref(x))
        del x
        gc.collect()
        return sum(isinstance(thing, keras.Variable) for thing in gc.get_objects())

    assert variables_left(1) == variables_left(2) == variables_left(3)
    assert all(reference() is None for reference in read)  # otherwise a worker maps the images again for each child

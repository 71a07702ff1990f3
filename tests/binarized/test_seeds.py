"""Layers draw the same seeds as Keras would, whatever other threads draw."""

import random
import threading

import keras
import numpy as np
import pytest

from binarized.binary_layers import BinaryConv2D, BinaryDense, BinarySeparableConv2D, DropoutNoScale
from binarized.seeds import layer_seeds, next_seed


def layers():
    """Layers of every kind that draws a seed."""
    yield DropoutNoScale(0.5)
    yield BinaryConv2D(3, 3)
    yield BinarySeparableConv2D(3, 3)
    yield keras.layers.Flatten()
    yield BinaryDense(4)
    yield DropoutNoScale(0.5)


def drawn(between=lambda: None):
    """Initial weights of a network, and its outputs in training, which depend on dropout masks."""
    model = keras.Sequential([keras.Input((6, 6, 2))])
    for layer in layers():
        model.add(layer)
        between()
    return [*model.get_weights(), np.asarray(model(np.ones((5, 6, 6, 2), "float32"), training=True))]


def assert_same(got, expected):
    for one, other in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_draw_as_after_set_random_seed():
    keras.utils.set_random_seed(7)
    expected = drawn()
    random.seed(99)
    with layer_seeds(7):
        assert_same(drawn(), expected)


def test_a_thread_that_draws_random_numbers_changes_no_weight():
    def draw_elsewhere():
        thread = threading.Thread(target=random.random)
        thread.start()
        thread.join()

    with layer_seeds(7):
        expected = drawn()
    with layer_seeds(7):
        assert_same(drawn(between=draw_elsewhere), expected)


def test_another_seed_gives_other_weights():
    with layer_seeds(7):
        expected = drawn()
    with layer_seeds(8):
        other = drawn()
    assert all((one != another).any() for one, another in zip(other, expected, strict=True) if np.ptp(one) > 0)


def test_layer_seeds_hold_in_one_thread():
    seen = []
    with layer_seeds(7):
        thread = threading.Thread(target=lambda: seen.append(next_seed()))
        thread.start()
        thread.join()
        assert seen == [None] and next_seed() is not None


def test_outside_layer_seeds_keras_chooses_seeds():
    with layer_seeds(7):
        pass
    assert next_seed() is None


def test_after_an_error_inside_layer_seeds_keras_chooses_seeds():
    with pytest.raises(RuntimeError), layer_seeds(7):
        raise RuntimeError
    assert next_seed() is None


def test_inner_layer_seeds_leave_the_outer_ones_as_they_are():
    with layer_seeds(7):
        expected = [next_seed(), next_seed()]
    with layer_seeds(7):
        first = next_seed()
        with layer_seeds(8):
            next_seed()
        assert [first, next_seed()] == expected

"""Every layer of a packed network computes the integers of the Keras layer."""

import random

import pytest
from packed_networks import assert_exact, child, noise

from pnas.model import OPERATIONS


@pytest.mark.parametrize("operator", OPERATIONS)
def test_every_operation_is_exact(operator):
    other = "linear" if operator != "linear" else "3x3 bconv"
    assert_exact(child([0, operator, 0, operator, 0, operator, 0, other]), noise())


@pytest.mark.parametrize("seed", range(4))
def test_random_cells_with_lookback_and_block_inputs_are_exact(seed):
    rng = random.Random(seed)
    cell = []
    for block in range(1, 4):
        for _ in range(2):
            cell += [rng.choice([-2, -1, 0, 0, *range(1, block)]), rng.choice(list(OPERATIONS))]
    assert_exact(child(cell, seed, num_cells=3, filters=(16, 24, 32), dense_layers=(32, 10)), noise(40))


@pytest.mark.parametrize("channels", [2, 3])  # with 2, words hold copies of bit planes
def test_images_of_several_channels_are_exact(channels):
    cell = [0, "3x3 bconv", 0, "3x3 sep-bconv", 0, "3x3 maxpool", 0, "3x3 avgpool"]
    assert_exact(child(cell, input_shape=(12, 10, channels)), noise(20, (12, 10, channels)))


def test_more_channels_than_bits_in_a_word_are_exact():
    cell = [0, "3x3 bconv", 0, "3x3 sep-bconv", 1, "3x3 sep-bconv", 1, "3x3 bconv"]
    assert_exact(child(cell, filters=(50, 70), input_shape=(8, 8, 1)), noise(20, (8, 8, 1)))

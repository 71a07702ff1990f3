"""Bits in words, and digits of pixels."""

import numpy as np
import pytest

from binarized.bitwise.bits import pack_bits, pack_planes, plane_groups, unpack_bits


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 63, 64, 65, 200])
def test_words_hold_channels_in_order(channels):
    bits = np.random.default_rng(0).integers(0, 2, (channels, 3, 2), np.uint8)
    words = pack_bits(bits)
    assert words.shape == (-(-channels // 64), 3, 2)
    for c in range(channels):
        np.testing.assert_array_equal(words[c // 64] >> np.uint64(c % 64) & np.uint64(1), bits[c])
    assert sum(np.bitwise_count(words).ravel().tolist()) == bits.sum()
    np.testing.assert_array_equal(unpack_bits(words, channels), bits)


@pytest.mark.parametrize(
    "taps, channels, groups",
    [
        (
            9,
            1,
            [(6, 2), (3, 3), (0, 3)],
        ),  # 3 words of 9 taps with 7 bits, the first with 3; pairs of planes take 4 words
        (1, 1, [(4, 4), (0, 4)]),  # 2 words of 15 bits
        (9, 64, [(plane, 1) for plane in range(7, -1, -1)]),  # no room for copies
    ],
)
def test_bit_planes_are_grouped_into_the_fewest_words(taps, channels, groups):
    assert plane_groups(taps, channels) == groups


def test_packed_planes_count_each_plane_twice_as_often_as_the_plane_below():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 256)
    for first, planes in plane_groups(taps=9, channels=1):
        np.testing.assert_array_equal(
            np.bitwise_count(pack_planes(pixels, first, planes))[0], pixels[0] >> first & 2**planes - 1
        )

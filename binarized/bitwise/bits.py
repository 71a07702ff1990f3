"""Arithmetic on words of 64 bits: packing, XNOR and population count.

A bit is 1 for +1 and 0 for -1. A pixel p stands for 2p - 255 = sum_b 2^b e_b over its 8 bit planes, e_b in {-1, +1}.

Source: Hubara et al. 2016, arXiv:1602.02830: bit planes in the first layer, XNOR and population count.
"""

import numpy as np

WORDS = 16384  # words in the temporary arrays of one numpy call; these should fit into the processor's cache
WORD = np.dtype("<u8")
PIXEL_BITS = 8


def pack_bits(bits: np.ndarray) -> np.ndarray:
    """Packs the bits of channels into words.

    Args:
        bits: bool or uint8 array (channels, ...) of 0 and 1.
    Returns:
        uint64 array (channels / 64 rounded up, ...): channel c is bit c % 64 of word c // 64; unused bits are 0.
    """
    channels, *shape = bits.shape
    # numpy.packbits takes 3 to 4 times as long along the first axis, which is a tenth or more of a prediction.
    octets = np.zeros((-(-channels // 8), *shape), np.uint8)
    for bit in range(8):
        rows = bits[bit::8].view(np.uint8)
        octets[: len(rows)] |= rows << bit
    words = np.zeros((-(-channels // 64), *shape), WORD)
    parts = words.view(np.uint8).reshape(*words.shape, 8)
    for number, octet in enumerate(octets):
        parts[number // 8, ..., number % 8] = octet
    return words


def unpack_bits(words: np.ndarray, channels: int) -> np.ndarray:
    """The inverse of `pack_bits`: uint8 array (channels, ...) of 0 and 1."""
    octets = np.moveaxis(words.view(np.uint8).reshape(*words.shape, 8), -1, 1)
    octets = octets.reshape(8 * len(words), *words.shape[1:])
    return np.unpackbits(octets, axis=0, count=channels, bitorder="little")


def columns(taps: list[np.ndarray], channels: int) -> list[np.ndarray]:
    """Joins taps of a kernel into common words where their channels fill a word only in part.

    Args:
        taps: list of uint64 arrays (words, ...), one per tap, from `pack_bits`.
        channels: int, bits per tap.
    Returns:
        List of uint64 arrays (...).
    """
    filled = []
    for word in range(len(taps[0])):
        used = min(64, channels - 64 * word)
        together = 64 // used
        for first in range(0, len(taps), together):
            column = taps[first][word]
            for number, tap in enumerate(taps[first + 1 : first + together], start=1):
                column = column | tap[word] << WORD.type(number * used)
            filled.append(column)
    return filled


def mismatches(inputs: list[np.ndarray], weights: np.ndarray, exponents: list[int], dtype: type) -> np.ndarray:
    """sum_k 2^exponent_k popcount(input_k XOR weight_k), the inner loop of every layer with weights.

    Args:
        inputs: list of uint64 arrays (positions, images).
        weights: uint64 array (filters, inputs).
        exponents: list of ints, one per input, in descending order.
        dtype: unsigned integer type that holds the sums.
    Returns:
        Array (filters, positions, images).
    """
    positions, images = inputs[0].shape
    inputs = [words.reshape(-1) for words in inputs]
    shifts = -np.diff(exponents, append=0)
    totals = np.zeros((len(weights), positions * images), dtype)
    block = max(1, WORDS // max(1, positions * images))
    differing = np.empty((min(block, len(weights)), positions * images), WORD)
    counted = np.empty(differing.shape, np.uint8)
    for first in range(0, len(weights), block):
        total = totals[first : first + block]
        xor, count = differing[: len(total)], counted[: len(total)]
        for number, (words, shift) in enumerate(zip(inputs, shifts.tolist(), strict=True)):
            np.bitwise_xor(weights[first : first + block, number, None], words, out=xor)
            np.bitwise_count(xor, out=count)
            total += count
            total <<= shift
    return totals.reshape(len(weights), positions, images)


def pack_planes(pixels: np.ndarray, first: int, planes: int) -> np.ndarray:
    """Packs the bit planes first, ..., first + planes - 1 of pixels, plane first + b in 2^b copies.

    With few channels, words have unused bits. Copies fill them: one population count then weighs each plane by its
    value.

    Args:
        pixels: uint8 array (channels, ...).
        first: int, the lowest plane.
        planes: int, number of planes.
    Returns:
        uint64 array (words, ...) as from `pack_bits`, with 2^planes - 1 bits per channel.
    """
    values = pixels >> first & 2**planes - 1
    if planes == 1:
        return pack_bits(values)
    copies = 2**planes - 1
    # Bit b of a value becomes 2^b equal bits of its pattern, which start at bit 2^b - 1.
    patterns = [
        sum((2**2**b - 1) << (2**b - 1) for b in range(planes) if value >> b & 1) for value in range(copies + 1)
    ]
    words = np.array(patterns, WORD)[values]
    return np.bitwise_or.reduce([word << WORD.type(copies * channel) for channel, word in enumerate(words)])[None]


def plane_groups(taps: int, channels: int) -> list[tuple[int, int]]:
    """Groups the bit planes of a pixel so that a convolution needs the fewest words.

    Args:
        taps: int, number of taps of its kernel.
        channels: int, number of its input channels.
    Returns:
        List of (first, planes), arguments of `pack_planes`; the group with the highest planes comes first.
    """
    splits = []
    for size in range(1, 7):
        split = [(first, min(size, PIXEL_BITS - first)) for first in range(0, PIXEL_BITS, size)][::-1]
        if size == 1 or (2**size - 1) * channels <= 64:
            words = sum(-(-taps // max(1, 64 // ((2**planes - 1) * channels))) for _, planes in split)
            splits.append((words, split))
    return min(splits, key=lambda choice: choice[0])[1]

"""A trained child as a network of bits, run with numpy alone.

    python -m binarized.bitwise NETWORK.npz --images DATA_DIR

A weight is one bit, +1 or -1, and so is an activation. The 64 bits of a word are channels (and, where they are few,
several taps of a kernel), so that XNOR and a population count make 64 multiply-accumulates. All values are integers:

    activation   e in {-1, +1}
    pixel p      2p - 255 = sum_b 2^b e_b over its 8 bit planes, in units of 1/255
    accumulator  acc = scale * (base - 2 * count), count = sum_b 2^b popcount(x_b XOR w) over a kernel's taps

`base` belongs to a channel and a position: there a padded tap, which is neither +1 nor -1 but reads as bits 0, is taken
out of the count again. Batch normalization and binary_tanh are one comparison, acc >= threshold, its result turned round
where gamma < 0.

Rule for thresholds: y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, with x = unit * acc, is solved for y = 0 in
float64 from the stored float32 numbers, and rounded to the integer at which y >= 0 begins (or ends, where gamma < 0). A tie
is an integer solution: y is 0 and binary_tanh is +1, as in Keras. Keras rounds y to float32, and so may decide otherwise
only where |y| is within that rounding; on ±1 inputs with H = 1 its accumulators are exact, on pixels they are rounded, too.

Source: Hubara et al. 2016, arXiv:1602.02830, sections 1.1 and 1.5 (bit planes of the first layer) and 3 (XNOR, popcount).
"""

import argparse
import gzip
import json
import math
import os
import sys
import tempfile
import typing
import zipfile
import zlib
from collections.abc import Iterable

import numpy as np

VERSION = 1  # of the file
IMAGES = 256  # images computed at a time
WORDS = 16384  # words in the temporary arrays of one numpy call, which should stay in the processor's cache
WORD = np.dtype("<u8")
PIXEL_BITS = 8
ARRAYS = {"architecture": (np.uint8, 1), "bits": (np.uint8, 1), "thresholds": (np.int32, 1), "scores": (np.float64, 2)}
LARGEST = 256  # height, width or number of channels of an image in a file


def pack_bits(bits):
    """Bits of channels as words.

    Args:
        bits: bool or uint8 array (channels, ...) of 0 and 1.
    Returns:
        uint64 array (channels / 64 rounded up, ...): channel c is bit c % 64 of word c // 64, bits left over are 0.
    """
    channels, *shape = bits.shape
    octets = np.zeros((-(-channels // 8), *shape), np.uint8)
    for bit in range(8):
        rows = bits[bit::8].view(np.uint8)
        octets[: len(rows)] |= rows << bit
    words = np.zeros((-(-channels // 64), *shape), WORD)
    parts = words.view(np.uint8).reshape(*words.shape, 8)
    for number, octet in enumerate(octets):
        parts[number // 8, ..., number % 8] = octet
    return words


def unpack_bits(words, channels):
    """The inverse of `pack_bits`: uint8 array (channels, ...) of 0 and 1."""
    octets = words.view(np.uint8).reshape(*words.shape, 8)
    octets = np.moveaxis(octets, -1, 1).reshape(-1, *words.shape[1:])
    bits = np.empty((channels, *words.shape[1:]), np.uint8)
    for bit in range(8):
        rows = bits[bit::8]
        rows[...] = octets[: len(rows)] >> bit & 1
    return bits


def columns(taps, channels):
    """Fills words: where channels leave room in a word, several taps of a kernel share it.

    Args:
        taps: list of uint64 arrays (words, ...), one a tap, as `pack_bits` gives them.
        channels: int, bits of a tap.
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


def mismatches(inputs, weights, exponents, dtype):
    """sum_k 2^exponent_k popcount(input_k XOR weight_k): XNOR and population count, the inner loop of all weights.

    Args:
        inputs: list of uint64 arrays (positions, images).
        weights: uint64 array (filters, inputs).
        exponents: list of ints, one an input, none above the one before it.
        dtype: unsigned type that holds the sums.
    Returns:
        Array (filters, positions, images).
    """
    positions, images = inputs[0].shape
    inputs = [words.reshape(-1) for words in inputs]
    totals = np.zeros((len(weights), positions * images), dtype)
    block = max(1, WORDS // (positions * images))
    differing = np.empty((min(block, len(weights)), positions * images), WORD)
    counted = np.empty(differing.shape, np.uint8)
    for first in range(0, len(weights), block):
        total = totals[first : first + block]
        xor, count = differing[: len(total)], counted[: len(total)]
        for number, words in enumerate(inputs):
            np.bitwise_xor(weights[first : first + block, number, None], words, out=xor)
            np.bitwise_count(xor, out=count)
            total += count
            total <<= exponents[number] - exponents[number + 1] if number + 1 < len(inputs) else exponents[number]
    return totals.reshape(len(weights), positions, images)


def digit(pixels, first, planes):
    """Bit planes first..first + planes - 1 of pixels, the next one always twice as often as the one before.

    Many words have bits to spare in a first layer. So as many copies of a plane are counted at once as it is worth.

    Args:
        pixels: uint8 array (channels, ...).
        first, planes: ints.
    Returns:
        uint64 array (words, ...) as of `pack_bits`, each channel 2^planes - 1 times.
    """
    values = pixels >> first & 2**planes - 1
    if planes == 1:
        return pack_bits(values)
    copies = 2**planes - 1
    # Bit b of a value is 2^b bits of its pattern, from bit 2^b - 1 on.
    patterns = [sum((2 ** 2**b - 1) << (2**b - 1) for b in range(planes) if value >> b & 1) for value in range(copies + 1)]
    words = np.array(patterns, WORD)[values]
    return np.bitwise_or.reduce([word << WORD.type(copies * channel) for channel, word in enumerate(words)])[None]


def digits(taps, channels):
    """Splits a pixel's bit planes into digits for which a convolution of so many taps and channels needs the fewest words.

    Returns:
        List of (first plane, planes) as of `digit`, the highest first.
    """
    splits = []
    for size in range(1, 7):
        split = [(first, min(size, PIXEL_BITS - first)) for first in range(0, PIXEL_BITS, size)][::-1]
        if size == 1 or (2**size - 1) * channels <= 64:
            words = sum(-(-taps // max(1, 64 // ((2**planes - 1) * channels))) for _, planes in split)
            splits.append((words, split))
    return min(splits, key=lambda choice: choice[0])[1]


class _Contents:
    """The bits and thresholds of a network, taken step by step."""

    def __init__(self, bits, thresholds):
        self._bits, self._thresholds = bits, thresholds
        self._bit = self._threshold = 0

    def bits(self, *shape):
        """The next bits, bool array of this shape."""
        count, first = math.prod(shape), self._bit
        self._bit += count
        if self._bit > 8 * len(self._bits):
            raise ValueError(f"its architecture has more weights than the {8 * len(self._bits):,} bits in it")
        octets = self._bits[first // 8 : -(-self._bit // 8)]
        return np.unpackbits(octets, bitorder="little")[first % 8 :][:count].astype(bool).reshape(shape)

    def thresholds(self, count):
        """The next thresholds, int64 array."""
        self._threshold += count
        if self._threshold > len(self._thresholds):
            raise ValueError(f"its architecture has more channels than the {len(self._thresholds):,} thresholds in it")
        return self._thresholds[self._threshold - count : self._threshold].astype(np.int64)

    def check_used_up(self):
        left = len(self._bits) - -(-self._bit // 8)
        if left or self._bit % 8 and self._bits[-1] >> self._bit % 8:
            raise ValueError(f"its {len(self._bits):,} bytes of bits are not the {self._bit:,} bits of its architecture")
        if self._threshold != len(self._thresholds):
            raise ValueError(f"it has {len(self._thresholds):,} thresholds, its architecture {self._threshold:,}")


class _Step:
    """A step of a network: its description in the file, and (height, width, channels) of what it gives."""

    weights = macs = bit_operations = 0

    def __init__(self, spec, shapes, reads_image, contents, last):
        self.spec = spec
        self.channels = [shape[2] for shape in shapes]
        self.shape = shapes[0]

    def _number(self, key, largest=2**20):
        value = self.spec.get(key)
        if type(value) is not int or not 0 < value <= largest:
            raise ValueError(f"{key} of a step must be a whole number from 1 to {largest}, got {value!r:.60}")
        return value


class _Concatenate(_Step):
    """Channels of several tensors, one after the other."""

    def __init__(self, spec, shapes, *args):
        super().__init__(spec, shapes, *args)
        if len({shape[:2] for shape in shapes}) > 1:
            raise ValueError(f"concat of heights and widths that differ, {shapes}")
        self.shape = (*shapes[0][:2], sum(self.channels))
        if self.shape[2] > 2**16:
            raise ValueError(f"concat to {self.shape[2]:,} channels, more than {2**16:,}")

    def run(self, inputs, record):
        joined = np.zeros((-(-self.shape[2] // 64), *inputs[0].shape[1:]), WORD)
        first = 0
        for words, channels in zip(inputs, self.channels):
            for number, word in enumerate(words):
                target, shift = divmod(first + 64 * number, 64)
                joined[target] |= word << WORD.type(shift)
                if shift + min(64, channels - 64 * number) > 64:
                    joined[target + 1] |= word >> WORD.type(64 - shift)
            first += channels
        return joined


class _Channels(_Step):
    """Channels start..stop-1 of a tensor."""

    def __init__(self, *args):
        super().__init__(*args)
        self.stop = self._number("stop", self.channels[0])
        self.start = self.stop - self._number("count", self.stop)
        self.shape = (*self.shape[:2], self.stop - self.start)

    def run(self, inputs, record):
        first, shift = divmod(self.start, 64)
        words = inputs[0][first : -(-self.stop // 64)]
        taken = words >> WORD.type(shift)
        if shift:
            taken[:-1] |= words[1:] << WORD.type(64 - shift)
        taken = taken[: -(-self.shape[2] // 64)]
        taken[-1] &= WORD.type(2**64 - 1) >> WORD.type(-self.shape[2] % 64)
        return taken


class _Accumulation(_Step):
    """A step with integer accumulators, acc = scale * (base - 2 * count), and thresholds (none in the last step).

    Subclasses have `kernel` and `strides`, set base int (channels, height, width), scale int (height, width) or 1, and
    most, the largest count, and yield the counts of one row of positions after the other.
    """

    padding_value = 0

    def __init__(self, spec, shapes, reads_image, contents, last):
        super().__init__(spec, shapes, reads_image, contents, last)
        self.planes = PIXEL_BITS if reads_image else 1
        self.top = 2**self.planes - 1
        (height, width, channels), kernel, strides = self.shape, *self._geometry()
        self.pads, inside, sizes = [], [], []
        for size, taps, stride in zip((height, width), kernel, strides):
            positions = 1 if spec["op"] == "dense" else -(-size // stride)
            before = max((positions - 1) * stride + taps - size, 0) // 2
            after = max((positions - 1) * stride + taps - size - before, 0)
            read = np.arange(positions)[:, None] * stride - before + np.arange(taps)
            inside.append((read >= 0) & (read < size))
            self.pads.append((before, after))
            sizes.append(positions)
        self.kernel, self.strides = kernel, strides
        self.taps = math.prod(kernel)
        # (height, width, taps): which taps read a pixel and not the padding
        inside = (inside[0][:, None, :, None] & inside[1][None, :, None, :]).reshape(*sizes, -1)
        filters, self.scale = self._prepare(contents, channels, inside)
        if self.most >= 2**32:
            raise ValueError(f"step {self.name!r:.60} counts to {self.most:,}, more than 32 bits hold")
        self.shape = (*sizes, filters)
        self.dtype = np.uint16 if self.most < 2**16 - 1 else np.uint32
        self.last = last
        if not last:
            self.turned = contents.bits(filters)[:, None, None]
            numerator = self.base * self.scale - contents.thresholds(filters)[:, None, None]
            bound = numerator // (2 * self.scale) + 1  # acc >= threshold means count < bound
            self.bound = np.clip(bound, 0, np.iinfo(self.dtype).max).astype(self.dtype)

    @property
    def name(self):
        return self.spec.get("name")

    def _geometry(self):
        if self.spec["op"] == "dense":
            return self.shape[:2], (1, 1)
        pairs = self.spec.get("kernel"), self.spec.get("strides")
        for pair in pairs:
            if not (isinstance(pair, list) and len(pair) == 2 and all(type(v) is int and 0 < v <= 16 for v in pair)):
                raise ValueError(f"kernel and strides of a step must be pairs of 1 to 16, got {pair!r:.60}")
        return pairs

    def _taps(self, x):
        """For every row of positions, the list of what each tap reads: arrays (..., positions, images) of a padded x."""
        x = np.pad(x, [(0, 0)] * (x.ndim - 3) + [*self.pads, (0, 0)], constant_values=self.padding_value)
        (down, across), width = self.strides, self.shape[1]
        for row in range(self.shape[0]):
            yield [
                x[..., row * down + i, j : j + (width - 1) * across + 1 : across, :]
                for i in range(self.kernel[0])
                for j in range(self.kernel[1])
            ]

    def run(self, inputs, record):
        rows, kept = [], []
        for row, counts in enumerate(self._counts(inputs[0])):
            if self.last or record is not None:
                kept.append(counts.astype(np.int64))
            if not self.last:
                rows.append(pack_bits(np.less(counts, self.bound[:, row, :, None]) ^ self.turned))
        if kept:
            scale = np.broadcast_to(self.scale, self.shape[:2])[..., None]
            accumulators = scale * (self.base[..., None] - 2 * np.stack(kept, axis=1))
            if record is not None:
                record[self.name] = accumulators
        return accumulators if self.last else np.stack(rows, axis=1)


class _Convolution(_Accumulation):
    """Convolution, and a dense layer: a convolution whose kernel covers its input."""

    def _prepare(self, contents, channels, inside):
        kernel = self.read_kernel(contents)
        self._set_kernel(kernel, inside)
        self.weights, self.macs = kernel.size, kernel.size * inside[..., 0].size
        return len(kernel), 1

    def read_kernel(self, contents):
        """The next weights as a kernel, bool (filters, taps, channels)."""
        return contents.bits(self._number("filters"), self.taps, self.channels[0])

    def _set_kernel(self, kernel, inside):
        """Takes a kernel, bool (filters, taps, channels)."""
        _, taps, channels = kernel.shape
        padded = (~inside).astype(np.int64) @ kernel.sum(2).T  # padded taps read as -1, and differ from weights +1
        self.base = self.top * np.moveaxis(inside.sum(2)[..., None] * channels + 2 * padded, 2, 0)
        self.digits = [(0, 1)] if self.planes == 1 else digits(taps, channels)
        kernel_words, self.exponents = [], []
        for first, planes in self.digits:
            copies = np.repeat(kernel, 2**planes - 1, axis=2)
            words = pack_bits(copies.transpose(2, 1, 0))
            kernel_words += columns([words[:, tap] for tap in range(taps)], copies.shape[2])
            self.exponents += [first] * (len(kernel_words) - len(self.exponents))
        self.kernel_words = np.stack(kernel_words, axis=1)
        self.most = self.top * taps * channels
        self.bit_operations = 2 * self.planes * kernel.size * inside[..., 0].size

    def _counts(self, x):
        parts = [x] if self.planes == 1 else [digit(x, *numbers) for numbers in self.digits]
        for row in zip(*map(self._taps, parts)):
            inputs = []
            for taps, (_, planes) in zip(row, self.digits):
                inputs += columns(taps, (2**planes - 1) * self.channels[0])
            yield mismatches(inputs, self.kernel_words, self.exponents, self.dtype)


class _Separable(_Convolution):
    """Depthwise convolution, whose integer accumulators a pointwise one adds up.

    The depthwise one works on 64 channels at once: matches are counted in planes of words, bit k of the count in plane k,
    and those planes are to the pointwise one what a pixel's are to a convolution. Of one channel the two are one ordinary
    convolution.
    """

    def _prepare(self, contents, channels, inside):
        depthwise, pointwise = self._read_kernels(contents)
        positions = inside[..., 0].size
        self.weights = depthwise.size + pointwise.size
        self.macs = self.weights * positions
        if channels == 1:
            self._set_kernel(pointwise[:, None] == depthwise, inside)  # the product of the two, +1 where they agree
            return len(pointwise), 1
        levels = self.taps.bit_length()
        full = 2**levels - 1
        padded = (~inside).astype(np.int64) @ ~depthwise  # padded taps read as -1, and match weights -1
        inner = 2 * padded + inside.sum(2)[..., None]
        base = 2 * full * pointwise.sum(1) - inner @ (2 * pointwise.T.astype(np.int64) - 1)
        self.base = self.top * np.moveaxis(base, 2, 0)
        self.inverted = pack_bits(~depthwise.T)[..., None, None]  # x XOR this is 1: a match
        planes = [level + plane for plane in range(self.planes) for level in range(levels)]
        self.order = np.argsort(planes)[::-1]
        self.exponents = np.repeat(np.sort(planes)[::-1], len(self.inverted)).tolist()
        self.kernel_words = np.tile(pack_bits(pointwise.T).T, len(planes))
        self.most = self.top * full * channels
        self.bit_operations = 2 * self.planes * (depthwise.size + levels * pointwise.size) * positions
        return len(pointwise), 1

    def _read_kernels(self, contents):
        depthwise = contents.bits(self.taps, self.channels[0])
        return depthwise, contents.bits(self._number("filters"), self.channels[0])

    def read_kernel(self, contents):
        depthwise, pointwise = self._read_kernels(contents)
        return pointwise[:, None] == depthwise

    def _counts(self, x):
        if self.channels[0] == 1:
            yield from super()._counts(x)
            return
        parts = [x] if self.planes == 1 else [digit(x, plane, 1) for plane in range(self.planes)]
        for row in zip(*map(self._taps, parts)):
            planes = [plane for taps in row for plane in self._depthwise(taps)]
            inputs = [words for number in self.order for words in planes[number]]
            yield mismatches(inputs, self.kernel_words, self.exponents, self.dtype)

    def _depthwise(self, taps):
        """Numbers of matches: list of uint64 arrays (words, positions, images), bit k of the numbers in the one at k."""
        counter = []
        for number, tap in enumerate(taps, start=1):
            carry = tap ^ self.inverted[:, number - 1]
            if number.bit_length() > len(counter):
                counter.append(np.zeros_like(carry))
            for level, plane in enumerate(counter):
                counter[level], carry = plane ^ carry, plane & carry
        return counter


class _Pooling(_Accumulation):
    """Maximum, or average in units of 1 / (lcm(1..kernel height) * lcm(1..kernel width)), over what is not padding.

    A value's count is how far it is below the largest one, so the maximum is the smallest count.
    """

    def _prepare(self, contents, channels, inside):
        if self.spec["op"] == "maximum":
            self.padding_value = self.most = self.top
            self.base = np.full((channels, *inside.shape[:2]), self.top)
            return channels, 1
        self.most = self.top * self.taps
        valid = inside.sum(2)
        self.base = np.broadcast_to(self.top * valid, (channels, *valid.shape))
        return channels, average_units(self.kernel) // valid

    def _counts(self, x):
        values = unpack_bits(x, self.channels[0]) if self.planes == 1 else x
        for taps in self._taps(np.uint8(self.top) - values):
            counts = taps[0].astype(self.dtype)
            for tap in taps[1:]:
                (np.minimum if self.spec["op"] == "maximum" else np.add)(counts, tap, out=counts)
            yield counts


def average_units(kernel):
    """Accumulators of an average count in 1 / this; every number of taps inside an image divides it."""
    return math.prod(math.lcm(*range(1, size + 1)) for size in kernel)


_OPS = {  # class of a Keras layer -> step
    "BinaryConv2D": "conv",
    "BinaryDense": "dense",
    "BinarySeparableConv2D": "separable",
    "MaxPooling2D": "maximum",
    "AveragePooling2D": "average",
}
_STEPS = {
    "conv": _Convolution,
    "dense": _Convolution,
    "separable": _Separable,
    "maximum": _Pooling,
    "average": _Pooling,
    "concat": _Concatenate,
    "channels": _Channels,
}


class Network:
    """A packed network: what `pack` makes of a Keras model and `load` of a file.

    Args:
        architecture: uint8 array (n,), JSON: the image's shape and the steps, each with the numbers of the steps it reads
            (0 is the image).
        bits: uint8 array (n,), the steps' weights (1 is +1) and after them the signs of their thresholds, 8 to a byte.
        thresholds: int32 array (n,), one a channel, in units of the accumulators.
        scores: float64 array (2, classes), scale and offset of the last accumulators.
    Attributes:
        weights: number of binary weights.
        macs: multiply-accumulates an image, each weight at every position of its layer.
        bit_operations: XNORs and countings of a bit an image: 2 a multiply-accumulate on ±1, 2 for each bit plane on
            pixels (8) and on the accumulators between a depthwise and a pointwise convolution (bit length of the taps).
        float_bytes: size as float32: 4 bytes a weight, 16 a channel for mean, variance, gamma and beta.
        packed_bytes: 1/8 byte a weight, 4 a threshold and 1/8 for its sign, 16 a class.
    Raises:
        ValueError: the four do not fit together.
    """

    def __init__(self, architecture, bits, thresholds, scores):
        arrays = {"architecture": architecture, "bits": bits, "thresholds": thresholds, "scores": scores}
        for name, (dtype, axes) in ARRAYS.items():
            if arrays[name].dtype != dtype or arrays[name].ndim != axes:
                raise ValueError(f"{name} is {arrays[name].dtype} with {arrays[name].ndim} axes, not {dtype.__name__}, {axes}")
        self.arrays = arrays
        try:
            description = json.loads(architecture.tobytes())
        except (ValueError, RecursionError):
            raise ValueError("its architecture is not JSON") from None
        if not isinstance(description, dict) or description.get("version") != VERSION:
            raise ValueError(f"it is not of version {VERSION}")
        shape, specs = description.get("image"), description.get("steps")
        if not (isinstance(shape, list) and len(shape) == 3 and all(type(v) is int and 0 < v <= LARGEST for v in shape)):
            raise ValueError(f"its image must have a height, width and channels from 1 to {LARGEST}, got {shape!r:.60}")
        if not (isinstance(specs, list) and specs):
            raise ValueError("it has no steps")
        contents = _Contents(bits, thresholds)
        self.image_shape = tuple(shape)
        self.steps = []
        self._last_use = [0] * len(specs)  # of the image and of every step but the last
        for number, spec in enumerate(specs):
            self.steps.append(self._step(number, spec, contents, number == len(specs) - 1))
        contents.check_used_up()
        if self.steps[-1].shape != (1, 1, scores.shape[1]) or len(scores) != 2 or not np.isfinite(scores).all():
            raise ValueError(f"its scores are not a scale and an offset for each of the {self.steps[-1].shape[2]} classes")
        self.weights = sum(step.weights for step in self.steps)
        self.macs = sum(step.macs for step in self.steps)
        self.bit_operations = sum(step.bit_operations for step in self.steps)
        self.float_bytes = 4 * self.weights + 16 * (len(thresholds) + scores.shape[1])
        self.packed_bytes = -(-(self.weights + len(thresholds)) // 8) + 4 * len(thresholds) + 16 * scores.shape[1]

    def _step(self, number, spec, contents, last):
        if not isinstance(spec, dict) or spec.get("op") not in _STEPS:
            raise ValueError(f"step {number + 1} must be one of {', '.join(_STEPS)}")
        sources = spec.get("from")
        if not (isinstance(sources, list) and sources and all(type(v) is int and 0 <= v <= number for v in sources)):
            raise ValueError(f"step {number + 1} must read the image, 0, or steps before it, got {sources!r:.60}")
        kind = _STEPS[spec["op"]]
        if len(sources) > 1 and kind is not _Concatenate or last and spec["op"] != "dense":
            raise ValueError(f"step {number + 1} ({spec['op']}) reads several steps, or is the last one and not dense")
        if 0 in sources and kind in (_Concatenate, _Channels):
            raise ValueError(f"step {number + 1} ({spec['op']}) reads the image itself")
        for source in sources:
            self._last_use[source] = number
        shapes = [self.steps[source - 1].shape if source else self.image_shape for source in sources]
        return kind(spec, shapes, sources == [0], contents, last)

    def _run(self, images, record=None):
        """Last accumulators of a batch, int64 (classes, images)."""
        values = [np.ascontiguousarray(images.transpose(3, 1, 2, 0))]
        for number, step in enumerate(self.steps):
            values.append(step.run([values[source] for source in step.spec["from"]], record))
            for source in step.spec["from"]:
                if self._last_use[source] == number:
                    values[source] = None
        return values[-1][:, 0, 0]

    def _batches(self, images):
        images = np.asarray(images)
        if images.ndim == 3:
            images = images[..., np.newaxis]
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape or not len(images):
            raise ValueError(f"images must be uint8 (n, {self.image_shape}), got {images.dtype} {images.shape}")
        return [images[first : first + IMAGES] for first in range(0, len(images), IMAGES)]

    def scores(self, images):
        """What the Keras model predicts: float64 array (n, classes), from uint8 images (n, height, width[, channels])."""
        scale, offset = self.arrays["scores"]
        return np.concatenate([self._run(batch).T * scale + offset for batch in self._batches(images)])

    def predict(self, images):
        """Classes, int array (n,), of uint8 images (n, height, width[, channels])."""
        return self.scores(images).argmax(axis=1)

    def accumulators(self, images):
        """Integer accumulators of every layer with weights and every pooling.

        Args:
            images: uint8 array (n, height, width[, channels]).
        Returns:
            dict, name of the Keras layer -> int64 array (n, height, width, channels). The layer's output is this times H
            (times H again for the pointwise part), / 255 where it reads the image, / `average_units` for an average.
        """
        records = []
        for batch in self._batches(images):
            records.append({})
            self._run(batch, records[-1])
        return {name: np.concatenate([np.moveaxis(r[name], -1, 0).swapaxes(1, 3).swapaxes(1, 2) for r in records])
                for name in records[0]}

    def save(self, path):
        """Writes the network to a .npz file, all of it or, after an error, nothing."""
        with tempfile.NamedTemporaryFile(dir=os.path.dirname(os.path.abspath(path)), delete=False) as file:
            try:
                np.savez_compressed(file, **self.arrays)
                file.close()
                os.replace(file.name, path)
            except BaseException:
                os.unlink(file.name)
                raise

    def summary(self):
        """Sizes and operations as lines of text."""
        return (
            f"{self.weights:,} binary weights, {len(self.arrays['thresholds']):,} thresholds\n"
            f"float32 {self.float_bytes:,} bytes, packed {self.packed_bytes:,} bytes, "
            f"ratio {self.float_bytes / self.packed_bytes:.1f}\n"
            f"{self.macs:,} MACs, {self.bit_operations:,} bit operations per image"
        )


def load(path):
    """Network of a file written by `Network.save`. Nothing in the file is executed, and all of it is checked.

    Raises:
        ValueError: the file is cut off, damaged, of another version, or not such a network; one line says why.
        OSError: there is no such file, or it cannot be read.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            names = sorted(archive.namelist())
            if names != sorted(f"{name}.npy" for name in ARRAYS):
                raise ValueError(f"it holds {', '.join(names)!r:.80}, not {', '.join(ARRAYS)}")
            arrays = {}
            for name in ARRAYS:
                with archive.open(f"{name}.npy") as member:
                    arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
                    if member.read(1):  # and so reads, and checks, to the end
                        raise ValueError(f"{name} goes on after its end")
        return Network(**arrays)
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is not a packed network: {reason}") from None


def pack(model):
    """Packs a trained Keras model.

    Args:
        model: keras.Model as of `pnas.model.build_child`: one image in [-1, +1], binary layers without bias or activation
            and poolings, all padded 'same', each followed by a `Normalization`, the last of which is not binary.
    Returns:
        Network.
    Raises:
        ValueError: a layer has no bitwise form; the message names it.
    """
    tensors = {}  # name of a layer -> the number of a step, whose output is ±1 (0: the image), or a list of _Sum
    specs, bits, thresholds, scores = [], [], [], None

    def add(spec):
        specs.append(spec)
        return len(specs)

    for config in model.get_config()["layers"]:
        layer, kind = model.get_layer(config["name"]), config["class_name"]
        inputs = [tensors[name] for name in _sources(config["inbound_nodes"])]
        summed = [isinstance(value, list) for value in inputs]
        if scores is not None or len(config["inbound_nodes"]) > 1:
            _refuse(layer, "comes after the last normalization, or is used more than once")
        if kind == "InputLayer":
            if tensors:
                _refuse(layer, "is a second input")
            image, value = config["config"]["batch_shape"][1:], 0
        elif kind == "Normalization" and all(summed):
            (sums,) = inputs
            if layer.binary:
                numbers, first = [], 0
                for waiting in sums:
                    folded, turned = _threshold(layer, first, waiting)
                    numbers.append(add(dict(waiting.spec)))
                    bits += [*waiting.weights, turned]
                    thresholds.append(folded)
                    first += waiting.channels
                value = numbers[0] if len(numbers) == 1 else add({"op": "concat", "from": numbers})
            else:
                if len(sums) > 1 or sums[0].spec["op"] != "dense":
                    _refuse(layer, "is not binary and not behind one dense layer")
                add(sums[0].spec)
                bits += sums[0].weights
                gamma, beta, mean, deviation = _statistics(layer)
                scores = np.stack([gamma / deviation * sums[0].unit, beta - gamma / deviation * mean])
        elif kind == "Concatenate" and all(summed):
            value = [waiting for waits in inputs for waiting in waits]
        elif any(summed):
            _refuse(layer, "stands between a layer with weights, or a pooling, and its normalization")
        elif kind in ("Dropout", "DropoutNoScale", "Flatten"):
            (value,) = inputs
        elif kind == "Concatenate" and layer.axis in (-1, 3):
            value = add({"op": "concat", "from": inputs})
        elif kind == "Channels":
            value = add({"op": "channels", "from": inputs, "stop": layer.stop, "count": layer.stop - layer.start})
        else:
            value = [_summing(layer, kind, inputs)]
        tensors[layer.name] = value
    if scores is None:
        raise ValueError("pack: the model does not end in a normalization that is not binary")
    description = {"version": VERSION, "image": image, "steps": specs}
    return Network(
        np.frombuffer(json.dumps(description, separators=(",", ":")).encode(), np.uint8),
        np.packbits(np.concatenate([part.ravel() for part in bits]), bitorder="little"),
        np.concatenate([*thresholds, np.zeros(0, np.int32)]),
        scores,
    )


class _Sum(typing.NamedTuple):
    """A step that waits for its thresholds; `unit` is what 1 of its accumulators is in the layer's output."""

    spec: dict
    weights: list
    unit: float
    channels: int


def _refuse(layer, why):
    raise ValueError(f"pack: layer {layer.name!r} ({type(layer).__name__}) {why}")


def _sources(node):
    """Names of the layers whose outputs a layer of a model's configuration reads."""
    if isinstance(node, dict):
        if "keras_history" in node:
            yield node["keras_history"][0]
        node = node.values()
    if not isinstance(node, str):
        for part in node if isinstance(node, Iterable) else ():
            yield from _sources(part)


def _summing(layer, kind, inputs):
    """_Sum of a layer with weights, or a pooling."""
    unit = 1 / 255 if inputs == [0] else 1.0
    spec = {"op": _OPS.get(kind), "name": layer.name, "from": inputs}
    if spec["op"] is None:
        _refuse(layer, "has no bitwise form")
    if kind != "BinaryDense":
        kernel = layer.pool_size if "Pooling" in kind else layer.kernel_size
        if layer.padding != "same" or layer.data_format != "channels_last" or max(getattr(layer, "dilation_rate", (1,))) > 1:
            _refuse(layer, "is not padded 'same', has its channels first or is dilated")
        spec |= {"kernel": list(kernel), "strides": list(layer.strides)}
    if "Pooling" in kind:
        return _Sum(spec, [], unit / average_units(kernel) if spec["op"] == "average" else unit, layer.output.shape[-1])
    if layer.use_bias or getattr(layer.activation, "__name__", "linear") != "linear":
        _refuse(layer, "has a bias or an activation")
    if getattr(layer, "depth_multiplier", 1) > 1:
        _refuse(layer, "has a depth multiplier")
    for kernel in layer.binary_kernels:
        unit *= float(np.float32(kernel.H))
    kernels = [kernel.variable.numpy() >= 0 for kernel in layer.binary_kernels]
    spec["filters"] = kernels[-1].shape[-1]
    # Filters first; a depthwise kernel (height, width, channels, 1) stays as it is.
    return _Sum(spec, [*kernels[:-1], np.moveaxis(kernels[-1], -1, 0)], unit, spec["filters"])


def _statistics(layer):
    """gamma, beta, mean and sqrt(variance + epsilon) of a Normalization, float64."""
    numbers = [variable.numpy().astype(np.float64) for variable in (layer.gamma, layer.beta, layer.mean, layer.variance)]
    if not np.isfinite(numbers).all():
        _refuse(layer, "has statistics that are not finite")
    gamma, beta, mean, variance = numbers
    return gamma, beta, mean, np.sqrt(variance + layer.epsilon)


def _threshold(layer, first, waiting):
    """Thresholds int32 and whether they are turned round, of the channels first, first + 1, ... of a Normalization."""
    part = slice(first, first + waiting.channels)
    gamma, beta, mean, deviation = (numbers[part] for numbers in _statistics(layer))
    solution = (mean - beta * deviation / np.where(gamma, gamma, 1)) / waiting.unit
    threshold = np.where(gamma > 0, np.ceil(solution), np.floor(solution) + 1)
    threshold[gamma == 0] = -np.inf  # y is beta everywhere
    turned = np.where(gamma, gamma < 0, beta < 0)
    limits = np.iinfo(np.int32)
    return np.clip(threshold, limits.min, limits.max).astype(np.int32), turned


def export_lce(model, path):
    """Converts a model with Larq Compute Engine and writes the .tflite file.

    It is given the packed network, thresholds included, for images (1, height, width, channels) in [-1, +1]. Every layer
    with weights becomes a convolution of ±1 with ±1 (what reads the image: a float one), a dense layer one that covers its
    input, and a separable one the single convolution that it is when nothing stands between its two kernels.

    Args:
        model: keras.Model as for `pack`.
        path: file to write.
    Returns:
        int, bytes written.
    Raises:
        ImportError: Larq Compute Engine is not installed; the message says how to get it.
        ValueError: as `pack`.
    Source: Bannink et al. 2021, arXiv:2011.09398.
    """
    try:
        from larq_compute_engine.mlir.python.converter import convert_saved_model
    except ImportError as error:
        raise ImportError(f"export_lce needs Larq Compute Engine ({error}): pip install larq-compute-engine") from error
    import tensorflow as tf

    network = pack(model)
    contents = _Contents(network.arrays["bits"], network.arrays["thresholds"])

    def binary(x):
        return tf.where(x >= 0, 1.0, -1.0)  # the converter makes bits of this, and forgets them behind a concatenation

    def accumulate(step, x):
        if isinstance(step, _Pooling):
            pool = {"maximum": tf.nn.max_pool2d, "average": tf.nn.avg_pool2d}[step.spec["op"]]
            x = pool(x, step.kernel, step.strides, "SAME")
            return x * average_units(step.kernel) if step.spec["op"] == "average" else x
        kernel = np.where(step.read_kernel(contents), np.float32(1), np.float32(-1))
        kernel = kernel.transpose(1, 2, 0).reshape(*step.kernel, step.channels[0], -1)
        return tf.nn.conv2d(x, kernel, step.strides, "VALID" if step.spec["op"] == "dense" else "SAME")

    @tf.function(input_signature=[tf.TensorSpec((1, *network.image_shape), tf.float32)])
    def child(image):
        values = [image * 255.0]
        for step in network.steps:
            inputs = [values[source] for source in step.spec["from"]]
            if isinstance(step, _Concatenate):
                values.append(binary(tf.concat(inputs, axis=-1)))
            elif isinstance(step, _Channels):
                values.append(binary(inputs[0][..., step.start : step.stop]))
            elif step.last:
                scale, offset = network.arrays["scores"].astype(np.float32)
                values.append(tf.reshape(accumulate(step, inputs[0]), (1, -1)) * scale + offset)
            else:
                acc = accumulate(step, inputs[0])
                sign = np.where(contents.bits(step.shape[2]), np.float32(-1), np.float32(1))
                # Between two integers, where no rounding matters.
                middle = contents.thresholds(step.shape[2]).astype(np.float32) - np.float32(0.5)
                values.append(binary(acc * sign - middle * sign))
        return values[-1]

    module = tf.Module()
    module.child = child
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=child)
        content = convert_saved_model(folder)
    with open(path, "wb") as file:
        return file.write(content)


def read_idx(path):
    """uint8 array of an IDX file, plain or gzip: 0, 0, 8, the number of axes, their big-endian sizes, the data."""
    with open(path, "rb") as file:
        content = file.read()
    try:
        content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
        axes = content[3] if content[:3] == b"\0\0\x08" else 0
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(np.frombuffer(content, ">i4", axes, 4))
    except (EOFError, IndexError, ValueError, OSError, zlib.error) as error:
        raise ValueError(f"{path} is not an IDX file of bytes: {error}") from None


def read_test_set(folder):
    """MNIST's 10,000 test images uint8 (n, 28, 28) and classes uint8 (n,), from its two files in a folder, .gz or not."""
    arrays = []
    for name in ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        path = os.path.join(folder, name)
        arrays.append(read_idx(f"{path}.gz" if os.path.exists(f"{path}.gz") else path))
    if arrays[0].ndim != 3 or arrays[1].shape != arrays[0].shape[:1]:
        raise ValueError(f"{folder} has images {arrays[0].shape} and labels {arrays[1].shape}, which do not match")
    return arrays


def main():
    parser = argparse.ArgumentParser(prog="python -m binarized.bitwise", description="Accuracy of a packed network on MNIST.")
    parser.add_argument("network", metavar="NETWORK.npz")
    parser.add_argument("--images", metavar="DATA_DIR", default="data", help="folder of MNIST's test files (default: data)")
    arguments = parser.parse_args()
    try:
        network = load(arguments.network)
        images, labels = read_test_set(arguments.images)
        right = np.count_nonzero(network.predict(images) == labels)
    except (OSError, ValueError) as error:
        sys.exit(str(error))
    print(network.summary())
    print(f"test accuracy {right / len(labels):.4f}, {right:,} of {len(labels):,} images")


if __name__ == "__main__":
    main()

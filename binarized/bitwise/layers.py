"""The steps of a packed network: layers on words of bits, checked while they are built from the network's file.

Steps exchange ±1 activations as words (words, height, width, images) of `pack_bits`. The image consists of pixels, in
units of 1/255. A step with weights, or a pooling, computes integer accumulators:

    acc = scale * (base - 2 * count), count = sum_b 2^b popcount(x_b XOR w) over the taps of a kernel

`base` depends on the channel and the position. It corrects for padded taps, which are 0 but read as -1. Batch
normalization and binary_tanh become one comparison, acc >= threshold, whose result is flipped where gamma < 0.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from binarized.bitwise.bits import (
    PIXEL_BITS,
    WORD,
    columns,
    mismatches,
    pack_bits,
    pack_planes,
    plane_groups,
    unpack_bits,
)
from binarized.padding import zeros_around


class Step:
    """A step of a network.

    Args:
        spec: dict, its description in the file.
        shapes: list, (height, width, channels) of every input.
        contents: `network.Contents`, from which it reads its weights and thresholds.
        last: bool, whether it is the last step of the network.
    Attributes:
        spec, name: as given. shape: (height, width, channels) of its output.
    Raises:
        ValueError: the description is wrong; the message says why, without the name of the step.
    """

    weights = macs = bit_operations = largest_accumulator = 0

    def __init__(self, spec, shapes, contents, last):
        self.spec = spec
        self.name = spec.get("name")
        if not isinstance(self.name, str):
            raise ValueError("its name must be a string")
        self.channels = [shape[2] for shape in shapes]
        self.shape = shapes[0]

    def _number(self, key, largest=2**20):
        value = self.spec.get(key)
        if type(value) is not int or not 0 < value <= largest:
            raise ValueError(f"{key} must be an integer from 1 to {largest}, got {value!r:.60}")
        return value


class Concatenate(Step):
    """Concatenates tensors along their channels."""

    def __init__(self, spec, shapes, *args):
        super().__init__(spec, shapes, *args)
        if len({shape[:2] for shape in shapes}) > 1:
            raise ValueError(f"heights and widths must be equal, got shapes {shapes}")
        self.shape = (*shapes[0][:2], sum(self.channels))
        if self.shape[2] > 2**16:
            raise ValueError(f"it must have at most {2**16:,} channels, got {self.shape[2]:,}")

    def run(self, inputs: list[np.ndarray], record: dict | None) -> np.ndarray:
        joined = np.zeros((-(-self.shape[2] // 64), *inputs[0].shape[1:]), WORD)
        first = 0
        for words, channels in zip(inputs, self.channels, strict=True):
            for number, word in enumerate(words):
                target, shift = divmod(first + 64 * number, 64)
                joined[target] |= word << WORD.type(shift)
                if shift + min(64, channels - 64 * number) > 64:
                    joined[target + 1] |= word >> WORD.type(64 - shift)
            first += channels
        return joined


class Channels(Step):
    """Selects the channels start, ..., stop - 1 of a tensor."""

    def __init__(self, *args):
        super().__init__(*args)
        self.stop = self._number("stop", self.channels[0])
        self.start = self.stop - self._number("count", self.stop)
        self.shape = (*self.shape[:2], self.stop - self.start)

    def run(self, inputs: list[np.ndarray], record: dict | None) -> np.ndarray:
        first, shift = divmod(self.start, 64)
        words = inputs[0][first : -(-self.stop // 64)]
        taken = words >> WORD.type(shift)
        if shift:
            taken[:-1] |= words[1:] << WORD.type(64 - shift)
        taken = taken[: -(-self.shape[2] // 64)]
        taken[-1] &= WORD.type(2**64 - 1) >> WORD.type(-self.shape[2] % 64)
        return taken


class Accumulation(Step):
    """A step with integer accumulators and, except in the last step, thresholds.

    In `_prepare`, subclasses set `base`, int (channels, height, width), `scale`, int (height, width) or 1,
    `largest_count`, and return the number of output channels. In `_counts` they yield the counts row by row.
    """

    scale = 1
    padding_value = 0

    def __init__(self, spec, shapes, contents, last):
        super().__init__(spec, shapes, contents, last)
        self.planes = PIXEL_BITS if spec["from"] == [0] else 1
        self.top = 2**self.planes - 1
        self.kernel, self.strides = self._geometry()
        self.taps = math.prod(self.kernel)
        self.largest_accumulator = self.top * self._largest_sum()
        if self.largest_accumulator >= 2**31 - 1:  # of thresholds, which are int32, the largest is one never reached
            raise ValueError(f"accumulators must be below {2**31 - 1:,}, got up to {self.largest_accumulator:,}")
        self.pads, inside, sizes = [], [], []
        for size, taps, stride in zip(self.shape[:2], self.kernel, self.strides, strict=True):
            positions = 1 if spec["op"] == "dense" else -(-size // stride)
            before, after = zeros_around(size, taps, stride, positions)
            read = np.arange(positions)[:, None] * stride - before + np.arange(taps)
            inside.append((read >= 0) & (read < size))
            self.pads.append((before, after))
            sizes.append(positions)
        # (height, width, taps): whether a tap reads a pixel, not padding
        inside = (inside[0][:, None, :, None] & inside[1][None, :, None, :]).reshape(*sizes, -1)
        filters = self._prepare(contents, self.channels[0], inside)
        self.shape = (*sizes, filters)
        self.dtype = np.uint16 if self.largest_count < 2**16 - 1 else np.uint32
        self.last = last
        if not last:
            self.flipped = contents.read_bits(filters)[:, None, None]
            numerator = self.base * self.scale - contents.read_thresholds(filters)[:, None, None]
            bound = numerator // (2 * self.scale) + 1  # acc >= threshold is equivalent to count < bound
            self.bound = np.clip(bound, 0, np.iinfo(self.dtype).max).astype(self.dtype)

    def _largest_sum(self):
        """The largest accumulator where every input is 1."""
        return self.taps * self.channels[0]

    def _geometry(self):
        if self.spec["op"] == "dense":
            return self.shape[:2], (1, 1)
        pairs = self.spec.get("kernel"), self.spec.get("strides")
        for pair in pairs:
            if not (isinstance(pair, list) and len(pair) == 2 and all(type(v) is int and 0 < v <= 16 for v in pair)):
                raise ValueError(f"kernel and strides must be pairs of 1 to 16, got {pair!r:.60}")
        return pairs

    def _taps(self, x):
        """Yields, for every output row, a list of what each tap reads: arrays (..., positions, images)."""
        x = np.pad(x, [(0, 0)] * (x.ndim - 3) + [*self.pads, (0, 0)], constant_values=self.padding_value)
        (down, across), width = self.strides, self.shape[1]
        for row in range(self.shape[0]):
            yield [
                x[..., row * down + i, j : j + (width - 1) * across + 1 : across, :]
                for i in range(self.kernel[0])
                for j in range(self.kernel[1])
            ]

    def run(self, inputs: list[np.ndarray], record: dict | None) -> np.ndarray:
        rows, kept = [], []
        for row, counts in enumerate(self._counts(inputs[0])):
            if self.last or record is not None:
                kept.append(counts.astype(np.int64))
            if not self.last:
                rows.append(pack_bits(np.less(counts, self.bound[:, row, :, None]) ^ self.flipped))
        if kept:
            scale = np.broadcast_to(self.scale, self.shape[:2])[..., None]
            accumulators = scale * (self.base[..., None] - 2 * np.stack(kept, axis=1))
            if record is not None:
                record[self.name] = accumulators
        return accumulators if self.last else np.stack(rows, axis=1)


class Convolution(Accumulation):
    """Convolution, or a dense layer, which is a convolution whose kernel covers its input."""

    def _prepare(self, contents, channels, inside):
        kernel = self.read_kernel(contents)
        self._set_kernel(kernel, inside)
        self.weights, self.macs = kernel.size, kernel.size * inside[..., 0].size
        return len(kernel)

    def read_kernel(self, contents: Any) -> np.ndarray:
        """Reads the next weights as a kernel, bool (filters, taps, channels)."""
        return contents.read_bits(self._number("filters"), self.taps, self.channels[0])

    def _set_kernel(self, kernel, inside):
        """Packs a kernel, bool (filters, taps, channels)."""
        _, taps, channels = kernel.shape
        padded = (~inside).astype(np.int64) @ kernel.sum(2).T  # padded taps read as -1: mismatches where w is +1
        self.base = self.top * np.moveaxis(inside.sum(2)[..., None] * channels + 2 * padded, 2, 0)
        self.groups = [(0, 1)] if self.planes == 1 else plane_groups(taps, channels)
        kernel_words, self.exponents = [], []
        for first, planes in self.groups:
            copies = np.repeat(kernel, 2**planes - 1, axis=2)
            words = pack_bits(copies.transpose(2, 1, 0))
            kernel_words += columns([words[:, tap] for tap in range(taps)], copies.shape[2])
            self.exponents += [first] * (len(kernel_words) - len(self.exponents))
        self.kernel_words = np.stack(kernel_words, axis=1)
        self.largest_count = self.top * taps * channels
        self.bit_operations = 2 * self.planes * kernel.size * inside[..., 0].size

    def _counts(self, x):
        parts = [x] if self.planes == 1 else [pack_planes(x, *group) for group in self.groups]
        for row in zip(*map(self._taps, parts), strict=True):
            inputs = []
            for taps, (_, planes) in zip(row, self.groups, strict=True):
                inputs += columns(taps, (2**planes - 1) * self.channels[0])
            yield mismatches(inputs, self.kernel_words, self.exponents, self.dtype)


class Separable(Convolution):
    """Depthwise convolution followed by a pointwise one, which sums the depthwise accumulators.

    The depthwise part processes 64 channels at once. It counts matches in bit planes, bit k of every count in plane k.
    The pointwise part reads these planes as a convolution reads the bit planes of pixels. With one input channel, both
    kernels fold into one convolution.
    """

    def _prepare(self, contents, channels, inside):
        depthwise, pointwise = self._read_kernels(contents)
        positions = inside[..., 0].size
        self.weights = depthwise.size + pointwise.size
        self.macs = self.weights * positions
        if channels == 1:
            self._set_kernel(pointwise[:, None] == depthwise, inside)  # product of the kernels: +1 where they agree
            return len(pointwise)
        levels = self.taps.bit_length()
        full = 2**levels - 1
        padded = (~inside).astype(np.int64) @ ~depthwise  # padded taps read as -1: matches where w is -1
        inner = 2 * padded + inside.sum(2)[..., None]
        base = 2 * full * pointwise.sum(1) - inner @ (2 * pointwise.T.astype(np.int64) - 1)
        self.base = self.top * np.moveaxis(base, 2, 0)
        self.inverted = pack_bits(~depthwise.T)[..., None, None]  # x XOR this is 1 at a match
        planes = [level + plane for plane in range(self.planes) for level in range(levels)]
        self.order = np.argsort(planes)[::-1]
        self.exponents = np.repeat(np.sort(planes)[::-1], len(self.inverted)).tolist()
        self.kernel_words = np.tile(pack_bits(pointwise.T).T, len(planes))
        self.largest_count = self.top * full * channels
        self.bit_operations = 2 * self.planes * (depthwise.size + levels * pointwise.size) * positions
        return len(pointwise)

    def _read_kernels(self, contents):
        depthwise = contents.read_bits(self.taps, self.channels[0])
        return depthwise, contents.read_bits(self._number("filters"), self.channels[0])

    def read_kernel(self, contents: Any) -> np.ndarray:
        depthwise, pointwise = self._read_kernels(contents)
        return pointwise[:, None] == depthwise

    def _counts(self, x):
        if self.channels[0] == 1:
            yield from super()._counts(x)
            return
        parts = [x] if self.planes == 1 else [pack_planes(x, plane, 1) for plane in range(self.planes)]
        for row in zip(*map(self._taps, parts), strict=True):
            planes = [plane for taps in row for plane in self._depthwise(taps)]
            inputs = [words for number in self.order for words in planes[number]]
            yield mismatches(inputs, self.kernel_words, self.exponents, self.dtype)

    def _depthwise(self, taps):
        """Counts matches: list of uint64 arrays (words, positions, images); array k holds bit k of the counts."""
        counter = []
        for number, tap in enumerate(taps, start=1):
            carry = tap ^ self.inverted[:, number - 1]
            if number.bit_length() > len(counter):
                counter.append(np.zeros_like(carry))
            for level, plane in enumerate(counter):
                counter[level], carry = plane ^ carry, plane & carry
        return counter


class Pooling(Accumulation):
    """Maximum or average pooling, without the padding. An average is an integer multiple of 1 / `average_units`.

    The count of a value is its distance from the largest value, so the maximum has the smallest count.
    """

    def _largest_sum(self):
        return average_units(self.kernel) if self.spec["op"] == "average" else 1

    def _prepare(self, contents, channels, inside):
        if self.spec["op"] == "maximum":
            self.padding_value = self.largest_count = self.top
            self.base = np.full((channels, *inside.shape[:2]), self.top)
        else:
            self.largest_count = self.top * self.taps
            valid = inside.sum(2)
            self.base = np.broadcast_to(self.top * valid, (channels, *valid.shape))
            self.scale = average_units(self.kernel) // valid
        return channels

    def _counts(self, x):
        values = unpack_bits(x, self.channels[0]) if self.planes == 1 else x
        for taps in self._taps(np.uint8(self.top) - values):
            counts = taps[0].astype(self.dtype)
            for tap in taps[1:]:
                (np.minimum if self.spec["op"] == "maximum" else np.add)(counts, tap, out=counts)
            yield counts


def average_units(kernel: Sequence[int]) -> int:
    """Accumulators of an average are in units of 1 / this number, a multiple of every possible number of pixels.

    It is lcm(1, ..., kernel height) * lcm(1, ..., kernel width).
    """
    return math.prod(math.lcm(*range(1, size + 1)) for size in kernel)


STEPS = {
    "conv": Convolution,
    "dense": Convolution,
    "separable": Separable,
    "maximum": Pooling,
    "average": Pooling,
    "concat": Concatenate,
    "channels": Channels,
}

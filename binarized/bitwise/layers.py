"""The steps of a packed network: layers on words of bits, checked as they are built from the network's file.

What passes from step to step is ±1: words (words, height, width, images) of `pack_bits`. The image is pixels, in units
of 1/255. A step with weights, or a pooling, counts in integers:

    accumulator  acc = scale * (base - 2 * count), count = sum_b 2^b popcount(x_b XOR w) over a kernel's taps

`base` belongs to a channel and a position: there a padded tap, which is neither +1 nor -1 but reads as bits 0, is taken
out of the count again. Batch normalization and binary_tanh are one comparison, acc >= threshold, its result turned
round where gamma < 0.
"""

import math

import numpy as np

from binarized.bitwise.bits import PIXEL_BITS, WORD, columns, digit, digits, mismatches, pack_bits, unpack_bits
from binarized.padding import zeros_around


class Step:
    """A step of a network: its description in the file, and (height, width, channels) of what it gives."""

    weights = macs = bit_operations = 0

    def __init__(self, spec, shapes, contents, last):
        self.spec = spec
        self.channels = [shape[2] for shape in shapes]
        self.shape = shapes[0]

    def _number(self, key, largest=2**20):
        value = self.spec.get(key)
        if type(value) is not int or not 0 < value <= largest:
            raise ValueError(f"{key} of a step must be a whole number from 1 to {largest}, got {value!r:.60}")
        return value


class Concatenate(Step):
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


class Channels(Step):
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


class Accumulation(Step):
    """A step with integer accumulators and thresholds (none in the last step).

    Subclasses set, in `_prepare`, base int (channels, height, width), scale int (height, width) or 1, and most, the
    largest count, and return the number of channels; in `_counts` they yield the counts of one row of positions after
    the other.
    """

    scale = 1
    padding_value = 0

    def __init__(self, spec, shapes, contents, last):
        super().__init__(spec, shapes, contents, last)
        self.name = spec.get("name")
        if not isinstance(self.name, str):
            raise ValueError(f"name of a step must be text, got {self.name!r:.60}")
        self.planes = PIXEL_BITS if spec["from"] == [0] else 1
        self.top = 2**self.planes - 1
        self.kernel, self.strides = self._geometry()
        self.taps = math.prod(self.kernel)
        self.pads, inside, sizes = [], [], []
        for size, taps, stride in zip(self.shape[:2], self.kernel, self.strides):
            positions = 1 if spec["op"] == "dense" else -(-size // stride)
            before, behind = zeros_around(size, taps, stride, positions)
            read = np.arange(positions)[:, None] * stride - before + np.arange(taps)
            inside.append((read >= 0) & (read < size))
            self.pads.append((before, behind))
            sizes.append(positions)
        # (height, width, taps): which taps read a pixel and not the padding
        inside = (inside[0][:, None, :, None] & inside[1][None, :, None, :]).reshape(*sizes, -1)
        filters = self._prepare(contents, self.channels[0], inside)
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

    def _geometry(self):
        if self.spec["op"] == "dense":
            return self.shape[:2], (1, 1)
        pairs = self.spec.get("kernel"), self.spec.get("strides")
        for pair in pairs:
            if not (isinstance(pair, list) and len(pair) == 2 and all(type(v) is int and 0 < v <= 16 for v in pair)):
                raise ValueError(f"kernel and strides of a step must be pairs of 1 to 16, got {pair!r:.60}")
        return pairs

    def _taps(self, x):
        """For every row of positions, the list of what each tap reads of x: arrays (..., positions, images)."""
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


class Convolution(Accumulation):
    """Convolution, and a dense layer: a convolution whose kernel covers its input."""

    def _prepare(self, contents, channels, inside):
        kernel = self.read_kernel(contents)
        self._set_kernel(kernel, inside)
        self.weights, self.macs = kernel.size, kernel.size * inside[..., 0].size
        return len(kernel)

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


class Separable(Convolution):
    """Depthwise convolution, whose integer accumulators a pointwise one adds up.

    The depthwise one works on 64 channels at once: matches are counted in planes of words, bit k of the count in plane
    k, and those planes are to the pointwise one what a pixel's are to a convolution. Of one channel the two are one
    ordinary convolution.
    """

    def _prepare(self, contents, channels, inside):
        depthwise, pointwise = self._read_kernels(contents)
        positions = inside[..., 0].size
        self.weights = depthwise.size + pointwise.size
        self.macs = self.weights * positions
        if channels == 1:
            self._set_kernel(pointwise[:, None] == depthwise, inside)  # the product of the two, +1 where they agree
            return len(pointwise)
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
        return len(pointwise)

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
        """Numbers of matches: list of uint64 arrays (words, positions, images), bit k of them in the one at k."""
        counter = []
        for number, tap in enumerate(taps, start=1):
            carry = tap ^ self.inverted[:, number - 1]
            if number.bit_length() > len(counter):
                counter.append(np.zeros_like(carry))
            for level, plane in enumerate(counter):
                counter[level], carry = plane ^ carry, plane & carry
        return counter


class Pooling(Accumulation):
    """Maximum, or average in units of 1 / (lcm(1..kernel height) * lcm(1..kernel width)), over what is not padding.

    A value's count is how far it is below the largest one, so the maximum is the smallest count.
    """

    def _prepare(self, contents, channels, inside):
        if self.spec["op"] == "maximum":
            self.padding_value = self.most = self.top
            self.base = np.full((channels, *inside.shape[:2]), self.top)
        else:
            self.most = self.top * self.taps
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


def average_units(kernel):
    """Accumulators of an average count in 1 / this; every number of taps inside an image divides it."""
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

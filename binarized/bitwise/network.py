"""A packed network, run with numpy alone, and its file format."""

import json
import math
import zipfile
from pathlib import Path

import numpy as np

from binarized.bitwise.layers import STEPS, Channels, Concatenate

VERSION = 1  # of the file format
IMAGES = 256  # images per batch
ARRAYS = {"architecture": (np.uint8, 1), "bits": (np.uint8, 1), "thresholds": (np.int32, 1), "scores": (np.float64, 2)}
LARGEST = 256  # largest height, width and number of channels of an image
LARGEST_FILE = 2**26  # bytes of a file's arrays, enough for 500 million weights


class Contents:
    """The bits and thresholds of a network, read step by step."""

    def __init__(self, bits: np.ndarray, thresholds: np.ndarray):
        self._bits, self._thresholds = bits, thresholds
        self._bit = self._threshold = 0

    def read_bits(self, *shape: int) -> np.ndarray:
        """Reads the next bits into a bool array of this shape."""
        count, first = math.prod(shape), self._bit
        self._bit += count
        if self._bit > 8 * len(self._bits):
            raise ValueError(f"its architecture has more weights than its {8 * len(self._bits):,} bits")
        octets = self._bits[first // 8 : -(-self._bit // 8)]
        return np.unpackbits(octets, bitorder="little")[first % 8 :][:count].astype(bool).reshape(shape)

    def read_thresholds(self, count: int) -> np.ndarray:
        """Reads the next thresholds into an int64 array."""
        self._threshold += count
        if self._threshold > len(self._thresholds):
            raise ValueError(f"its architecture has more channels than its {len(self._thresholds):,} thresholds")
        return self._thresholds[self._threshold - count : self._threshold].astype(np.int64)

    def check_used_up(self) -> None:
        left = len(self._bits) - -(-self._bit // 8)
        if left or self._bit % 8 and self._bits[-1] >> self._bit % 8:
            raise ValueError(f"it has {len(self._bits):,} bytes of bits, but its architecture needs {self._bit:,} bits")
        if self._threshold != len(self._thresholds):
            raise ValueError(
                f"it has {len(self._thresholds):,} thresholds, but its architecture needs {self._threshold:,}"
            )


class Network:
    """A packed network, from a Keras model by `pack` or from a file by `load`.

    Args:
        architecture: uint8 array (n,), JSON text: the image shape and the steps, each with the numbers of the steps
            that it reads (0 is the image).
        bits: uint8 array (n,), 8 bits per byte: for every step, its weights (1 is +1), then one bit per threshold, 1
            where the comparison is flipped.
        thresholds: int32 array (n,), one per channel, in units of the accumulators.
        scores: float64 array (2, classes), scale and offset of the last accumulators.
    Attributes:
        weights: number of binary weights.
        macs: multiply-accumulates per image; each weight is used at every position of its layer.
        bit_operations: single-bit XNORs and counts per image. A multiply-accumulate takes 2 on ±1, and 2 per bit plane
            on pixels (8 planes) and between a depthwise and a pointwise convolution (bit length of the taps).
        float_bytes: size in float32: 4 bytes per weight, 16 per channel for mean, variance, gamma and beta.
        packed_bytes: size packed: 1/8 byte per weight, 4 1/8 per threshold, 16 per class.
    Raises:
        ValueError: the arrays do not fit together.
    """

    def __init__(self, architecture: np.ndarray, bits: np.ndarray, thresholds: np.ndarray, scores: np.ndarray):
        arrays = {"architecture": architecture, "bits": bits, "thresholds": thresholds, "scores": scores}
        for name, (dtype, axes) in ARRAYS.items():
            if arrays[name].dtype != dtype or arrays[name].ndim != axes:
                found = f"{arrays[name].dtype} with {arrays[name].ndim} axes"
                raise ValueError(f"{name} must be {dtype.__name__} with {axes} axes, got {found}")
        self.arrays = arrays
        try:
            description = json.loads(architecture.tobytes())
        except (ValueError, RecursionError):
            raise ValueError("its architecture is not JSON") from None
        if not isinstance(description, dict) or description.get("version") != VERSION:
            raise ValueError(f"its format is not version {VERSION}")
        shape, specs = description.get("image"), description.get("steps")
        if not (
            isinstance(shape, list) and len(shape) == 3 and all(type(v) is int and 0 < v <= LARGEST for v in shape)
        ):
            raise ValueError(f"its image must have height, width and channels from 1 to {LARGEST}, got {shape!r:.60}")
        if not (isinstance(specs, list) and specs):
            raise ValueError("it has no steps")
        contents = Contents(bits, thresholds)
        self.image_shape = tuple(shape)
        self.steps = []
        self._last_use = [0] * len(specs)  # last step that reads the image, or the output of a step
        for number, spec in enumerate(specs):
            self.steps.append(self._step(number, spec, contents, number == len(specs) - 1))
        contents.check_used_up()
        if self.steps[-1].shape != (1, 1, scores.shape[1]) or len(scores) != 2 or not np.isfinite(scores).all():
            raise ValueError(
                f"its scores must be a finite scale and offset for each of {self.steps[-1].shape[2]} classes"
            )
        self.weights = sum(step.weights for step in self.steps)
        self.macs = sum(step.macs for step in self.steps)
        self.bit_operations = sum(step.bit_operations for step in self.steps)
        self.float_bytes = 4 * self.weights + 16 * (len(thresholds) + scores.shape[1])
        self.packed_bytes = -(-(self.weights + len(thresholds)) // 8) + 4 * len(thresholds) + 16 * scores.shape[1]

    def _step(self, number, spec, contents, last):
        if not isinstance(spec, dict) or spec.get("op") not in STEPS:
            raise ValueError(f"step {number + 1} must be one of {', '.join(STEPS)}")
        sources = spec.get("from")
        if not (isinstance(sources, list) and sources and all(type(v) is int and 0 <= v <= number for v in sources)):
            raise ValueError(f"step {number + 1} must read the image (0) or steps before it, got {sources!r:.60}")
        kind = STEPS[spec["op"]]
        if len(sources) > 1 and kind is not Concatenate or last and spec["op"] != "dense":
            raise ValueError(f"step {number + 1} ({spec['op']}) reads several steps, or is the last one and not dense")
        if 0 in sources and kind in (Concatenate, Channels):
            raise ValueError(f"step {number + 1} ({spec['op']}) reads the image itself")
        for source in sources:
            self._last_use[source] = number
        shapes = [self.steps[source - 1].shape if source else self.image_shape for source in sources]
        try:
            return kind(spec, shapes, contents, last)
        except ValueError as error:
            raise ValueError(f"step {number + 1} ({spec['op']} {spec.get('name')!r:.60}): {error}") from None

    def _run(self, images, record=None):
        """Accumulators of the last step for a batch, int64 (classes, images)."""
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
        if images.dtype != np.uint8 or images.shape[1:] != self.image_shape:
            shape = ", ".join(map(str, self.image_shape))
            raise ValueError(f"images must be uint8 (n, {shape}), got {images.dtype} {images.shape}")
        return [images[first : first + IMAGES] for first in range(0, max(1, len(images)), IMAGES)]

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Outputs of the Keras model, float64 (n, classes), for uint8 images (n, height, width[, channels])."""
        scale, offset = self.arrays["scores"]
        return np.concatenate([self._run(batch).T * scale + offset for batch in self._batches(images)])

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Predicted classes, int array (n,), for uint8 images (n, height, width[, channels])."""
        return self.scores(images).argmax(axis=1)

    def accumulators(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Integer accumulators of every layer with weights and of every pooling.

        Args:
            images: uint8 array (n, height, width[, channels]).
        Returns:
            dict, name of the Keras layer -> int64 array (n, height, width, channels). The output of the Keras layer is
            this array times the H of its kernels, / 255 if it reads the image, / `average_units` for an average.
        """
        records = []
        for batch in self._batches(images):
            records.append({})
            self._run(batch, records[-1])
        return {name: np.concatenate([r[name].transpose(3, 1, 2, 0) for r in records]) for name in records[0]}

    def save(self, path: str | Path) -> None:
        """Writes the network to a .npz file. After an error there is no partial file."""
        partial = Path(f"{path}.partial")
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, **self.arrays)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def summary(self) -> str:
        """Text of four lines: weights, sizes, operations, and what a bit operation is."""
        return (
            f"{self.weights:,} binary weights, {len(self.arrays['thresholds']):,} thresholds\n"
            f"float32 {self.float_bytes:,} bytes, packed {self.packed_bytes:,} bytes, "
            f"ratio {self.float_bytes / self.packed_bytes:.1f}\n"
            f"{self.macs:,} MACs, {self.bit_operations:,} bit operations per image\n"
            "a bit operation is the XNOR or the count of one bit: 2 for a MAC on -1 and +1, 16 on 8-bit pixels"
        )


def load(path: str | Path) -> Network:
    """Loads a network from a file of `Network.save`. Nothing in the file is executed, and all of it is checked.

    Raises:
        ValueError: the file is truncated, damaged, of another version or not a packed network; the message says which.
        OSError: the file does not exist or cannot be opened.
    """
    with Path(path).open("rb") as file:
        try:
            return Network(**_read_arrays(file))
        except Exception as error:  # a damaged archive makes zipfile raise almost anything
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path} is not a packed network: {reason}") from None


def _read_arrays(file):
    with zipfile.ZipFile(file) as archive:
        names = sorted(archive.namelist())
        if names != sorted(f"{name}.npy" for name in ARRAYS):
            raise ValueError(f"it holds {', '.join(names)!r:.80}, not {', '.join(ARRAYS)}")
        size = sum(member.file_size for member in archive.infolist())
        if size > LARGEST_FILE:  # a small file of zeros can unpack to more than the memory
            raise ValueError(f"it unpacks to {size:,} bytes, more than {LARGEST_FILE:,}")
        arrays = {}
        for name in ARRAYS:
            with archive.open(f"{name}.npy") as member:
                arrays[name] = np.lib.format.read_array(member, allow_pickle=False)
                if member.read(1):  # reading to the end also verifies the checksum
                    raise ValueError(f"{name} has more data than its header says")
        return arrays

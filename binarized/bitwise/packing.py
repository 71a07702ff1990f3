"""Packs a trained Keras model.

Thresholds: y = gamma * (x - mean) / sqrt(variance + epsilon) + beta with x = unit * acc is solved for y = 0 in float64,
from the stored float32 values. The threshold is the first integer with y >= 0 (gamma > 0) or with y < 0 (gamma < 0). An
integer solution is a tie: y is 0 and binary_tanh gives +1, as in Keras. Keras rounds y to float32, so the results can
differ only where |y| is below that rounding error. On ±1 inputs with H = 1, Keras's accumulators are exact; on pixels
they are rounded too.
"""

import itertools
import json
import math
import typing
from collections.abc import Iterable

import keras
import numpy as np

from binarized.bitwise.layers import average_units
from binarized.bitwise.network import LARGEST, VERSION, Network

_OPS = {  # registered name of a Keras layer -> step
    "binarized>BinaryConv2D": "conv",
    "binarized>BinaryDense": "dense",
    "binarized>BinarySeparableConv2D": "separable",
    "MaxPooling2D": "maximum",
    "AveragePooling2D": "average",
}


def pack(model: keras.Model) -> Network:
    """Packs a trained Keras model.

    Args:
        model: functional or Sequential keras.Model. It reads one image in [-1, +1]. Poolings and binary layers without
            bias and activation, padded 'same', are each followed by a `Normalization`; one can also follow several that
            are concatenated. The last `Normalization` has binary=False and gives the only output.
    Returns:
        Network.
    Raises:
        ValueError: the model or one of its layers cannot be packed; the message says why and names the layer.
    """
    model = _functional(model)
    layers = {layer.name: layer for layer in model.operations}
    packer = _Packer()
    for config in model.get_config()["layers"]:
        packer.add(layers[config["name"]], config)
    if packer.scores is None:
        _refuse(model.operations[-1], "is the end of the model, which must be a Normalization with binary=False")
    try:
        return packer.network()
    except ValueError as error:
        raise ValueError(f"pack: {error}") from None


class _Unnormalized(typing.NamedTuple):
    """A step whose thresholds are not known yet; an accumulator of 1 is `unit` in the output of the Keras layer."""

    spec: dict
    weights: list
    unit: float
    channels: int


class _Packer:
    """Collects the steps of a network, their weights and thresholds, layer by layer.

    Attributes:
        tensors: dict, (layer name, output index) -> what computes this tensor and its shape. A ±1 tensor and the image
            have the number of a step (0 is the image), others a list of `_Unnormalized`.
        scores: array (2, classes) once the last layer was added, else None.
    """

    def __init__(self):
        self.tensors = {}
        self.specs, self.bits, self.thresholds, self.scores = [], [], [], None

    def add(self, layer, config):
        """Adds the next layer of the model, with its configuration in it."""
        if self.scores is not None:
            _refuse(layer, "comes after the last normalization")
        if len(config["inbound_nodes"]) > 1:
            _refuse(layer, "is used more than once")
        kind = config["registered_name"] or config["class_name"]
        if kind == "InputLayer":
            outputs, shapes = [0], [self._image_shape(layer, config["config"]["batch_shape"])]
        else:
            inputs, shapes = zip(*(self.tensors[source] for source in _sources(config["inbound_nodes"])), strict=True)
            outputs = self._outputs(layer, kind, list(inputs), shapes)
            shapes = layer.compute_output_shape(shapes[0] if len(shapes) == 1 else list(shapes))
            shapes = shapes if len(outputs) > 1 else [shapes]
        for number, tensor in enumerate(zip(outputs, shapes, strict=True)):
            self.tensors[layer.name, number] = tensor

    def network(self):
        image = self.tensors[next(iter(self.tensors))][1][1:]
        description = {"version": VERSION, "image": image, "steps": self.specs}
        return Network(
            np.frombuffer(json.dumps(description, separators=(",", ":")).encode(), np.uint8),
            np.packbits(np.concatenate([array.ravel() for array in self.bits]), bitorder="little"),
            np.concatenate([*self.thresholds, np.zeros(0, np.int32)]),
            self.scores,
        )

    def _image_shape(self, layer, shape):
        if self.tensors:
            _refuse(layer, "is a second input")
        if len(shape) != 4 or not all(size and size <= LARGEST for size in shape[1:]):
            accepted = f"a known height, width and channels from 1 to {LARGEST}"
            _refuse(layer, f"must have {accepted}, got shape {tuple(shape[1:])}")
        return shape

    def _outputs(self, layer, kind, inputs, shapes):
        """What computes each output of a layer."""
        unnormalized = [isinstance(value, list) for value in inputs]
        if kind == "binarized>Normalization" and all(unnormalized):
            return [self._normalize(layer, *inputs) if layer.binary else self._score(layer, *inputs)]
        if kind == "Concatenate" and (layer.axis not in (-1, 3) or len(shapes[0]) != 4):
            _refuse(layer, "does not concatenate channels of images")
        if kind == "Concatenate" and all(unnormalized):
            return [list(itertools.chain(*inputs))]
        if any(unnormalized) and kind == "BatchNormalization":
            _refuse(layer, "follows a pooling or a layer with weights: binarized.normalization.Normalization is needed")
        if any(unnormalized):
            _refuse(layer, "is between a pooling or a layer with weights and its normalization")
        if kind == "Flatten" and layer.data_format != "channels_last":
            _refuse(layer, "has channels first")
        if kind in ("Dropout", "binarized>DropoutNoScale", "Flatten"):
            return inputs
        if kind == "Concatenate":
            return [self._add_step({"op": "concat", "name": layer.name, "from": inputs})]
        if kind == "pnas>Split":
            part = {"op": "channels", "name": layer.name, "from": inputs}
            stops = itertools.accumulate(layer.sizes)
            sizes = zip(layer.sizes, stops, strict=True)
            return [self._add_step({**part, "stop": stop, "count": size}) for size, stop in sizes]
        return [[_step_without_thresholds(layer, kind, inputs, shapes[0])]]

    def _add_step(self, spec):
        """Adds a step and returns its number."""
        self.specs.append(spec)
        return len(self.specs)

    def _normalize(self, layer, parts):
        """Adds the steps before a binary normalization, with its thresholds."""
        numbers, first = [], 0
        for part in parts:
            thresholds, flipped = _thresholds(layer, first, part)
            numbers.append(self._add_step(part.spec))
            self.bits += [*part.weights, flipped]
            self.thresholds.append(thresholds)
            first += part.channels
        if len(numbers) == 1:
            return numbers[0]
        return self._add_step({"op": "concat", "name": layer.name, "from": numbers})

    def _score(self, layer, parts):
        """Adds the last layer with weights, whose normalization gives the scores."""
        if len(parts) > 1 or parts[0].spec["op"] != "dense":
            _refuse(layer, "is not binary and does not follow a single dense layer")
        number = self._add_step(parts[0].spec)
        self.bits += parts[0].weights
        gamma, beta, mean, deviation = _statistics(layer)
        self.scores = np.stack([gamma / deviation * parts[0].unit, beta - gamma / deviation * mean])
        return number


def _functional(model):
    """The model as a functional one, with one output."""
    try:
        functional = keras.Model(model.inputs, model.outputs)
    except (AttributeError, ValueError):
        accepted = "a functional or a built Sequential keras.Model"
        raise ValueError(f"pack: model must be {accepted}, got {model!r:.80}") from None
    if len(functional.outputs) > 1:
        raise ValueError(f"pack: model must have one output, got {len(functional.outputs)}")
    return functional


def _refuse(layer, why):
    raise ValueError(f"pack: layer {layer.name!r} ({type(layer).__name__}) {why}")


def _sources(node):
    """Yields the inputs of a layer in a model's configuration, each as (layer name, output index)."""
    if isinstance(node, dict):
        if "keras_history" in node:
            name, _, number = node["keras_history"]
            yield name, number
        node = node.values()
    if not isinstance(node, str):
        for part in node if isinstance(node, Iterable) else ():
            yield from _sources(part)


def _step_without_thresholds(layer, kind, inputs, shape):
    """The step of a pooling or of a layer with weights, on an input of this shape."""
    unit = 1 / 255 if inputs == [0] else 1.0
    spec = {"op": _OPS.get(kind), "name": layer.name, "from": inputs}
    if spec["op"] is None:
        _refuse(layer, "has no bitwise form")
    if spec["op"] == "dense":
        if any(size != 1 for size in shape[1:-1]):
            _refuse(layer, "does not follow a Flatten layer")
    else:
        spec |= _geometry(layer)
    if "Pooling" in kind:
        return _Unnormalized(
            spec, [], unit / average_units(spec["kernel"]) if spec["op"] == "average" else unit, shape[-1]
        )
    weights, magnitude = _weights(layer)
    spec["filters"] = len(weights[-1])
    return _Unnormalized(spec, weights, unit * magnitude, spec["filters"])


def _geometry(layer):
    """Kernel and strides of a pooling or a convolution, as in the description of a step."""
    dilated = max(getattr(layer, "dilation_rate", (1, 1))) > 1
    if layer.padding != "same" or layer.data_format != "channels_last" or dilated:
        _refuse(layer, "is not padded 'same', has channels first or is dilated")
    kernel = layer.pool_size if hasattr(layer, "pool_size") else layer.kernel_size
    return {"kernel": list(kernel), "strides": list(layer.strides)}


def _weights(layer):
    """The kernels of a layer, bool, filters first, and the product of their magnitudes."""
    if layer.use_bias or layer.activation is not keras.activations.linear:
        _refuse(layer, "has a bias or an activation")
    if getattr(layer, "depth_multiplier", 1) > 1:
        _refuse(layer, "has a depth multiplier")
    kernels = [kernel.variable.numpy() for kernel in layer.binary_kernels]
    if not all(np.isfinite(kernel).all() for kernel in kernels):
        _refuse(layer, "has weights that are not finite")
    kernels = [kernel >= 0 for kernel in kernels]
    # A depthwise kernel (height, width, channels, 1) is unchanged.
    kernels[-1] = np.moveaxis(kernels[-1], -1, 0)
    return kernels, math.prod(float(np.float32(kernel.H)) for kernel in layer.binary_kernels)


def _statistics(layer):
    """gamma, beta, mean and sqrt(variance + epsilon) of a Normalization, float64."""
    variables = layer.gamma, layer.beta, layer.mean, layer.variance
    gamma, beta, mean, variance = (variable.numpy().astype(np.float64) for variable in variables)
    variance += layer.epsilon
    if not (np.isfinite([gamma, beta, mean, variance]).all() and (variance > 0).all()):
        _refuse(layer, "has statistics that are not finite, or a variance that is not above 0")
    return gamma, beta, mean, np.sqrt(variance)


def _thresholds(layer, first, part):
    """Thresholds, int32, and flipped comparisons, bool, of a step that has the channels from `first` on."""
    channels = slice(first, first + part.channels)
    gamma, beta, mean, deviation = (numbers[channels] for numbers in _statistics(layer))
    solution = (mean - beta * deviation / np.where(gamma, gamma, 1)) / part.unit
    threshold = np.where(gamma > 0, np.ceil(solution), np.floor(solution) + 1)
    threshold[gamma == 0] = -np.inf  # y is beta everywhere
    flipped = np.where(gamma, gamma < 0, beta < 0)
    limits = np.iinfo(np.int32)
    return np.clip(threshold, limits.min, limits.max).astype(np.int32), flipped

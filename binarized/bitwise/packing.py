"""From a trained Keras model to a packed network.

Rule for thresholds: y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, with x = unit * acc, is solved for y = 0
in float64 from the stored float32 numbers, rounded to the integer at which y >= 0 begins (or ends, where gamma < 0).
A tie is an integer solution: y is 0 and binary_tanh is +1, as in Keras. Keras rounds y to float32, and so may decide
otherwise only where |y| is within that rounding; on ±1 inputs with H = 1 its accumulators are exact, on pixels they are
rounded, too.
"""

import itertools
import json
import typing
from collections.abc import Iterable

import numpy as np

from binarized.bitwise.layers import average_units
from binarized.bitwise.network import VERSION, Network

_OPS = {  # class of a Keras layer -> step
    "BinaryConv2D": "conv",
    "BinaryDense": "dense",
    "BinarySeparableConv2D": "separable",
    "MaxPooling2D": "maximum",
    "AveragePooling2D": "average",
}


def pack(model):
    """Packs a trained Keras model.

    Args:
        model: keras.Model as of `pnas.model.build_child`: an image in [-1, +1]; poolings and binary layers without bias
            or activation, all padded 'same', with a `Normalization` behind each, or behind several that are
            concatenated; the last of them is not binary.
    Returns:
        Network.
    Raises:
        ValueError: a layer has no bitwise form; the message names it.
    """
    # (name of a layer, number of its output) -> the number of a step, whose output is ±1 (0: the image), or a list of
    # _Sum
    tensors = {}
    specs, bits, thresholds, scores = [], [], [], None

    def add(spec):
        specs.append(spec)
        return len(specs)

    for config in model.get_config()["layers"]:
        layer, kind = model.get_layer(config["name"]), config["class_name"]
        inputs = [tensors[source] for source in _sources(config["inbound_nodes"])]
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
        elif kind == "Split":
            for number, (size, stop) in enumerate(zip(layer.sizes, itertools.accumulate(layer.sizes))):
                tensors[layer.name, number] = add({"op": "channels", "from": inputs, "stop": stop, "count": size})
            continue
        else:
            value = [_summing(layer, kind, inputs)]
        tensors[layer.name, 0] = value
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
    """What a layer of a model's configuration reads: (name of a layer, number of its output)."""
    if isinstance(node, dict):
        if "keras_history" in node:
            name, _, number = node["keras_history"]
            yield name, number
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
        dilated = max(getattr(layer, "dilation_rate", (1, 1))) > 1
        if layer.padding != "same" or layer.data_format != "channels_last" or dilated:
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
    variables = layer.gamma, layer.beta, layer.mean, layer.variance
    numbers = [variable.numpy().astype(np.float64) for variable in variables]
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

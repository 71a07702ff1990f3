"""Packs a trained Keras model.

Thresholds: y = gamma * (x - mean) / sqrt(variance + epsilon) + beta with x = unit * acc is solved for y = 0 in float64,
from the stored float32 values. The threshold is the first integer with y >= 0 (gamma > 0) or with y < 0 (gamma < 0). An
integer solution is a tie: y is 0 and binary_tanh gives +1, as in Keras. Keras rounds y to float32, so the results can
differ only where |y| is below that rounding error. On ±1 inputs with H = 1, Keras's accumulators are exact; on pixels
they are rounded too.
"""

import itertools
import json
import typing
from collections.abc import Iterable

import keras
import numpy as np

from binarized.bitwise.layers import average_units
from binarized.bitwise.network import VERSION, Network

_OPS = {  # registered name of a Keras layer -> step
    "binarized>BinaryConv2D": "conv",
    "binarized>BinaryDense": "dense",
    "binarized>BinarySeparableConv2D": "separable",
    "MaxPooling2D": "maximum",
    "AveragePooling2D": "average",
}


def pack(model):
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
    # (layer name, output index) -> the number of the step that computes this ±1 tensor (0: the image), or a list of
    # _Unnormalized steps
    tensors = {}
    specs, bits, thresholds, scores = [], [], [], None

    def add(spec):
        specs.append(spec)
        return len(specs)

    for config in model.get_config()["layers"]:
        layer, kind = model.get_layer(config["name"]), config["registered_name"] or config["class_name"]
        inputs = [tensors[source] for source in _sources(config["inbound_nodes"])]
        unnormalized = [isinstance(value, list) for value in inputs]
        if scores is not None or len(config["inbound_nodes"]) > 1:
            _refuse(layer, "comes after the last normalization, or is used more than once")
        if kind == "InputLayer":
            if tensors:
                _refuse(layer, "is a second input")
            image, value = config["config"]["batch_shape"][1:], 0
            if len(image) != 3 or None in image:
                _refuse(layer, f"must have a known height, width and channels, got shape {tuple(image)}")
        elif kind == "binarized>Normalization" and all(unnormalized):
            (parts,) = inputs
            if layer.binary:
                numbers, first = [], 0
                for part in parts:
                    part_thresholds, flipped = _thresholds(layer, first, part)
                    numbers.append(add(dict(part.spec)))
                    bits += [*part.weights, flipped]
                    thresholds.append(part_thresholds)
                    first += part.channels
                value = numbers[0] if len(numbers) == 1 else add({"op": "concat", "from": numbers})
            else:
                if len(parts) > 1 or parts[0].spec["op"] != "dense":
                    _refuse(layer, "is not binary and does not follow a single dense layer")
                add(parts[0].spec)
                bits += parts[0].weights
                gamma, beta, mean, deviation = _statistics(layer)
                scores = np.stack([gamma / deviation * parts[0].unit, beta - gamma / deviation * mean])
        elif kind == "Concatenate" and (layer.axis not in (-1, 3) or len(layer.output.shape) != 4):
            _refuse(layer, "does not concatenate channels of images")
        elif kind == "Concatenate" and all(unnormalized):
            value = list(itertools.chain(*inputs))
        elif any(unnormalized):
            _refuse(layer, "is between a pooling or a layer with weights and its normalization")
        elif kind == "Flatten" and layer.data_format != "channels_last":
            _refuse(layer, "has channels first")
        elif kind in ("Dropout", "binarized>DropoutNoScale", "Flatten"):
            (value,) = inputs
        elif kind == "Concatenate":
            value = add({"op": "concat", "from": inputs})
        elif kind == "pnas>Split":
            for number, (size, stop) in enumerate(zip(layer.sizes, itertools.accumulate(layer.sizes))):
                tensors[layer.name, number] = add({"op": "channels", "from": inputs, "stop": stop, "count": size})
            continue
        else:
            value = [_step_without_thresholds(layer, kind, inputs)]
        tensors[layer.name, 0] = value
    if scores is None:
        raise ValueError("pack: the model does not end in a Normalization with binary=False")
    description = {"version": VERSION, "image": image, "steps": specs}
    return Network(
        np.frombuffer(json.dumps(description, separators=(",", ":")).encode(), np.uint8),
        np.packbits(np.concatenate([array.ravel() for array in bits]), bitorder="little"),
        np.concatenate([*thresholds, np.zeros(0, np.int32)]),
        scores,
    )


class _Unnormalized(typing.NamedTuple):
    """A step whose thresholds are not known yet; an accumulator of 1 is `unit` in the output of the Keras layer."""

    spec: dict
    weights: list
    unit: float
    channels: int


def _functional(model):
    """The model as a functional one, with one output."""
    try:
        outputs = model.outputs
        functional = keras.Model(model.inputs, outputs)
    except (AttributeError, ValueError):
        outputs = None
    if not outputs:
        raise ValueError(f"pack: model must be a functional or a built Sequential keras.Model, got {model!r:.80}")
    if len(outputs) > 1:
        raise ValueError(f"pack: model must have one output, got {len(outputs)}")
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


def _step_without_thresholds(layer, kind, inputs):
    """The step of a pooling or of a layer with weights."""
    unit = 1 / 255 if inputs == [0] else 1.0
    spec = {"op": _OPS.get(kind), "name": layer.name, "from": inputs}
    if spec["op"] is None:
        _refuse(layer, "has no bitwise form")
    if spec["op"] == "dense":
        if any(size != 1 for size in layer.input.shape[1:-1]):
            _refuse(layer, "does not follow a Flatten layer")
    else:
        kernel = layer.pool_size if "Pooling" in kind else layer.kernel_size
        dilated = max(getattr(layer, "dilation_rate", (1, 1))) > 1
        if layer.padding != "same" or layer.data_format != "channels_last" or dilated:
            _refuse(layer, "is not padded 'same', has channels first or is dilated")
        spec |= {"kernel": list(kernel), "strides": list(layer.strides)}
    if "Pooling" in kind:
        return _Unnormalized(
            spec, [], unit / average_units(kernel) if spec["op"] == "average" else unit, layer.output.shape[-1]
        )
    if layer.use_bias or getattr(layer.activation, "__name__", "linear") != "linear":
        _refuse(layer, "has a bias or an activation")
    if getattr(layer, "depth_multiplier", 1) > 1:
        _refuse(layer, "has a depth multiplier")
    for kernel in layer.binary_kernels:
        unit *= float(np.float32(kernel.H))
    kernels = [kernel.variable.numpy() for kernel in layer.binary_kernels]
    if not all(np.isfinite(kernel).all() for kernel in kernels):
        _refuse(layer, "has weights that are not finite")
    kernels = [kernel >= 0 for kernel in kernels]
    spec["filters"] = kernels[-1].shape[-1]
    # The filters come first; a depthwise kernel (height, width, channels, 1) is unchanged.
    return _Unnormalized(spec, [*kernels[:-1], np.moveaxis(kernels[-1], -1, 0)], unit, spec["filters"])


def _statistics(layer):
    """gamma, beta, mean and sqrt(variance + epsilon) of a Normalization, float64."""
    variables = layer.gamma, layer.beta, layer.mean, layer.variance
    numbers = [variable.numpy().astype(np.float64) for variable in variables]
    if not np.isfinite(numbers).all():
        _refuse(layer, "has statistics that are not finite")
    gamma, beta, mean, variance = numbers
    return gamma, beta, mean, np.sqrt(variance + layer.epsilon)


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

"""The layers of a network, with their weights, operations and memory."""

import math
import typing

from rich.table import Table

from binarized.normalization import Normalization
from pnas.report.console import standard_output


class Layer(typing.NamedTuple):
    """A row of the summary. The sizes are those of `binarized.bitwise.network.Network`.

    `bits` are those of a packed network: 1 per binary weight, and per channel of a normalization 33 for its threshold
    or, in the last one, 128 for its scale and offset. Any other weight has 32.
    """

    name: str
    output_shape: tuple
    binary_weights: int
    float_weights: int
    macs: int
    bits: int


def summarize(model):
    """List of Layer, for every layer of a network of `build_child`."""
    layers = []
    for layer in model.layers:
        binary_weights = sum(kernel.size for kernel in getattr(layer, "binary_kernels", ()))
        outputs = layer.output if isinstance(layer.output, list) else [layer.output]
        shape = outputs[0].shape[1:]
        if isinstance(layer, Normalization):
            float_weights = 4 * shape[-1]  # gamma, beta, mean and variance
            bits = shape[-1] * (33 if layer.binary else 128)
        else:
            float_weights = layer.count_params() - binary_weights
            bits = binary_weights + 32 * float_weights
        macs = math.prod(shape[:-1]) * binary_weights
        layers.append(Layer(layer.name, tuple(shape), binary_weights, float_weights, macs, bits))
    return layers


def print_summary(model):
    """Prints a row per layer, the totals, and what MACs are.

    Memory as bits is that of the network after `binarized.bitwise.pack`.
    """
    table = Table(title=model.name, show_footer=True)
    layers = summarize(model)
    columns = {
        "1-bit weights": [layer.binary_weights for layer in layers],
        "32-bit weights": [layer.float_weights for layer in layers],
        "MACs": [layer.macs for layer in layers],
        "bytes as float32": [4 * (layer.binary_weights + layer.float_weights) for layer in layers],
        "bytes as bits": [layer.bits / 8 for layer in layers],
    }
    table.add_column("layer", "total", overflow="fold")
    table.add_column("output shape")
    for name, numbers in columns.items():
        table.add_column(name, f"{math.ceil(sum(numbers)):,}", justify="right")
    for layer, *numbers in zip(layers, *columns.values()):
        cells = (f"{math.ceil(number):,}" if number else "" for number in numbers)
        table.add_row(layer.name, " x ".join(map(str, layer.output_shape)), *cells)
    console = standard_output()
    if not console.file.isatty():
        console.width = 200  # a table in a file is never broken
    console.print(table)
    console.print(
        "MACs: multiply-accumulates for one image. With the network as bits, each takes 2 bit operations (the XNOR and "
        "the count of a bit) on -1 and +1, 16 on 8-bit pixels, and more inside a separable convolution."
    )

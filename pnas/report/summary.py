"""The layers of a network, with their weights, operations and memory."""

import math

from rich.table import Table

from binarized.normalization import Normalization
from pnas.report.console import standard_output


def summarize(model):
    """Rows of the summary, one for every layer of a network of `build_child`: dict, column -> what stands there.

    The sizes are those of `binarized.bitwise.network.Network`. As bits a binary weight takes 1, a channel of a
    normalization 33 for its threshold or, in the last one, 128 for its scale and offset, and any other weight 32.
    """
    rows = []
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
        rows.append(
            {
                "layer": layer.name,
                "output shape": " x ".join(map(str, shape)),
                "1-bit weights": binary_weights,
                "32-bit weights": float_weights,
                "MACs": math.prod(shape[:-1]) * binary_weights,
                "bytes as float32": 4 * (binary_weights + float_weights),
                "bytes as bits": bits / 8,
            }
        )
    return rows


def print_summary(model):
    """Prints a row per layer, the totals, and what MACs are.

    Memory as bits is that of the network after `binarized.bitwise.pack`.
    """
    table = Table(title=model.name, show_footer=True)
    rows = summarize(model)
    name, shape, *columns = rows[0]
    table.add_column(name, "total", overflow="fold")
    table.add_column(shape)
    for column in columns:
        table.add_column(column, f"{math.ceil(sum(row[column] for row in rows)):,}", justify="right")
    for row in rows:
        cells = (f"{math.ceil(row[column]):,}" if row[column] else "" for column in columns)
        table.add_row(row[name], row[shape], *cells)
    console = standard_output()
    if not console.file.isatty():
        console.width = 200  # a table in a file is never broken
    console.print(table)
    console.print(
        "MACs: multiply-accumulates for one image. With the network as bits, each takes 2 bit operations (the XNOR and "
        "the count of a bit) on -1 and +1, 16 on 8-bit pixels, and more inside a separable convolution."
    )

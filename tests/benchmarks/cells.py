"""The 12 cells that benchmarks compare on, and their networks in any library.

The cells have every operator; 1, 2 and 3 blocks; flat, lookback and block inputs.
"""

NUM_CELLS, FILTERS, DENSE_LAYERS = 3, [16, 24, 32], [32, 10]  # the constants of train.py
CELLS = [
    [0, "3x3 bconv", 0, "3x3 bconv"],
    [0, "3x3 sep-bconv", 0, "5x5 sep-bconv"],
    [0, "1x7-7x1 bconv", 0, "3x3 maxpool"],
    [0, "linear", 0, "5x5 bconv"],
    [0, "3x3 sep-bconv", 0, "3x3 bconv", 0, "5x5 sep-bconv", 0, "1x7-7x1 bconv"],
    [0, "7x7 bconv", 0, "3x3 avgpool", 0, "linear", 0, "3x3 bconv"],
    [-1, "3x3 bconv", 0, "7x7 sep-bconv", 0, "3x3 maxpool", 0, "linear"],
    [0, "3x3 bconv", 0, "linear", 1, "3x3 sep-bconv", 1, "3x3 avgpool"],
    [0, "3x3 bconv", 0, "3x3 bconv", 0, "3x3 sep-bconv", 0, "3x3 sep-bconv", 0, "1x7-7x1 bconv", 0, "5x5 sep-bconv"],
    [0, "5x5 bconv", 0, "3x3 maxpool", 0, "7x7 sep-bconv", 0, "3x3 avgpool", 0, "linear", 0, "linear"],
    [-2, "3x3 avgpool", -1, "1x7-7x1 bconv", 0, "5x5 sep-bconv", 0, "3x3 bconv", -1, "linear", 0, "3x3 maxpool"],
    [0, "3x3 sep-bconv", 0, "3x3 bconv", 1, "5x5 bconv", 0, "1x7-7x1 bconv", 1, "linear", 2, "7x7 bconv"],
]


def wire(cell, image, library, filters=FILTERS, dense_layers=DENSE_LAYERS):
    """The network of `pnas.model.build_child`, branch by branch.

    Args:
        cell: flat list `[input1, op1, input2, op2, ...]`.
        image: tensor of images.
        library: has functions of a tensor: `conv(x, filters, (height, width), (row stride, column stride))`,
            `separable(x, filters, size, stride)`, `pool(x, "max" or "avg", size, stride)`, `dense(x, units)`,
            `flatten(x)`, `normalize(x)` (batch normalization), `activate(x)`, and of tensors: `concatenate(list)`.
        filters, dense_layers: as in `build_child`.
    Returns:
        The tensor of scores (n, classes).
    """

    def normalized(x):
        return library.activate(library.normalize(x))

    def operate(x, operator, filters, stride):
        size, kind = operator.split()[0][0], operator.split()[-1]
        if kind.endswith("pool"):
            return normalized(library.pool(x, kind[:3], 3, stride))
        if kind == "linear" and stride == 1:
            return x
        if kind == "linear":
            # A pooling takes the strides: oneDNN's 1x1 convolution with strides writes beyond its memory, see
            # BinaryConv2D.
            return normalized(library.conv(library.pool(x, "avg", 1, stride), filters, (1, 1), (1, 1)))
        if operator == "1x7-7x1 bconv":
            rows = normalized(library.conv(x, filters, (1, 7), (1, stride)))
            return normalized(library.conv(rows, filters, (7, 1), (stride, 1)))
        if kind == "bconv":
            return normalized(library.conv(x, filters, (int(size), int(size)), (stride, stride)))
        return normalized(library.separable(x, filters, int(size), stride))

    outputs = [image]
    for count in filters:
        halves, blocks = [], []
        for source, operator in zip(cell[0::2], cell[1::2]):
            origin = max(len(outputs) - 1 + source, 0)
            x, stride = (blocks[source - 1], 1) if source > 0 else (outputs[origin], 2 ** (len(outputs) - origin))
            halves.append(operate(x, operator, count, stride))
            if len(halves) % 2 == 0:
                blocks.append(library.concatenate(halves[-2:]))
        unread = [x for number, x in enumerate(blocks, start=1) if number not in cell[0::2]]
        outputs.append(library.concatenate(unread) if len(unread) > 1 else unread[0])
    x = library.flatten(outputs[-1])
    for units in dense_layers[:-1]:
        x = normalized(library.dense(x, units))
    return library.normalize(library.dense(x, dense_layers[-1]))

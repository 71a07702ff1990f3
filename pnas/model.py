"""Operators, and the networks built of them.

An operator is a function `(x, filters, strides, name) -> tensor`, registered with `@operation(name)`. The constant
`operators` of train.py may then contain that name. It divides height and width by `strides`, rounding up, and starts
the names of its layers with `name`. The cell normalizes and binarizes what it returns, unless that is x itself, which
is ±1 already.

An operator that also takes `copies` is called once for all equal operators on one input of a cell, and returns their
results side by side (or x, once). One that does not is called for each. The results that make up a block, or a cell's
output, are normalized together. This is the same arithmetic in fewer and larger steps: a wide convolution reads its
input once, and normalization is per channel.
"""

from pnas.backend import keras  # isort: skip  (first: it imports Keras without its messages)
import ast
import collections
import functools
import inspect
import itertools
import math
import re
import textwrap
from collections.abc import Callable

from keras import layers, ops
from keras.saving import register_keras_serializable

from binarized.binary_layers import BinaryConv2D, BinaryDense, BinarySeparableConv2D, DropoutNoScale, glorot
from binarized.normalization import Normalization
from pnas.encoder import Cell

OPERATIONS = {}


def operation(name: str) -> Callable[[Callable], Callable]:
    """Decorator that registers a function as the operator `name`.

    Raises:
        ValueError: there is an operator of this name already.
    """

    def register(function):
        if name in OPERATIONS:
            raise ValueError(f"operation: there is an operator {name!r} already")
        OPERATIONS[name] = function
        return function

    return register


@functools.cache  # the file may be edited later
def source_of(function: Callable) -> str:
    """The source of a function and of what it uses of its module: functions, classes, and the values of constants.

    Empty if Python has none.
    """
    parts, found = [function], {}
    while parts:
        part = parts.pop()
        try:
            found[part] = textwrap.dedent(inspect.getsource(part))
            names = {node.id for node in ast.walk(ast.parse(found[part])) if isinstance(node, ast.Name)}
            module = vars(inspect.getmodule(part))
        except (OSError, TypeError, SyntaxError):  # a callable object, a part of a statement
            return ""
        for name in sorted(names & module.keys()):
            other = module[name]
            if _is_literal(other):
                found[name] = f"{name} = {other!r}"
            is_code = inspect.isroutine(other) or inspect.isclass(other)
            if is_code and other.__module__ == part.__module__ and other not in [*found, *parts]:
                parts.append(other)
    return "\n".join(found.values())


def _is_literal(value):
    """Whether Python can read what it prints of a value: of numbers, texts, and lists of them."""
    try:
        return ast.literal_eval(repr(value)) == value
    except (ValueError, SyntaxError):
        return False


def normalize(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Batch normalization and binary_tanh, which follow every binary layer and every pooling."""
    return Normalization(name=f"{name}_norm")(x)


@register_keras_serializable("pnas")
class Split(layers.Layer):
    """Splits a tensor (..., channels) into several, of `sizes` channels each.

    Its gradient is one concatenation. Slices would each have a gradient as large as the input, filled with zeros and
    added.
    """

    def __init__(self, sizes, **kwargs):
        super().__init__(**kwargs)
        self.sizes = list(sizes)
        self.input_spec = layers.InputSpec(min_ndim=2, axes={-1: sum(self.sizes)})

    def call(self, inputs):
        return ops.split(inputs, list(itertools.accumulate(self.sizes[:-1])), axis=-1)

    def compute_output_shape(self, input_shape):
        return [(*input_shape[:-1], size) for size in self.sizes]


def _concatenate(tensors, name):
    return tensors[0] if len(tensors) == 1 else layers.Concatenate(name=f"{name}_concat")(tensors)


def _bconv(x, filters, kernel_size, strides, name, copies):
    area = math.prod(kernel_size)
    return BinaryConv2D(
        filters * copies,
        kernel_size,
        strides,
        padding="same",
        use_bias=False,
        kernel_lr_multiplier=1 / glorot(area * x.shape[-1], area * filters),  # of one copy
        name=name,
    )(x)


def _suffixes(copies):
    return [""] if copies == 1 else [f"_copy{number}" for number in range(1, copies + 1)]


for size in (3, 5, 7):

    @operation(f"{size}x{size} bconv")
    def bconv(x, filters, strides, name, copies=1, size=size):
        return _bconv(x, filters, (size, size), strides, name, copies)


@operation("1x7-7x1 bconv")
def bconv_1x7_7x1(x, filters, strides, name, copies=1):
    rows = normalize(_bconv(x, filters, (1, 7), (1, strides), f"{name}_1x7", copies), f"{name}_1x7")
    parts = [rows] if copies == 1 else Split([filters] * copies, name=f"{name}_1x7_split")(rows)
    outputs = [
        BinaryConv2D(filters, (7, 1), (strides, 1), padding="same", use_bias=False, name=f"{name}_7x1{suffix}")(part)
        for part, suffix in zip(parts, _suffixes(copies))
    ]
    return _concatenate(outputs, name)


for size in (3, 5, 7):

    @operation(f"{size}x{size} sep-bconv")
    def sep_bconv(x, filters, strides, name, size=size):
        return BinarySeparableConv2D(filters, size, strides, padding="same", use_bias=False, name=name)(x)


for kind, pooling in (("max", layers.MaxPooling2D), ("avg", layers.AveragePooling2D)):

    @operation(f"3x3 {kind}pool")
    def pool_3x3(x, filters, strides, name, copies=1, pooling=pooling):
        x = pooling(3, strides, padding="same", name=name)(x)
        return _concatenate([x] * copies, name)


@operation("linear")
def linear(x, filters, strides, name, copies=1):
    """The identity with stride 1, otherwise a 1x1 binary convolution."""
    return x if strides == 1 else _bconv(x, filters, (1, 1), strides, name, copies)


def build_child(
    cell: Cell,
    num_cells: int,
    filters: list[int],
    dense_layers: list[int],
    dropout: tuple[bool, float, float] = (False, 0.0, 0.0),
    input_shape: tuple[int, int, int] = (28, 28, 1),
    prefix: str = "child",
) -> keras.Model:
    """Builds the network of a cell: the cell stacked, followed by binary dense layers.

    Every cell halves height and width. An operator that reads input 0 has stride 2, one that reads -k has stride
    2^(k+1), or less if that would reach beyond the image, and one that reads a block of its own cell has stride 1. A
    cell's output is the concatenation of the blocks that no other block reads.

    Args:
        cell: flat list `[input1, op1, input2, op2, ...]`, its operators registered.
        num_cells: number of stacked cells.
        filters: list of ints, filters of an operator in each cell.
        dense_layers: list of ints, units of the dense layers. The last one is the number of classes.
        dropout: (whether to use dropout, rate on the input image, rate before every dense layer).
        input_shape: (height, width, channels) of the images in [-1, +1].
        prefix: beginning of the model's name, which continues with the cell.
    Returns:
        keras.Model, images (n, height, width, channels) -> scores (n, classes), around +1 for the class and -1 for
        others.
    Source: Liu et al. 2018, arXiv:1712.00559, section 3; Hubara et al. 2016, arXiv:1602.02830, section 2.1.
    """
    use_dropout, drop_input, drop_hidden = dropout
    image = layers.Input(input_shape, name="image")
    outputs = [DropoutNoScale(drop_input, name="image_dropout")(image) if use_dropout else image]
    for number in range(1, num_cells + 1):
        outputs.append(_build_cell(cell, outputs, filters[number - 1], f"cell{number}"))
    x = layers.Flatten(name="flatten")(outputs[-1])
    for number, units in enumerate(dense_layers, start=1):
        name = f"dense{number}"
        if use_dropout:
            x = DropoutNoScale(drop_hidden, name=f"{name}_dropout")(x)
        x = BinaryDense(units, use_bias=False, name=name)(x)
        x = Normalization(binary=number < len(dense_layers), name=f"{name}_norm")(x)
    return keras.Model(image, x, name=f"{prefix}_" + _as_name("_".join(map(str, cell))))


def readers_of_halves(cell: Cell) -> dict[tuple[int, str], dict[int, int]]:
    """Which blocks use what the halves of a cell compute. Equal halves are computed at once, as copies.

    Args:
        cell: flat list `[input1, op1, input2, op2, ...]`.
    Returns:
        dict, (input, operator) -> dict, reader -> number of copies, in the order in which the halves first appear in
        the cell. A reader is the number of a block that another block reads, or 0 for the cell's output.
    """
    halves = list(zip(cell[0::2], cell[1::2]))
    read = {source for source, _ in halves}
    readers = {}
    for position, half in enumerate(halves, start=2):
        reader = position // 2 if position // 2 in read else 0
        copies = readers.setdefault(half, {})
        copies[reader] = copies.get(reader, 0) + 1
    return readers


def origin_of(source: int, number: int) -> int:
    """The image (0) or the cell (1, 2, ...) whose height and width an operator of cell `number` reads.

    Args:
        source: the operator's input. For a block of the same cell the origin is the cell itself. Before the first cell
            there is only the image.
        number: of the cell, from 1. The operator's stride is 2 ** (number - origin).
    """
    return number if source > 0 else max(number - 1 + source, 0)


def _build_cell(cell, outputs, filters, name):
    """The output of one more cell; `outputs` holds the image and the outputs of the cells before it."""
    halves = list(zip(cell[0::2], cell[1::2]))
    blocks = {}  # the outputs of blocks that are read
    results, signs = collections.defaultdict(list), collections.defaultdict(list)  # reader -> what it concatenates

    for half, readers in readers_of_halves(cell).items():
        source, operator = half
        origin = origin_of(source, len(outputs))
        if source > 0 and source not in blocks:
            blocks[source] = _join(results[source], signs[source], f"{name}_block{source}")
        x = blocks[source] if source > 0 else outputs[origin]
        block, side = divmod(halves.index(half), 2)
        op_name = f"{name}_block{block + 1}_{('left', 'right')[side]}_{_as_name(operator)}"
        copies = sum(readers.values())
        result = _apply(operator, x, filters, 2 ** (len(outputs) - origin), op_name, copies)
        if result is x:
            for reader, count in readers.items():
                signs[reader] += [x] * count
        elif len(readers) == 1:
            (reader,) = readers
            results[reader].append(result)
        else:
            sizes = [count * result.shape[-1] // copies for count in readers.values()]
            for reader, tensor in zip(readers, Split(sizes, name=f"{op_name}_split")(normalize(result, op_name))):
                signs[reader].append(tensor)

    return _join(results[0], signs[0], name)


def _join(results, signs, name):
    """Concatenates tensors: first `results`, which are normalized here, then `signs`, which are ±1 already."""
    if results:
        signs = [normalize(_concatenate(results, name), name), *signs]
    return _concatenate(signs, f"{name}_output")


def _apply(operator, x, filters, strides, name, copies):
    """The results of `copies` equal operators on x, side by side."""
    function = OPERATIONS[operator]
    if copies == 1:
        return function(x, filters, strides, name)
    name = f"{name}_x{copies}"
    if "copies" in inspect.signature(function).parameters:
        return function(x, filters, strides, name, copies)
    results = [function(x, filters, strides, f"{name}{suffix}") for suffix in _suffixes(copies)]
    return x if results[0] is x else _concatenate(results, name)


def _as_name(text):
    """A text as part of a layer's name."""
    return re.sub(r"\W+", "_", text).strip("_")


def binary_kernels(model: keras.Model) -> list[tuple]:
    """(layer, kernel) of every binary kernel of a model."""
    return [(layer, kernel) for layer in model.layers for kernel in getattr(layer, "binary_kernels", ())]


def count_binary_weights(model: keras.Model) -> int:
    """Number of weights that take one bit at run time."""
    return sum(kernel.size for _, kernel in binary_kernels(model))


def count_macs(model: keras.Model) -> int:
    """Multiply-accumulates for one image: every binary weight is used once at every position of its layer's output."""
    return sum(math.prod(layer.output.shape[1:-1]) * kernel.size for layer, kernel in binary_kernels(model))


def operator_cost(
    operator: str, input_shape: tuple[int, int, int], filters: int, strides: int, copies: int
) -> tuple[int, int, int]:
    """The cost of equal operators on one input, as `build_child` adds them to a network.

    Args:
        operator: name of a registered operator.
        input_shape: (height, width, channels).
        filters, strides: of the operator.
        copies: how many there are.
    Returns:
        Multiply-accumulates for one image, binary weights, channels of all their results.
    """
    x = layers.Input(input_shape)
    result = _apply(operator, x, filters, strides, "op", copies)
    if result is x:
        return 0, 0, copies * input_shape[-1]
    model = keras.Model(x, result)
    return count_macs(model), count_binary_weights(model), result.shape[-1]

"""Networks of cells: shapes, binary signals, merged operators and costs, counted by hand."""

import itertools
import math

import keras
import numpy as np
import pytest
from keras import ops

from binarized.binary_layers import BinaryConv2D, BinaryDense, DropoutNoScale
from binarized.normalization import Normalization
from pnas.model import (
    OPERATIONS,
    Split,
    _apply,
    build_child,
    count_binary_weights,
    count_macs,
    normalize,
    operation,
    source_of,
)

ALL_OPERATORS = [  # the specified list
    *["3x3 sep-bconv", "5x5 sep-bconv", "7x7 sep-bconv", "3x3 bconv", "5x5 bconv", "7x7 bconv"],
    *["1x7-7x1 bconv", "3x3 maxpool", "3x3 avgpool", "linear"],
]


def images(*shape, seed=0):
    """Random images in [-1, +1]."""
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def signs(*shape, seed=0):
    return np.sign(images(*shape, seed=seed))


def features(cell, num_cells, filters, input_shape=(28, 28, 1)):
    """(height, width, channels) of the output of the last cell."""
    model = build_child(cell, num_cells, filters, [2], input_shape=input_shape)
    return model.get_layer("flatten").input.shape[1:]


def function_of(operator, x_shape, filters, strides, copies=1):
    """A model of `copies` equal operators, normalized as in a cell."""
    x = keras.Input(x_shape)
    y = _apply(operator, x, filters, strides, "op", copies)
    return keras.Model(x, y if y is x else normalize(y, "op"))


# --------------------------------------------------------------------------------------------------------------- shapes


def test_flat_cells_halve_the_image_and_concatenate_ops():
    cell = [0, "3x3 bconv", 0, "5x5 bconv"]
    assert features(cell, 1, [2]) == (14, 14, 4)
    assert features(cell, 2, [2, 3]) == (7, 7, 6)
    assert features(cell, 3, [2, 3, 5]) == (4, 4, 10)


def test_every_flat_block_adds_both_ops_to_the_output():
    cell = [0, "3x3 bconv", 0, "3x3 bconv", 0, "3x3 bconv", 0, "linear", 0, "3x3 avgpool", 0, "3x3 sep-bconv"]
    # five ops have 3 filters, the pooling keeps the 2 channels of the image
    assert features(cell, 1, [3], input_shape=(9, 8, 2)) == (5, 4, 5 * 3 + 2)


@pytest.mark.parametrize(
    "lookback, num_cells, size",
    [
        (-1, 1, 14),  # before the image there is only the image
        (-1, 2, 7),  # the image with stride 4
        (-1, 3, 4),  # the first cell's output, 14 wide, with stride 4
        (-2, 3, 4),  # the image with stride 8; 3.5 is rounded up
    ],
)
def test_an_op_that_looks_back_shrinks_to_the_size_of_the_others(lookback, num_cells, size):
    cell = [lookback, "3x3 bconv", 0, "linear"]
    assert features(cell, num_cells, [2, 3, 4]) == (size, size, 2 * [2, 3, 4][num_cells - 1])


def test_an_op_that_looks_back_reads_the_cell_before_the_last():
    cell = [-1, "3x3 bconv", 0, "5x5 bconv"]
    model = build_child(cell, 3, [2, 3, 4], [2])
    # the image, the image, 2 * 2 channels of cell 1; the image, cell 1, 2 * 3 channels of cell 2
    assert [model.get_layer(f"cell{n}_block1_left_3x3_bconv").input.shape[1:] for n in (1, 2, 3)] == [
        *((28, 28, 1), (28, 28, 1), (14, 14, 4))
    ]
    assert [model.get_layer(f"cell{n}_block1_right_5x5_bconv").input.shape[1:] for n in (1, 2, 3)] == [
        *((28, 28, 1), (14, 14, 4), (7, 7, 6))
    ]


def test_a_block_that_is_read_is_not_in_the_cells_output():
    cell = [0, "3x3 bconv", 0, "5x5 bconv", 1, "7x7 bconv", 0, "3x3 bconv"]
    model = build_child(cell, 1, [3], [2])
    assert model.get_layer("cell1_block2_left_7x7_bconv").input.shape[1:] == (14, 14, 2 * 3)
    assert model.get_layer("flatten").input.shape[1:] == (14, 14, 2 * 3)  # block 2 alone


def test_a_chain_of_pooled_blocks_keeps_their_channels():
    # block 1: 4 + 4 channels; block 2: 8 by the identity, 1 by the pooling of the image; block 3: 9 and 4
    cell = [0, "3x3 bconv", 0, "5x5 bconv", 1, "linear", 0, "3x3 maxpool", 2, "3x3 avgpool", 0, "linear"]
    assert features(cell, 1, [4]) == (14, 14, 13)


def test_layer_names_tell_cell_block_and_operator():
    names = [layer.name for layer in build_child([0, "3x3 bconv", 0, "5x5 sep-bconv"], 3, [2, 2, 2], [3, 2]).layers]
    for n in (1, 2, 3):
        assert {f"cell{n}_block1_left_3x3_bconv", f"cell{n}_block1_right_5x5_sep_bconv"} <= set(names)
    assert {"dense1", "dense2"} <= set(names)


def test_a_networks_name_is_its_prefix_and_its_cell():
    model = build_child([0, "3x3 bconv", 0, "linear"], 1, [2], [2], prefix="digits")
    assert model.name == "digits_0_3x3_bconv_0_linear"


# ------------------------------------------------------------------------------------------------------- binary signals


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("operator", ALL_OPERATORS)
def test_operators_give_signs_and_divide_the_size_by_the_stride(operator, strides, training):
    model = function_of(operator, (7, 6, 3), 4, strides)
    y = np.asarray(model(signs(5, 7, 6, 3), training=training))
    channels = 3 if "pool" in operator or (operator, strides) == ("linear", 1) else 4
    assert y.shape == (5, math.ceil(7 / strides), math.ceil(6 / strides), channels)
    assert set(np.unique(y)) == {-1, 1}


@pytest.mark.parametrize("training", [False, True])
def test_all_inner_signals_are_plus_or_minus_one(training):
    cell = [-1, "3x3 bconv", 0, "3x3 sep-bconv", 1, "linear", -1, "3x3 bconv", 0, "3x3 maxpool", 0, "1x7-7x1 bconv"]
    model = build_child(cell, 2, [3, 4], [5, 2], input_shape=(12, 12, 1))
    first = model.get_layer("image").output
    signals = {"features": model.get_layer("flatten").input, "hidden": model.get_layer("dense2").input}
    for layer in model.layers:
        if isinstance(layer, Normalization) and layer.binary:
            signals[layer.name] = layer.output
        if getattr(layer, "binary_kernels", ()) and layer.input is not first:
            signals[f"input of {layer.name}"] = layer.input
    for name, signal in keras.Model(model.input, signals)(images(6, 12, 12, 1), training=training).items():
        assert set(np.unique(signal)) <= {-1, 1}, name


def test_linear_is_the_identity_with_stride_1():
    x = signs(2, 5, 5, 3)
    np.testing.assert_array_equal(function_of("linear", (5, 5, 3), 7, 1)(x), x)


def test_linear_is_a_1x1_binary_convolution_with_stride_2():
    model = function_of("linear", (5, 5, 3), 7, 2)
    assert count_binary_weights(model) == 1 * 1 * 3 * 7
    W = np.where(np.asarray(model.get_layer("op").kernel) >= 0, 1, -1)[0, 0]
    x = signs(9, 5, 5, 3)
    y = x[:, ::2, ::2] @ W
    y = (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + 1e-3)
    np.testing.assert_array_equal(model(x, training=True), np.where(y >= 0, 1, -1))


@pytest.mark.parametrize("operator, pool", [("3x3 maxpool", np.max), ("3x3 avgpool", np.mean)])
def test_a_pooling_is_normalized_and_binarized(operator, pool):
    x = images(4, 5, 5, 2)
    # with stride 2 and 5 pixels, every second pixel is the centre of a window; padding does not count
    y = np.array(
        [[pool(x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2], (1, 2)) for j in (0, 2, 4)] for i in (0, 2, 4)]
    )
    y = y.transpose(2, 0, 1, 3)
    expected = np.where(y >= y.mean((0, 1, 2)), 1, -1)
    np.testing.assert_array_equal(function_of(operator, (5, 5, 2), 9, 2)(x, training=True), expected)


def test_the_last_dense_layer_is_normalized_and_not_binarized():
    model = build_child([0, "3x3 bconv", 0, "3x3 bconv"], 1, [4], [6, 3], input_shape=(6, 6, 1))
    y = np.asarray(model(images(50, 6, 6, 1), training=True))
    assert y.shape == (50, 3)
    np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(0), 1, atol=0.01)
    assert len(np.unique(y)) > 2


def test_dropout_precedes_the_first_and_every_dense_layer():
    cell = [0, "3x3 bconv", 0, "3x3 bconv"]
    model = build_child(cell, 1, [2], [4, 3], dropout=(True, 0.2, 0.5), input_shape=(6, 6, 1))
    rates = [layer.rate for layer in model.layers if isinstance(layer, DropoutNoScale)]
    assert rates == [0.2, 0.5, 0.5]
    for layer in model.layers:
        if isinstance(layer, BinaryDense):
            assert isinstance(layer.input._keras_history.operation, DropoutNoScale)
    without = build_child(cell, 1, [2], [4, 3], dropout=(False, 0.2, 0.5), input_shape=(6, 6, 1))
    assert not [layer for layer in without.layers if isinstance(layer, DropoutNoScale)]


def test_a_child_of_all_operators_saves_and_loads_without_custom_objects(tmp_path):
    cell = [entry for operator in ALL_OPERATORS for entry in (0, operator)] + [1, "linear", -1, "3x3 bconv"]
    model = build_child(cell, 1, [2], [4, 3], (True, 0.2, 0.5), (8, 8, 1))
    x = images(10, 8, 8, 1)
    model(x, training=True)
    model.save(tmp_path / "child.keras")
    loaded = keras.saving.load_model(tmp_path / "child.keras")
    np.testing.assert_array_equal(loaded(x), model(x))


# ----------------------------------------------------------------------------------------------------- custom operators


@pytest.fixture
def operators_put_back():
    """Removes the operators that a test registers."""
    before = dict(OPERATIONS)
    yield
    OPERATIONS.clear()
    OPERATIONS.update(before)


def test_an_operator_is_registered_by_a_decorator(operators_put_back):
    @operation("every other pixel")
    def every_other_pixel(x, filters, strides, name):
        return x[:, ::strides, ::strides]

    model = build_child([0, "every other pixel", 0, "every other pixel"], 1, [3], [2], input_shape=(6, 6, 1))
    x = images(2, 6, 6, 1)
    found = keras.Model(model.input, model.get_layer("flatten").input)(x)  # mean 0 and variance 1, as no batch was seen
    np.testing.assert_array_equal(found, np.sign(x[:, ::2, ::2]).repeat(2, axis=-1))


def test_an_operator_that_gives_its_input_back_is_not_normalized(operators_put_back):
    @operation("identity")
    def identity(x, filters, strides, name):
        return x

    cell = [0, "3x3 bconv", 0, "3x3 bconv", 1, "identity", 1, "identity"]
    model = build_child(cell, 1, [3], [2], input_shape=(6, 6, 1))
    read = model.get_layer("cell1_block1_norm").output
    x = images(2, 6, 6, 1)
    before, after = keras.Model(model.input, [read, model.get_layer("flatten").input])(x)
    np.testing.assert_array_equal(after, np.concatenate([before, before], axis=-1))
    assert sum(isinstance(layer, Normalization) for layer in model.layers) == 2  # of block 1 and of the dense layer


def test_operators_that_take_copies_are_called_once(operators_put_back):
    calls = []

    @operation("one by one")
    def one_by_one(x, filters, strides, name):
        calls.append(("one by one", name))
        return x[:, ::strides, ::strides]

    @operation("side by side")
    def side_by_side(x, filters, strides, name, copies=1):
        calls.append(("side by side", copies))
        return ops.concatenate([x[:, ::strides, ::strides]] * copies, axis=-1)

    cell = [0, "one by one", 0, "side by side", 0, "side by side", 0, "one by one", 0, "side by side", 0, "one by one"]
    build_child(cell, 1, [3], [2], input_shape=(6, 6, 1))
    assert calls.count(("side by side", 3)) == 1
    names = [name for operator, name in calls if operator == "one by one"]
    assert len(calls) == 4 and len(set(names)) == 3


def test_every_copy_of_an_operator_is_used_once(operators_put_back):
    @operation("channel")
    def channel(x, filters, strides, name, copies=1):
        """Copy k is channel k of the image, so that it can be traced."""
        return x[:, ::strides, ::strides, :copies]

    @operation("negative")
    def negative(x, filters, strides, name):
        return -x

    cell = [0, "channel", 0, "channel", 1, "negative", 0, "channel", 0, "channel", 0, "channel"]
    model = build_child(cell, 1, [1], [2], input_shape=(2, 2, 5))
    x = 2 * np.eye(5, dtype="float32")[:, None, None].repeat(2, 1).repeat(2, 2) - 1  # in image k only channel k is +1
    found = np.asarray(keras.Model(model.input, model.get_layer("flatten").input)(x)).reshape(5, 5)
    assert len(np.unique(found, axis=0)) == 5
    # Two of the five copies go through block 2, which negates them; three go to the output. If the +1 is one of the
    # two, the sum is (-1 + 1) - 3; if it is one of the three, (1 + 1) + (1 - 2).
    assert sorted(found.sum(axis=1)) == [-3, -3, 1, 1, 1]


def test_an_operator_name_is_registered_once():
    with pytest.raises(ValueError, match="'linear'"):
        operation("linear")(lambda x, filters, strides, name: x)
    with pytest.raises(ValueError, match="already"):
        operation("3x3 bconv")(lambda x, filters, strides, name: x)


# -------------------------------------------------------------------------------------------------------- merged copies


def conv(filters, size, strides, name):
    return BinaryConv2D(filters, size, strides, padding="same", use_bias=False, name=name)


def branches_3x3(x, strides):
    """Three branches of one 3x3 convolution, and the slices of the wide layer that equal them."""
    layers = [conv(4, 3, strides, f"branch{n}") for n in range(3)]
    outputs = [Normalization(name=f"branch{n}_norm")(layer(x)) for n, layer in enumerate(layers)]
    parts = [(f"branch{n}", "op_x3", slice(4 * n, 4 * n + 4)) for n in range(3)]
    parts += [(f"branch{n}_norm", "op_norm", slice(4 * n, 4 * n + 4)) for n in range(3)]
    return outputs, parts


def branches_1x7_7x1(x, strides):
    """Three branches of a 1x7 and a 7x1 convolution. The operator also has three layers of the second kind."""
    outputs, parts = [], []
    for n in range(3):
        rows = Normalization(name=f"rows{n}_norm")(conv(4, (1, 7), (1, strides), f"rows{n}")(x))
        outputs.append(Normalization(name=f"columns{n}_norm")(conv(4, (7, 1), (strides, 1), f"columns{n}")(rows)))
        of_copy = slice(4 * n, 4 * n + 4)
        parts += [(f"rows{n}", "op_x3_1x7", of_copy), (f"rows{n}_norm", "op_x3_1x7_norm", of_copy)]
        parts += [(f"columns{n}", f"op_x3_7x1_copy{n + 1}", slice(None)), (f"columns{n}_norm", "op_norm", of_copy)]
    return outputs, parts


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("operator, branches", [("3x3 bconv", branches_3x3), ("1x7-7x1 bconv", branches_1x7_7x1)])
def test_merged_copies_equal_separate_branches(gradients, operator, branches, strides):
    keras.utils.set_random_seed(0)
    shape = (8, 7, 2)
    wide = function_of(operator, shape, 4, strides, copies=3)
    image = keras.Input(shape)
    outputs, parts = branches(image, strides)
    narrow = keras.Model(image, keras.layers.Concatenate()(outputs))
    for name, wide_name, part in parts:
        layer, wide_layer = narrow.get_layer(name), wide.get_layer(wide_name)
        layer.set_weights([w[..., part] if w.ndim else w for w in wide_layer.get_weights()])
        if isinstance(layer, BinaryConv2D):  # the same stored weights are the same kernels
            np.testing.assert_allclose(layer.kernel, np.asarray(wide_layer.kernel)[..., part], rtol=1e-6)

    x = images(6, *shape)
    y = np.asarray(wide(x, training=True))
    np.testing.assert_allclose(y, narrow(x, training=True), atol=1e-5)

    upstream = images(*y.shape, seed=1)

    def gradients_by_name(model):
        variables = model.trainable_variables
        found = gradients(
            lambda: ops.sum(upstream * model(x, training=True)), [np.asarray(v) for v in variables], variables
        )
        return {variable.path: gradient for variable, gradient in zip(variables, found)}

    of_wide, of_narrow = gradients_by_name(wide), gradients_by_name(narrow)
    for name, wide_name, part in parts:
        for variable, wide_variable in zip(
            narrow.get_layer(name).trainable_variables, wide.get_layer(wide_name).trainable_variables
        ):
            expected = of_narrow[variable.path]
            assert abs(expected).max() > 0
            np.testing.assert_allclose(of_wide[wide_variable.path][..., part], expected, rtol=1e-5, atol=1e-5)


def test_normalizing_together_equals_normalizing_apart(gradients):
    shape = (8, 7, 1)
    keras.utils.set_random_seed(0)
    child = build_child(
        [0, "3x3 bconv", 0, "5x5 bconv", 0, "3x3 maxpool", 0, "3x3 bconv"], 1, [4], [3], input_shape=shape
    )
    together = keras.Model(child.input, child.get_layer("flatten").input)
    image = keras.Input(shape)
    wide, other = (layer for layer in together.layers if isinstance(layer, BinaryConv2D))
    results = [wide.output, other.output, together.get_layer("cell1_block2_left_3x3_maxpool").output]
    results = keras.Model(together.input, results)(image)
    norms = [Normalization(name=f"norm{n}") for n in range(3)]
    apart = keras.Model(image, ops.concatenate([norm(result) for norm, result in zip(norms, results)], axis=-1))
    joint = together.get_layer("cell1_norm")
    joint.gamma.assign(images(13) + 0.2)
    joint.beta.assign(images(13, seed=1))
    parts = [slice(0, 8), slice(8, 12), slice(12, 13)]
    for norm, part in zip(norms, parts):
        norm.set_weights([w[part] if w.ndim else w for w in joint.get_weights()])
    x = images(6, *shape)
    y = np.asarray(together(x, training=True))
    # Sums in another order may change the sign of a value near 0.
    assert np.mean(y != apart(x, training=True)) < 0.001
    upstream = images(*y.shape, seed=1)

    def gradients_of(model, variables):
        return gradients(
            lambda: ops.sum(upstream * model(x, training=True)), [np.asarray(v) for v in variables], variables
        )

    kernels = wide.trainable_variables + other.trainable_variables
    of_joint = gradients_of(together, [*kernels, joint.gamma, joint.beta])
    of_apart = gradients_of(apart, [*kernels, *(norm.gamma for norm in norms), *(norm.beta for norm in norms)])
    expected = [*of_apart[:2], np.concatenate(of_apart[2:5]), np.concatenate(of_apart[5:])]
    for found, gradient in zip(of_joint, expected):
        assert abs(gradient).max() > 0
        np.testing.assert_allclose(found, gradient, rtol=1e-5, atol=1e-5)


MERGED = ["3x3 bconv", "1x7-7x1 bconv", "3x3 sep-bconv", "3x3 maxpool"]


@pytest.mark.parametrize("operator, strides", [*itertools.product(MERGED, (1, 2)), ("linear", 2)])
def test_merged_copies_cost_as_much_as_separate_ones(operator, strides):
    once, thrice = (function_of(operator, (8, 7, 2), 4, strides, copies=copies) for copies in (1, 3))
    assert thrice.output.shape == (*once.output.shape[:-1], 3 * once.output.shape[-1])
    assert count_binary_weights(thrice) == 3 * count_binary_weights(once)
    assert count_macs(thrice) == 3 * count_macs(once)


# ---------------------------------------------------------------------------------------------------------------- costs


def test_weights_and_multiply_accumulates_of_convolutions():
    model = build_child([0, "3x3 bconv", 0, "3x3 bconv"], 3, [16, 24, 32], [32, 10])
    convolutions = [2 * 9 * 1 * 16, 2 * 9 * 32 * 24, 2 * 9 * 48 * 32]  # 288, 13,824 and 27,648
    dense = 4 * 4 * 64 * 32 + 32 * 10  # 33,088
    assert count_binary_weights(model) == sum(convolutions) + dense == 74_848
    assert count_macs(model) == np.dot(convolutions, [14 * 14, 7 * 7, 4 * 4]) + dense == 1_209_280


def test_weights_and_multiply_accumulates_of_separable_convolutions():
    model = build_child([0, "3x3 sep-bconv", 0, "5x5 sep-bconv"], 3, [16, 24, 32], [32, 10])
    channels, filters = (1, 32, 48), (16, 24, 32)
    separable = [(9 * c + c * f) + (25 * c + c * f) for c, f in zip(channels, filters)]  # 66, 2,624 and 4,704
    dense = 4 * 4 * 64 * 32 + 32 * 10
    assert count_binary_weights(model) == sum(separable) + dense == 40_482
    assert count_macs(model) == np.dot(separable, [14 * 14, 7 * 7, 4 * 4]) + dense == 249_864


def test_weights_and_multiply_accumulates_of_rows_then_columns():
    model = function_of("1x7-7x1 bconv", (28, 28, 3), 16, 2)
    rows, columns = 7 * 3 * 16, 7 * 16 * 16
    assert count_binary_weights(model) == rows + columns == 2_128
    assert count_macs(model) == rows * 28 * 14 + columns * 14 * 14 == 482_944


@pytest.mark.parametrize("size", [3, 5, 7])
def test_the_name_of_a_convolution_says_the_size_of_its_kernel(size):
    convolution, separable = (function_of(f"{size}x{size} {kind}", (8, 8, 3), 4, 1) for kind in ("bconv", "sep-bconv"))
    assert count_binary_weights(convolution) == size * size * 3 * 4
    assert count_binary_weights(separable) == size * size * 3 + 3 * 4


def test_poolings_and_identities_have_no_binary_weights():
    for operator in ("3x3 maxpool", "3x3 avgpool", "linear"):
        model = function_of(operator, (8, 8, 4), 16, 1)
        assert count_binary_weights(model) == count_macs(model) == 0


@pytest.mark.parametrize("channels", [4, 6])
def test_a_split_refuses_other_channels(channels):
    for inputs in (np.zeros((1, 2, 2, channels), "float32"), keras.Input((2, 2, channels))):
        with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 5"):
            Split([2, 3])(inputs)


# -------------------------------------------------------------------------------------------------------------- sources

MODULE = """
import numpy

WIDTH, HEIGHTS, SHARE = 5, [5, 7], 0.5

def unused(x): pass

class Layer:
    def call(self, x):
        return helper(x)

def helper(x): return numpy.abs(x)[:WIDTH, :max(HEIGHTS)]

def operator(x, filters, strides, name):
    return [Layer()(y) for y in x]

made = numpy.frompyfunc(helper, 1, 1)
"""


def test_the_source_of_an_operator_includes_what_it_uses_of_its_module(tmp_path, monkeypatch):
    (tmp_path / "some_operators.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    import some_operators

    source = source_of(some_operators.operator)
    assert all(
        f"{part}\n" in source
        for part in ("return [Layer()(y) for y in x]", "class Layer:", "numpy.abs(x)[:WIDTH, :max(HEIGHTS)]")
    )
    assert "unused" not in source and "made" not in source and "SHARE" not in source
    assert source_of(some_operators.made) == ""
    for name, value in (("WIDTH", 7), ("HEIGHTS", [5, 9])):
        monkeypatch.setattr(some_operators, name, value)
        source_of.cache_clear()
        before, source = source, source_of(some_operators.operator)
        assert source != before and str(value) in source

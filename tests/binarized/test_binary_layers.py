"""Binary layers and the normalization behind them, against the formulas of BinaryNet written out in numpy."""

import inspect
import math
import warnings

import keras
import numpy as np
import pytest
from keras import ops
from numpy_reference import patches, random, sign

from binarized.binary_layers import (
    BinaryConv2D,
    BinaryDense,
    BinaryDepthwiseConv2D,
    BinarySeparableConv2D,
    DropoutNoScale,
)
from binarized.binary_ops import binary_tanh
from binarized.normalization import Normalization

GLOROT_3_TO_2 = math.sqrt(1.5 / (3 + 2))  # of a dense layer with 3 inputs and 2 units


def constant(array):
    """Initializer that gives this array."""
    return lambda shape, dtype=None: ops.convert_to_tensor(array, dtype)


def linear_loss(target, output):
    """mean(target * output), whose derivative with respect to the output is target / its size."""
    return ops.mean(target * output)


def trained(layer, x, targets, optimizer, loss, steps=1):
    """The layer after so many full-batch steps."""
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile(optimizer, loss, jit_compile=False)
    model.fit(x, targets, batch_size=len(x), epochs=steps, verbose=0)
    return layer


# ------------------------------------------------------------------------------------------------------ optimizer steps


def momentum_steps(rate, momentum):
    """SGD's steps, from gradient to gradient."""
    velocity = 0

    def step(gradient):
        nonlocal velocity
        velocity = momentum * velocity - rate * gradient
        return velocity

    return step


def adam_steps(rate, beta1=0.9, beta2=0.999, epsilon=1e-7):
    """Adam's steps, from gradient to gradient (Kingma and Ba 2015; the first is about rate * sign(gradient))."""
    t = first = second = 0

    def step(gradient):
        nonlocal t, first, second
        t += 1
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        return -rate * (first / (1 - beta1**t)) / (np.sqrt(second / (1 - beta2**t)) + epsilon)

    return step


@pytest.mark.parametrize(
    "optimizer, steps_of",
    [
        (lambda: keras.optimizers.SGD(0.02, momentum=0.9), lambda: momentum_steps(0.02, 0.9)),
        (lambda: keras.optimizers.Adam(0.01), lambda: adam_steps(0.01)),
    ],
    ids=["SGD with momentum", "Adam"],
)
@pytest.mark.parametrize(
    "H, multiplier, bound, factor, clips",
    [
        (1.0, 3.0, 1.0, 3.0, False),
        (1.0, "Glorot", 1.0, 1 / GLOROT_3_TO_2, False),
        ("Glorot", "Glorot", GLOROT_3_TO_2, 1 / GLOROT_3_TO_2, False),
        ("Glorot", 0.5, GLOROT_3_TO_2, 0.5, False),
        (0.5, 300.0, 0.5, 300.0, True),
    ],
)
def test_a_step_moves_the_kernel_by_multiplier_times_the_optimizers_and_then_clips(
    optimizer, steps_of, H, multiplier, bound, factor, clips
):
    x, targets = random(8, 3), random(8, 2, seed=1)
    W = bound * np.float32([[0.7, -0.6], [-0.5, 0.8], [0.4, -0.3]])
    layer = BinaryDense(2, use_bias=False, kernel_initializer=constant(W), H=H, kernel_lr_multiplier=multiplier)
    trained(layer, x, targets, optimizer(), "mse", steps=3)

    step, ever_clipped = steps_of(), False
    for _ in range(3):
        errors = x @ (bound * sign(W)) - targets
        moved = W + factor * step(x.T @ (2 * errors / errors.size))
        W = np.clip(moved, -bound, bound)
        ever_clipped |= bool((moved != W).any())
    assert ever_clipped == clips
    np.testing.assert_allclose(layer.kernel, W, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("multiplier", ["Glorot", 0.7, 1.0, 3.0, 1e3])
@pytest.mark.parametrize("H", ["Glorot", 0.1, 1.0, 0.3])
@pytest.mark.parametrize("inputs, units", [(3, 2), (49, 10)])
def test_a_weight_at_the_bound_still_gets_its_gradient(gradients, H, multiplier, inputs, units):
    layer = BinaryDense(units, use_bias=False, H=H, kernel_lr_multiplier=multiplier)
    layer.build((None, inputs))
    stored = layer.trainable_variables[0]
    targets = random(inputs, units) + 3  # no gradient is 0 by itself
    for end in (-1e9, 1e9):  # as far as the constraint lets it go
        saturated = stored.constraint(np.full((inputs, units), end, "float32"))
        (gradient,) = gradients(
            lambda: ops.sum(layer(np.eye(inputs, dtype="float32")) * targets), [saturated], [stored]
        )
        np.testing.assert_allclose(gradient, targets, rtol=1e-5)


def test_a_weight_that_was_clipped_comes_back_when_the_gradient_turns():
    W = np.full((3, 2), 0.9, "float32")
    layer = BinaryDense(2, use_bias=False, kernel_initializer=constant(W), H=1.0, kernel_lr_multiplier=7.0)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.SGD(0.1), linear_loss, jit_compile=False)
    direction = np.ones((3, 2), "float32")
    x = np.eye(3, dtype="float32")  # so that the gradient of the mean is the target / 6
    model.fit(x, -6 * direction, verbose=0)  # up by 7 * 0.1, as far as 1
    np.testing.assert_allclose(layer.kernel, 1, rtol=1e-6)
    model.fit(x, 6 * direction, verbose=0)  # down by 7 * 0.1
    np.testing.assert_allclose(layer.kernel, 0.3, rtol=1e-5)


def test_a_step_moves_a_convolutions_kernel_by_the_multiplier():
    x, targets = random(4, 5, 6, 2), random(4, 3, 3, 3, seed=1)
    W = np.random.default_rng(2).uniform(-1, 1, (3, 3, 2, 3)).astype("float32")
    layer = BinaryConv2D(3, 3, 2, "same", use_bias=False, kernel_initializer=constant(W))
    trained(layer, x, targets, keras.optimizers.SGD(0.5), linear_loss)

    gradient = np.einsum("nijabc,nijf->abcf", patches(x, (3, 3), (2, 2), "same"), targets) / targets.size
    multiplier = 1 / math.sqrt(1.5 / (9 * 2 + 9 * 3))
    np.testing.assert_allclose(layer.kernel, np.clip(W - multiplier * 0.5 * gradient, -1, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels, depth_multiplier", [(2, 2), (1, 1)], ids=["in two steps", "one channel"])
def test_a_step_moves_each_kernel_of_a_separable_convolution_by_its_own_multiplier(channels, depth_multiplier):
    x, targets = random(4, 5, 5, channels), random(4, 3, 3, 3, seed=1)
    inner = channels * depth_multiplier
    rng = np.random.default_rng(2)
    D = rng.uniform(-1, 1, (3, 3, channels, depth_multiplier)).astype("float32")
    P = rng.uniform(-1, 1, (1, 1, inner, 3)).astype("float32")
    layer = BinarySeparableConv2D(
        *(3, 3),
        depth_multiplier=depth_multiplier,
        use_bias=False,
        depthwise_initializer=constant(D),
        pointwise_initializer=constant(P),
    )
    trained(layer, x, targets, keras.optimizers.SGD(0.5), linear_loss)

    seen, upstream = patches(x, (3, 3), (1, 1), "valid"), targets / targets.size
    depth = np.einsum("nijabc,abcm->nijcm", seen, sign(D)).reshape(4, 3, 3, inner)
    P_gradient = np.einsum("nijk,nijf->kf", depth, upstream)[None, None]
    depth_upstream = (upstream @ sign(P[0, 0]).T).reshape(4, 3, 3, channels, depth_multiplier)
    D_gradient = np.einsum("nijabc,nijcm->abcm", seen, depth_upstream)
    D_multiplier = 1 / math.sqrt(1.5 / (9 + 9 * depth_multiplier))
    P_multiplier = 1 / math.sqrt(1.5 / (inner + 3))
    np.testing.assert_allclose(layer.kernel, np.clip(D - D_multiplier * 0.5 * D_gradient, -1, 1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        layer.pointwise_kernel, np.clip(P - P_multiplier * 0.5 * P_gradient, -1, 1), rtol=1e-4, atol=1e-5
    )


# -------------------------------------------------------------------------------------------------------------- forward

GEOMETRIES = [  # padding, strides, dilation
    ("valid", 1, 1),
    ("valid", 1, 2),
    ("same", 2, 1),
    ("same", 1, 2),
]


def test_a_dense_layer_multiplies_by_the_signs_of_its_kernel_then_adds_its_bias_then_activates():
    x = random(4, 5, 3)
    layer = BinaryDense(2, "relu", bias_initializer=constant(np.float32([0.25, -0.5])), H=0.5)
    y = layer(x)
    np.testing.assert_allclose(y, np.maximum(x @ (0.5 * sign(layer.kernel)) + [0.25, -0.5], 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("padding, strides, dilation", [*GEOMETRIES, ("same", (2, 1), 1)])
def test_a_convolution_multiplies_patches_by_the_signs_of_its_kernel(padding, strides, dilation):
    x = random(2, 7, 6, 3)
    bias = np.float32([1, 2, 3, 4])
    layer = BinaryConv2D(
        4, (3, 2), strides, padding, dilation_rate=dilation, bias_initializer=constant(bias), H="Glorot"
    )
    y = layer(x)
    pair = strides if isinstance(strides, tuple) else (strides, strides)
    kernel = math.sqrt(1.5 / (6 * 3 + 6 * 4)) * sign(layer.kernel)
    expected = np.einsum("nijabc,abcf->nijf", patches(x, (3, 2), pair, padding, dilation), kernel) + bias
    assert layer.compute_output_shape(x.shape) == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("padding, strides, dilation", GEOMETRIES)
def test_a_depthwise_convolution_keeps_channels_apart(padding, strides, dilation):
    x = random(2, 7, 6, 3)
    layer = BinaryDepthwiseConv2D(
        (3, 3), strides, padding, depth_multiplier=2, dilation_rate=dilation, activation=binary_tanh, H="Glorot"
    )
    y = layer(x)
    kernel = math.sqrt(1.5 / (9 + 9 * 2)) * sign(layer.kernel)
    seen = patches(x, (3, 3), (strides, strides), padding, dilation)
    expected = np.einsum("nijabc,abcm->nijcm", seen, kernel)
    expected = sign(expected.reshape(*expected.shape[:3], 6))
    assert layer.compute_output_shape(x.shape) == expected.shape
    np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("padding, strides, dilation", GEOMETRIES)
@pytest.mark.parametrize("channels, depth_multiplier", [(3, 2), (1, 2), (1, 1)])
def test_a_separable_convolution_is_a_depthwise_and_then_a_pointwise_one(
    padding, strides, dilation, channels, depth_multiplier
):
    x = random(2, 7, 6, channels)
    layer = BinarySeparableConv2D(
        4, (3, 3), strides, padding, depth_multiplier, dilation_rate=dilation, use_bias=False, H="Glorot"
    )
    y = layer(x)
    inner = channels * depth_multiplier
    depth_kernel = math.sqrt(1.5 / (9 + 9 * depth_multiplier)) * sign(layer.kernel)
    point_kernel = math.sqrt(1.5 / (inner + 4)) * sign(layer.pointwise_kernel)[0, 0]
    depth = np.einsum("nijabc,abcm->nijcm", patches(x, (3, 3), (strides, strides), padding, dilation), depth_kernel)
    expected = depth.reshape(*depth.shape[:3], inner) @ point_kernel
    assert layer.compute_output_shape(x.shape) == expected.shape
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer, kernels, output",
    [
        (BinaryConv2D(5, (3, 2), 2, data_format="channels_first"), [(3, 2, 4, 5)], (None, 5, 3, 4)),
        (
            BinaryDepthwiseConv2D((3, 2), 2, "same", 3, data_format="channels_first"),
            [(3, 2, 4, 3)],
            (None, 12, 4, 4),
        ),
        (
            BinarySeparableConv2D(5, (3, 2), 2, "same", 3, data_format="channels_first"),
            [(3, 2, 4, 3), (1, 1, 12, 5)],
            (None, 5, 4, 4),
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_with_channels_first_the_channels_are_the_second_axis(layer, kernels, output):
    shape = (None, 4, 7, 8)
    layer.build(shape)
    assert [tuple(weight.shape) for weight in layer.trainable_variables] == [*kernels, (output[1],)]
    assert layer.compute_output_shape(shape) == output
    assert layer.get_config()["data_format"] == "channels_first"


# ----------------------------------------------------------------------------------------------------- kernels at first


@pytest.mark.parametrize("multiplier", ["Glorot", 1.0, 5.0])
@pytest.mark.parametrize("H, bound", [(1.0, 1.0), (0.3, 0.3), ("Glorot", math.sqrt(1.5 / 500))])
def test_kernels_start_uniform_between_minus_H_and_H(H, bound, multiplier):
    keras.utils.set_random_seed(0)
    layer = BinaryDense(300, H=H, kernel_lr_multiplier=multiplier)
    layer.build((None, 200))
    W = np.sort(np.ravel(layer.kernel))
    assert abs(W[[0, -1]]).max() <= bound * (1 + 1e-6)
    # Kolmogorov-Smirnov: 60,000 uniform numbers stray more than this from a straight line in one of 10,000 draws.
    assert abs(W / bound - np.linspace(-1, 1, W.size)).max() / 2 < 2.23 / math.sqrt(W.size)


def test_the_two_kernels_of_a_separable_convolution_start_within_their_own_bounds():
    layer = BinarySeparableConv2D(50, 5, depth_multiplier=2, H="Glorot")
    layer.build((None, 9, 9, 40))
    for kernel, bound in (
        (layer.kernel, math.sqrt(1.5 / (25 + 50))),
        (layer.pointwise_kernel, math.sqrt(1.5 / (80 + 50))),
    ):
        assert 0.98 * bound < abs(np.asarray(kernel)).max() <= bound * (1 + 1e-6)


def test_a_regularizer_sees_the_latent_kernel():
    W = random(3, 2) / 4
    layer = BinaryDense(2, kernel_initializer=constant(W), kernel_regularizer=keras.regularizers.L2(0.1))
    layer.build((None, 3))
    np.testing.assert_allclose(layer.losses, [0.1 * (W**2).sum()], rtol=1e-5)


def test_a_step_down_a_regularizer_is_multiplied_too():
    W = random(3, 2) / 4
    layer = BinaryDense(
        *(2, None, False),
        kernel_initializer=constant(W),
        kernel_regularizer=keras.regularizers.L2(0.1),
        kernel_lr_multiplier=3.0,
    )
    trained(layer, np.eye(3, dtype="float32"), np.zeros((3, 2), "float32"), keras.optimizers.SGD(0.5), linear_loss)
    np.testing.assert_allclose(layer.kernel, W - 3 * 0.5 * (2 * 0.1 * W), rtol=1e-5)


def test_the_regularizers_of_a_separable_convolution_see_a_kernel_each():
    D, P = random(3, 3, 2, 1) / 4, random(1, 1, 2, 5) / 4
    layer = BinarySeparableConv2D(
        *(5, 3),
        depthwise_initializer=constant(D),
        pointwise_initializer=constant(P),
        depthwise_regularizer=keras.regularizers.L1(0.1),
        pointwise_regularizer=keras.regularizers.L2(0.2),
    )
    layer.build((None, 9, 9, 2))
    np.testing.assert_allclose(sorted(layer.losses), sorted([0.1 * abs(D).sum(), 0.2 * (P**2).sum()]), rtol=1e-5)


# ------------------------------------------------------------------------------------------------- saving and arguments

SHARED = {
    "activation": "relu",
    "use_bias": False,
    "bias_initializer": "ones",
    "bias_regularizer": "l1",
    "H": 0.5,
    "kernel_lr_multiplier": 2.5,
}
GEOMETRY = {"kernel_size": (3, 2), "strides": (1, 1), "padding": "same", "dilation_rate": (2, 1)}
DEPTHWISE = {"depth_multiplier": 2, "depthwise_initializer": "zeros", "depthwise_regularizer": "l2"}
KERNEL = {"kernel_initializer": "zeros", "kernel_regularizer": "l2"}
ARGUMENTS = {  # no default among them
    BinaryDense: {"units": 4, **KERNEL, **SHARED},
    BinaryConv2D: {"filters": 4, "data_format": "channels_first", **GEOMETRY, **KERNEL, **SHARED},
    BinaryDepthwiseConv2D: {"data_format": "channels_first", **GEOMETRY, **DEPTHWISE, **SHARED},
    BinarySeparableConv2D: {
        "filters": 4,
        "data_format": "channels_first",
        "pointwise_initializer": "zeros",
        "pointwise_regularizer": "l1",
        **GEOMETRY,
        **DEPTHWISE,
        **SHARED,
    },
    DropoutNoScale: {"rate": 0.25, "seed": 7},
    Normalization: {"binary": False, "epsilon": 0.5},
}


@pytest.mark.parametrize("cls", ARGUMENTS, ids=lambda cls: cls.__name__)
def test_get_config_gives_back_what_init_took(cls):
    taken = {name for name, p in inspect.signature(cls.__init__).parameters.items() if p.kind != p.VAR_KEYWORD}
    assert taken - {"self"} == set(ARGUMENTS[cls]), "this test leaves an argument out"
    config = cls(**ARGUMENTS[cls]).get_config()
    resolve = {
        "activation": keras.activations.get,
        "initializer": lambda value: type(keras.initializers.get(value)),
        "regularizer": lambda value: type(keras.regularizers.get(value)),
    }
    for name, value in ARGUMENTS[cls].items():
        same = resolve.get(name.split("_")[-1], lambda value: value)
        assert same(config[name]) == same(value), name
    assert cls.from_config(config).get_config() == config


def test_layers_save_and_load_without_custom_objects(tmp_path):
    layers = [
        DropoutNoScale(0.2, seed=3, name="dropout"),
        BinaryConv2D(4, 3, 2, "same", activation=binary_tanh, kernel_regularizer="l2", H="Glorot", name="conv"),
        Normalization(name="norm"),
        BinaryDepthwiseConv2D((3, 2), depth_multiplier=2, kernel_lr_multiplier=0.3, name="depthwise"),
        BinarySeparableConv2D(5, 2, pointwise_regularizer="l1", H=0.7, name="separable"),
        keras.layers.Flatten(name="flatten"),
        BinaryDense(3, "tanh", H=2.0, kernel_lr_multiplier=4.0, bias_initializer="ones", name="dense"),
        Normalization(binary=False, epsilon=0.01, name="last_norm"),
    ]
    model = keras.Sequential([keras.Input((9, 9, 2)), *layers])
    x = random(6, 9, 9, 2)
    model(x, training=True)  # gives the normalizations moments to remember
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    predictions = np.asarray(model(x, training=False))
    assert np.ptp(predictions, axis=0).min() > 0, "predictions that say nothing would be equal anyway"
    np.testing.assert_array_equal(loaded(x, training=False), predictions)
    for layer in layers:
        assert loaded.get_layer(layer.name).get_config() == layer.get_config()


@pytest.mark.parametrize(
    "cls, arguments, wrong",
    [
        (BinaryDense, {"units": 0}, "units"),
        (BinaryDense, {"units": -3}, "units"),
        (BinaryDense, {"units": 2.5}, "units"),
        (BinaryDense, {"units": "ten"}, "units"),
        (BinaryDense, {"units": True}, "units"),
        (BinaryDense, {"units": 2, "H": 0}, "H"),
        (BinaryDense, {"units": 2, "H": -1.0}, "H"),
        (BinaryDense, {"units": 2, "H": "glorot"}, "H"),
        (BinaryDense, {"units": 2, "H": None}, "H"),
        (BinaryDense, {"units": 2, "H": float("nan")}, "H"),
        (BinaryDense, {"units": 2, "kernel_lr_multiplier": 0.0}, "kernel_lr_multiplier"),
        (BinaryDense, {"units": 2, "kernel_lr_multiplier": float("inf")}, "kernel_lr_multiplier"),
        (BinaryDense, {"units": 2, "kernel_lr_multiplier": "He"}, "kernel_lr_multiplier"),
        (BinaryConv2D, {"filters": 0, "kernel_size": 3}, "filters"),
        (BinaryConv2D, {"filters": 2, "kernel_size": 0}, "kernel_size"),
        (BinaryConv2D, {"filters": 2, "kernel_size": (3,)}, "kernel_size"),
        (BinaryConv2D, {"filters": 2, "kernel_size": (3, 3, 3)}, "kernel_size"),
        (BinaryConv2D, {"filters": 2, "kernel_size": (3, 1.5)}, "kernel_size"),
        (BinaryConv2D, {"filters": 2, "kernel_size": 3, "strides": (2, -1)}, "strides"),
        (BinaryConv2D, {"filters": 2, "kernel_size": 3, "strides": "2"}, "strides"),
        (BinaryConv2D, {"filters": 2, "kernel_size": 3, "padding": "full"}, "padding"),
        (BinaryConv2D, {"filters": 2, "kernel_size": 3, "data_format": "NHWC"}, "data_format"),
        (BinaryConv2D, {"filters": 2, "kernel_size": 3, "dilation_rate": 0}, "dilation_rate"),
        (BinaryConv2D, {"filters": 2, "kernel_size": 3, "dilation_rate": 4, "strides": 2}, "dilation_rate"),
        (BinaryDepthwiseConv2D, {"kernel_size": 3, "depth_multiplier": 0}, "depth_multiplier"),
        (BinarySeparableConv2D, {"filters": None, "kernel_size": 3}, "filters"),
        (BinarySeparableConv2D, {"filters": 2, "kernel_size": 3, "depth_multiplier": 1.0}, "depth_multiplier"),
        (BinaryDense, {"units": 2, "use_bias": "no"}, "use_bias"),
        (BinaryConv2D, {"filters": 2, "kernel_size": 3, "use_bias": None}, "use_bias"),
        (Normalization, {"binary": "no"}, "binary"),
        (Normalization, {"binary": 0.001}, "binary"),
        (Normalization, {"epsilon": -1}, "epsilon"),
        (Normalization, {"epsilon": float("inf")}, "epsilon"),
        (Normalization, {"epsilon": "small"}, "epsilon"),
        (DropoutNoScale, {"rate": -0.1}, "rate"),
        (DropoutNoScale, {"rate": 1}, "rate"),
        (DropoutNoScale, {"rate": "half"}, "rate"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value).strip("{}"),
)
def test_a_wrong_argument_is_refused_by_name_and_value(cls, arguments, wrong):
    with pytest.raises(ValueError) as refusal:
        cls(**arguments)
    message = str(refusal.value)
    assert cls.__name__ in message and wrong in message and repr(arguments[wrong]) in message


@pytest.mark.parametrize("shape", [(None, 5, 5), (None, 5, 5, None), (None, 5, 5, 5, 2)])
def test_a_convolution_refuses_an_input_that_is_no_image(shape):
    with pytest.raises(ValueError, match="shape"):
        BinaryConv2D(2, 3).build(shape)


CHANNELS_FIRST = {"padding": "same", "data_format": "channels_first"}
BUILT = [  # layer, shape of an input that it accepts, shapes that it refuses then
    (lambda: BinaryDense(2), (4, 3), [(4, 6), (4, 5, 2), (3,)]),
    (lambda: BinaryConv2D(2, 3), (4, 8, 8, 3), [(4, 8, 8, 6), (4, 8, 8, 1), (4, 8, 3), (4, 8, 8, 8, 3)]),
    (lambda: BinaryDepthwiseConv2D(3), (4, 8, 8, 3), [(4, 8, 8, 6), (4, 8, 8, 1), (8, 8, 3)]),
    (lambda: BinarySeparableConv2D(2, 3), (4, 8, 8, 3), [(4, 8, 8, 6), (4, 8, 8, 1), (8, 8, 3)]),
    (lambda: BinarySeparableConv2D(2, 3), (4, 8, 8, 1), [(4, 8, 8, 2)]),
    (lambda: Normalization(), (4, 8, 8, 4), [(4, 8, 8, 8), (4, 8, 8, 1), (4, 2), (4,)]),
]


@pytest.mark.parametrize("make, accepted, refused", BUILT)
def test_a_built_layer_refuses_other_channels_and_ranks_as_a_stock_layer_does(make, accepted, refused):
    layer = make()
    layer(random(*accepted))
    layer(keras.Input(accepted[1:]))
    for shape in refused:
        for wrong in (random(*shape), keras.KerasTensor(shape)):
            with pytest.raises(ValueError, match=f"of layer .{layer.name}. is incompatible"):
                layer(wrong)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow has no such convolutions on a CPU")
@pytest.mark.parametrize("make", [BinaryConv2D, BinarySeparableConv2D])
def test_with_channels_first_the_outputs_are_those_with_channels_last(make):
    first, last = make(5, 3, bias_initializer=constant(np.arange(5.0)), **CHANNELS_FIRST), make(5, 3, padding="same")
    x = random(4, 3, 8, 6)
    y = np.moveaxis(np.asarray(first(x)), 1, -1)
    last.build((4, 8, 6, 3))
    last.set_weights(first.get_weights())
    np.testing.assert_allclose(last(np.moveaxis(x, 1, -1)), y, rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow has no such convolutions on a CPU")
@pytest.mark.parametrize("make", [BinaryConv2D, BinarySeparableConv2D])
def test_with_channels_first_other_channels_are_refused(make):
    layer = make(2, 3, **CHANNELS_FIRST)
    layer(random(4, 3, 8, 6))
    with pytest.raises(ValueError, match="incompatible"):
        layer(random(4, 6, 8, 3))


# -------------------------------------------------------------------------------------------------------------- dropout


def test_dropout_zeroes_the_asked_fraction_and_leaves_the_others_as_they_are():
    x = sign(random(200, 300)).astype("float32")
    dropped = np.asarray(DropoutNoScale(0.3, seed=0)(x, training=True))
    zero = dropped == 0
    assert abs(zero.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / x.size)
    np.testing.assert_array_equal(dropped[~zero], x[~zero])


def test_dropout_is_the_identity_at_inference_and_at_rate_0():
    x = random(20, 30)
    np.testing.assert_array_equal(DropoutNoScale(0.9)(x, training=False), x)
    np.testing.assert_array_equal(DropoutNoScale(0.9)(x), x)
    np.testing.assert_array_equal(DropoutNoScale(0)(x, training=True), x)


def test_a_loaded_dropout_goes_on_with_the_next_mask(tmp_path):
    saved, loaded = (keras.Sequential([keras.Input((30,)), DropoutNoScale(0.5)]) for _ in range(2))
    x = np.ones((20, 30), "float32")
    saved(x, training=True)
    saved.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(loaded(x, training=True), saved(x, training=True))


@pytest.mark.parametrize("wrong", [np.inf, -np.inf])
def test_a_dropped_infinity_is_0(wrong):
    dropped = np.asarray(DropoutNoScale(0.5, seed=0)(np.full((20, 30), wrong, "float32"), training=True))
    assert set(np.unique(dropped)) == {0, wrong}


def test_the_gradient_of_a_dropout_is_1_where_a_unit_is_kept(gradients):
    layer, x, upstream = DropoutNoScale(0.5, seed=0), random(20, 30), random(20, 30, seed=1)
    kept = np.asarray(DropoutNoScale(0.5, seed=0)(x, training=True)) != 0
    (found,) = gradients(lambda x: ops.sum(upstream * layer(x, training=True)), [x])
    np.testing.assert_array_equal(found, upstream * kept)


def test_the_seed_of_a_dropout_decides_its_masks():
    x = np.ones((20, 30), "float32")
    first, second, other = DropoutNoScale(0.5, seed=1), DropoutNoScale(0.5, seed=1), DropoutNoScale(0.5, seed=2)
    mask = np.asarray(first(x, training=True))
    np.testing.assert_array_equal(second(x, training=True), mask)
    assert (np.asarray(other(x, training=True)) != mask).any()
    assert (np.asarray(first(x, training=True)) != mask).any(), "every batch has a mask of its own"


# ---------------------------------------------------------------------------------------------- half precision and NaN


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("make", [lambda **k: BinaryDense(1, **k), lambda **k: BinaryConv2D(1, 1, **k)])
def test_half_precision_takes_the_sign_of_the_stored_weight(gradients, policy, make):
    layer = make(
        use_bias=False, kernel_initializer=keras.initializers.Constant(-1e-9), kernel_lr_multiplier=1.0, dtype=policy
    )
    x = np.ones((2, 1) if isinstance(layer, BinaryDense) else (2, 1, 1, 1), "float32")
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    np.testing.assert_array_equal(np.ravel(ops.cast(y, "float32")), -1)
    V = layer.trainable_variables[0]
    (gradient,) = gradients(lambda: ops.sum(ops.cast(layer(x), "float32")), [np.asarray(V)], [V])
    np.testing.assert_array_equal(np.ravel(gradient), 2)


def test_nan_in_an_image_or_a_weight_reaches_the_output():
    layer = BinaryDense(2, use_bias=False, activation=binary_tanh)
    x = random(4, 3)
    x[1, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(layer(x)).any(1), [False, True, False, False])
    layer.set_weights([np.float32([[1, np.nan]] * 3)])
    np.testing.assert_array_equal(np.isnan(layer(random(4, 3))).any(0), [False, True])


def test_one_nan_in_an_image_is_visible_in_the_loss():
    layers = [BinaryDense(4, use_bias=False), Normalization(), BinaryDense(2, use_bias=False), Normalization(False)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.compile("adam", "squared_hinge", jit_compile=False)
    x = random(8, 3)
    x[0, 0] = np.nan
    assert np.isnan(model.fit(x, np.ones((8, 2), "float32"), verbose=0).history["loss"]).all()


# ------------------------------------------------------------------------------------------------------ unknown sizes


def test_a_dense_layer_refuses_an_unknown_number_of_inputs():
    with pytest.raises(ValueError, match="BinaryDense.*last axis.*None"):
        BinaryDense(2).build((None, None))


@pytest.mark.parametrize("layer", [BinaryConv2D(2, 5), BinaryDepthwiseConv2D(5), BinarySeparableConv2D(2, (3, 5))])
def test_a_kernel_larger_than_the_image_is_refused(layer):
    with pytest.raises(ValueError, match="kernel_size"):
        layer.compute_output_shape((None, 8, 4, 1))
    with pytest.raises(ValueError, match="kernel_size"):
        layer.build((None, 8, 4, 1))
    assert layer.compute_output_shape((None, None, None, 1))[1:3] == (None, None)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has unknown sizes in a step")
@pytest.mark.parametrize("channels", [1, 2])
def test_a_separable_convolution_accepts_an_unknown_number_of_channels_once_it_is_built(channels):
    import tensorflow as tf

    layer, x = BinarySeparableConv2D(2, 3, padding="same"), random(2, 7, 6, channels)
    expected = layer(x)
    unknown = tf.function(layer, input_signature=[tf.TensorSpec((None, None, None, None))])
    np.testing.assert_allclose(unknown(x), expected, rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------------- reading and setting the kernels


@pytest.mark.parametrize("multiplier", [1.0, 7.0])
@pytest.mark.parametrize("H", [1.0, 0.25])
def test_the_binary_kernel_is_H_times_the_sign_of_the_kernel(H, multiplier):
    layer = BinarySeparableConv2D(5, 3, H=H, kernel_lr_multiplier=multiplier)
    layer.build((None, 9, 9, 4))
    np.testing.assert_array_equal(layer.binary_kernel, H * sign(layer.kernel))
    np.testing.assert_array_equal(layer.binary_pointwise_kernel, H * sign(layer.pointwise_kernel))


def test_a_kernel_that_is_set_is_read_back():
    layer = BinarySeparableConv2D(5, 3, kernel_lr_multiplier=7.0)
    layer.build((None, 9, 9, 4))
    D, P = np.clip(random(3, 3, 4, 1), -1, 1), np.clip(random(1, 1, 4, 5), -1, 1)
    layer.kernel, layer.pointwise_kernel = D, P
    np.testing.assert_allclose(layer.kernel, D, rtol=1e-6)
    np.testing.assert_allclose(layer.pointwise_kernel, P, rtol=1e-6)


def test_weights_outside_the_bounds_are_clipped_with_a_warning():
    layer = BinaryDense(2, H=0.5, kernel_lr_multiplier=3.0, name="first")
    layer.build((None, 2))
    with pytest.warns(UserWarning, match=r"50.0% of the weights .*'first'.* \[-0.5, 0.5\]"):
        layer.kernel = np.float32([[2, 0.3], [-0.1, -9]])
    np.testing.assert_allclose(layer.kernel, [[0.5, 0.3], [-0.1, -0.5]], rtol=1e-6)


def test_weights_on_the_bounds_give_no_warning():
    layer = BinaryDense(2, H=0.5)
    layer.build((None, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        layer.kernel = np.float32([[0.5, -0.5], [-0.5, 0.5]])


def test_an_initializer_that_draws_outside_the_bounds_is_clipped_with_a_warning():
    W = np.float32([[2, 0.3], [-0.1, -9]])
    layer = BinaryDense(2, kernel_initializer=constant(W), kernel_lr_multiplier=3.0)
    with pytest.warns(UserWarning, match="clipped"):
        layer.build((None, 2))
    np.testing.assert_allclose(layer.kernel, [[1, 0.3], [-0.1, -1]], rtol=1e-6)


@pytest.mark.parametrize("W, reason", [(np.zeros((3, 2)), r"shape \(2, 2\), got \(3, 2\)"), ([[0, np.nan]] * 2, "NaN")])
def test_a_kernel_of_another_shape_or_with_nan_is_refused(W, reason):
    layer = BinaryDense(2)
    layer.build((None, 2))
    with pytest.raises(ValueError, match=reason):
        layer.kernel = W


def test_weights_of_a_layer_with_another_multiplier_stay_in_their_bounds_and_get_a_gradient(gradients):
    one, other = (BinaryDense(2, use_bias=False, kernel_lr_multiplier=multiplier) for multiplier in (1.0, 4.0))
    for layer in (one, other):
        layer.build((None, 2))
    one.kernel = np.float32([[0.5, 0.1], [-0.75, -0.2]])
    other.set_weights(one.get_weights())  # 4 times as large
    np.testing.assert_allclose(other.kernel, [[1, 0.4], [-1, -0.8]], rtol=1e-6)
    (stored,) = other.trainable_variables
    (gradient,) = gradients(lambda: ops.sum(other(np.eye(2, dtype="float32"))), [np.asarray(stored)], [stored])
    np.testing.assert_array_equal(gradient, 1)


def test_a_kernel_before_build_is_a_clear_error():
    for name in ("kernel", "binary_kernel", "pointwise_kernel", "binary_pointwise_kernel"):
        with pytest.raises(AttributeError, match="'odd' has no kernel yet.*build"):
            getattr(BinarySeparableConv2D(2, 3, name="odd"), name)
    with pytest.raises(AttributeError, match="no kernel yet"):
        BinaryDense(2).kernel = np.zeros((2, 2))


def dense_model(**arguments):
    return keras.Sequential([keras.Input((3,)), BinaryDense(4, name="dense", **arguments)])


def test_a_file_of_weights_is_converted_to_another_multiplier(tmp_path):
    saved, loaded = dense_model(kernel_lr_multiplier=2.0), dense_model(kernel_lr_multiplier=5.0)
    saved.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(loaded.layers[0].kernel, saved.layers[0].kernel, rtol=1e-6)


def test_a_file_of_weights_with_a_larger_H_is_clipped_with_a_warning(tmp_path):
    saved, loaded = dense_model(), dense_model(H=0.5)
    saved.save_weights(tmp_path / "model.weights.h5")
    with pytest.warns(UserWarning, match="outside"):
        loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(loaded.layers[0].kernel, np.clip(saved.layers[0].kernel, -0.5, 0.5), rtol=1e-6)


def test_a_file_of_weights_that_no_step_has_clipped_yet_gives_the_latent_kernel_of_its_layer(tmp_path):
    saved, loaded = dense_model(kernel_lr_multiplier=2.0), dense_model(H=2.0, kernel_lr_multiplier=5.0)
    saved.set_weights([np.full((3, 4), 9, "float32"), np.zeros(4)])  # acts as 1, as H is 1
    saved.save_weights(tmp_path / "model.weights.h5")
    loaded.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_allclose(loaded.layers[0].kernel, 1, rtol=1e-6)


def test_a_legacy_file_of_a_model_keeps_the_latent_kernels(tmp_path):
    saved = dense_model(kernel_lr_multiplier=2.0)
    saved.save(tmp_path / "model.h5")
    loaded = keras.saving.load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(loaded.layers[0].kernel, saved.layers[0].kernel)


# ------------------------------------------------------------------------------------------ masks and activation names


def test_masks_pass_through_dropout_and_dense_layers():
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    keras.utils.set_random_seed(0)
    embedded = keras.layers.Embedding(5, 4, mask_zero=True)(tokens)
    for layer in (DropoutNoScale(0.5), BinaryDense(4)):
        vectors = layer(embedded)
        mean = keras.layers.GlobalAveragePooling1D()(vectors)  # of the positions that are not masked
        expected = np.stack([np.mean(vectors[0, :2], 0), np.mean(vectors[1, :1], 0)])
        np.testing.assert_allclose(mean, expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["binary_tanh", "binary_sigmoid", "round_through"])
def test_binary_activations_are_found_by_name(name):
    import binarized.binary_ops

    for layer in (BinaryDense(2, name), BinaryConv2D(2, 3, activation=name)):
        assert layer.activation is getattr(binarized.binary_ops, name)
        assert type(layer).from_config(layer.get_config()).activation is layer.activation


def test_names_of_keras_activations_mean_those_of_keras():
    assert BinaryDense(2, "hard_sigmoid").activation is keras.activations.hard_sigmoid

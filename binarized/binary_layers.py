"""Keras layers with kernels that are binary in the forward pass.

The module `kernels` says what a kernel is: the latent W, which is trained, the binary one, -H or +H, and the two rules
by which training differs from that of stock layers, clipping and a multiplier.

binarized/README.md says how to set weights, and what files contain.

Source: Hubara et al. 2016, arXiv:1602.02830, sections 1.2 to 1.5; the multiplier is that of the authors' code.
"""

import math
from collections.abc import Callable, Sequence
from numbers import Integral

import keras
import numpy as np
from keras import initializers, ops, regularizers
from keras.layers import InputSpec
from keras.saving import register_keras_serializable

from binarized.binary_ops import binary_sigmoid, binary_tanh, round_through
from binarized.depthwise import depthwise_conv
from binarized.kernels import BinaryKernel, glorot, is_number
from binarized.seeds import next_seed

Initializer = str | dict | Callable  # what Keras accepts as one
Regularizer = str | dict | Callable


def _is_count(value):
    return isinstance(value, Integral) and not isinstance(value, bool) and value > 0


def _is_count_or_pair(value):
    return _is_count(value) or isinstance(value, tuple | list) and len(value) == 2 and all(map(_is_count, value))


def _is_scale(value):
    return value == "Glorot" or is_number(value) and value > 0


MASKS = "seed_generator_state"  # in a file of weights: the state of the random masks of a dropout layer


@register_keras_serializable("binarized")
class DropoutNoScale(keras.layers.Layer):
    """Dropout that zeroes units in training and does not rescale the others.

    `keras.layers.Dropout` divides the others by 1 - rate, so ±1 activations would become ±1 / (1 - rate). A file
    contains the state of the random masks, so a training that is resumed draws the same masks as one without a break.

    Args:
        rate: probability in [0, 1) with which a unit is zeroed.
        seed: int or None, seed of the random masks.
    Input and output shape: any; both are equal.
    Raises:
        ValueError: rate outside [0, 1).
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        if not (is_number(rate) and 0 <= rate < 1):
            raise ValueError(f"DropoutNoScale: rate must be a number in [0, 1), got {rate!r}")
        self.supports_masking = True
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(next_seed() if seed is None else seed)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        kept = keras.random.uniform(ops.shape(inputs), seed=self.seed_generator) >= self.rate
        return ops.where(kept, inputs, ops.cast(0, inputs.dtype))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}

    def save_own_variables(self, store):
        store[MASKS] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        self.seed_generator.state.assign(np.asarray(store[MASKS]))


_ACTIVATIONS = {function.__name__: function for function in (binary_sigmoid, binary_tanh, round_through)}
SCALES = "scales"  # in a file of weights: H and multiplier of every kernel of a layer


def _kernel_properties(number):
    """The latent kernel of this number, which can be set, and the binary kernel, as properties of a layer."""
    return (
        property(lambda self: self._kernel(number).latent(), lambda self, W: self._kernel(number).assign(W)),
        property(lambda self: self._kernel(number).binary()),
    )


_ACCEPTED = {  # argument -> what it accepts, tested and in words
    **dict.fromkeys(("units", "filters", "depth_multiplier"), (_is_count, "a positive integer")),
    **dict.fromkeys(
        ("kernel_size", "strides", "dilation_rate"), (_is_count_or_pair, "a positive integer or a pair of them")
    ),
    "padding": (lambda value: value in ("valid", "same"), "'valid' or 'same'"),
    "data_format": (
        lambda value: value in (None, "channels_first", "channels_last"),
        "'channels_last', 'channels_first' or None",
    ),
    "use_bias": (lambda value: value in (True, False), "True or False"),
    **dict.fromkeys(("H", "kernel_lr_multiplier"), (_is_scale, "a positive number or 'Glorot'")),
}


class _BinaryLayer(keras.layers.Layer):
    """Base class of the binary layers: arguments, kernels with H and multiplier, a bias, an activation.

    Args:
        arguments: dict, what `locals()` gives at the start of a layer's `__init__`: its arguments become attributes of
            their names, and those of Keras (name, dtype, ...) are under "kwargs".
    """

    kernel, binary_kernel = _kernel_properties(0)
    _ranks = {"min_ndim": 2}
    _channel_axis = -1

    def __init__(self, arguments):
        super().__init__(**arguments["kwargs"])
        arguments = {name: arguments[name] for name in arguments if name not in ("self", "kwargs", "__class__")}
        for name, value in arguments.items():
            accepts, accepted = _ACCEPTED.get(name, (None, None))
            if accepts and not accepts(value):
                self._refuse(name, value, accepted)
            if name == "activation":
                value = keras.activations.get(_ACTIVATIONS.get(value, value) if isinstance(value, str) else value)
            elif name.endswith("_initializer"):
                value = initializers.get(value)
            elif name.endswith("_regularizer"):
                value = regularizers.get(value)
            setattr(self, name, value)
        self._arguments = tuple(arguments)
        self.input_spec = InputSpec(**self._ranks)
        self.binary_kernels = []  # filled by build

    def build(self, input_shape):
        outputs = self.compute_output_shape(input_shape)[self._channel_axis]  # refuses an input that is too small
        channels = input_shape[self._channel_axis]
        if channels is None:
            self._refuse("the input's shape", tuple(input_shape), "known along its last axis")
        self.input_spec = InputSpec(**self._ranks, axes={self._channel_axis: channels})
        self._add_kernels(channels)
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(outputs,), initializer=self.bias_initializer, regularizer=self.bias_regularizer
            )

    def _refuse(self, name, value, accepted):
        raise ValueError(f"{type(self).__name__}: {name} must be {accepted}, got {value!r}")

    def _add_kernel(self, kind, shape, inputs, name="kernel"):
        """Adds a binary kernel with the initializer and the regularizer of its kind.

        Args:
            kind: 'kernel', 'depthwise' or 'pointwise'.
            shape: (..., inputs, outputs).
            inputs: how many of them an output reads.
            name: of its variable.
        """
        area = math.prod(shape[:-2])
        bound = glorot(area * inputs, area * shape[-1])
        H = bound if self.H == "Glorot" else self.H
        multiplier = 1 / bound if self.kernel_lr_multiplier == "Glorot" else self.kernel_lr_multiplier
        self.binary_kernels.append(BinaryKernel(self, kind, name, shape, H, multiplier))

    def _kernel(self, number):
        if number >= len(self.binary_kernels):
            raise AttributeError(
                f"{type(self).__name__} {self.name!r} has no kernel yet: call the layer on data, or call its build()"
            )
        return self.binary_kernels[number]

    def _finish(self, outputs):
        """Adds the bias and applies the activation."""
        if self.use_bias:
            outputs = outputs + ops.reshape(self.bias, (-1, 1, 1) if self._channel_axis == 1 else (-1,))
        return self.activation(outputs)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store[SCALES] = np.array([(kernel.H, kernel.multiplier) for kernel in self.binary_kernels])

    def load_own_variables(self, store):
        """Loads the variables. Kernels saved with another H or multiplier are converted, so that W is the same."""
        weights = dict(store)
        scales = np.asarray(weights.pop(SCALES))
        super().load_own_variables(weights)
        for kernel, (H, multiplier) in zip(self.binary_kernels, scales, strict=True):
            if (H, multiplier) != (kernel.H, kernel.multiplier):
                kernel.assign(ops.clip(kernel.variable * multiplier, -H, H))

    def get_config(self):
        config = {**super().get_config(), **{name: getattr(self, name) for name in self._arguments}}
        for name in self._arguments:
            if name.endswith(("_initializer", "_regularizer")):
                config[name] = keras.saving.serialize_keras_object(config[name])
        return config | {"activation": keras.activations.serialize(self.activation)}


@register_keras_serializable("binarized")
class BinaryDense(_BinaryLayer):
    """Dense layer with binary weights: `activation(inputs @ binarize(kernel, H) + bias)`.

    Args:
        units: positive int, number of outputs.
        activation, use_bias, bias_initializer, kernel_regularizer, bias_regularizer: as in `keras.layers.Dense`; the
            activation can also be 'binary_tanh', 'binary_sigmoid' or 'round_through'.
        kernel_initializer: initializer of the latent kernel; None (default) is uniform in [-H, H]. Values outside are
            clipped, with a warning.
        H: magnitude of the binary weights, positive float, or 'Glorot' for sqrt(1.5 / (fan_in + fan_out)).
        kernel_lr_multiplier: factor on the optimizer's steps of the kernel, positive float, or 'Glorot' for
            1 / sqrt(1.5 / (fan_in + fan_out)).
    Attributes:
        kernel: tensor (inputs, units), the latent kernel W in [-H, H]. It can be set; values outside are clipped, with
            a warning.
        binary_kernel: tensor like kernel, every entry -H or +H.
    Input shape: (..., inputs). Output shape: (..., units).
    Raises:
        ValueError: an argument is not accepted; the message names it.
    Source: Hubara et al. 2016, arXiv:1602.02830.
    """

    def __init__(
        self,
        units: int,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        kernel_initializer: Initializer | None = None,
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer | None = None,
        bias_regularizer: Regularizer | None = None,
        H: float | str = 1.0,
        kernel_lr_multiplier: float | str = "Glorot",
        **kwargs,
    ):
        super().__init__(locals())
        self.supports_masking = True

    def _add_kernels(self, channels):
        self._add_kernel("kernel", (channels, self.units), channels)

    def call(self, inputs):
        return self._finish(ops.matmul(inputs, self.binary_kernel))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)


class _BinaryConv(_BinaryLayer):
    """Base class of the three convolutions. A subclass without `filters` has `depth_multiplier` outputs a channel."""

    _ranks = {"ndim": 4}

    def __init__(self, arguments):
        super().__init__(arguments)
        for name in ("kernel_size", "strides", "dilation_rate"):
            size = getattr(self, name)
            setattr(self, name, (size, size) if _is_count(size) else tuple(size))
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            self._refuse("dilation_rate", arguments["dilation_rate"], f"1 where strides are {arguments['strides']!r}")
        self.data_format = self.data_format or keras.config.image_data_format()
        self._channel_axis = 1 if self.data_format == "channels_first" else -1
        self._geometry = {name: getattr(self, name) for name in ("padding", "data_format", "dilation_rate")}

    def compute_output_shape(self, input_shape):
        if len(input_shape) != 4 or input_shape[self._channel_axis] is None:
            self._refuse("the input's shape", tuple(input_shape), "of rank 4 with a known number of channels")
        batch, *sizes = input_shape
        channels = sizes.pop(0 if self._channel_axis == 1 else -1)
        outputs = self.filters if "filters" in self._arguments else channels * self.depth_multiplier
        sizes = [
            size if size is None else -(-(size if self.padding == "same" else size - d * (k - 1)) // s)
            for size, k, s, d in zip(sizes, self.kernel_size, self.strides, self.dilation_rate, strict=True)
        ]
        if any(size is not None and size <= 0 for size in sizes):
            accepted = f"at most as large as the input, of shape {tuple(input_shape)}"
            self._refuse("kernel_size", self.kernel_size, accepted)
        return (batch, outputs, *sizes) if self._channel_axis == 1 else (batch, *sizes, outputs)


@register_keras_serializable("binarized")
class BinaryConv2D(_BinaryConv):
    """Convolution with binary weights.

    Args:
        filters: positive int, number of output channels.
        kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias, bias_initializer,
            kernel_regularizer, bias_regularizer: as in `keras.layers.Conv2D`. 'same' pads with 0, not with ±1.
        kernel_initializer, H, kernel_lr_multiplier: as in `BinaryDense`; the fans are those of the receptive field,
            kh * kw * channels in and kh * kw * filters out.
    Attributes:
        kernel, binary_kernel: tensors (kh, kw, channels, filters), as in `BinaryDense`.
    Input shape: (batch, height, width, channels). Output shape: (batch, new height, new width, filters); with
        data_format 'channels_first' the channels are the second axis.
    Raises:
        ValueError: an argument is not accepted; the message names it.
    Source: Hubara et al. 2016, arXiv:1602.02830.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        kernel_initializer: Initializer | None = None,
        bias_initializer: Initializer = "zeros",
        kernel_regularizer: Regularizer | None = None,
        bias_regularizer: Regularizer | None = None,
        H: float | str = 1.0,
        kernel_lr_multiplier: float | str = "Glorot",
        **kwargs,
    ):
        super().__init__(locals())

    def _add_kernels(self, channels):
        self._add_kernel("kernel", (*self.kernel_size, channels, self.filters), channels)

    def call(self, inputs):
        strides = self.strides
        if self.kernel_size == (1, 1) and max(strides) > 1:
            # A strided 1x1 kernel reads every stride-th pixel, and pooling selects them faster. On images with one
            # channel, oneDNN in TensorFlow 2.21 also writes out of bounds in the gradient of such a kernel.
            inputs, strides = ops.average_pool(inputs, 1, strides, data_format=self.data_format), 1
        return self._finish(ops.conv(inputs, self.binary_kernel, strides, **self._geometry))


@register_keras_serializable("binarized")
class BinaryDepthwiseConv2D(_BinaryConv):
    """Depthwise convolution with binary weights: every channel is convolved separately.

    Args:
        kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias,
            bias_initializer, depthwise_regularizer, bias_regularizer: as in `keras.layers.DepthwiseConv2D`.
        depthwise_initializer, H, kernel_lr_multiplier: as in `BinaryDense`; the fans are kh * kw in and
            kh * kw * depth_multiplier out.
    Attributes:
        kernel, binary_kernel: tensors (kh, kw, channels, depth_multiplier), as in `BinaryDense`.
    Input shape: (batch, height, width, channels). Output shape: (batch, new height, new width, channels *
        depth_multiplier); with data_format 'channels_first' the channels are the second axis.
    Raises:
        ValueError: an argument is not accepted; the message names it.
    Source: Hubara et al. 2016, arXiv:1602.02830; Chollet 2017, arXiv:1610.02357.
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        depthwise_initializer: Initializer | None = None,
        bias_initializer: Initializer = "zeros",
        depthwise_regularizer: Regularizer | None = None,
        bias_regularizer: Regularizer | None = None,
        H: float | str = 1.0,
        kernel_lr_multiplier: float | str = "Glorot",
        **kwargs,
    ):
        super().__init__(locals())

    def _add_kernels(self, channels):
        self._add_kernel("depthwise", (*self.kernel_size, channels, self.depth_multiplier), 1)

    def call(self, inputs):
        return self._finish(depthwise_conv(inputs, self.binary_kernel, self.strides, **self._geometry))


@register_keras_serializable("binarized")
class BinarySeparableConv2D(_BinaryConv):
    """Depthwise convolution followed directly by a pointwise (1x1) convolution, both with binary weights.

    Args:
        filters: positive int, number of output channels.
        kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias,
            bias_initializer, depthwise_regularizer, pointwise_regularizer, bias_regularizer: as in
            `keras.layers.SeparableConv2D`.
        depthwise_initializer, pointwise_initializer, H, kernel_lr_multiplier: as in `BinaryDense`, for each kernel
            separately; the fans of the pointwise kernel are channels * depth_multiplier in and filters out.
    Attributes:
        kernel, binary_kernel: tensors (kh, kw, channels, depth_multiplier), the depthwise kernels, as in `BinaryDense`.
        pointwise_kernel, binary_pointwise_kernel: tensors (1, 1, channels * depth_multiplier, filters), likewise.
    Input shape: (batch, height, width, channels). Output shape: (batch, new height, new width, filters); with
        data_format 'channels_first' the channels are the second axis.
    Raises:
        ValueError: an argument is not accepted; the message names it.
    Source: Hubara et al. 2016, arXiv:1602.02830; Chollet 2017, arXiv:1610.02357.
    """

    pointwise_kernel, binary_pointwise_kernel = _kernel_properties(1)

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: str | Callable | None = None,
        use_bias: bool = True,
        depthwise_initializer: Initializer | None = None,
        pointwise_initializer: Initializer | None = None,
        bias_initializer: Initializer = "zeros",
        depthwise_regularizer: Regularizer | None = None,
        pointwise_regularizer: Regularizer | None = None,
        bias_regularizer: Regularizer | None = None,
        H: float | str = 1.0,
        kernel_lr_multiplier: float | str = "Glorot",
        **kwargs,
    ):
        super().__init__(locals())

    def _add_kernels(self, channels):
        self._add_kernel("depthwise", (*self.kernel_size, channels, self.depth_multiplier), 1)
        inner = channels * self.depth_multiplier
        self._add_kernel("pointwise", (1, 1, inner, self.filters), inner, "pointwise_kernel")

    def call(self, inputs):
        kernel, pointwise = self.binary_kernel, self.binary_pointwise_kernel
        if tuple(kernel.shape[2:]) == (1, 1):
            # With one input channel, both kernels fold into one convolution, so the large intermediate tensor is never
            # materialized.
            return self._finish(ops.conv(inputs, kernel * pointwise, self.strides, **self._geometry))
        outputs = depthwise_conv(inputs, kernel, self.strides, **self._geometry)
        return self._finish(ops.conv(outputs, pointwise, data_format=self.data_format))

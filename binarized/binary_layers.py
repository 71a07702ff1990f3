"""Keras layers with kernels that are binary in the forward pass.

The forward pass uses the binary kernel `binarize(W, H)`, -H or +H. The optimizer updates the latent kernel W. Two rules
differ from stock layers:

- Clipping: W is clipped to [-H, H] after every step (`Clip`). Outside, its gradient would be 0 and W would not return.
- Multiplier: an optimizer step moves W by `kernel_lr_multiplier` times the step that the optimizer would make:
  W <- clip(W + multiplier * (step - W), -H, H). A layer cannot change the optimizer, so it stores V = W / multiplier
  and passes the gradient of W to V unchanged. When the optimizer moves V by s, W moves by multiplier * s. This holds
  for SGD, Adam, AdamW, Adamax, Nadam, Adadelta, Adagrad, RMSprop, Lion, Muon and ScheduleFreeAdamW. It does not hold
  for Lamb, Adafactor and Ftrl: these derive a step from the size of V, so the multiplier cancels out and has (almost)
  no effect. Weight decay has no multiplier either: it shrinks V, and so W, by learning rate * weight_decay a step. For
  a decay with the multiplier, use a kernel regularizer.

`layer.kernel` is W, `layer.binary_kernel` the binary kernel; `layer.get_weights()` returns V. To copy weights between
layers or from elsewhere, set `layer.kernel`: `set_weights` takes V, whose unit is the multiplier of the layer. Files
contain both, so weights can be loaded with another H or multiplier.

Source: Hubara et al. 2016, arXiv:1602.02830, sections 1.2 to 1.5; the multiplier is that of the authors' code.
"""

import math
import warnings
from numbers import Integral, Real

import keras
import numpy as np
from keras import constraints, initializers, ops, regularizers
from keras.saving import register_keras_serializable

from binarized.binary_ops import binary_sigmoid, binary_tanh, round_through, sign, straight_through
from binarized.depthwise import depthwise_conv
from binarized.seeds import next_seed


def _is_integer(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


@register_keras_serializable("binarized")
class Clip(constraints.Constraint):
    """Constraint that keeps weights in [min_value, max_value].

    Args:
        min_value: number, lower end.
        max_value: number above `min_value`, upper end.
    Raises:
        ValueError: the two are not numbers, or min_value is not the smaller one.
    """

    def __init__(self, min_value, max_value):
        if not (_is_number(min_value) and _is_number(max_value) and min_value < max_value):
            raise ValueError(
                f"Clip: min_value and max_value must be numbers, min_value the smaller one, "
                f"got {min_value!r} and {max_value!r}"
            )
        self.min_value = min_value
        self.max_value = max_value

    def __call__(self, w):
        return ops.clip(w, self.min_value, self.max_value)

    def get_config(self):
        return {"min_value": self.min_value, "max_value": self.max_value}


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

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(**kwargs)
        if not (_is_number(rate) and 0 <= rate < 1):
            raise ValueError(f"DropoutNoScale: rate must be a number in [0, 1), got {rate!r}")
        self.supports_masking = True
        self.rate = rate
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(next_seed() if seed is None else seed)

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        kept = keras.random.uniform(ops.shape(inputs), seed=self.seed_generator) >= self.rate
        return inputs * ops.cast(kept, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}

    def save_own_variables(self, store):
        store[MASKS] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        if MASKS in store.keys():  # files of earlier versions have none
            self.seed_generator.state.assign(np.asarray(store[MASKS]))


_ACTIVATIONS = {function.__name__: function for function in (binary_sigmoid, binary_tanh, round_through)}
SCALES = "scales"  # in a file of weights: H and multiplier of every kernel of a layer


def glorot(fan_in, fan_out):
    """Glorot's bound with the constant of the BinaryNet code, sqrt(1.5 / (fan_in + fan_out)).

    Args:
        fan_in, fan_out: numbers of inputs and outputs of a unit, counted over the receptive field.
    """
    return math.sqrt(1.5 / (fan_in + fan_out))


class _BinaryKernel:
    """One kernel of a layer: the stored variable V, from which the latent and the binary kernel are computed.

    V can lie outside [-H / multiplier, H / multiplier] after `set_weights`, until the constraint clips it in the next
    step. It then acts as if it were clipped already: both kernels are in [-H, H], and V gets a gradient.
    """

    def __init__(self, name, shape, H, multiplier, dtype):
        self.size = math.prod(shape)
        self.name, self.H, self.multiplier, self.dtype = name, H, multiplier, dtype

    def latent(self):
        """W = clip(multiplier * V, -H, H). The gradient of W is passed to V unchanged."""
        return straight_through(lambda V: ops.clip(V * self.multiplier, -self.H, self.H), lambda V: 1)(self.variable)

    def binary(self):
        """binarize(W, H) in the layer's compute dtype. The gradient is passed to V unchanged."""
        # The sign is taken before the cast: half precision rounds small negative numbers to 0.
        return ops.cast(straight_through(lambda V: self.H * sign(V), lambda V: 1)(self.variable), self.dtype)

    def clipped(self, W):
        """W clipped to [-H, H], with a warning if it was outside."""
        outside = np.mean(np.abs(ops.convert_to_numpy(W)) > self.H)
        if outside:
            warnings.warn(
                f"{outside:.1%} of the weights given for {self.name} are outside [-{self.H:g}, {self.H:g}] and are "
                "clipped",
                stacklevel=4,
            )
        return ops.clip(W, -self.H, self.H)

    def assign(self, W):
        """Sets the latent kernel, clipped to [-H, H]."""
        W = ops.convert_to_tensor(W, self.variable.dtype)
        if tuple(W.shape) != tuple(self.variable.shape):
            raise ValueError(f"{self.name} must have shape {tuple(self.variable.shape)}, got {tuple(W.shape)}")
        if np.isnan(ops.convert_to_numpy(W)).any():
            raise ValueError(f"{self.name} must be numbers, got NaN")
        self.variable.assign(self.clipped(W) / self.multiplier)


class _BinaryLayer(keras.layers.Layer):
    """Base class of the binary layers: kernels with H and multiplier, a bias, an activation."""

    def __init__(self, activation, use_bias, bias_initializer, bias_regularizer, H, kernel_lr_multiplier, **kwargs):
        super().__init__(**kwargs)
        for name, value in (("H", H), ("kernel_lr_multiplier", kernel_lr_multiplier)):
            if value != "Glorot" and not (_is_number(value) and value > 0):
                self._refuse(name, value, "a positive number or 'Glorot'")
        self.activation = keras.activations.get(
            _ACTIVATIONS.get(activation, activation) if isinstance(activation, str) else activation
        )
        self.use_bias = use_bias
        self.bias_initializer = initializers.get(bias_initializer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.H = H
        self.kernel_lr_multiplier = kernel_lr_multiplier
        self.binary_kernels = []  # filled by build

    def _refuse(self, name, value, accepted):
        raise ValueError(f"{type(self).__name__}: {name} must be {accepted}, got {value!r}")

    def _check_count(self, name, value):
        if not (_is_integer(value) and value > 0):
            self._refuse(name, value, "a positive integer")
        return value

    def _add_kernel(self, name, shape, fan_in, fan_out, initializer, regularizer):
        """Adds a binary kernel. `initializer` (None: uniform in [-H, H]) and `regularizer` apply to W."""
        H = glorot(fan_in, fan_out) if self.H == "Glorot" else self.H
        multiplier = self.kernel_lr_multiplier
        if multiplier == "Glorot":
            multiplier = 1 / glorot(fan_in, fan_out)
        kernel = _BinaryKernel(f"{name} of layer {self.name!r}", shape, H, multiplier, self.compute_dtype)
        if initializer is None:
            initial = initializers.RandomUniform(-H, H, seed=next_seed())
        else:
            initial = lambda shape, dtype: kernel.clipped(initializer(shape, dtype=dtype))
        kernel.variable = self.add_weight(
            name=name,
            shape=shape,
            initializer=lambda shape, dtype=None: initial(shape, dtype=dtype) / multiplier,
            regularizer=regularizer and (lambda V: regularizer(kernel.latent())),
            constraint=Clip(-H / multiplier, H / multiplier),
            autocast=False,
        )
        self.binary_kernels.append(kernel)
        return kernel

    def _built_kernel(self, number):
        if number >= len(self.binary_kernels):
            raise AttributeError(
                f"{type(self).__name__} {self.name!r} has no kernel yet: call the layer on data, or call its build()"
            )
        return self.binary_kernels[number]

    @property
    def kernel(self):
        return self._built_kernel(0).latent()

    @kernel.setter
    def kernel(self, W):
        self._built_kernel(0).assign(W)

    @property
    def binary_kernel(self):
        return self._built_kernel(0).binary()

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store[SCALES] = np.array([(kernel.H, kernel.multiplier) for kernel in self.binary_kernels])

    def load_own_variables(self, store):
        """Loads the variables. Kernels saved with another H or multiplier are converted, so that W is the same."""
        super().load_own_variables({key: store[key] for key in store.keys() if key != SCALES})
        if SCALES in store.keys():  # files of earlier versions have none
            for kernel, (H, multiplier) in zip(self.binary_kernels, np.asarray(store[SCALES])):
                if (H, multiplier) != (kernel.H, kernel.multiplier):
                    kernel.assign(ops.clip(kernel.variable * multiplier, -H, H))

    def _add_bias(self, units):
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(units,), initializer=self.bias_initializer, regularizer=self.bias_regularizer
            )

    def _finish(self, outputs, bias_shape=(-1,)):
        """Adds the bias and applies the activation."""
        if self.use_bias:
            outputs = outputs + ops.reshape(self.bias, bias_shape)
        return outputs if self.activation is None else self.activation(outputs)

    def get_config(self):
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "H": self.H,
            "kernel_lr_multiplier": self.kernel_lr_multiplier,
        }


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
        kernel: tensor (inputs, units), the latent kernel W in [-H, H]. It can be set; values
            outside are clipped, with a warning.
        binary_kernel: tensor like kernel, every entry -H or +H.
    Input shape: (..., inputs). Output shape: (..., units).
    Raises:
        ValueError: an argument is not accepted; the message names it.
    Source: Hubara et al. 2016, arXiv:1602.02830.
    """

    def __init__(
        self,
        units,
        activation=None,
        use_bias=True,
        kernel_initializer=None,
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        H=1.0,
        kernel_lr_multiplier="Glorot",
        **kwargs,
    ):
        super().__init__(activation, use_bias, bias_initializer, bias_regularizer, H, kernel_lr_multiplier, **kwargs)
        self.supports_masking = True
        self.units = self._check_count("units", units)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape):
        inputs = input_shape[-1]
        if inputs is None:
            self._refuse("the input's shape", tuple(input_shape), "known along its last axis")
        self._kernel = self._add_kernel(
            "kernel", (inputs, self.units), inputs, self.units, self.kernel_initializer, self.kernel_regularizer
        )
        self._add_bias(self.units)

    def call(self, inputs):
        return self._finish(ops.matmul(inputs, self._kernel.binary()))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
        }


class _BinaryConv(_BinaryLayer):
    """Base class of the three convolutions: kernel size, strides, padding, data format and dilation."""

    def __init__(self, kernel_size, strides, padding, data_format, dilation_rate, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kernel_size = self._check_pair("kernel_size", kernel_size)
        self.strides = self._check_pair("strides", strides)
        self.dilation_rate = self._check_pair("dilation_rate", dilation_rate)
        if padding not in ("valid", "same"):
            self._refuse("padding", padding, "'valid' or 'same'")
        if data_format not in (None, "channels_first", "channels_last"):
            self._refuse("data_format", data_format, "'channels_last', 'channels_first' or None")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            self._refuse("dilation_rate", dilation_rate, f"1 where strides are above 1 (here {strides!r})")
        self.padding = padding
        self.data_format = data_format or keras.config.image_data_format()
        self._geometry = {"padding": padding, "data_format": self.data_format, "dilation_rate": self.dilation_rate}

    def _check_pair(self, name, value):
        pair = (value, value) if _is_integer(value) else value
        if not (isinstance(pair, (tuple, list)) and len(pair) == 2 and all(_is_integer(v) and v > 0 for v in pair)):
            self._refuse(name, value, "a positive integer or a pair of them")
        return tuple(pair)

    def _channels(self, input_shape):
        channels = input_shape[-1 if self.data_format == "channels_last" else 1]
        if len(input_shape) != 4 or channels is None:
            self._refuse("the input's shape", tuple(input_shape), "of rank 4 with a known number of channels")
        return channels

    def _finish(self, outputs):
        return super()._finish(outputs, (1, 1, 1, -1) if self.data_format == "channels_last" else (1, -1, 1, 1))

    def compute_output_shape(self, input_shape):
        channels_last = self.data_format == "channels_last"
        sizes = input_shape[1:3] if channels_last else input_shape[2:4]
        sizes = [
            size if size is None else -(-(size if self.padding == "same" else size - d * (k - 1)) // s)
            for size, k, s, d in zip(sizes, self.kernel_size, self.strides, self.dilation_rate)
        ]
        if any(size is not None and size <= 0 for size in sizes):
            self._refuse(
                "kernel_size", self.kernel_size, f"at most as large as the input, of shape {tuple(input_shape)}"
            )
        channels = self._output_channels(self._channels(input_shape))
        return (input_shape[0], *sizes, channels) if channels_last else (input_shape[0], channels, *sizes)

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "data_format": self.data_format,
            "dilation_rate": self.dilation_rate,
        }


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
        kernel: tensor (kh, kw, channels, filters), the latent kernel W in [-H, H]. It can be set; values
            outside are clipped, with a warning.
        binary_kernel: tensor like kernel, every entry -H or +H.
    Input shape: (batch, height, width, channels). Output shape: (batch, new height, new width, filters); with
        data_format 'channels_first' the channels are the second axis.
    Raises:
        ValueError: an argument is not accepted; the message names it.
    Source: Hubara et al. 2016, arXiv:1602.02830.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        activation=None,
        use_bias=True,
        kernel_initializer=None,
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        H=1.0,
        kernel_lr_multiplier="Glorot",
        **kwargs,
    ):
        super().__init__(
            *(kernel_size, strides, padding, data_format, dilation_rate),
            *(activation, use_bias, bias_initializer, bias_regularizer, H, kernel_lr_multiplier),
            **kwargs,
        )
        self.filters = self._check_count("filters", filters)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)

    def build(self, input_shape):
        self.compute_output_shape(input_shape)  # refuses an input that is too small
        channels, area = self._channels(input_shape), math.prod(self.kernel_size)
        self._kernel = self._add_kernel(
            *("kernel", (*self.kernel_size, channels, self.filters), area * channels, area * self.filters),
            *(self.kernel_initializer, self.kernel_regularizer),
        )
        self._add_bias(self.filters)

    def call(self, inputs):
        strides = self.strides
        if self.kernel_size == (1, 1) and max(strides) > 1:
            # A strided 1x1 kernel reads every stride-th pixel, and pooling selects them faster. On images with one
            # channel, oneDNN in TensorFlow 2.21 also writes out of bounds in the gradient of such a kernel.
            inputs = ops.average_pool(inputs, 1, strides, data_format=self.data_format)
            strides = 1
        return self._finish(ops.conv(inputs, self._kernel.binary(), strides, **self._geometry))

    def _output_channels(self, channels):
        return self.filters

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
        }


@register_keras_serializable("binarized")
class BinaryDepthwiseConv2D(_BinaryConv):
    """Depthwise convolution with binary weights: every channel is convolved separately.

    Args:
        kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias,
            bias_initializer, depthwise_regularizer, bias_regularizer: as in `keras.layers.DepthwiseConv2D`.
        depthwise_initializer, H, kernel_lr_multiplier: as in `BinaryDense`; the fans are kh * kw in and
            kh * kw * depth_multiplier out.
    Attributes:
        kernel: tensor (kh, kw, channels, depth_multiplier), the latent kernel W in [-H, H]. It can be set; values
            outside are clipped, with a warning.
        binary_kernel: tensor like kernel, every entry -H or +H.
    Input shape: (batch, height, width, channels). Output shape: (batch, new height, new width, channels *
        depth_multiplier); with data_format 'channels_first' the channels are the second axis.
    Raises:
        ValueError: an argument is not accepted; the message names it.
    Source: Hubara et al. 2016, arXiv:1602.02830; Chollet 2017, arXiv:1610.02357.
    """

    def __init__(
        self,
        kernel_size,
        strides=1,
        padding="valid",
        depth_multiplier=1,
        data_format=None,
        dilation_rate=1,
        activation=None,
        use_bias=True,
        depthwise_initializer=None,
        bias_initializer="zeros",
        depthwise_regularizer=None,
        bias_regularizer=None,
        H=1.0,
        kernel_lr_multiplier="Glorot",
        **kwargs,
    ):
        super().__init__(
            *(kernel_size, strides, padding, data_format, dilation_rate),
            *(activation, use_bias, bias_initializer, bias_regularizer, H, kernel_lr_multiplier),
            **kwargs,
        )
        self.depth_multiplier = self._check_count("depth_multiplier", depth_multiplier)
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.depthwise_regularizer = regularizers.get(depthwise_regularizer)

    def _add_depthwise_kernel(self, input_shape):
        self.compute_output_shape(input_shape)  # refuses an input that is too small
        channels, area = self._channels(input_shape), math.prod(self.kernel_size)
        self._kernel = self._add_kernel(
            *("kernel", (*self.kernel_size, channels, self.depth_multiplier), area, area * self.depth_multiplier),
            *(self.depthwise_initializer, self.depthwise_regularizer),
        )

    def build(self, input_shape):
        self._add_depthwise_kernel(input_shape)
        self._add_bias(self._output_channels(self._channels(input_shape)))

    def _depthwise(self, inputs):
        return depthwise_conv(inputs, self._kernel.binary(), self.strides, **self._geometry)

    def call(self, inputs):
        return self._finish(self._depthwise(inputs))

    def _output_channels(self, channels):
        return channels * self.depth_multiplier

    def get_config(self):
        return {
            **super().get_config(),
            "depth_multiplier": self.depth_multiplier,
            "depthwise_initializer": initializers.serialize(self.depthwise_initializer),
            "depthwise_regularizer": regularizers.serialize(self.depthwise_regularizer),
        }


@register_keras_serializable("binarized")
class BinarySeparableConv2D(BinaryDepthwiseConv2D):
    """Depthwise convolution followed directly by a pointwise (1x1) convolution, both with binary weights.

    Args:
        filters: positive int, number of output channels.
        kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias,
            bias_initializer, depthwise_regularizer, pointwise_regularizer, bias_regularizer: as in
            `keras.layers.SeparableConv2D`.
        depthwise_initializer, pointwise_initializer, H, kernel_lr_multiplier: as in `BinaryDense`, for each kernel
            separately; the fans of the pointwise kernel are channels * depth_multiplier in and filters out.
    Attributes:
        kernel: tensor (kh, kw, channels, depth_multiplier), the latent depthwise kernel in [-H, H].
        binary_kernel: tensor like kernel, every entry -H or +H.
        pointwise_kernel: tensor (1, 1, channels * depth_multiplier, filters), the latent pointwise kernel in [-H, H].
        binary_pointwise_kernel: tensor like pointwise_kernel, every entry -H or +H. Both latent kernels can be set;
            values outside are clipped, with a warning.
    Input shape: (batch, height, width, channels). Output shape: (batch, new height, new width, filters); with
        data_format 'channels_first' the channels are the second axis.
    Raises:
        ValueError: an argument is not accepted; the message names it.
    Source: Hubara et al. 2016, arXiv:1602.02830; Chollet 2017, arXiv:1610.02357.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="valid",
        depth_multiplier=1,
        data_format=None,
        dilation_rate=1,
        activation=None,
        use_bias=True,
        depthwise_initializer=None,
        pointwise_initializer=None,
        bias_initializer="zeros",
        depthwise_regularizer=None,
        pointwise_regularizer=None,
        bias_regularizer=None,
        H=1.0,
        kernel_lr_multiplier="Glorot",
        **kwargs,
    ):
        super().__init__(
            *(kernel_size, strides, padding, depth_multiplier, data_format, dilation_rate, activation, use_bias),
            *(depthwise_initializer, bias_initializer, depthwise_regularizer, bias_regularizer),
            *(H, kernel_lr_multiplier),
            **kwargs,
        )
        self.filters = self._check_count("filters", filters)
        self.pointwise_initializer = initializers.get(pointwise_initializer)
        self.pointwise_regularizer = regularizers.get(pointwise_regularizer)

    def build(self, input_shape):
        self._add_depthwise_kernel(input_shape)
        inputs = self._channels(input_shape) * self.depth_multiplier
        self._pointwise_kernel = self._add_kernel(
            *("pointwise_kernel", (1, 1, inputs, self.filters), inputs, self.filters),
            *(self.pointwise_initializer, self.pointwise_regularizer),
        )
        self._add_bias(self.filters)

    @property
    def pointwise_kernel(self):
        return self._built_kernel(1).latent()

    @pointwise_kernel.setter
    def pointwise_kernel(self, W):
        self._built_kernel(1).assign(W)

    @property
    def binary_pointwise_kernel(self):
        return self._built_kernel(1).binary()

    def call(self, inputs):
        pointwise = self._pointwise_kernel.binary()
        if self._kernel.variable.shape[2:] == (1, 1):
            # With one input channel, both kernels fold into one convolution, so the large intermediate tensor is never
            # materialized.
            outputs = ops.conv(inputs, self._kernel.binary() * pointwise, self.strides, **self._geometry)
        else:
            outputs = ops.conv(self._depthwise(inputs), pointwise, data_format=self.data_format)
        return self._finish(outputs)

    def _output_channels(self, channels):
        return self.filters

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "pointwise_initializer": initializers.serialize(self.pointwise_initializer),
            "pointwise_regularizer": regularizers.serialize(self.pointwise_regularizer),
        }

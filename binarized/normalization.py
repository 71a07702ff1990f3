"""Batch normalization followed by binarization, fused for speed.

Both are one function with a hand-written gradient. Under TensorFlow, XLA compiles the forward and the backward pass to
a few passes over memory; separate layers take about ten. Only this function is compiled, because XLA's convolutions are
slower on a CPU.
"""

import contextvars
import functools
import math
import weakref
from typing import Any

import keras
from keras import ops
from keras.layers import InputSpec
from keras.saving import register_keras_serializable

from binarized.binary_ops import binary_tanh, inside, sign
from binarized.kernels import is_number

WORTH_COMPILING = 768  # values per example; below, a step saves too little to repay the compilation


_recalibrating = contextvars.ContextVar("whether inference estimates statistics", default=False)


def _compiled(function):
    """`function`, compiled by XLA under TensorFlow, which would otherwise run one operation at a time."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def _forward(x, gamma, beta, epsilon, binary):
    """Output like x, and the mean and the variance of the batch; computed in the dtype of gamma."""
    flat = ops.cast(ops.reshape(x, (-1, gamma.shape[0])), gamma.dtype)
    mean = ops.mean(flat, axis=0)
    centred = flat - mean
    variance = ops.mean(centred * centred, axis=0)
    y = centred * (ops.rsqrt(variance + epsilon) * gamma) + beta
    return ops.cast(ops.reshape(sign(y) if binary else y, ops.shape(x)), x.dtype), mean, variance


def _backward(upstream, x, gamma, beta, mean, variance, epsilon, binary):
    """Gradients with respect to x, gamma and beta. y is recomputed to save memory."""
    flat, upstream = (ops.cast(ops.reshape(t, (-1, gamma.shape[0])), gamma.dtype) for t in (x, upstream))
    inverse = ops.rsqrt(variance + epsilon)
    centred = flat - mean
    if binary:
        y = centred * (inverse * gamma) + beta
        upstream = upstream * inside(y)
    d_beta = ops.sum(upstream, axis=0)
    d_scale = ops.sum(upstream * centred, axis=0)
    n = ops.cast(ops.shape(flat)[0], gamma.dtype)
    d_x = (upstream - d_beta / n - centred * (d_scale * inverse * inverse / n)) * (gamma * inverse)
    return ops.cast(ops.reshape(d_x, ops.shape(x)), x.dtype), d_scale * inverse, d_beta


def _masked_statistics(x, mask):
    """Mean and variance of the positions that the mask, bool like x without its channels, leaves in."""
    if len(mask.shape) != len(x.shape) - 1:
        raise ValueError(
            f"Normalization: a mask of inputs {tuple(x.shape)} must have an axis less, got {tuple(mask.shape)}"
        )
    mask, axes = ops.expand_dims(mask, -1), tuple(range(len(mask.shape)))
    count = ops.maximum(ops.sum(ops.cast(mask, x.dtype)), 1)
    mean = ops.sum(ops.where(mask, x, 0), axes) / count
    return mean, ops.sum(ops.where(mask, (x - mean) ** 2, 0), axes) / count


_forward_compiled = _compiled(_forward)
_backward_compiled = _compiled(_backward)


@register_keras_serializable("binarized")
class Normalization(keras.layers.Layer):
    """Batch normalization over all axes but the last, followed by binary_tanh.

    In training the layer uses the statistics of the batch. At inference it uses stored statistics, the mean over the
    batches seen in training. Call `recalibrate` before a trained network is evaluated.

    As in `keras.layers.BatchNormalization`, a frozen layer (`trainable = False`, of itself or of a model that contains
    it) uses and keeps its stored statistics in training, too, and positions that a mask leaves out do not count.

    Variables and arithmetic are float32 (float64 in a float64 layer), also in half precision.

    Args:
        binary: bool, whether binary_tanh follows.
        epsilon: number from 0 on, added to the variance.
    Attributes:
        mean, variance: variables (channels,), the stored statistics.
    Input and output shape: (batch, ..., channels), the same.
    Raises:
        ValueError: an argument is not accepted, or the number of channels is unknown.
    Source: Ioffe and Szegedy 2015, arXiv:1502.03167; Hubara et al. 2016, arXiv:1602.02830.
    """

    LONGEST_MEMORY = 100  # batches; the mean is exact up to this number and exponential beyond it

    def __init__(self, binary: bool = True, epsilon: float = 1e-3, **kwargs):
        super().__init__(**kwargs)
        if binary not in (True, False):
            raise ValueError(f"Normalization: binary must be True or False, got {binary!r}")
        if not (is_number(epsilon) and epsilon >= 0):
            raise ValueError(f"Normalization: epsilon must be a number from 0 on, got {epsilon!r}")
        self.supports_masking = True
        self.input_spec = InputSpec(min_ndim=2)
        self.binary = binary
        self.epsilon = epsilon

    def build(self, input_shape):
        shape = (input_shape[-1],)
        if None in shape:
            raise ValueError(f"Normalization: the last axis of the input must be known, got shape {tuple(input_shape)}")
        self.input_spec = InputSpec(min_ndim=2, axes={-1: shape[0]})
        # In half precision a variance above 65,504 would overflow, and small changes of a mean would be lost.
        dtype = keras.backend.result_type(self.variable_dtype, "float32")
        add = functools.partial(self.add_weight, dtype=dtype, autocast=False)
        self.gamma = add(name="gamma", shape=shape, initializer="ones")
        self.beta = add(name="beta", shape=shape, initializer="zeros")
        self.mean = add(name="mean", shape=shape, initializer="zeros", trainable=False)
        self.variance = add(name="variance", shape=shape, initializer="ones", trainable=False)
        self.batches = add(name="batches_in_statistics", shape=(), initializer="zeros", trainable=False)
        _built.add(self)

    def call(self, inputs, training=False, mask=None):
        if not (self.trainable and (training or _recalibrating.get())):
            return self._normalized(inputs, self.mean, self.variance)
        if mask is not None:
            mean, variance = _masked_statistics(ops.cast(inputs, self.mean.dtype), mask)
            self._store(mean, variance)
            return self._normalized(inputs, mean, variance)

        sizes = inputs.shape[1:]
        # XLA would compile again for every new size.
        compiled = None not in sizes and math.prod(sizes) >= WORTH_COMPILING
        forward, backward = (_forward_compiled, _backward_compiled) if compiled else (_forward, _backward)

        @ops.custom_gradient
        def normalize(x, gamma, beta):
            y, mean, variance = forward(x, gamma, beta, self.epsilon, self.binary)

            def gradient(*upstream):
                while isinstance(upstream, (tuple, list)):  # only y, the first output, has a gradient
                    upstream = upstream[0]
                return backward(upstream, x, gamma, beta, mean, variance, self.epsilon, self.binary)

            return (y, mean, variance), gradient

        y, mean, variance = normalize(inputs, self.gamma + 0, self.beta + 0)
        self._store(mean, variance)
        return y

    def _normalized(self, inputs, mean, variance):
        scale = ops.rsqrt(variance + self.epsilon) * self.gamma
        y = (ops.cast(inputs, scale.dtype) - mean) * scale + self.beta
        return ops.cast(binary_tanh(y) if self.binary else y, inputs.dtype)

    def _store(self, mean, variance):
        self.batches.assign(ops.minimum(self.batches + 1, self.LONGEST_MEMORY))
        self.mean.assign(self.mean + (mean - self.mean) / self.batches)
        self.variance.assign(self.variance + (variance - self.variance) / self.batches)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "binary": self.binary, "epsilon": self.epsilon}


def recalibrate(model: keras.Model, batches: Any) -> None:
    """Re-estimates the batch-norm statistics of every `Normalization` in a model.

    Training flips signs of weights from step to step, so running averages describe weights that no longer exist. This
    function runs the model with its current weights over some batches, without an update step and without dropout, and
    stores the mean of their statistics. Call it after training, and before `evaluate`, `predict`, `save` or `pack`.
    Frozen layers keep their statistics.

    Args:
        model: keras.Model; `Normalization` layers in nested models and layers are included.
        batches: batches of inputs (targets are ignored), in any form that `keras.Model.predict` accepts. About 50
            batches of the training set are enough.
    Raises:
        ValueError: the model has no `Normalization`, all are frozen, or one that is not frozen did not see any batch.
    """
    frozen = {id(layer) for layer in _normalizations(model) if not layer.trainable}
    if getattr(model, "_recalibrator", None) is None or model._recalibrator.frozen != frozen:
        # Kept with the model, so that it is traced once. Keras would treat an ordinary attribute as part of the model.
        object.__setattr__(model, "_recalibrator", _Recalibrator(model, frozen))
    for layer in _normalizations(model):
        if layer.trainable:
            layer.batches.assign(0.0)
    model._recalibrator.predict(batches, verbose=0)
    estimated = [layer for layer in _normalizations(model) if layer.trainable]
    if not estimated:
        raise ValueError(f"recalibrate: model {model.name!r} has no Normalization layer, or all of them are frozen")
    unseen = [layer.name for layer in estimated if not float(ops.convert_to_numpy(layer.batches))]
    if unseen:
        raise ValueError(f"recalibrate: Normalization {unseen[0]!r} of model {model.name!r} did not see any batch")


_built = weakref.WeakSet()  # all normalizations of this process


def _normalizations(model):
    """The built normalizations of a model, wherever they are nested: those whose variables it has."""
    variables = {id(variable) for variable in model.variables}
    return [layer for layer in _built if id(layer.batches) in variables]


class _Recalibrator(keras.Model):
    """Predicts with a model whose normalizations use and store the statistics of every batch, except the frozen ones.

    Args:
        model: keras.Model.
        frozen: set of the ids of its normalizations that are frozen. Another set needs another trace.
    """

    def __init__(self, model, frozen):
        super().__init__(name="recalibrator")  # the default name would start with "_"
        self.model, self.frozen = model, frozen

    def call(self, inputs):
        token = _recalibrating.set(True)
        try:
            return self.model(inputs, training=False)
        finally:
            _recalibrating.reset(token)

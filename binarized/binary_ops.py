"""Elementwise functions: rounding and binarization, each with its straight-through gradient.

Every docstring states the forward rule and the pseudo-gradient, which replaces the true gradient (0 almost everywhere).
All functions use `keras.ops` only and give the same numbers under TensorFlow and JAX. NaN stays NaN, so that it shows
in the loss.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import Variable, ops
from keras.saving import register_keras_serializable

if (backend := keras.backend.backend()) not in ("tensorflow", "jax"):
    raise ImportError(f"binarized: the backend of Keras must be 'tensorflow' or 'jax', got {backend!r}")

Tensor = Any  # of TensorFlow or JAX


def straight_through(forward: Callable, slope: Callable) -> Callable:
    """Returns a function whose derivative is given instead of computed.

    Forward:   forward(x)
    Backward:  dy/dx = slope(x)

    Args:
        forward: function from a tensor to a tensor of the same shape.
        slope: function from a tensor to a tensor of the same shape, or to a number.
    Returns:
        Function of one tensor (or Keras variable).
    """

    @ops.custom_gradient
    def function(x):
        return forward(x), lambda upstream: upstream * slope(x)

    # TensorFlow's custom gradients accept tensors, but no variables.
    return lambda x: function(x + 0 if isinstance(x, Variable) else ops.convert_to_tensor(x))


def sign(x: Tensor) -> Tensor:
    """+1 where x >= 0, else -1; never 0, and NaN where x is NaN. Its derivative is 0."""
    return ops.sign(ops.sign(x) + 0.5)  # a comparison would turn NaN into -1


def inside(x: Tensor, height: float = 1) -> Tensor:
    """`height` where |x| <= 1, else 0: the derivative of a clipped linear function."""
    # A Python number would give float32.
    return ops.where(ops.abs(x) <= 1, ops.cast(height, x.dtype), ops.cast(0, x.dtype))


@register_keras_serializable("binarized")
def round_through(x: Tensor) -> Tensor:
    """Rounds to the nearest integer, halves up, so that 1/2, the midpoint of a sigmoid, becomes 1.

    Forward:   floor(x) + 1 where x - floor(x) >= 1/2, else floor(x)
    Backward:  dy/dx = 1   (straight through)

    Args:
        x: float tensor of any shape.
    Returns:
        Tensor like x, every entry an integer.
    Source: Hubara et al. 2016, arXiv:1602.02830, section 1.3; rounding halves up is this project's choice.
    """

    def half_up(x):
        # floor(x + 1/2) would round the largest float below 1/2 up.
        return ops.floor(x) + ops.cast(x - ops.floor(x) >= 0.5, x.dtype)

    return straight_through(half_up, ops.ones_like)(x)


@register_keras_serializable("binarized")
def hard_sigmoid(x: Tensor) -> Tensor:
    """Piecewise linear approximation of the sigmoid.

    Forward:   clip((x + 1) / 2, 0, 1)
    Backward:  dy/dx = 1/2 where |x| <= 1, else 0   (both ends included, on every backend)

    Args:
        x: float tensor of any shape.
    Returns:
        Tensor like x, every entry in [0, 1].
    Source: Hubara et al. 2016, arXiv:1602.02830, section 1.1, equation 3.
    """
    return straight_through(lambda x: ops.clip((x + 1) / 2, 0, 1), lambda x: inside(x, 0.5))(x)


@register_keras_serializable("binarized")
def binary_sigmoid(x: Tensor) -> Tensor:
    """Deterministic binarization to {0, 1}: the hard sigmoid, rounded.

    Forward:   1 where x >= 0, else 0
    Backward:  dy/dx = 1/2 where |x| <= 1, else 0   (straight through hard sigmoid)

    Computed as a comparison with 0. In float32, `round(hard_sigmoid(x))` would map small negative x to 1.

    Args:
        x: float tensor of any shape.
    Returns:
        Tensor like x, every entry 0 or 1.
    Source: Hubara et al. 2016, arXiv:1602.02830, section 1.1.
    """
    return straight_through(lambda x: (sign(x) + 1) / 2, lambda x: inside(x, 0.5))(x)


@register_keras_serializable("binarized")
def binary_tanh(x: Tensor) -> Tensor:
    """Deterministic binarization to {-1, +1}, `2 * binary_sigmoid(x) - 1`. The result is never 0.

    Forward:   +1 where x >= 0, else -1
    Backward:  dy/dx = 1 where |x| <= 1, else 0   (straight through hard tanh)

    Args:
        x: float tensor of any shape.
    Returns:
        Tensor like x, every entry -1 or +1.
    Source: Hubara et al. 2016, arXiv:1602.02830, section 1.1, equations 1 and 4.
    """
    return straight_through(sign, inside)(x)


def binarize(W: Tensor, H: float = 1.0) -> Tensor:
    """Deterministic binarization of weights to {-H, +H}.

    Forward:   H * binary_tanh(W / H), so +H where W >= 0, else -H
    Backward:  dy/dW = 1 where |W| <= H, else 0

    Args:
        W: float tensor of any shape, the latent weights.
        H: positive number, the magnitude of the binary weights.
    Returns:
        Tensor like W, every entry -H or +H.
    Source: Hubara et al. 2016, arXiv:1602.02830, section 1.1 (where H = 1).
    """
    return H * binary_tanh(W / H)

"""Kernels that are binary in the forward pass: what is stored, trained and computed of them.

The forward pass uses the binary kernel `binarize(W, H)`, -H or +H. The optimizer updates the latent kernel W. Two rules
differ from stock layers:

- Clipping: W is clipped to [-H, H] after every step. Outside, its gradient would be 0 and W would not return.
- Multiplier: an optimizer step moves W by `kernel_lr_multiplier` times the step that the optimizer would make:
  W <- clip(W + multiplier * (step - W), -H, H). A layer cannot change the optimizer, so it stores V = W / multiplier
  and passes the gradient of W to V unchanged. When the optimizer moves V by s, W moves by multiplier * s. This holds
  for SGD, Adam, AdamW, Adamax, Nadam, Adadelta, Adagrad, RMSprop, Lion, Muon and ScheduleFreeAdamW. It does not hold
  for Lamb, Adafactor and Ftrl: these derive a step from the size of V, so the multiplier cancels out and has (almost)
  no effect. Weight decay has no multiplier either: it shrinks V, and so W, by learning rate * weight_decay a step. For
  a decay with the multiplier, use a kernel regularizer.

Source: Hubara et al. 2016, arXiv:1602.02830, sections 1.2 to 1.5; the multiplier is that of the authors' code.
"""

import math
import warnings
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras import initializers, ops

from binarized.binary_ops import Tensor, sign, straight_through
from binarized.seeds import next_seed


def is_number(value: Any) -> bool:
    """Whether an argument is a finite number, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def glorot(fan_in: float, fan_out: float) -> float:
    """Glorot's bound with the constant of the BinaryNet code, sqrt(1.5 / (fan_in + fan_out)).

    Args:
        fan_in, fan_out: numbers of inputs and outputs of a unit, counted over the receptive field.
    """
    return math.sqrt(1.5 / (fan_in + fan_out))


class BinaryKernel:
    """One kernel of a layer: the stored variable V, from which the latent and the binary kernel are computed.

    V can lie outside [-H / multiplier, H / multiplier] after `set_weights`, until the constraint clips it in the next
    step. It then acts as if it were clipped already: both kernels are in [-H, H], and V gets a gradient.

    Args:
        layer: keras.layers.Layer, gets the variable.
        kind: such as 'depthwise'; the layer's `depthwise_initializer` and `depthwise_regularizer` are those of W.
            Without an initializer, W is uniform in [-H, H].
        name, shape: of the variable.
        H, multiplier: positive numbers.
    Attributes:
        variable: V. size: number of weights. H, multiplier: as given.
    """

    def __init__(
        self, layer: keras.layers.Layer, kind: str, name: str, shape: tuple[int, ...], H: float, multiplier: float
    ):
        initializer, regularizer = (getattr(layer, f"{kind}_{part}") for part in ("initializer", "regularizer"))
        self.name, self.size, self.dtype = f"{name} of layer {layer.name!r}", math.prod(shape), layer.compute_dtype
        self.H, self.multiplier = H, multiplier
        if initializer is None:
            initial = initializers.RandomUniform(-H, H, seed=next_seed())
        else:
            initial = lambda shape, dtype: self._clipped(initializer(shape, dtype=dtype))
        self.variable = layer.add_weight(
            name=name,
            shape=shape,
            initializer=lambda shape, dtype=None: initial(shape, dtype=dtype) / multiplier,
            regularizer=regularizer and (lambda V: regularizer(self.latent())),
            constraint=lambda V: ops.clip(V, -H / multiplier, H / multiplier),
            autocast=False,
        )

    def latent(self) -> Tensor:
        """W = clip(multiplier * V, -H, H). The gradient of W is passed to V unchanged."""
        return straight_through(lambda V: ops.clip(V * self.multiplier, -self.H, self.H), lambda V: 1)(self.variable)

    def binary(self) -> Tensor:
        """binarize(W, H) in the layer's compute dtype. The gradient is passed to V unchanged."""
        # The sign is taken before the cast: half precision rounds small negative numbers to 0.
        return ops.cast(straight_through(lambda V: self.H * sign(V), lambda V: 1)(self.variable), self.dtype)

    def _clipped(self, W):
        """W clipped to [-H, H], with a warning if it was outside."""
        outside = np.mean(np.abs(ops.convert_to_numpy(W)) > self.H)
        if outside:
            warnings.warn(
                f"{outside:.1%} of the weights given for {self.name} are outside [-{self.H:g}, {self.H:g}] and are "
                "clipped",
                stacklevel=4,
            )
        return ops.clip(W, -self.H, self.H)

    def assign(self, W: Tensor) -> None:
        """Sets the latent kernel, clipped to [-H, H]."""
        W = ops.convert_to_tensor(W, self.variable.dtype)
        if tuple(W.shape) != tuple(self.variable.shape):
            raise ValueError(f"{self.name} must have shape {tuple(self.variable.shape)}, got {tuple(W.shape)}")
        if np.isnan(ops.convert_to_numpy(W)).any():
            raise ValueError(f"{self.name} must be numbers, got NaN")
        self.variable.assign(self._clipped(W) / self.multiplier)

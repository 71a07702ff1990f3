"""The children that benchmarks compare with: the same networks of stock Keras layers, branch by branch."""

import keras
from cells import wire
from keras import layers, ops


def sign(x):
    """Straight-through sign of stock functions. Forward: +1 where x >= 0, else -1. Backward: that of clip(x, -1, 1)."""
    clipped = ops.clip(x, -1, 1)
    return clipped + ops.stop_gradient(ops.where(x >= 0, 1.0, -1.0) - clipped)


def clip(kernel):
    return ops.clip(kernel, -1, 1)


class BinaryDense(layers.Dense):
    @property
    def kernel(self):
        return sign(super().kernel)


class BinaryConv2D(layers.Conv2D):
    @property
    def kernel(self):
        return sign(super().kernel)


class BinarySeparableConv2D(layers.SeparableConv2D):
    def call(self, inputs):
        kernels = sign(self.depthwise_kernel), sign(self.pointwise_kernel)
        return ops.separable_conv(inputs, *kernels, strides=self.strides, padding=self.padding)


class Stock:
    """The library of `cells.wire`. With binary=False kernels are floats, and relu stands in the place of the sign."""

    def __init__(self, binary):
        self.binary = binary

    def conv(self, x, filters, size, strides):
        layer = BinaryConv2D if self.binary else layers.Conv2D
        return layer(filters, size, strides, padding="same", use_bias=False, **self._bounds("kernel"))(x)

    def separable(self, x, filters, size, stride):
        layer = BinarySeparableConv2D if self.binary else layers.SeparableConv2D
        bounds = self._bounds("depthwise", "pointwise")
        return layer(filters, size, stride, padding="same", use_bias=False, **bounds)(x)

    def dense(self, x, units):
        layer = BinaryDense if self.binary else layers.Dense
        return layer(units, use_bias=False, **self._bounds("kernel"))(x)

    def pool(self, x, kind, size, stride):
        layer = layers.MaxPooling2D if kind == "max" else layers.AveragePooling2D
        return layer(size, stride, padding="same")(x)

    def normalize(self, x):
        return layers.BatchNormalization()(x)

    def activate(self, x):
        return layers.Activation(sign if self.binary else "relu")(x)

    def flatten(self, x):
        return layers.Flatten()(x)

    def concatenate(self, tensors):
        return layers.Concatenate()(tensors)

    def _bounds(self, *kernels):
        return {f"{kernel}_constraint": clip for kernel in kernels} if self.binary else {}


def stock_child(cell, filters, dense_layers, binary=True):
    """The network of `pnas.model.build_child`, images (n, 28, 28, 1) -> (n, classes), compiled.

    Args:
        cell, filters, dense_layers: as in `build_child`.
        binary: False for float kernels, and relu in the place of the sign.
    """
    image = keras.Input((28, 28, 1))
    model = keras.Model(image, wire(cell, image, Stock(binary), filters, dense_layers))
    model.compile(keras.optimizers.Adam(1e-3), "squared_hinge", metrics=["accuracy"])
    return model

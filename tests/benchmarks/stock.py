"""The children that benchmarks compare with: the same networks of stock Keras layers, branch by branch."""

import keras
from keras import layers, ops

POOLS = {"3x3 maxpool": layers.MaxPooling2D, "3x3 avgpool": layers.AveragePooling2D}


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


def stock_child(cell, filters, dense_layers, binary=True):
    """The network of `pnas.model.build_child`, images (n, 28, 28, 1) -> (n, classes), compiled.

    Args:
        cell, filters, dense_layers: as in `build_child`.
        binary: False for float kernels, and relu in the place of the sign.
    """
    plain = {"padding": "same", "use_bias": False}
    bounded = {"kernel_constraint": clip} if binary else {}
    bounded_separable = {"depthwise_constraint": clip, "pointwise_constraint": clip} if binary else {}
    dense_layer = BinaryDense if binary else layers.Dense
    conv_layer = BinaryConv2D if binary else layers.Conv2D
    separable_layer = BinarySeparableConv2D if binary else layers.SeparableConv2D

    def normalize(x):
        return layers.Activation(sign if binary else "relu")(layers.BatchNormalization()(x))

    def conv(x, filters, size, strides):
        return normalize(conv_layer(filters, size, strides, **plain, **bounded)(x))

    def operate(x, operator, filters, strides):
        if operator in POOLS:
            return normalize(POOLS[operator](3, strides, padding="same")(x))
        if operator == "linear":
            # A pooling takes the strides: oneDNN's 1x1 convolution with strides writes beyond its memory, see
            # BinaryConv2D.
            return x if strides == 1 else conv(layers.AveragePooling2D(1, strides)(x), filters, 1, 1)
        if operator == "1x7-7x1 bconv":
            return conv(conv(x, filters, (1, 7), (1, strides)), filters, (7, 1), (strides, 1))
        size, kind = int(operator[0]), operator.split()[1]
        if kind == "bconv":
            return conv(x, filters, size, strides)
        return normalize(separable_layer(filters, size, strides, **plain, **bounded_separable)(x))

    image = keras.Input((28, 28, 1))
    outputs = [image]
    for count in filters:
        halves = []
        blocks = []
        for source, operator in zip(cell[0::2], cell[1::2]):
            origin = max(len(outputs) - 1 + source, 0)
            x, strides = (blocks[source - 1], 1) if source > 0 else (outputs[origin], 2 ** (len(outputs) - origin))
            halves.append(operate(x, operator, count, strides))
            if len(halves) % 2 == 0:
                blocks.append(layers.Concatenate()(halves[-2:]))
        unread = [x for number, x in enumerate(blocks, start=1) if number not in cell[0::2]]
        outputs.append(layers.Concatenate()(unread) if len(unread) > 1 else unread[0])
    x = layers.Flatten()(outputs[-1])
    for units in dense_layers[:-1]:
        x = normalize(dense_layer(units, use_bias=False, **bounded)(x))
    x = layers.BatchNormalization()(dense_layer(dense_layers[-1], use_bias=False, **bounded)(x))
    model = keras.Model(image, x)
    model.compile(keras.optimizers.Adam(1e-3), "squared_hinge", metrics=["accuracy"])
    return model

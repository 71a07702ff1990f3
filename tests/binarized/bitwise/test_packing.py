"""What packing makes of a Keras model: the same classes, thresholds at the right integers, and refusals by name.

Tests on the real test set need the environment variable MNIST_DIR.
"""

import gzip
import os
from pathlib import Path

import keras
import numpy as np
import pytest
from packed_networks import assert_exact, child, noise, randomized, scaled
from sklearn.datasets import load_digits

from binarized.binary_layers import BinaryConv2D, BinaryDense, BinarySeparableConv2D, DropoutNoScale
from binarized.bitwise.packing import pack
from binarized.normalization import Normalization
from pnas.model import build_child

MNIST_DIR = os.environ.get("MNIST_DIR")


needs_mnist = pytest.mark.skipif(not MNIST_DIR, reason="MNIST_DIR, the folder of MNIST's files, is not set")


def test_the_magnitude_of_weights_goes_into_the_thresholds():
    image = keras.Input((8, 8, 1))
    x = BinaryConv2D(5, 3, padding="same", use_bias=False, H="Glorot", name="conv")(image)
    x = Normalization()(x)
    x = BinarySeparableConv2D(6, 3, padding="same", use_bias=False, H=0.25, name="separable")(x)
    x = Normalization()(x)
    x = BinaryDense(4, use_bias=False, H="Glorot", name="dense")(keras.layers.Flatten()(x))
    model = randomized(keras.Model(image, Normalization(binary=False)(x)))
    images = noise(50, (8, 8, 1))
    np.testing.assert_array_equal(pack(model).predict(images), model.predict(scaled(images), verbose=0).argmax(1))
    outputs = keras.Model(image, [model.get_layer(name).output for name in ("conv", "separable", "dense")])
    for name, output, unit in zip(("conv", "separable", "dense"), outputs(scaled(images)), (255, 1, 1), strict=True):
        kernels = model.get_layer(name).binary_kernels
        acc = pack(model).accumulators(images)[name] * np.prod([kernel.H for kernel in kernels]) / unit
        np.testing.assert_allclose(acc.reshape(output.shape), output, atol=1e-4)


def test_thresholds_on_a_tie_and_with_scales_of_all_signs():
    image = keras.Input((1, 1, 1))
    x = keras.layers.MaxPooling2D(1, 1, padding="same")(image)
    x = Normalization()(x)
    x = BinaryDense(10, use_bias=False)(x)
    norm = Normalization(epsilon=0.0)
    x = keras.layers.Flatten()(norm(x))
    model = keras.Model(image, Normalization(binary=False)(BinaryDense(2, use_bias=False)(x)))
    #   y >= 0 begins or ends at:   x=1, x=1,  0,  0,  2, nowhere, everywhere, nowhere, 1 + 1e-6, everywhere
    norm.gamma.assign([1, -1, 2, -2, 1, 0, 0, 1, 1, 0])
    norm.beta.assign([0, 0, 1, 1, 0, -1, 1, -1e12, 0, 0])
    norm.mean.assign([1, 1, 0.5, -0.5, 2, 0, 0, 0, 1 + 1e-6, 5])
    norm.variance.assign([1] * 10)
    network = pack(model)
    signs = np.unpackbits(network.arrays["bits"], bitorder="little")[1 + 10 :][:10]
    lowest, highest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    assert network.arrays["thresholds"][1:].tolist() == [1, 2, 0, 1, 2, lowest, lowest, highest, 2, lowest]
    assert signs.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0, 0]


def test_a_trained_network_is_exact():
    digits = load_digits()
    images = (15 * digits.images).astype(np.uint8)[..., np.newaxis]
    keras.utils.set_random_seed(0)
    model = build_child([0, "3x3 bconv", 0, "3x3 sep-bconv"], 2, [8, 12], [16, 10], input_shape=(8, 8, 1))
    model.compile("adam", "squared_hinge", jit_compile=False)
    model.fit(scaled(images), 2 * np.eye(10)[digits.target] - 1, batch_size=64, epochs=1, verbose=0)
    assert_exact(model, images)


def test_a_loaded_keras_model_packs_to_the_same_network(tmp_path):
    model = child([0, "1x7-7x1 bconv", 0, "1x7-7x1 bconv", 1, "linear", 0, "3x3 sep-bconv"])
    model.save(tmp_path / "child.keras")
    for name, array in pack(keras.models.load_model(tmp_path / "child.keras")).arrays.items():
        np.testing.assert_array_equal(array, pack(model).arrays[name])


@needs_mnist
def test_classes_on_the_whole_test_set_are_those_of_keras():
    content = gzip.decompress(Path(MNIST_DIR, "t10k-images-idx3-ubyte.gz").read_bytes())
    images = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28, 1)
    model = child([0, "3x3 bconv", 0, "5x5 sep-bconv", 1, "3x3 avgpool", -1, "1x7-7x1 bconv"])
    predicted = model.predict(scaled(images), batch_size=500, verbose=0)
    network = pack(model)
    np.testing.assert_array_equal(network.predict(images), predicted.argmax(1))
    # Where Keras binarizes a sum of pixels otherwise than the exact rule, y is within float32 rounding of 0.
    conv = next(layer for layer in model.layers if isinstance(layer, BinaryConv2D) and layer.input is model.input)
    norm, part = model.get_layer("cell1_block1_norm"), slice(conv.filters)  # the convolution is the block's first half
    binary = keras.Model(model.inputs, norm.output).predict(scaled(images), batch_size=500, verbose=0)[..., part]
    gamma, beta, mean, variance = (
        v.numpy().astype(np.float64)[part] for v in (norm.gamma, norm.beta, norm.mean, norm.variance)
    )
    y = gamma * (network.accumulators(images)[conv.name] / 255 - mean) / np.sqrt(variance + norm.epsilon) + beta
    assert np.all(np.abs(y[(y >= 0) != (binary > 0)]) < 1e-5)


def classifier(layer):
    """A model with `layer` in its middle, normalized."""
    image = keras.Input((8, 8, 2))
    x = keras.layers.Flatten()(Normalization()(layer(image)))
    return keras.Model(image, Normalization(binary=False)(BinaryDense(3, use_bias=False)(x)))


@pytest.mark.parametrize(
    "layer, reason",
    [
        (BinaryConv2D(4, 3, padding="same", name="odd"), "bias"),
        (BinaryConv2D(4, 3, padding="same", use_bias=False, activation="relu", name="odd"), "activation"),
        (BinaryConv2D(4, 3, padding="valid", use_bias=False, name="odd"), "'same'"),
        (BinaryConv2D(4, 3, padding="same", dilation_rate=2, use_bias=False, name="odd"), "dilated"),
        (BinarySeparableConv2D(4, 3, padding="same", depth_multiplier=2, use_bias=False, name="odd"), "multiplier"),
        (keras.layers.Conv2D(4, 3, padding="same", name="odd"), "no bitwise form"),
        (keras.layers.MaxPooling2D(2, padding="valid", name="odd"), "'same'"),
        (BinaryConv2D(4, 3, padding="same", use_bias=False, activation=keras.layers.ReLU(), name="odd"), "activation"),
        (keras.layers.Activation("relu", name="odd"), "no bitwise form"),
    ],
)
def test_a_layer_without_bitwise_form_is_named(layer, reason):
    with pytest.raises(ValueError, match=rf"pack: layer 'odd'.*{reason}"):
        pack(classifier(layer))


def test_a_model_without_final_normalization_or_with_nan_is_refused():
    model = classifier(keras.layers.MaxPooling2D(2, padding="same"))
    with pytest.raises(ValueError, match=r"layer '.*' \(BinaryDense\) is the end of the model"):
        pack(keras.Model(model.input, model.layers[-2].output))
    model.layers[-1].mean.assign([np.nan] * 3)
    with pytest.raises(ValueError, match="not finite"):
        pack(model)


def layers_of_a_classifier():
    conv = [BinaryConv2D(4, 3, padding="same", use_bias=False), Normalization()]
    pooling = [keras.layers.MaxPooling2D(2, padding="same"), Normalization(), keras.layers.Flatten()]
    return [*conv, *pooling, BinaryDense(3, use_bias=False), Normalization(False)]


def test_a_sequential_model_packs_to_what_it_predicts():
    keras.utils.set_random_seed(0)
    model = randomized(keras.Sequential([keras.Input((8, 8, 2)), *layers_of_a_classifier()]))
    images = noise(20, (8, 8, 2))
    np.testing.assert_allclose(
        pack(model).scores(images), model.predict(scaled(images), verbose=0), rtol=1e-4, atol=1e-5
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = layers_of_a_classifier()

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def test_a_model_that_is_neither_functional_nor_a_built_sequential_is_refused():
    subclassed = Subclassed()
    subclassed(np.zeros((1, 8, 8, 2), "float32"))
    for model in (subclassed, keras.Sequential(layers_of_a_classifier()), "model", None):
        with pytest.raises(ValueError, match="pack: model must be a functional or a built Sequential"):
            pack(model)


def test_a_second_output_is_refused():
    model = classifier(keras.layers.MaxPooling2D(2, padding="same"))
    with pytest.raises(ValueError, match="one output, got 2"):
        pack(keras.Model(model.input, [model.output, model.layers[2].output]))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(wrong):
    model = keras.Sequential([keras.Input((8, 8, 2)), *layers_of_a_classifier()])
    weights = model.get_weights()
    weights[0][0, 0, 0, 0] = wrong
    model.set_weights(weights)
    with pytest.raises(ValueError, match="BinaryConv2D.* weights that are not finite"):
        pack(model)


def middle(build):
    """A model with a part in its middle that `build` makes of an image of ±1."""
    image = keras.Input((4, 4, 2))
    binary = Normalization()(keras.layers.MaxPooling2D(1, padding="same")(image))
    x = BinaryDense(3, use_bias=False)(keras.layers.Flatten()(build(binary)))
    return keras.Model(image, Normalization(False)(x))


def join(axis, *tensors):
    return keras.layers.Concatenate(axis, name="odd")(tensors)


def renamed(tensor):
    tensor._keras_history.operation.name = "odd"
    return tensor


def flat(x, **arguments):
    return keras.layers.Flatten(**arguments)(x)


def used_twice(layer):
    """One layer on two tensors."""

    def build(x):
        other = Normalization()(keras.layers.MaxPooling2D(1, padding="same")(x))
        return Normalization()(keras.layers.concatenate([layer(x), layer(other)]))

    return build


def used_again(layer):
    """One layer on a tensor, and on what was made of its own output."""
    return lambda x: Normalization()(layer(Normalization()(layer(x))))


def stock_normalized(x):
    return keras.layers.BatchNormalization(name="odd")(BinaryConv2D(2, 3, padding="same", use_bias=False)(x))


@pytest.mark.parametrize(
    "build, reason",
    [
        (used_twice(keras.layers.MaxPooling2D(2, padding="same", name="odd")), "used more than once"),
        (used_twice(BinaryConv2D(2, 3, padding="same", use_bias=False, name="odd")), "used more than once"),
        (used_twice(DropoutNoScale(0.1, name="odd")), "used more than once"),
        (used_again(keras.layers.MaxPooling2D(2, padding="same", name="odd")), "used more than once"),
        (used_again(BinaryConv2D(2, 3, padding="same", use_bias=False, name="odd")), "used more than once"),
        (stock_normalized, "Normalization is needed"),
        (lambda x: renamed(x + x), "no bitwise form"),
        (lambda x: join(1, x, x), "channels"),
        (lambda x: join(-1, flat(x), flat(x)), "channels"),
        (lambda x: flat(x, data_format="channels_first", name="odd"), "channels first"),
        (lambda x: Normalization()(BinaryDense(2, use_bias=False, name="odd")(x)), "Flatten"),
        (lambda x: keras.layers.Normalization(name="odd", mean=0.0, variance=1.0)(x), "no bitwise form"),
        (lambda x: keras.Sequential([keras.layers.Dense(2)], name="odd")(x), "no bitwise form"),
    ],
    ids=[
        *(
            "pooling twice",
            "convolution twice",
            "dropout twice",
            "pooling again",
            "convolution again",
            "stock normalization",
            "an operation",
        ),
        *("rows", "flattened", "channels first", "dense on an image", "Keras's normalization", "nested model"),
    ],
)
def test_a_layer_that_would_be_packed_wrongly_is_refused(build, reason):
    with pytest.raises(ValueError, match=f"pack: layer 'odd'.*{reason}"):
        pack(middle(build))


def test_a_layer_that_also_belongs_to_another_model_is_packed_as_it_is_in_this_one():
    pooling, flatten = keras.layers.MaxPooling2D(2, padding="same"), keras.layers.Flatten()
    flatten(pooling(keras.Input((12, 12, 5))))
    image = keras.Input((8, 8, 2))
    x = flatten(Normalization()(pooling(image)))
    model = randomized(keras.Model(image, Normalization(False)(BinaryDense(3, use_bias=False)(x))))
    images = noise(20, (8, 8, 2))
    np.testing.assert_allclose(
        pack(model).scores(images), model.predict(scaled(images), verbose=0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "layer", [keras.layers.MaxPooling2D(17, 2, "same"), BinaryConv2D(2, 17, 1, "same", use_bias=False)]
)
def test_a_kernel_that_is_too_large_is_refused_with_the_name_of_its_layer(layer):
    with pytest.raises(ValueError, match=rf"pack: step 1 \(.*{layer.name}.*17"):
        pack(classifier(layer))


def test_an_image_that_is_too_large_is_refused_with_the_name_of_its_layer():
    model = keras.Sequential([keras.Input((8, 257, 1), name="odd"), *layers_of_a_classifier()])
    with pytest.raises(ValueError, match="layer 'odd'.* from 1 to 256"):
        pack(model)


def test_a_variance_of_0_without_epsilon_is_refused():
    model = classifier(keras.layers.MaxPooling2D(2, padding="same"))
    model.layers[-1].epsilon = 0.0
    model.layers[-1].variance.assign([1, 0, 1])
    with pytest.raises(ValueError, match="variance that is not above 0"):
        pack(model)


def test_an_image_of_unknown_size_is_refused():
    pooling = keras.layers.GlobalMaxPooling2D()
    model = keras.Sequential([keras.Input((None, None, 2)), BinaryConv2D(4, 3, use_bias=False), pooling])
    with pytest.raises(ValueError, match="known height, width and channels"):
        pack(model)


# ------------------------------------------------------------------------------------------------------ largest numbers


def pooled(size, reads_image):
    """A model (24, 24, 3) whose average pooling reads the image or ±1."""
    image = keras.Input((24, 24, 3))
    x = image if reads_image else Normalization()(keras.layers.MaxPooling2D(1, padding="same")(image))
    x = Normalization()(keras.layers.AveragePooling2D(size, 5, padding="same", name="pooling")(x))
    x = BinaryDense(4, use_bias=False)(keras.layers.Flatten()(x))
    return keras.Model(image, Normalization(False)(x))


@pytest.mark.parametrize("size, reads_image", [((12, 12), False), ((16, 10), False), ((10, 10), True), ((3, 16), True)])
def test_the_largest_average_poolings_have_the_signs_of_keras(size, reads_image):
    keras.utils.set_random_seed(0)
    model, images = pooled(size, reads_image), noise(100, (24, 24, 3))
    rng = np.random.default_rng(0)
    for norm in (layer for layer in model.layers if isinstance(layer, Normalization)):
        n = norm.gamma.shape[0]
        norm.gamma.assign(rng.uniform(0.5, 2, n) * [(-1) ** i for i in range(n)])
        norm.beta.assign(rng.normal(0, 0.05, n))  # so that no sign is that of all images
    np.testing.assert_allclose(
        pack(model).scores(images), model.predict(scaled(images), verbose=0), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    "size, reads_image", [((13, 13), False), ((16, 16), False), ((16, 11), False), ((11, 11), True)]
)
def test_an_average_pooling_whose_accumulators_do_not_fit_is_refused(size, reads_image):
    with pytest.raises(ValueError, match="average 'pooling'.*accumulators must be below 2,147,483,647"):
        pack(pooled(size, reads_image))


def constant(value):
    return keras.initializers.Constant(value)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("channels", [1, 2, 256])
@pytest.mark.parametrize("kind", ["conv", "separable"])
def test_the_largest_kernel_on_white_and_black_images_sums_255_a_pixel(kind, channels, sign):
    image = keras.Input((16, 16, channels))
    arguments = {"strides": 16, "padding": "same", "use_bias": False, "name": "wide"}
    if kind == "conv":
        layer = BinaryConv2D(2, 16, kernel_initializer=constant(sign), **arguments)
    else:
        kernels = {"depthwise_initializer": constant(1), "pointwise_initializer": constant(sign)}
        layer = BinarySeparableConv2D(2, 16, **kernels, **arguments)
    norm = Normalization()
    x = BinaryDense(2, use_bias=False, name="last")(keras.layers.Flatten()(norm(layer(image))))
    model = keras.Model(image, Normalization(False)(x))
    largest = 16 * 16 * channels
    images = np.stack([np.full((16, 16, channels), value, np.uint8) for value in (255, 0)])
    accumulators = pack(model).accumulators(images)
    np.testing.assert_array_equal(
        accumulators["wide"].reshape(2, 2), sign * 255 * np.array([[largest] * 2, [-largest] * 2])
    )
    # The largest threshold that is reached, and the smallest that is not.
    norm.mean.assign([largest, np.nextafter(np.float32(largest), np.float32(1e9))])
    last = model.get_layer("last")
    last.kernel = np.float32([[1, 1], [1, -1]])  # sum and difference of the two signs
    signs = pack(model).accumulators(images)["last"].reshape(2, 2) @ [[1, 1], [1, -1]] / 2
    np.testing.assert_array_equal(signs, [[sign, -1], [-sign, -1]])


def test_a_dense_layer_reaches_a_threshold_that_float32_cannot_tell_from_the_next_integer():
    image = keras.Input((64, 64, 32))
    norm = Normalization()
    dense = BinaryDense(1, use_bias=False, kernel_initializer=constant(1))
    x = norm(dense(keras.layers.Flatten()(image)))
    last = BinaryDense(2, use_bias=False)
    model = keras.Model(image, Normalization(False)(last(x)))
    last.kernel = np.float32([[1, -1]])
    norm.mean.assign([64 * 64 * 32])  # 255 times this is above 2^24
    images = np.full((2, 64, 64, 32), 255, np.uint8)
    images[1, 17, 60, 29] = 254
    assert pack(model).predict(images).tolist() == [0, 1]


def test_a_dense_layer_on_an_image_that_is_too_large_is_refused():
    image = keras.Input((256, 256, 129))
    x = BinaryDense(1, use_bias=False, name="odd")(keras.layers.Flatten()(image))
    with pytest.raises(ValueError, match="dense 'odd'.*accumulators must be below"):
        pack(keras.Model(image, Normalization(False)(BinaryDense(2, use_bias=False)(Normalization()(x)))))

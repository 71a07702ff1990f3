"""Batch normalization, with and without binarization, against its formulas in numpy, and `recalibrate`."""

import keras
import numpy as np
import pytest
from keras import ops
from numpy_reference import random, sign

from binarized.binary_layers import BinaryConv2D, BinaryDense, DropoutNoScale
from binarized.binary_ops import binary_tanh
from binarized.normalization import Normalization, recalibrate

EPSILON = 0.01


GAMMA, BETA = np.float32([1.5, 0.5, -2]), np.float32([0.3, -0.2, 0.1])  # a negative one turns signs around


def normalization(binary, gamma=GAMMA, beta=BETA):
    """A built layer on 3 channels with these gamma and beta."""
    layer = Normalization(binary, EPSILON)
    layer.build((None, 3))
    layer.gamma.assign(gamma)
    layer.beta.assign(beta)
    return layer


def normalized(x, mean, variance, binary):
    """Ioffe and Szegedy 2015, and binary_tanh."""
    y = GAMMA * (x - mean) / np.sqrt(variance + EPSILON) + BETA
    if not binary:
        return y
    assert abs(y).min() > 1e-5, "a number so near to 0 may fall to either side"
    return sign(y)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(40, 3), (4, 3, 5, 3), (2, 27, 26, 3)], ids=["vectors", "images", "compiled by XLA"])
def test_normalization_in_training_uses_the_batch_statistics(shape, binary):
    x = 3 * random(*shape) + 2
    flat = x.reshape(-1, 3).astype("float64")
    expected = normalized(x, flat.mean(0), flat.var(0), binary)
    np.testing.assert_allclose(normalization(binary)(x, training=True), expected, atol=1e-5)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("shape", [(40, 3), (4, 3, 5, 3), (2, 27, 26, 3)], ids=["vectors", "images", "compiled by XLA"])
def test_the_handwritten_gradients_are_those_of_the_plain_formulation(gradients, shape, binary):
    x, upstream = 3 * random(*shape) + 2, random(*shape, seed=1)
    axes = tuple(range(len(shape) - 1))

    def plain(x, gamma, beta):
        mean, variance = ops.mean(x, axes), ops.var(x, axes)
        y = gamma * (x - mean) / ops.sqrt(variance + EPSILON) + beta
        return ops.sum(upstream * (binary_tanh(y) if binary else y))

    layer = normalization(binary)
    image = keras.Variable(x)
    found = gradients(
        lambda: ops.sum(upstream * layer(image + 0, training=True)),
        [x, GAMMA, BETA],
        [image, layer.gamma, layer.beta],
    )
    for got, expected in zip(found, gradients(plain, [x, GAMMA, BETA]), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["recalibrate", "training"])
def test_stored_statistics_are_the_mean_over_the_batches(how):
    layer = normalization(binary=True)
    batches = [random(10, 3, seed=1) + 1, 2 * random(10, 3, seed=2), 3 * random(10, 3, seed=3) - 5]
    if how == "recalibrate":
        layer(random(10, 3) * 50 + 9, training=True)  # to be discarded
        recalibrate(keras.Sequential([keras.Input((3,)), layer]), ((batch,) for batch in batches))
    else:
        for batch in batches:
            outputs = np.asarray(layer(batch, training=True))
            np.testing.assert_array_equal(outputs, normalized(batch, batch.mean(0), batch.var(0), binary=True))
    np.testing.assert_allclose(layer.mean, np.mean([batch.mean(0) for batch in batches], 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.variance, np.mean([batch.var(0) for batch in batches], 0), rtol=1e-5)


def test_after_100_batches_the_mean_of_the_statistics_is_exponential():
    layer = normalization(binary=False)
    early, late = np.float32([[-1, 0, 1]]), np.float32([[3, 3, 3]])
    for _ in range(100):
        layer(early, training=True)
    np.testing.assert_allclose(layer.mean, early[0], atol=1e-6)
    layer(late, training=True)
    layer(late, training=True)
    np.testing.assert_allclose(layer.mean, 0.99**2 * early[0] + (1 - 0.99**2) * late[0], rtol=1e-4)


@pytest.mark.parametrize("binary", [True, False])
def test_normalization_at_inference_uses_the_stored_statistics(binary):
    layer = normalization(binary)
    batch = 2 * random(10, 3) + 1
    layer(batch, training=True)
    x = random(7, 4, 3, seed=1)
    expected = normalized(x, batch.mean(0), batch.var(0), binary)
    np.testing.assert_allclose(layer(x, training=False), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.mean, batch.mean(0), rtol=1e-5)  # and leaves them alone


# ---- half precision


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_half_precision_computes_statistics_in_float32(policy):
    x = 400 * random(500, 3)  # of a variance above the largest float16, 65,504
    layer = Normalization(False, EPSILON, dtype=policy)
    y = layer(x, training=True)
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype
    np.testing.assert_allclose(np.std(ops.cast(y, "float32"), 0), 1, rtol=1e-2)
    np.testing.assert_allclose(layer.variance, x.var(0), rtol=2e-2)
    np.testing.assert_allclose(np.std(ops.cast(layer(x), "float32"), 0), 1, rtol=1e-2)


@pytest.mark.parametrize("shape", [(70_000, 1), (88, 800, 1)], ids=["vectors", "compiled by XLA"])
def test_half_precision_counts_more_positions_than_the_largest_float16(gradients, shape):
    layer = Normalization(False, dtype="mixed_float16")
    layer.build((None, 1))
    x, upstream = random(*shape).astype("float16"), np.float16(1 + random(*shape, seed=1) ** 2)
    (found,) = gradients(
        lambda x: ops.sum(ops.cast(upstream, "float32") * ops.cast(layer(x, training=True), "float32")), [x]
    )
    assert found.dtype == np.float16
    # The output does not depend on the mean of x, so the gradients of all positions add up to 0.
    assert abs(found.astype("float64").mean()) < 1e-3 * found.astype("float64").std()


# ---- sizes that are unknown


def batches_of_several_sizes():
    for size in (9, 11, 9, 12):
        yield random(size - 5, size, size, 1), np.ones((size - 5, 2), "float32")


def test_a_model_of_unknown_image_size_trains_on_images_of_several_sizes():
    pooling = keras.layers.GlobalAveragePooling2D()
    model = keras.Sequential(
        [
            keras.Input((None, None, 1)),
            BinaryConv2D(2, 3, use_bias=False),
            Normalization(),
            pooling,
            Normalization(False),
        ]
    )
    model.compile("adam", "mse", jit_compile=False)
    model.fit(batches_of_several_sizes(), verbose=0)
    images = random(2, 10, 10, 1)
    x = np.asarray(model.layers[0](images))
    norm = model.layers[1]
    gamma, beta, mean, variance = map(np.asarray, (norm.gamma, norm.beta, norm.mean, norm.variance))
    y = gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta
    clear = abs(y) > 1e-4  # closer to 0, rounding decides
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(np.asarray(norm(x))[clear], sign(y)[clear])


def test_an_unknown_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="Normalization.*last axis"):
        Normalization().build((None, 3, None))


# ---- recalibrate


class Block(keras.layers.Layer):
    """A layer with a normalization inside, which `model.layers` does not list."""

    def __init__(self):
        super().__init__()
        self.dense, self.norm = BinaryDense(4, use_bias=False), Normalization()

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.norm.build((None, 4))

    def call(self, x, training=False):
        return self.norm(self.dense(x), training=training)


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(), Block()]
        self.last = Normalization(False)

    def call(self, x, training=False):
        for block in self.blocks:
            x = block(x, training=training)
        return self.last(x, training=training)


def nested():
    inner = keras.Sequential([keras.Input((4,)), DropoutNoScale(0.5), Block()])
    image = keras.Input((3,))
    return keras.Model(image, Normalization(False)(inner(Block()(image))))


@pytest.mark.parametrize("make", [nested, Subclassed])
@pytest.mark.parametrize("predicts_first", [True, False])
def test_recalibrate_reaches_every_normalization_in_any_order_of_calls(make, predicts_first):
    keras.utils.set_random_seed(0)
    model, x = make(), 3 * random(32, 3) + 1  # one batch, so that its statistics are the stored ones
    if predicts_first:
        model.predict(x, verbose=0)
    recalibrate(model, x)
    means = {v.path: np.array(v) for v in model.non_trainable_variables if v.name == "mean"}
    assert len(means) == 3 and all(mean.any() for mean in means.values())
    np.testing.assert_allclose(model.predict(x, verbose=0).mean(0), 0, atol=1e-4)


def test_recalibrate_leaves_nothing_switched_on():
    keras.utils.set_random_seed(0)
    model, x = nested(), random(64, 3)
    recalibrate(model, x)
    weights = model.get_weights()
    together, alone = model.predict(x, verbose=0), model.predict(x[:5], verbose=0)
    np.testing.assert_allclose(alone, together[:5], atol=1e-6)
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_recalibrate_describes_the_current_weights_and_traces_once():
    traces = []

    class Traced(Normalization):
        def call(self, inputs, training=False):
            traces.append(1)
            return super().call(inputs, training)

    model, x = keras.Sequential([keras.Input((3,)), BinaryDense(2, use_bias=False), Traced(False)]), random(32, 3)
    model.layers[0].kernel = W = np.float32([[1, -1], [1, 1], [-1, 1]])
    recalibrate(model, x)
    count = len(traces)
    model.layers[0].kernel = -W
    recalibrate(model, x)
    assert len(traces) == count
    np.testing.assert_allclose(model.layers[1].mean, (x @ -W).mean(0), rtol=1e-4, atol=1e-6)


def test_a_recalibrated_model_saves_and_loads(tmp_path):
    model, x = keras.Sequential([keras.Input((3,)), BinaryDense(4), Normalization(False)]), random(32, 3)
    recalibrate(model, x)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_recalibrate_refuses_a_model_without_normalization():
    model = keras.Sequential([keras.Input((3,)), BinaryDense(4)])
    with pytest.raises(ValueError, match="has no Normalization"):
        recalibrate(model, random(32, 3))


def test_recalibrate_refuses_a_normalization_that_sees_no_batch():
    class Skips(keras.Model):
        def __init__(self):
            super().__init__()
            self.used, self.unused = Normalization(), Normalization(name="unused")
            self.unused.build((None, 3))

        def call(self, x):
            return self.used(x)

    with pytest.raises(ValueError, match="'unused' .*did not see any batch"):
        recalibrate(Skips(), random(32, 3))


# ---- frozen layers


def stock():
    return keras.layers.BatchNormalization()


def features(norm):
    """A model (3,) -> (4,) with statistics in the normalization that `norm` makes, which is in a nested model."""
    inner = keras.Sequential([keras.Input((4,)), norm()])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), inner])
    for _ in range(3):
        model(5 * random(32, 3) + 1, training=True)
    return model


def freeze_layer(model):
    model.layers[1].layers[0].trainable = False


def freeze_inner_model(model):
    model.layers[1].trainable = False


def freeze_outer_model(model):
    model.trainable = False


def with_head(model, freeze):
    freeze(model)
    return keras.Sequential([keras.Input((3,)), model, keras.layers.Dense(1)])


@pytest.mark.parametrize("norm", [Normalization, lambda: Normalization(False), stock])
@pytest.mark.parametrize("freeze", [freeze_layer, freeze_inner_model, freeze_outer_model])
def test_a_frozen_normalization_uses_and_keeps_its_statistics_in_training(norm, freeze):
    model = features(norm)
    frozen = model.layers[1].layers[0]
    whole, x = with_head(model, freeze), random(64, 3)
    kept, expected = frozen.get_weights(), np.asarray(frozen(random(9, 4)))
    np.testing.assert_array_equal(frozen(random(9, 4), training=True), expected)
    whole.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    whole.fit(x, np.ones((64, 1), "float32"), batch_size=16, epochs=2, verbose=0)
    for before, after in zip(kept, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_transfer_learning_leaves_the_frozen_features_as_they_are():
    model, x = features(Normalization), random(64, 3)
    before = model.predict(x, verbose=0)
    whole = with_head(model, freeze_outer_model)
    whole.compile("adam", "mse", jit_compile=False)
    whole.fit(x, np.ones((64, 1), "float32"), batch_size=16, verbose=0)
    np.testing.assert_array_equal(model.predict(x, verbose=0), before)


@pytest.mark.parametrize("binary", [True, False])
def test_a_gradient_passes_through_a_frozen_normalization(gradients, binary):
    layer, x, upstream = normalization(binary), random(20, 3), random(20, 3, seed=1)
    layer(3 * random(50, 3, seed=2) + 1, training=True)
    layer.trainable = False
    mean, deviation = np.asarray(layer.mean), np.sqrt(np.asarray(layer.variance) + EPSILON)
    y = GAMMA * (x - mean) / deviation + BETA
    (found,) = gradients(lambda x: ops.sum(upstream * layer(x, training=True)), [x])
    np.testing.assert_allclose(found, upstream * GAMMA / deviation * ((abs(y) <= 1) | (not binary)), rtol=1e-4)


def test_an_unfrozen_normalization_estimates_again():
    layer = normalization(binary=True)
    layer.trainable = False
    layer(random(10, 3) + 5, training=True)
    np.testing.assert_array_equal(layer.mean, 0)
    layer.trainable = True
    layer(random(10, 3) + 5, training=True)
    np.testing.assert_allclose(layer.mean, (random(10, 3) + 5).mean(0), rtol=1e-5)


def test_recalibrate_keeps_the_statistics_of_frozen_layers():
    frozen, free = Normalization(False), Normalization(False)
    model, x = keras.Sequential([keras.Input((3,)), frozen, free]), 3 * random(32, 3) + 1
    recalibrate(model, x)
    frozen.trainable = False  # after the model has been traced
    kept = frozen.get_weights()
    recalibrate(model, x - 4)
    for before, after in zip(kept, frozen.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(free.mean, np.asarray(frozen(x - 4)).mean(0), rtol=1e-4)
    frozen.trainable = True
    recalibrate(model, x - 4)
    np.testing.assert_allclose(frozen.mean, (x - 4).mean(0), rtol=1e-4)


def test_recalibrate_refuses_a_model_whose_normalizations_are_all_frozen():
    model = keras.Sequential([keras.Input((3,)), Normalization()])
    model.trainable = False
    with pytest.raises(ValueError, match="all of them are frozen"):
        recalibrate(model, random(32, 3))


# ---- masks

MASK = np.array([[1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 0, 1, 1, 0]], bool)


@pytest.mark.parametrize("binary", [True, False])
def test_masked_positions_do_not_count_in_the_statistics(binary):
    layer, x = normalization(binary), 3 * random(4, 5, 3) + 2
    x[~MASK] *= 1000
    y = layer(x, training=True, mask=MASK)
    seen = x[MASK].astype("float64")
    np.testing.assert_allclose(layer.mean, seen.mean(0), rtol=1e-5)
    np.testing.assert_allclose(layer.variance, seen.var(0), rtol=1e-5)
    np.testing.assert_allclose(np.asarray(y)[MASK], normalized(seen, seen.mean(0), seen.var(0), binary), atol=1e-5)


def test_a_masked_batch_has_the_gradient_and_the_outputs_of_stock_batch_normalization(gradients):
    x, upstream, found = 3 * random(4, 5, 3) + 2, random(4, 5, 3, seed=1), []
    for layer in (Normalization(False, EPSILON), keras.layers.BatchNormalization(epsilon=EPSILON)):
        layer.build((None, 5, 3))
        layer.gamma.assign(GAMMA)
        value = lambda x, layer=layer: ops.sum(upstream * layer(x, training=True, mask=ops.convert_to_tensor(MASK)))
        found.append((np.asarray(layer(x, training=True, mask=MASK)), gradients(value, [x])[0]))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-3, atol=1e-5)


def test_a_mask_passes_through_and_reaches_the_normalization():
    tokens = np.array([[1, 2, 0], [3, 0, 0]])
    embedding, norm = keras.layers.Embedding(5, 4, mask_zero=True), Normalization(False)
    model = keras.Sequential([keras.Input((3,)), embedding, norm, keras.layers.GlobalAveragePooling1D()])
    recalibrate(model, tokens)
    words = np.asarray(embedding(np.array([1, 2, 3])))
    np.testing.assert_allclose(norm.mean, words.mean(0), atol=1e-6)
    first, second, third = np.asarray(norm(words))
    np.testing.assert_allclose(model(tokens), [(first + second) / 2, third], atol=1e-5)


def test_a_mask_of_another_rank_is_refused():
    with pytest.raises(ValueError, match="Normalization: a mask"):
        normalization(True)(random(4, 5, 3), training=True, mask=MASK[0])

"""The batched LSTMs against keras.layers.LSTM, and their predictions in numpy against the layer."""

import keras
import numpy as np
import pytest

from pnas.lstm import CHUNK, LSTMs

N, TOKENS, UNITS, LENGTH = 3, 5, 7, 8


@pytest.fixture(scope="module")
def lstms():
    """Three LSTMs with large random weights."""
    layer = LSTMs(N, TOKENS, UNITS)
    layer.build((None, LENGTH))
    random = np.random.default_rng(0)
    layer.set_weights([random.normal(0, 1, weight.shape) for weight in layer.weights])
    return layer


@pytest.fixture(scope="module")
def sequences():
    """Sequences of lengths 2, 4, 6 and 8, padded with 0: more than two chunks, some of them equal."""
    random = np.random.default_rng(1)
    tokens = random.integers(1, TOKENS + 1, (2 * CHUNK + 3, LENGTH))
    lengths = random.choice([2, 4, 6, 8], len(tokens))
    return np.where(np.arange(LENGTH) < lengths[:, None], tokens, 0).astype("int32")


def test_each_lstm_equals_the_layers_of_keras(lstms, sequences):
    outputs = keras.ops.convert_to_numpy(lstms(sequences))
    assert outputs.shape == (len(sequences), N, 1) and np.ptp(outputs) > 0.5
    for n in range(N):
        embeddings, kernel, recurrent_kernel, bias, output_kernel, output_bias = (w[n] for w in lstms.get_weights())
        embedding = keras.layers.Embedding(TOKENS + 1, UNITS, mask_zero=True)
        lstm = keras.layers.LSTM(UNITS)
        dense = keras.layers.Dense(1, "sigmoid")
        model = keras.Sequential([keras.Input((LENGTH,), dtype="int32"), embedding, lstm, dense])
        embedding.set_weights([np.vstack([np.zeros(UNITS), embeddings])])
        lstm.set_weights([kernel, recurrent_kernel, bias[0]])
        dense.set_weights([output_kernel, output_bias[0]])
        np.testing.assert_allclose(outputs[:, n], keras.ops.convert_to_numpy(model(sequences)), atol=1e-5)


def test_numpy_predictions_equal_the_layers(lstms, sequences):
    np.testing.assert_allclose(
        lstms.predict(sequences), keras.ops.convert_to_numpy(lstms(sequences))[..., 0], atol=1e-5
    )


def test_numpy_agrees_where_gates_are_saturated(sequences):
    layer = LSTMs(1, TOKENS, UNITS)
    layer.build((None, LENGTH))
    layer.set_weights([10 * weight for weight in layer.get_weights()])
    outputs = keras.ops.convert_to_numpy(layer(sequences))[..., 0]
    np.testing.assert_allclose(layer.predict(sequences), outputs, atol=1e-5)


def test_initial_weights_are_those_of_keras_layers():
    layer = LSTMs(2, 50, 100)
    layer.build((None, LENGTH))
    embeddings, kernel, recurrent_kernel, bias, output_kernel, output_bias = layer.get_weights()
    # Glorot's limit is sqrt(6 / (fan_in + fan_out)). The largest of many uniform numbers is close to it.
    for weights, limit in ((embeddings, 0.05), (kernel, (6 / 500) ** 0.5), (output_kernel, (6 / 101) ** 0.5)):
        assert 0.95 * limit < abs(weights).max() <= limit
        assert abs(weights[0] - weights[1]).mean() > limit / 2, "two LSTMs have similar weights"
    for square in recurrent_kernel:
        np.testing.assert_allclose(square @ square.T, np.eye(100), atol=1e-5)
    np.testing.assert_array_equal(bias[:, 0], np.repeat([[0, 1, 0, 0]], 100, axis=1).repeat(2, axis=0))
    assert output_bias == pytest.approx(1.8)


def test_the_seed_decides_the_weights():
    layer = LSTMs(2, TOKENS, UNITS)
    layer.build((None, LENGTH))
    drawn = []
    for seed in (3, 4, 3):
        layer.draw_weights(seed)
        drawn.append(layer.get_weights())
    assert all(np.array_equal(first, third) for first, third in zip(drawn[0], drawn[2]))
    assert not np.allclose(drawn[0][1], drawn[1][1])


def test_a_penalty_is_the_mean_of_the_lstms_squared_weights():
    layer = LSTMs(2, TOKENS, UNITS, regularization=0.5)
    layer.build((None, LENGTH))
    _, kernel, recurrent_kernel, *_ = layer.get_weights()
    expected = 0.5 * sum((kernel[n] ** 2).sum() + (recurrent_kernel[n] ** 2).sum() for n in range(2)) / 2
    assert float(sum(layer.losses)) == pytest.approx(expected, rel=1e-5)


def test_a_layer_is_made_again_from_its_configuration():
    layer = LSTMs(2, TOKENS, UNITS, regularization=0.5)
    again = LSTMs.from_config(layer.get_config())
    for one in (layer, again):
        one.build((None, LENGTH))
    assert all(np.array_equal(one, other) for one, other in zip(layer.get_weights(), again.get_weights(), strict=True))
    assert float(sum(again.losses)) == float(sum(layer.losses)) > 0

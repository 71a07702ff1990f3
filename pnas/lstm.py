"""LSTMs side by side: one Keras layer that is trained, and the same function in numpy for ranking many sequences."""

import joblib
import keras
import numpy as np
from keras import ops

CHUNK = 512  # sequences that are predicted at once: what they need fits into a processor's cache


class LSTMs(keras.layers.Layer):
    """Several LSTMs over sequences of tokens, each with embeddings and a sigmoid output of its own.

    Each computes what `keras.layers.Embedding`, `LSTM` and a sigmoid `Dense` do, and starts from weights drawn as theirs;
    batched into one layer, they are traced and trained together. All weights have the number of LSTMs in front.

    Args:
        number: number n of LSTMs.
        tokens: number of different tokens, which are 1..tokens; 0 pads a sequence at its end.
        units: number of units u of each LSTM, and of embedding dimensions.
        initial_output_bias: bias of the sigmoid outputs before training.
        regularization: L2 strength on the LSTMs' kernels, 0 for none.
    Input: (batch, length) integers. Output: (batch, n, 1) numbers in (0, 1).
    """

    def __init__(self, number, tokens, units, initial_output_bias=0.0, regularization=0, **arguments):
        super().__init__(**arguments)
        self.number = number
        self.tokens = tokens
        self.units = units
        self.initial_output_bias = initial_output_bias
        self.regularization = regularization

    def build(self, input_shape):
        n, u = self.number, self.units
        # The loss is a mean over the LSTMs, so a penalty has to be one too.
        penalty = keras.regularizers.L2(self.regularization / n) if self.regularization else None
        self.embeddings = self.add_weight((n, self.tokens, u), name="embeddings")
        self.kernel = self.add_weight((n, u, 4 * u), regularizer=penalty, name="kernel")
        self.recurrent_kernel = self.add_weight((n, u, 4 * u), regularizer=penalty, name="recurrent_kernel")
        self.bias = self.add_weight((n, 1, 4 * u), name="bias")
        self.output_kernel = self.add_weight((n, u, 1), name="output_kernel")
        self.output_bias = self.add_weight((n, 1, 1), name="output_bias")
        self.draw_weights(seed=0)

    def draw_weights(self, seed):
        """Draws all weights anew, those of each LSTM by itself, as Keras would."""
        draws = keras.random.SeedGenerator(seed)
        initializers = {
            "embeddings": keras.initializers.RandomUniform(-0.05, 0.05, seed=draws),
            "kernel": keras.initializers.GlorotUniform(seed=draws),
            "recurrent_kernel": keras.initializers.Orthogonal(seed=draws),
            "bias": keras.initializers.Zeros(),
            "output_kernel": keras.initializers.GlorotUniform(seed=draws),
            "output_bias": keras.initializers.Constant(self.initial_output_bias),
        }
        for weight in self.weights:
            weight.assign(ops.stack([initializers[weight.name](weight.shape[1:]) for _ in range(self.number)]))
        forget_gates = np.repeat(np.float32([0, 1, 0, 0]), self.units)  # open at first, Keras's unit_forget_bias
        self.bias.assign(ops.broadcast_to(forget_gates, self.bias.shape))

    def call(self, tokens):
        # The input's share of the gates depends on the token alone: (n, tokens, 4u). Padding, token 0, picks no row.
        share = ops.matmul(self.embeddings, self.kernel) + self.bias
        picks = ops.one_hot(ops.transpose(tokens) - 1, self.tokens)
        h = c = ops.zeros((self.number, ops.shape(tokens)[0], self.units))
        for step in range(tokens.shape[1]):
            gates = ops.matmul(picks[step], share) + ops.matmul(h, self.recurrent_kernel)
            i, f, g, o = ops.split(gates, 4, axis=-1)
            next_c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
            next_h = ops.sigmoid(o) * ops.tanh(next_c)
            goes_on = (tokens[:, step] > 0)[:, None]
            h, c = ops.where(goes_on, next_h, h), ops.where(goes_on, next_c, c)
        outputs = ops.sigmoid(ops.matmul(h, self.output_kernel) + self.output_bias)
        return ops.transpose(outputs, (1, 0, 2))

    def get_config(self):
        names = ("number", "tokens", "units", "initial_output_bias", "regularization")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}

    def predict(self, tokens):
        """What `call` gives, computed in numpy with one LSTM step for every distinct beginning of the sequences.

        Args:
            tokens: int array (m, length).
        Returns:
            float32 array (m, n).
        """
        weights = [ops.convert_to_numpy(weight) for weight in self.weights]
        lengths = np.count_nonzero(tokens, axis=1)
        order = np.lexsort([*tokens.T[::-1], lengths])  # sequences of one length that begin alike stand together
        chunks = [
            rows[start : start + CHUNK]
            for rows in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
            for start in range(0, len(rows), CHUNK)
        ]
        outputs = np.empty((len(tokens), self.number), "float32")
        predict = joblib.delayed(_predict_sorted)
        threads = joblib.Parallel(n_jobs=-1, prefer="threads", return_as="generator")
        for rows, output in zip(chunks, threads(predict(tokens[rows, : lengths[rows[0]]], *weights) for rows in chunks)):
            outputs[rows] = output
        return outputs


def _predict_sorted(tokens, embeddings, kernel, recurrent_kernel, bias, output_kernel, output_bias):
    """Outputs (m, n) for sequences (m, length) of one length, in lexicographic order."""
    # All four gates are sigmoids, tanh(x) being 2 sigmoid(2x) - 1, and exp(-a - b) = exp(-a) exp(-b): exponentials are
    # taken once for a beginning and once for a token. Clipped, they overflow nowhere; sigmoid(40) is 1 as it is.
    n, units = recurrent_kernel.shape[:2]
    scale = np.repeat(np.float32([-1, -1, -2, -1]), units)
    share = np.exp(np.clip((embeddings @ kernel + bias) * scale, -40, 40))
    recurrent_kernel = recurrent_kernel * scale
    # new[row, step]: whether this row is the first of those that begin with the same step + 1 tokens
    new = np.ones(tokens.shape, bool)
    np.logical_or.accumulate(tokens[1:] != tokens[:-1], axis=1, out=new[1:])
    h = c = np.zeros((n, 1, units), "float32")
    beginning = np.zeros(len(tokens), int)  # of every row: where in h and c its state stands
    for step in range(tokens.shape[1]):
        first = np.flatnonzero(new[:, step])
        before, token = beginning[first], tokens[first, step]
        gates = np.exp(np.clip(h @ recurrent_kernel, -40, 40))[:, before]
        gates *= share[:, token - 1]
        gates += 1
        np.reciprocal(gates, out=gates)
        i, f, g, o = np.split(gates, 4, axis=-1)
        c = f * c[:, before] + i * (2 * g - 1)
        h = o * np.tanh(c)
        beginning = np.cumsum(new[:, step]) - 1
    logits = (h @ output_kernel + output_bias)[:, beginning, 0]
    return (1 / (1 + np.exp(-logits))).T

"""Several LSTMs in one Keras layer for training, and the same function in numpy for ranking many sequences."""

from pnas.backend import keras  # isort: skip  (first: it imports Keras without its messages)
import joblib
import numpy as np
import threadpoolctl
from keras import ops

OUTPUT_BIAS = 1.8  # of the sigmoid outputs before training
CHUNK = 2048  # sequences predicted at once, so that the arrays of an LSTM stay in the processor's cache


@keras.saving.register_keras_serializable("pnas")
class LSTMs(keras.layers.Layer):
    """Several LSTMs over sequences of tokens, each with its own embeddings and sigmoid output.

    Each computes what `keras.layers.Embedding`, `LSTM` and a sigmoid `Dense` compute, from weights with the same
    initial distributions. As one layer they are traced and trained together. The first axis of every weight is the
    LSTM.

    Args:
        number: number n of LSTMs.
        tokens: number of different tokens, which are 1..tokens. 0 pads a sequence at its end.
        units: number u of units of each LSTM, and of embedding dimensions.
        regularization: L2 strength on the LSTMs' kernels, 0 for none.
    Input: (batch, length) integers. Output: (batch, n, 1) numbers in (0, 1).
    """

    def __init__(self, number: int, tokens: int, units: int, regularization: float = 0, **arguments):
        super().__init__(**arguments)
        self.number = number
        self.tokens = tokens
        self.units = units
        self.regularization = regularization

    def build(self, input_shape):
        n, u = self.number, self.units
        # The loss is a mean over the LSTMs, so the penalty has to be one as well.
        penalty = keras.regularizers.L2(self.regularization / n) if self.regularization else None
        self.embeddings = self.add_weight((n, self.tokens, u), name="embeddings")
        self.kernel = self.add_weight((n, u, 4 * u), regularizer=penalty, name="kernel")
        self.recurrent_kernel = self.add_weight((n, u, 4 * u), regularizer=penalty, name="recurrent_kernel")
        self.bias = self.add_weight((n, 1, 4 * u), name="bias")
        self.output_kernel = self.add_weight((n, u, 1), name="output_kernel")
        self.output_bias = self.add_weight((n, 1, 1), name="output_bias")
        self.draw_weights(seed=0)

    def draw_weights(self, seed: int):
        """Draws new initial weights, separately for each LSTM, as Keras would."""
        draws = keras.random.SeedGenerator(seed)
        initializers = {
            "embeddings": keras.initializers.RandomUniform(-0.05, 0.05, seed=draws),
            "kernel": keras.initializers.GlorotUniform(seed=draws),
            "recurrent_kernel": keras.initializers.Orthogonal(seed=draws),
            "bias": keras.initializers.Zeros(),
            "output_kernel": keras.initializers.GlorotUniform(seed=draws),
            "output_bias": keras.initializers.Constant(OUTPUT_BIAS),
        }
        for weight in self.weights:
            weight.assign(ops.stack([initializers[weight.name](weight.shape[1:]) for _ in range(self.number)]))
        forget_gates = np.repeat(np.float32([0, 1, 0, 0]), self.units)  # open at first, Keras's unit_forget_bias
        self.bias.assign(ops.broadcast_to(forget_gates, self.bias.shape))

    def call(self, tokens):
        # The input's part of the gates depends on the token alone: (n, tokens, 4u). Padding, token 0, selects no row.
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

    def predict(self, tokens: np.ndarray) -> np.ndarray:
        """The outputs of `call`, computed in numpy with one LSTM step for every distinct beginning of the sequences.

        Args:
            tokens: int array (m, length).
        Returns:
            float32 array (m, n).
        """
        lengths = np.count_nonzero(tokens, axis=1)
        order = np.lexsort([*tokens.T[::-1], lengths])  # puts sequences of one length with the same beginning together
        chunks = [
            rows[start : start + CHUNK]
            for rows in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1)
            for start in range(0, len(rows), CHUNK)
        ]
        outputs = np.empty((len(tokens), self.number), "float32")
        weights = list(zip(*self.get_weights()))  # of each LSTM

        def predict(rows):
            outputs[rows] = _predict_sorted(tokens[rows, : lengths[rows[0]]], weights)

        with threadpoolctl.threadpool_limits(1):  # else the threads of matrix products would compete with these
            joblib.Parallel(n_jobs=-1, require="sharedmem")(joblib.delayed(predict)(rows) for rows in chunks)
        return outputs


def _predict_sorted(tokens, weights):
    """Outputs (m, n) for sequences (m, length) of one length, in lexicographic order."""
    # new[row, step]: whether this row is the first of those that begin with the same step + 1 tokens
    new = np.ones(tokens.shape, bool)
    np.logical_or.accumulate(tokens[1:] != tokens[:-1], axis=1, out=new[1:])
    firsts = [np.flatnonzero(column) for column in new.T]
    # beginnings[step, row]: number of the row's beginning before the first step, then after each step
    beginnings = np.vstack([np.zeros(len(tokens), int), *(np.cumsum(new, axis=0).T - 1)])
    return np.stack([_outputs(tokens, firsts, beginnings, *of_one) for of_one in weights], axis=1)


def _outputs(tokens, firsts, beginnings, embeddings, kernel, recurrent_kernel, bias, output_kernel, output_bias):
    """Outputs (m,) of one LSTM."""
    # All four gates are sigmoids, as tanh(x) = 2 sigmoid(2x) - 1. As exp(-a - b) = exp(-a) exp(-b), exponentials are
    # computed once per beginning and once per token. They are clipped so that 0 times infinity cannot occur.
    units = len(recurrent_kernel)
    scale = np.repeat(np.float32([-1, -1, -2, -1]), units)
    share = np.exp(np.clip((embeddings @ kernel + bias) * scale, -80, 80))
    recurrent_kernel = recurrent_kernel * scale
    h = c = np.zeros((1, units), "float32")
    for step, first in enumerate(firsts):
        before = beginnings[step, first]
        gates = h @ recurrent_kernel  # from here on in place: allocating memory would take longer than computing
        np.exp(np.clip(gates, -80, 80, out=gates), out=gates)
        gates = gates.take(before, axis=0)
        gates *= share.take(tokens[first, step] - 1, axis=0)
        gates += 1
        np.reciprocal(gates, out=gates)
        i, f, g, o = np.split(gates, 4, axis=-1)
        c = c.take(before, axis=0)
        c *= f
        g *= 2
        g -= 1
        g *= i
        c += g
        h = np.tanh(c)
        h *= o
    logits = (h @ output_kernel + output_bias)[beginnings[-1], 0]
    return 1 / (1 + np.exp(-logits))

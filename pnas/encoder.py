"""The space of cells and the surrogate that ranks them.

A cell is the flat list of the log, `[input1, op1, input2, op2, ...]`, four entries a block: both operators are applied to
their inputs and the two results are concatenated. Inputs: 0 is the cell's own input (the output of the cell before it), -k
the output of the cell k before that, j >= 1 the output of block j of the same cell.

Source: Liu et al. 2018, arXiv:1712.00559, sections 3 and 4.
"""

import itertools
import re

import keras
import numpy as np
from keras import layers, ops

_ROW = r"\[\[[01]\.(?: [01]\.)*\]\]"
_ONE_HOTS = re.compile(f"{_ROW}(?: {_ROW})*")


class StateSpace:
    """All cells of up to B blocks, and their canonical form.

    Args:
        B: largest number of blocks in a cell.
        operators: list of operator names.
        input_lookback_depth: 0, or -k to admit the outputs of the k cells before the input as inputs -k..-1.
        input_lookforward_depth: how many blocks of a cell may be read by its other blocks: 0 (flat cells, every op reads
            the cell's input or a cell before it), a positive number, or None for all.

    Two cells are one architecture if they differ only in the order of the halves of a block or in the numbering of the
    blocks; `canonical` chooses one of them, in which the blocks that are read come first.
    """

    def __init__(self, B, operators, input_lookback_depth=0, input_lookforward_depth=0):
        self.B = B
        self.operators = list(operators)
        self.input_lookback_depth = input_lookback_depth
        self.input_lookforward_depth = B - 1 if input_lookforward_depth is None else input_lookforward_depth
        self.inputs = list(range(input_lookback_depth, B))  # one-hot positions: -k..-1, 0, blocks 1..B-1
        self._rank = {operator: rank for rank, operator in enumerate(self.operators)}

    def initial_children(self):
        """The unique cells of one block, as a list."""
        return self.expand([[]])

    def expand(self, cells):
        """Every unique cell that is one of `cells` with one block more.

        Args:
            cells: list of cells of one size.
        Returns:
            List of canonical cells, each once, in a fixed order.
        """
        unique = {}
        for cell in cells:
            size = len(cell) // 4
            blocks = range(1, size + 1) if self.input_lookforward_depth else ()
            halves = itertools.product([*range(self.input_lookback_depth, 1), *blocks], self.operators)
            for left, right in itertools.combinations_with_replacement(halves, 2):
                candidate = [*cell, *left, *right]
                if blocks and len(self._read_blocks(candidate)) > self.input_lookforward_depth:
                    continue
                candidate = self._canonical(candidate)
                unique[tuple(candidate)] = candidate
        return list(unique.values())

    def canonical(self, cell):
        """The representative of all cells that are the same architecture as `cell`.

        Blocks that are read come first, simpler ones before those that read them; halves and unread blocks are sorted
        by input, then by the operators' order. Blocks that look alike are tried in every order, and the smallest result is
        taken.

        Raises:
            ValueError: `cell` is not in this space.
        """
        self._check(cell)
        return self._canonical(cell)

    def encode(self, cell):
        """Representation string of a cell: for every input and operator a one-hot row, as numpy prints it.

        Inputs have B + k entries (-k..-1, 0, blocks 1..B-1), operators one per operator.

        Raises:
            ValueError: `cell` is not in this space.
        """
        self._check(cell)
        rows = []
        for position, value in enumerate(cell):
            values = self.operators if position % 2 else self.inputs
            rows.append("[[" + " ".join("1." if value == other else "0." for other in values) + "]]")
        return " ".join(rows)

    def decode(self, string):
        """Cell of a representation string, the inverse of `encode`. The string is parsed, never evaluated.

        Raises:
            ValueError: the string is malformed or of another space; the message says what would fit.
        """
        cell = self._parsed(string)
        fault = "it is not made of such rows" if cell is None else self._fault(cell)
        if fault:
            raise ValueError(
                f"representation string {_shortened(string)} does not fit this space: {fault}. Accepted are 1 to {self.B} "
                f"blocks of four one-hot rows, an input of {self.inputs} and an operator of {self.operators} twice, such "
                f'as "{self.encode([0, self.operators[0]] * 2)}"'
            )
        return cell

    def _parsed(self, string):
        """The values that the one-hot rows stand for, or None if they are not one-hot rows of this space."""
        longest = 4 * self.B * (6 + 3 * max(len(self.inputs), len(self.operators)))  # a huge string is no work
        if not isinstance(string, str) or len(string) > longest or not _ONE_HOTS.fullmatch(string):
            return None
        cell = []
        for position, row in enumerate(string[2:-2].split("]] [[")):
            values = self.operators if position % 2 else self.inputs
            entries = row.split(" ")
            if len(entries) != len(values) or entries.count("1.") != 1:
                return None
            cell.append(values[entries.index("1.")])
        return cell

    def _check(self, cell):
        fault = self._fault(cell)
        if fault:
            raise ValueError(f"cell {_shortened(cell)} is not in this space: {fault}")

    def _fault(self, cell):
        """What is wrong with a cell, in words, or None."""
        if not isinstance(cell, (list, tuple)) or not 0 < len(cell) <= 4 * self.B or len(cell) % 4:
            return f"a cell is a list of 4 to {4 * self.B} entries, four a block"
        for position in range(0, len(cell), 2):
            source, operator = cell[position : position + 2]
            block = position // 4 + 1
            accepted = range(self.input_lookback_depth, block if self.input_lookforward_depth else 1)
            if type(source) is not int or source not in accepted:
                return f"an input of block {block} must be one of {list(accepted)}, got {_shortened(source)}"
            if operator not in self.operators:
                return f"an operator must be one of {self.operators}, got {_shortened(operator)}"
        if len(self._read_blocks(cell)) > self.input_lookforward_depth:
            return f"at most {self.input_lookforward_depth} of its blocks may be read by others"
        return None

    @staticmethod
    def _read_blocks(cell):
        return {source for source in cell[0::2] if source > 0}

    def _canonical(self, cell):
        blocks = [(tuple(cell[i : i + 2]), tuple(cell[i + 2 : i + 4])) for i in range(0, len(cell), 4)]
        read = sorted(self._read_blocks(cell))
        if not read:
            return self._flattened(blocks, {})

        # What a block looks like when everything that it reads is written out; the number in front makes a block's key
        # greater than the keys of the blocks that it reads.
        keys = []
        for block in blocks:
            halves = sorted(
                ((1, keys[source - 1]) if source > 0 else (0, source), self._rank[op]) for source, op in block
            )
            keys.append((1 + max(keys[source - 1][0] if source > 0 else 0 for source, _ in block), halves))
        read.sort(key=lambda number: keys[number - 1])
        alike = [list(group) for _, group in itertools.groupby(read, key=lambda number: keys[number - 1])]
        orders = itertools.product(*map(itertools.permutations, alike))
        numberings = (
            {old: new for new, old in enumerate(itertools.chain(*order), start=1)} for order in orders
        )
        return min((self._flattened(blocks, numbering) for numbering in numberings), key=self._ranks)

    def _flattened(self, blocks, numbering):
        """The cell with the read blocks renumbered and put first, halves and unread blocks sorted."""
        renumbered = [
            sorted(((numbering.get(source, source), op) for source, op in block), key=self._half_rank)
            for block in blocks
        ]
        first = [renumbered[old - 1] for old in sorted(numbering, key=numbering.get)]
        rest = [block for number, block in enumerate(renumbered, start=1) if number not in numbering]
        rest.sort(key=lambda block: [self._half_rank(half) for half in block])
        return [entry for block in [*first, *rest] for half in block for entry in half]

    def _half_rank(self, half):
        return half[0], self._rank[half[1]]

    def _ranks(self, cell):
        return [self._rank[value] if position % 2 else value for position, value in enumerate(cell)]


def _shortened(value, length=80):
    """repr of a value for a message, cut where it is long (a string of 1 MB, say)."""
    text = repr(value[:length] if isinstance(value, (str, list, tuple)) else value)
    return text if len(text) <= length else text[:length] + "..."


class Encoder:
    """The surrogate: LSTMs that read a cell as the sequence input1, op1, input2, op2, ... and predict its reward.

    Embeddings of inputs and operators have a table each, shared by both halves of a block; the output is a sigmoid whose
    bias starts at 1.8; the loss is L1, the optimizer Adam at 0.01 for the first block size and 0.002 after. The prediction
    is the mean of several LSTMs, each fitted on its own part of the data.

    Args:
        state_space: StateSpace of the cells.
        lstm_cells: number of LSTM units, and of embedding dimensions.
        epochs: training epochs of every `fit`.
        regularization: L2 strength on the LSTM's kernels, 0 for none.
        num_predictors: number of LSTMs.
        seed: int, of the initial weights and the order of the batches.
    Attributes:
        model: keras.Model, (n, 2b) inputs and (n, 2b) operators -> `num_predictors` outputs (n, 1), for any b.
    Source: Liu et al. 2018, arXiv:1712.00559, section 4.2 and appendix A.
    """

    BATCH_SIZE = 8

    def __init__(self, state_space, lstm_cells=100, epochs=15, regularization=0, num_predictors=5, seed=0):
        self.state_space = state_space
        self.epochs = epochs
        self.num_predictors = num_predictors
        self.seed = seed
        self._input_ids = {value: i for i, value in enumerate(state_space.inputs, start=1)}  # 0 is padding
        self._operator_ids = {value: i for i, value in enumerate(state_space.operators, start=1)}
        self._fits = 0
        keras.utils.set_random_seed(seed)
        self.model = self._build(lstm_cells, regularization)

    def _build(self, units, regularization):
        regularizer = keras.regularizers.L2(regularization) if regularization else None
        inputs = layers.Input((None,), dtype="int32", name="inputs")
        operators = layers.Input((None,), dtype="int32", name="operators")
        mask = ops.repeat(ops.not_equal(inputs, 0), 2, axis=1)  # shorter cells are padded with 0 at their end
        outputs = []
        for n in range(1, self.num_predictors + 1):
            embedded_inputs = layers.Embedding(len(self._input_ids) + 1, units, name=f"inputs_{n}")(inputs)
            embedded_operators = layers.Embedding(len(self._operator_ids) + 1, units, name=f"operators_{n}")(operators)
            pairs = layers.Concatenate(name=f"pairs_{n}")([embedded_inputs, embedded_operators])
            sequence = layers.Reshape((-1, units), name=f"sequence_{n}")(pairs)
            lstm = layers.LSTM(
                units, kernel_regularizer=regularizer, recurrent_regularizer=regularizer, name=f"lstm_{n}"
            )
            bias = keras.initializers.Constant(1.8)
            reward = layers.Dense(1, "sigmoid", bias_initializer=bias, name=f"reward_{n}")
            outputs.append(reward(lstm(sequence, mask=mask)))
        return keras.Model([inputs, operators], outputs, name="surrogate")

    def fit(self, cells, rewards):
        """Fits the LSTMs to everything trained so far, going on from their weights.

        Args:
            cells: list of cells.
            rewards: their rewards, numbers in [0, 1].
        Returns:
            List of the mean L1 loss of every epoch.
        """
        keras.utils.set_random_seed(self.seed + self._fits)
        # Each LSTM leaves out its part of the cells; the others weigh more for it, so that the loss stays a mean.
        parts = self.num_predictors
        left_out = np.random.permutation(len(cells)) % parts if parts > 1 else np.full(len(cells), -1)
        weights = [(left_out != part) * (parts / max(parts - 1, 1)) for part in range(parts)]
        targets = np.asarray(rewards, "float32")[:, None]
        if not self._fits:  # compiled once: tracing five LSTMs takes longer than fitting them
            self.model.compile(keras.optimizers.Adam(0.01), loss=["mean_absolute_error"] * self.num_predictors)
        else:
            self.model.optimizer.learning_rate = 0.002
        history = self.model.fit(
            self._ids(cells, self.state_space.B),
            [targets] * self.num_predictors,
            sample_weight=weights,
            batch_size=self.BATCH_SIZE,
            epochs=self.epochs,
            verbose=0,
        )
        self._fits += 1
        return [loss / self.num_predictors for loss in history.history["loss"]]

    def predict(self, cells):
        """Predicted rewards of a list of cells, float array (n,)."""
        outputs = self.model.predict(self._ids(cells, max(map(len, cells)) // 4), batch_size=4096, verbose=0)
        return np.mean(np.reshape(outputs, (self.num_predictors, len(cells))), axis=0)

    def rank(self, cells, K):
        """The K cells of the highest predicted reward.

        Returns:
            The cells, best first, and their predicted rewards, float array (at most K,).
        """
        predicted = self.predict(cells)
        best = np.argsort(-predicted, kind="stable")[:K]
        return [cells[i] for i in best], predicted[best]

    def _ids(self, cells, blocks):
        """Cells as two int arrays (n, 2 * blocks), padded with 0."""
        inputs, operators = np.zeros((2, len(cells), 2 * blocks), "int32")
        for row, cell in enumerate(cells):
            inputs[row, : len(cell) // 2] = [self._input_ids[value] for value in cell[0::2]]
            operators[row, : len(cell) // 2] = [self._operator_ids[value] for value in cell[1::2]]
        return [inputs, operators]

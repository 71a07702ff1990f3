"""The space of cells and the surrogate that ranks them.

A cell is a flat list, `[input1, op1, input2, op2, ...]`, with four entries per block. Both operators are applied to
their inputs and the two results are concatenated. Input 0 is the cell's own input (the output of the cell before it),
-k the output of the k-th cell before that, and j >= 1 the output of block j of the same cell.

Source: Liu et al. 2018, arXiv:1712.00559, sections 3 and 4.
"""

from pnas.backend import keras  # isort: skip  (first: it imports Keras without its messages)
import itertools
import json
import math
import re
import zipfile
import zlib

import numpy as np

from pnas.lstm import LSTMs

Cell = list[int | str]  # [input1, op1, input2, op2, ...]

_ROW = r"\[\[[01]\.(?: [01]\.)*\]\]"
_ONE_HOTS = re.compile(f"{_ROW}(?: {_ROW})*")
_ARCHITECTURE = re.compile(r"\s*[\[(]\s*-?\d+\s*,\s*['\"]")


class StateSpace:
    """All cells of up to B blocks, and their canonical form.

    Args:
        B: largest number of blocks in a cell.
        operators: list of operator names.
        input_lookback_depth: 0, or -k to admit the outputs of the k cells before the input as inputs -k..-1.
        input_lookforward_depth: how many blocks of a cell its other blocks may read: 0 (flat cells, every operator
            reads the cell's input or an earlier cell), a positive number, or None for all.

    Two cells are the same architecture if they differ only in the order of the halves of a block or in the numbering of
    the blocks. `canonical` chooses one of them, in which the blocks that are read come first.
    """

    def __init__(
        self,
        B: int,
        operators: list[str],
        input_lookback_depth: int = 0,
        input_lookforward_depth: int | None = 0,
    ):
        self.B = B
        self.operators = list(operators)
        self.input_lookback_depth = input_lookback_depth
        self.input_lookforward_depth = B - 1 if input_lookforward_depth is None else input_lookforward_depth
        self.inputs = list(range(input_lookback_depth, B))  # one-hot positions: -k..-1, 0, blocks 1..B-1
        self._rank = {operator: rank for rank, operator in enumerate(self.operators)}

    def initial_children(self) -> list[Cell]:
        """All unique cells of one block."""
        return self.expand([[]])

    def expand(self, cells: list[Cell]) -> list[Cell]:
        """All unique cells that have one block more than one of `cells`.

        Args:
            cells: list of cells of one size.
        Returns:
            List of cells in a fixed order, each written as the cell that it extends, followed by the new block.
        """
        unique = {}  # canonical cell -> how it was first found
        for cell in map(self._blocks, cells):
            read = self._read_blocks(cell)
            blocks = range(1, len(cell) + 1) if self.input_lookforward_depth else ()
            halves = itertools.product([*range(self.input_lookback_depth, 1), *blocks], range(len(self.operators)))
            arrangements = {}  # set of the blocks that are read -> arrangements of the cell's blocks
            for block in itertools.combinations_with_replacement(halves, 2):
                now_read = read.union(source for source, _ in block if source > 0)
                if len(now_read) > self.input_lookforward_depth:
                    continue
                if now_read not in arrangements:
                    arrangements[now_read] = list(self._arrangements(cell, now_read))
                canonical = min(
                    (*first, *sorted([*rest, self._renumbered(block, numbering)]))
                    for numbering, first, rest in arrangements[now_read]
                )
                unique.setdefault(canonical, (cell, block))
        return [self._flattened([*cell, block]) for cell, block in unique.values()]

    def most_expansions(self, parents: int, blocks: int) -> int:
        """The largest number of cells that `expand` makes of `parents` cells, without making them.

        Exact for all flat cells of a size; where blocks are read, some of the cells counted are one architecture.

        Args:
            parents: number of cells that are expanded.
            blocks: number of blocks of the expansions.
        """
        inputs = 1 - self.input_lookback_depth + (blocks - 1 if self.input_lookforward_depth else 0)
        unique_blocks = math.comb(inputs * len(self.operators) + 1, 2)  # two halves, with repetition
        most = parents * unique_blocks
        return most if self.input_lookforward_depth else min(most, math.comb(unique_blocks + blocks - 1, blocks))

    def most_children(self, parents: int, blocks: int, K: int) -> list[int]:
        """The largest numbers of children of `blocks` blocks and of each larger size, K of a size at most.

        Args:
            parents: number of children of the size before.
        """
        numbers = []
        for size in range(blocks, self.B + 1):
            parents = min(K, self.most_expansions(parents, size))
            numbers.append(parents)
        return numbers

    def canonical(self, cell: Cell) -> Cell:
        """The one way of writing a cell that stands for its architecture.

        Blocks that are read come first, each after the blocks that it reads. Halves and the other blocks are sorted by
        input, then by the order of `operators`. Blocks that look alike are tried in every order; the smallest result is
        taken.

        Raises:
            ValueError: `cell` is not in this space.
        """
        self._check(cell)
        blocks = self._blocks(cell)
        arrangements = self._arrangements(blocks, self._read_blocks(blocks))
        return self._flattened(min((*first, *rest) for _, first, rest in arrangements))

    def shuffled(self, cell: Cell, random: np.random.Generator) -> Cell:
        """The same architecture written in a random way: halves in any order, every block after the blocks that it
        reads.

        Args:
            cell: a cell of this space.
            random: numpy.random.Generator.
        """
        blocks, numbering, written = self._blocks(cell), {}, []
        while len(written) < len(blocks):
            ready = [
                number
                for number, block in enumerate(blocks, start=1)
                if number not in numbering and all(source <= 0 or source in numbering for source, _ in block)
            ]
            number = ready[random.integers(len(ready))]
            halves = [(numbering.get(source, source), rank) for source, rank in blocks[number - 1]]
            numbering[number] = len(numbering) + 1
            written.append(halves if random.integers(2) else halves[::-1])
        return self._flattened(written)

    def encode(self, cell: Cell) -> str:
        """The representation string of a cell: a one-hot row per input and operator, as numpy prints it.

        The row of an input has B + k entries (-k..-1, 0, blocks 1..B-1), that of an operator one per operator.

        Raises:
            ValueError: `cell` is not in this space.
        """
        self._check(cell)
        rows = []
        for position, value in enumerate(cell):
            values = self.operators if position % 2 else self.inputs
            rows.append("[[" + " ".join("1." if value == other else "0." for other in values) + "]]")
        return " ".join(rows)

    def decode(self, string: str) -> Cell:
        """The cell of a representation string, the inverse of `encode`. The string is parsed, never evaluated.

        Args:
            string: the representation string. It may have quotes around it, as in the log.
        Raises:
            ValueError: the string is malformed or belongs to another space. The message says what is accepted.
        """
        is_quoted = isinstance(string, str) and re.fullmatch("'.*'|\".*\"", string, re.DOTALL)
        cell, fault = self._parsed(string[1:-1] if is_quoted else string)
        fault = fault or self._fault(cell)
        if fault:
            raise ValueError(
                f"representation string {_shortened(string)} does not fit this space: {fault}. Accepted are 1 to "
                f"{self.B} blocks of four one-hot rows, an input of {self.inputs} and an operator of {self.operators} "
                f'twice, such as "{self.encode([0, self.operators[0]] * 2)}"'
            )
        return cell

    def _parsed(self, string):
        """The values of one-hot rows, and what keeps them from being rows of this space, in words, or None."""
        if not isinstance(string, str) or not _ONE_HOTS.fullmatch(string):
            if isinstance(string, str) and _ARCHITECTURE.match(string):
                return [], "it is an Architecture; the line below it in the log is the Representation String"
            return [], "it is not made of such rows"
        kinds = ("input", self.inputs, "B and INPUT_LOOKBACK_DEPTH"), ("operator", self.operators, "operators")
        cell = []
        for position, row in enumerate(string[2:-2].split("]] [[")):
            kind, values, constants = kinds[position % 2]
            entries, name = row.split(" "), f"row {position + 1}, an {kind}"
            if len(entries) != len(values):
                lengths = f"has length {len(entries)}, expected {len(values)}"
                return [], f"{name}, {lengths}; it needs the {constants} of its search"
            if entries.count("1.") != 1:
                return [], f"{name}, is not one-hot"
            cell.append(values[entries.index("1.")])
        if len(cell) % 4 or len(cell) > 4 * self.B:
            return [], f"its number of rows is {len(cell)}"
        return cell, None

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
        if len(self._read_blocks(self._blocks(cell))) > self.input_lookforward_depth:
            return f"at most {self.input_lookforward_depth} of its blocks may be read by others"
        return None

    # Below, a cell is a list of blocks, a block a pair of halves, and a half (input, rank of the operator), so that
    # Python sorts them in the canonical order.

    def _blocks(self, cell):
        halves = [(source, self._rank[operator]) for source, operator in zip(cell[0::2], cell[1::2])]
        return list(zip(halves[0::2], halves[1::2]))

    def _flattened(self, blocks):
        return [value for block in blocks for source, rank in block for value in (source, self.operators[rank])]

    @staticmethod
    def _read_blocks(blocks):
        return frozenset(source for block in blocks for source, _ in block if source > 0)

    def _arrangements(self, blocks, read):
        """The orders of blocks that may be canonical: several if blocks that are read look alike.

        Yields:
            dict, old number -> new number, of the blocks that are read; these blocks in their new order; the others,
            sorted.
        """
        # A key describes a block with everything that it reads. Its first number makes it greater than the keys of the
        # blocks that it reads.
        keys = []
        for block in blocks:
            halves = sorted(((1, keys[source - 1]) if source > 0 else (0, source), rank) for source, rank in block)
            keys.append((1 + max(keys[source - 1][0] if source > 0 else 0 for source, _ in block), halves))
        ordered = sorted(read, key=lambda number: keys[number - 1])
        alike = [list(group) for _, group in itertools.groupby(ordered, key=lambda number: keys[number - 1])]
        for order in itertools.product(*map(itertools.permutations, alike)):
            numbering = {old: new for new, old in enumerate(itertools.chain(*order), start=1)}
            renumbered = [self._renumbered(block, numbering) for block in blocks]
            first = [renumbered[old - 1] for old in numbering]
            rest = sorted(block for number, block in enumerate(renumbered, start=1) if number not in numbering)
            yield numbering, first, rest

    @staticmethod
    def _renumbered(block, numbering):
        """The block with new numbers for the blocks that it reads, and with sorted halves."""
        return tuple(sorted((numbering.get(source, source), rank) for source, rank in block))


def _shortened(value, length=80):
    """repr of a value for a message, shortened if it is long."""
    text = repr(value[:length] if isinstance(value, (str, list, tuple)) else value)
    return text if len(text) <= length else text[:length] + "..."


class Encoder:
    """The surrogate: LSTMs that read a cell as the sequence input1, op1, input2, op2, ... and predict its reward.

    An input and an operator mean the same in both halves of a block and share an embedding. The output is a sigmoid
    whose bias starts at 1.8. The loss is L1, the optimizer Adam with a learning rate of 0.01 for the first block size
    and 0.002 after it; its state is carried over. The prediction is the mean of several LSTMs, each fitted on its own
    part of the data. Two things differ from the paper:

    - Order. An LSTM reads a sequence, but the order of blocks and of halves means nothing. So a cell is written in
      another order each time it is shown. What is learned of a block then holds wherever it stands, and an expansion
      can be read as the cell that it extends, followed by the new block: a beginning that all expansions of that cell
      share.
    - Batches. An epoch has at least BATCHES_PER_EPOCH batches, so that few cells are seen several times.

    Args:
        state_space: StateSpace of the cells.
        lstm_cells: number of LSTM units, and of embedding dimensions.
        epochs: training epochs of every `fit`.
        regularization: L2 strength on the LSTM's kernels, 0 for none.
        num_predictors: number n of LSTMs.
        seed: int, of the initial weights, the batches and the parts of the data.
    Attributes:
        model: keras.Model, (cells, 4B) tokens -> rewards (cells, n, 1).
        fits: list of the fits so far, each a dict of the `cells`, their `rewards` and the `losses` of its epochs.
    Source: Liu et al. 2018, arXiv:1712.00559, section 4.2 and appendix A.
    """

    SETTINGS_FILE = "encoder.json"  # inside the file that `save` writes
    BATCH_SIZE = 8
    BATCHES_PER_EPOCH = 10  # at least

    def __init__(
        self,
        state_space: StateSpace,
        lstm_cells: int = 100,
        epochs: int = 15,
        regularization: float = 0,
        num_predictors: int = 5,
        seed: int = 0,
    ):
        self.state_space = state_space
        self.lstm_cells = lstm_cells
        self.epochs = epochs
        self.regularization = regularization
        self.num_predictors = num_predictors
        self.length = 4 * state_space.B
        # Inputs are numbers and operators are names, so one table holds both.
        self._tokens_of = {value: i for i, value in enumerate([*state_space.inputs, *state_space.operators], start=1)}
        self._lstms = LSTMs(num_predictors, len(self._tokens_of), lstm_cells, regularization)
        tokens = keras.Input((self.length,), dtype="int32")
        self.model = keras.Model(tokens, self._lstms(tokens), name="surrogate")
        self.model.compile(
            keras.optimizers.Adam(),
            loss="mean_absolute_error",
            weighted_metrics=["mean_absolute_error"],
            jit_compile=keras.backend.backend() != "tensorflow",  # XLA would compile for longer than it trains
        )
        self.model.optimizer.build(self.model.trainable_variables)
        self.restart(seed)

    def restart(self, seed: int):
        """Forgets all fits and draws the weights of a seed. Faster than another Encoder, which would be traced anew."""
        self.seed = seed
        self.fits = []
        self._lstms.draw_weights(seed)
        for variable in self.model.optimizer.variables:
            variable.assign(keras.ops.zeros(variable.shape, variable.dtype))

    def fit(self, cells: list[Cell], rewards: list[float]) -> list[float]:
        """Fits the LSTMs to everything trained so far, going on from their weights.

        What comes out is decided by the seed, the cells and rewards of this and of earlier fits, and their order.

        Args:
            cells: list of cells.
            rewards: their rewards, numbers in [0, 1].
        Returns:
            List of the mean L1 loss of every epoch, without the penalty of `regularization`.
        """
        random = np.random.default_rng([self.seed, len(self.fits)])
        self.model.optimizer.learning_rate = 0.002 if self.fits else 0.01
        # Each LSTM leaves out its part of the cells; the others weigh more for it, so that the loss stays a mean.
        n = self.num_predictors
        left_out = random.permutation(len(cells)) % n if n > 1 else np.full(len(cells), -1)
        weights = (left_out[:, None] != np.arange(n)) * np.float32(n / max(n - 1, 1))
        targets = np.broadcast_to(np.reshape(np.float32(rewards), (-1, 1, 1)), (len(cells), n, 1))

        batches = -(-len(cells) // self.BATCH_SIZE)
        counts = (np.arange(batches * self.BATCH_SIZE) < len(cells)).reshape(batches, self.BATCH_SIZE, 1)
        losses = []
        for _ in range(self.epochs):
            of_batches, shares = [], []  # the L1 loss of each batch, and what its cells weigh in all
            for _ in range(-(-self.BATCHES_PER_EPOCH // batches)):
                tokens = self._tokens([self.state_space.shuffled(cell, random) for cell in cells])
                # The last batch is filled up with cells that do not count, so that there is one shape to be traced.
                order = np.resize(random.permutation(len(cells)), (batches, self.BATCH_SIZE))
                for batch, count in zip(order, counts):
                    self.model.reset_metrics()  # some versions of Keras do, some do not
                    loss = self.model.train_on_batch(
                        tokens[batch], targets[batch], weights[batch] * count, return_dict=True
                    )
                    of_batches.append(float(loss["mean_absolute_error"]))
                    shares.append(np.sum(weights[batch] * count))
            losses.append(float(np.average(of_batches, weights=shares)))
        self.fits.append({"cells": list(map(list, cells)), "rewards": list(map(float, rewards)), "losses": losses})
        return losses

    def predict(self, cells: list[Cell]) -> np.ndarray:
        """Predicted rewards of a list of cells, read in the order in which they are written; float array (m,)."""
        return self._lstms.predict(self._tokens(cells)).mean(axis=1)

    def predict_with_deviation(self, cells: list[Cell]) -> tuple[np.ndarray, np.ndarray]:
        """Predicted rewards of a list of cells, and the standard deviations of the LSTMs' predictions, 0 for one LSTM.

        Returns:
            Two float arrays (m,).
        """
        predicted = self._lstms.predict(self._tokens(cells))
        return predicted.mean(axis=1), predicted.std(axis=1, ddof=min(1, self.num_predictors - 1))

    def save(self, path: str):
        """Writes everything that `load` needs: a `.keras` file of the model, with the fits and settings beside it."""
        names = ("B", "operators", "input_lookback_depth", "input_lookforward_depth")
        config = {"state_space": {name: getattr(self.state_space, name) for name in names}}
        names = ("lstm_cells", "epochs", "regularization", "num_predictors", "seed")
        config |= {name: getattr(self, name) for name in names}
        self.model.save(path)
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(self.SETTINGS_FILE, json.dumps({"config": config, "fits": self.fits}))

    @classmethod
    def load(cls, path: str) -> "Encoder":
        """The Encoder that `save` wrote, such as `weights/NAME/surrogate.keras` of a search. It can be fitted further.

        Raises:
            ValueError: the file is damaged, or no such file.
            OSError: it cannot be read.
        """
        try:
            with zipfile.ZipFile(path) as file:
                kept = json.loads(file.read(cls.SETTINGS_FILE))
            config = kept["config"]
            encoder = cls(StateSpace(**config.pop("state_space")), **config)
            encoder.model.load_weights(path)
        except (ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{path} is not a whole file of an Encoder: {error}") from None
        encoder.fits = kept["fits"]
        return encoder

    def _tokens(self, cells):
        """Cells as an int array (m, 4B), padded with 0."""
        lengths = np.fromiter(map(len, cells), int, len(cells))
        tokens = np.zeros((len(cells), self.length), "int32")
        tokens[np.arange(self.length) < lengths[:, None]] = [self._tokens_of[value] for cell in cells for value in cell]
        return tokens

"""The space of cells, checked by brute force and against the counts of the paper; and the surrogate."""

import itertools
import re
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from malformed import MEGABYTE, damaged, many

from pnas.encoder import Encoder, StateSpace

OPERATORS = ["3x3 sep-bconv", "5x5 sep-bconv", "1x7-7x1 bconv", "3x3 bconv"]  # the default operators


def blind(size, operators, lookback=0, lookforward=True):
    """All ways to write all cells of `size` blocks."""
    blocks = []
    for number in range(1, size + 1):
        inputs = range(lookback, number if lookforward else 1)
        halves = list(itertools.product(inputs, operators))
        blocks.append([[*left, *right] for left, right in itertools.product(halves, halves)])
    return [[entry for block in cell for entry in block] for cell in itertools.product(*blocks)]


def read_by_others(cell):
    return {source for source in cell[0::2] if source > 0}


def architecture(cell):
    """A key that all ways to write a cell share: the smallest over all orders of blocks and halves."""
    blocks = [(cell[i : i + 2], cell[i + 2 : i + 4]) for i in range(0, len(cell), 4)]
    ways = []
    for order in itertools.permutations(range(len(blocks))):
        number = {old + 1: new + 1 for new, old in enumerate(order)}
        ways.append(
            tuple(
                tuple(sorted((number.get(source, source), operator) for source, operator in blocks[old]))
                for old in order
            )
        )
    return min(ways)


# ------------------------------------------------------------------------------------------------------ the state space


def test_eight_operators_and_two_inputs_give_136_cells_of_one_block():
    """Liu et al. 2018, section 3.1: halves are 2 * 8, unordered pairs of them 16 * 17 / 2."""
    assert len(StateSpace(1, list("abcdefgh"), input_lookback_depth=-1).initial_children()) == 136


def test_four_operators_give_10_55_and_220_flat_cells():
    """Multisets of 1, 2 and 3 blocks out of 4 * 5 / 2 = 10: 10, 10 * 11 / 2, 10 * 11 * 12 / 6."""
    space = StateSpace(3, OPERATORS)
    cells = space.initial_children()
    for size, unique, all_of_them in ((1, 10, 16), (2, 55, 256), (3, 220, 4096)):
        written = blind(size, OPERATORS, lookforward=False)
        assert len(written) == all_of_them
        assert len({tuple(space.canonical(cell)) for cell in written}) == unique
        assert len(cells) == unique
        cells = space.expand(cells) if size < 3 else cells


SPACES = {  # B, operators, lookback, lookforward
    "two blocks, all inputs": (2, ["b", "a"], -1, None),
    "three blocks, all inputs": (3, ["b", "a"], -1, None),
    "three blocks, one may be read": (3, ["b", "a"], -1, 1),
    "four blocks of one operator": (4, ["a"], 0, None),
}


@pytest.fixture(scope="module", params=SPACES)
def everything(request):
    """(space, all ways to write its cells of B - 1 blocks, and of B blocks)."""
    B, operators, lookback, lookforward = SPACES[request.param]
    most = B - 1 if lookforward is None else lookforward
    smaller, larger = (
        [cell for cell in blind(size, operators, lookback) if len(read_by_others(cell)) <= most] for size in (B - 1, B)
    )
    return StateSpace(*SPACES[request.param]), smaller, larger


def test_every_way_to_write_an_architecture_has_one_canonical_cell(everything):
    space, _, cells = everything
    canonical = {tuple(cell): tuple(space.canonical(cell)) for cell in cells}
    assert set(canonical.values()) <= set(canonical), "a canonical cell is outside the space"
    of_architecture = {}
    for cell, representative in canonical.items():
        of_architecture.setdefault(architecture(cell), set()).add(representative)
    assert all(len(representatives) == 1 for representatives in of_architecture.values())
    for same, (representative,) in of_architecture.items():
        assert architecture(representative) == same  # so two architectures never share a canonical cell
        assert canonical[representative] == representative


def test_expansion_reaches_every_architecture_once(everything):
    space, smaller, larger = everything
    parents = [list(cell) for cell in {tuple(space.canonical(cell)) for cell in smaller}]
    expanded = space.expand(parents)
    assert all(cell[:-4] in parents for cell in expanded)
    found = [architecture(cell) for cell in expanded]
    assert len(found) == len(set(found))
    assert set(found) == {architecture(cell) for cell in larger}


def test_shuffling_writes_an_architecture_in_all_its_ways(everything):
    space, _, cells = everything
    ways = {}
    for cell in cells:
        ways.setdefault(architecture(cell), set()).add(tuple(cell))
    random = np.random.default_rng(0)
    for written in list(ways.values())[::7]:
        # The rarest of up to 48 ways has a probability of 1/96; 600 draws miss it with a probability of 0.002.
        drawn = set()
        for _ in range(600):
            drawn.add(tuple(space.shuffled(list(min(written)), random)))
            if drawn == written:
                break
        assert drawn == written


def test_read_blocks_come_first_and_the_others_are_sorted():
    space = StateSpace(4, ["a", "b", "c"], input_lookback_depth=-1, input_lookforward_depth=None)
    written = [0, "c", 0, "a", -1, "b", -1, "a", 2, "c", 0, "b", 0, "a", 0, "b"]  # block 3 reads block 2
    assert space.canonical(written) == [-1, "a", -1, "b", 0, "a", 0, "b", 0, "a", 0, "c", 0, "b", 1, "c"]


def test_operators_are_sorted_in_the_given_order():
    assert StateSpace(1, ["z", "a"]).canonical([0, "a", 0, "z"]) == [0, "z", 0, "a"]


@pytest.mark.parametrize("limit, accepted", [(0, 0), (1, 1), (2, 2), (None, 2)])
def test_lookforward_limits_how_many_blocks_are_read(limit, accepted):
    space = StateSpace(3, ["a"], input_lookforward_depth=limit)
    reading = {  # number of blocks that are read: cell
        0: [0, "a", 0, "a", 0, "a", 0, "a", 0, "a", 0, "a"],
        1: [0, "a", 0, "a", 0, "a", 1, "a", 1, "a", 1, "a"],
        2: [0, "a", 0, "a", 0, "a", 1, "a", 2, "a", 2, "a"],
    }
    for number, cell in reading.items():
        if number <= accepted:
            assert space.canonical(cell) == cell
        else:
            with pytest.raises(ValueError):
                space.canonical(cell)


@pytest.mark.parametrize(
    "cell",
    [
        [],
        [0, "3x3 bconv", 0],
        [0, "3x3 bconv", 0, "3x3 bconv"] * 4,
        "0, '3x3 bconv', 0, '3x3 bconv'",
        None,
        [0, "9x9 bconv", 0, "3x3 bconv"],
        ["3x3 bconv", 0, "3x3 bconv", 0],
        [0, ["3x3 bconv"], 0, "3x3 bconv"],
        [0.0, "3x3 bconv", 0, "3x3 bconv"],
        [True, "3x3 bconv", 0, "3x3 bconv"],
        [-2, "3x3 bconv", 0, "3x3 bconv"],
        [1, "3x3 bconv", 0, "3x3 bconv"],
        [0, "3x3 bconv", 0, "3x3 bconv", 2, "3x3 bconv", 0, "3x3 bconv"],
        [0, "3x3 bconv", 0, "3x3 bconv", 0, "3x3 bconv", 3, "3x3 bconv"],
    ],
    ids=repr,
)
def test_a_cell_outside_the_space_is_refused(cell):
    space = StateSpace(3, OPERATORS, input_lookback_depth=-1, input_lookforward_depth=None)
    for function in (space.canonical, space.encode):
        with pytest.raises(ValueError, match="is not in this space"):
            function(cell)


# ----------------------------------------------------------------------------------------------- representation strings

DOCUMENT = "[[1. 0. 0.]] [[1. 0. 0. 0.]] [[1. 0. 0.]] [[1. 0. 0. 0.]]"


def one_hots(cell, inputs, operators):
    """The representation string as numpy prints the one-hot arrays."""
    rows = []
    for position, value in enumerate(cell):
        values = operators if position % 2 else inputs
        rows.append(str(np.eye(len(values))[[values.index(value)]]))
    return " ".join(rows)


def test_the_specified_architecture_has_the_specified_string():
    space, cell = StateSpace(3, OPERATORS), [0, "3x3 sep-bconv", 0, "3x3 sep-bconv"]
    assert space.encode(cell) == DOCUMENT
    assert space.decode(DOCUMENT) == cell


def test_every_cell_is_encoded_as_numpy_prints_and_decoded_again():
    space = StateSpace(2, OPERATORS[:2], input_lookback_depth=-1, input_lookforward_depth=None)
    cells = [*blind(1, OPERATORS[:2], -1), *blind(2, OPERATORS[:2], -1)]
    for cell in cells:
        string = space.encode(cell)
        assert string == one_hots(cell, [-1, 0, 1], OPERATORS[:2])
        assert space.decode(string) == cell


SMALL = StateSpace(2, ["a", "b"], input_lookback_depth=-1, input_lookforward_depth=None)
VALID = {one_hots(cell, [-1, 0, 1], ["a", "b"]) for size in (1, 2) for cell in blind(size, "ab", -1)}
ROWS = ["[[1. 0. 0.]]", "[[0. 1. 0.]]", "[[0. 0. 1.]]", "[[1. 0.]]", "[[0. 1.]]"]
NEARLY = [
    "[[1. 1. 0.]]",
    "[[0. 0. 0.]]",
    "[[1 0 0]]",
    "[1. 0. 0.]",
    "[[1.0 0. 0.]]",
    "[[1. 0. 0. 0.]]",
    "[[1.]]",
    "[[]]",
]


@st.composite
def with_other_characters(draw):
    """Strategy: a valid string with a few characters replaced, removed or inserted."""
    string = draw(st.sampled_from(sorted(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(string)))
        stop = start + draw(st.integers(0, 3))
        string = string[:start] + draw(st.text("[]01. \n\x00-ae", max_size=2)) + string[stop:]
    return string


@st.composite
def with_another_row(draw):
    """Strategy: a valid string with one row replaced."""
    rows = draw(st.sampled_from(sorted(VALID))).replace("]] ", "]]\n").split("\n")
    rows[draw(st.integers(0, len(rows) - 1))] = draw(st.sampled_from(ROWS + NEARLY))
    return " ".join(rows)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.one_of(
        with_other_characters(),
        with_another_row(),
        st.lists(st.sampled_from(ROWS + NEARLY), max_size=9).map(" ".join),
        st.text("[]01. "),
        st.text(),
        st.one_of(st.none(), st.booleans(), st.integers(), st.binary(), st.lists(st.sampled_from(ROWS))),
    )
)
def test_a_malformed_string_raises_a_value_error(string):
    assume(not (isinstance(string, str) and string in VALID))
    with pytest.raises(ValueError, match="does not fit this space"):
        SMALL.decode(string)


@pytest.mark.parametrize(
    "string",
    [
        DOCUMENT + "\n",
        " " + DOCUMENT,
        DOCUMENT.replace("] [", "]  ["),
        DOCUMENT.replace("1.", "1"),
        DOCUMENT.replace("[[1. 0. 0.]]", "[[1. 1. 0.]]"),
        DOCUMENT.replace("1.", "0."),
        DOCUMENT.replace(".", "\uff0e"),
        DOCUMENT.replace("1", "\u0661"),
        DOCUMENT + "\x00",
        DOCUMENT.replace("0. 0.", "0.\x000."),
        "\x00" * 57,
        '"' + DOCUMENT,
        '"' + DOCUMENT + "'",
        '""' + DOCUMENT + '""',
        " ".join([DOCUMENT] * 4),
        DOCUMENT[:27],
        "",
    ],
    ids=repr,
)
def test_a_nearly_right_string_is_refused_with_an_example(string):
    with pytest.raises(ValueError) as refusal:
        StateSpace(3, OPERATORS).decode(string)
    assert f'"{DOCUMENT}"' in str(refusal.value)


@pytest.mark.parametrize("quote", ["'", '"'])
def test_quotes_around_a_string_are_no_part_of_it(quote):
    space = StateSpace(3, OPERATORS)
    assert space.decode(quote + DOCUMENT + quote) == space.decode(DOCUMENT)


@pytest.mark.parametrize(
    "space, fault",
    [
        (StateSpace(2, OPERATORS), "row 1, an input, has length 3, expected 2; it needs the B and INPUT_"),
        (StateSpace(3, OPERATORS, -1), "row 1, an input, has length 3, expected 4; it needs the B and INPUT_"),
        (StateSpace(3, ["linear"]), "row 2, an operator, has length 4, expected 1; it needs the operators of its"),
    ],
)
def test_a_string_of_another_space_is_told_which_rows_differ(space, fault):
    with pytest.raises(ValueError, match=re.escape(f"does not fit this space: {fault}")):
        space.decode(DOCUMENT)


@pytest.mark.parametrize(
    "string, fault",
    [
        (
            str([0, "3x3 bconv", 0, "linear"]),
            "it is an Architecture; the line below it in the log is the Representation",
        ),
        (DOCUMENT.replace("[[1. 0. 0.]]", "[[1. 1. 0.]]"), "row 1, an input, is not one-hot"),
        (DOCUMENT.rpartition(" [[")[0], "its number of rows is 3"),
        (" ".join([DOCUMENT] * 4), "its number of rows is 16"),
        ("[0, 1]", "it is not made of such rows"),
    ],
)
def test_a_string_that_is_wrong_is_told_what_is_wrong(string, fault):
    with pytest.raises(ValueError, match=re.escape(f"does not fit this space: {fault}")):
        StateSpace(3, OPERATORS).decode(string)


@pytest.mark.parametrize("lookback, lookforward", [(0, 0), (-1, 0), (-1, None), (0, 1)])
def test_there_are_never_more_expansions_than_the_most(lookback, lookforward):
    space = StateSpace(3, ["a", "b"], lookback, lookforward)
    cells = space.initial_children()
    for blocks in (2, 3):
        for parents in (cells, cells[:2]):
            assert 0 < len(space.expand(parents)) <= space.most_expansions(len(parents), blocks)
        cells = space.expand(cells)[:50]


def test_the_most_expansions_of_all_flat_cells_are_all_there_are():
    space = StateSpace(3, OPERATORS)  # four operators make 10, 55 and 220 flat cells
    assert [space.most_expansions(10, 2), space.most_expansions(55, 3)] == [55, 220]
    assert space.most_expansions(2, 3) == 20  # two cells, each with one of ten more blocks


@pytest.mark.parametrize("piece", ["[", "[[1. 0. 0.]] ", "[[1. " + "0. " * 50, "0. ", "\x00", DOCUMENT + " "], ids=repr)
def test_a_repeated_piece_of_a_megabyte_is_refused_briefly(piece):
    with pytest.raises(ValueError) as refusal:
        StateSpace(3, OPERATORS).decode(piece * (1_000_000 // len(piece)))
    assert len(str(refusal.value)) < 1000


@pytest.mark.parametrize(
    "attempt",
    [
        "{code}",
        "[[{code}]]",
        "[[1. 0. 0.]] [[{code} 0. 0. 0.]] [[1. 0. 0.]] [[1. 0. 0. 0.]]",
        "[[1. 0. 0.]] [[1. 0. 0. 0.]] [[1. 0. 0.]] [[1. 0. 0. 0.]] + {code}",
        "[[1. 0. 0.]] [[1. 0. 0. 0.]] [[1. 0. 0.]] [[1. 0. 0. 0.]]\n{code}",
    ],
)
def test_code_in_a_string_is_never_run(tmp_path, attempt):
    trace = tmp_path / "trace"
    code = f"__import__('pathlib').Path({str(trace)!r}).touch()"
    with pytest.raises(ValueError):
        StateSpace(3, OPERATORS).decode(attempt.format(code=code))
    assert not trace.exists()


BOTH_INPUTS = StateSpace(2, ["3x3 bconv", "linear"], input_lookback_depth=-1, input_lookforward_depth=None)
STRING = BOTH_INPUTS.encode([0, "3x3 bconv", -1, "linear"])


def other_spaces(string):
    return st.sampled_from("\0\t\n\r\x0b\x1c\x85\xa0\u2003\u2028\u3000").map(lambda space: string.replace(" ", space))


@many
@given(st.one_of(damaged(STRING), other_spaces(STRING), st.text(), st.binary(), st.none()))
def test_a_malformed_representation_string_is_refused(string):
    try:
        cell = BOTH_INPUTS.decode(string)
    except ValueError as error:
        assert "Accepted are 1 to 2 blocks" in str(error) and len(str(error)) < 1000
    else:
        assert BOTH_INPUTS.encode(cell) == string


@pytest.mark.parametrize("string", ["[" * MEGABYTE, STRING + " " * MEGABYTE, (STRING + " ") * 20000, "\0" * MEGABYTE])
def test_a_representation_string_of_a_megabyte_is_refused(string):
    with pytest.raises(ValueError, match="Accepted are 1 to 2 blocks"):
        BOTH_INPUTS.decode(string)


# -------------------------------------------------------------------------------------------------------- the surrogate

SPACE = StateSpace(2, ["a", "b", "c"])
CELLS = [*SPACE.initial_children(), *SPACE.expand(SPACE.initial_children())]  # 6 and 21
REWARDS = [0.2 + 0.6 * cell.count("a") / (len(cell) // 2) for cell in CELLS]  # more of a is better


def surrogate(**arguments):
    return Encoder(SPACE, **{"lstm_cells": 8, "epochs": 30, "num_predictors": 2, "seed": 3, **arguments})


@pytest.fixture(scope="module")
def fitted():
    encoder = surrogate()
    return encoder, encoder.fit(CELLS, REWARDS)


@pytest.fixture(scope="module")
def fitted_briefly():
    encoder = surrogate(epochs=2)
    return encoder, encoder.fit(CELLS, REWARDS)


def test_the_surrogate_learns_a_simple_rule(fitted):
    encoder, losses = fitted
    predicted = encoder.predict(CELLS)
    assert sorted(CELLS[i] for i in np.argsort(predicted)[-2:]) == [[0, "a"] * 2, [0, "a"] * 4]
    assert predicted.shape == (len(CELLS),) and np.corrcoef(predicted, REWARDS)[0, 1] > 0.8
    assert len(losses) == 30 and losses[-1] < losses[0] / 2


def test_a_cell_is_read_in_the_order_in_which_it_is_written(fitted):
    encoder, _ = fitted
    written = [0, "c", 0, "b", 0, "b", 0, "a"]
    assert encoder.predict([written])[0] != encoder.predict([encoder.state_space.canonical(written)])[0]


def test_a_prediction_does_not_depend_on_padding(fitted):
    encoder, _ = fitted
    one_block, two_blocks = CELLS[:6], CELLS[6:]
    alone = encoder.predict(one_block)
    assert np.ptp(alone) > 0.1, "equal predictions would agree anyway"
    np.testing.assert_allclose(encoder.predict([*two_blocks, *one_block])[-6:], alone, atol=1e-6)


def test_the_seed_decides_the_predictions(fitted_briefly):
    encoder, losses = fitted_briefly
    predictions = encoder.predict(CELLS)
    keras.utils.set_random_seed(98)  # global seeds have no influence
    again = surrogate(epochs=2)
    keras.utils.set_random_seed(99)
    np.testing.assert_allclose(again.fit(CELLS, REWARDS), losses, rtol=1e-5)
    np.testing.assert_allclose(again.predict(CELLS), predictions, atol=1e-5)
    assert abs(surrogate(seed=4).predict(CELLS) - surrogate(seed=3).predict(CELLS)).max() > 1e-3


def test_the_surrogate_has_the_papers_shape():
    """Liu et al. 2018, appendix A: an embedding for each input and operator, as wide as the LSTM; bias 1.8."""
    encoder = Encoder(SPACE, lstm_cells=7, num_predictors=3)
    shapes = {weight.name: weight.shape for weight in encoder.model.weights}
    assert shapes["embeddings"] == (3, 5, 7)  # inputs 0 and 1, operators a, b and c
    assert shapes["recurrent_kernel"] == (3, 7, 28)
    # An untrained LSTM's output is near 0, so predictions start near sigmoid(1.8) = 0.858.
    assert encoder.predict(CELLS) == pytest.approx([0.858] * len(CELLS), abs=0.1)


def test_predictions_are_the_mean_of_the_models_outputs(fitted):
    encoder, _ = fitted
    tokens = {0: 1, 1: 2, "a": 3, "b": 4, "c": 5}
    sequences = [[*(tokens[value] for value in cell), *[0] * (8 - len(cell))] for cell in CELLS]
    outputs = keras.ops.convert_to_numpy(encoder.model(np.array(sequences, "int32")))
    np.testing.assert_allclose(encoder.predict(CELLS), outputs.mean(axis=(1, 2)), atol=1e-5)


def test_a_restarted_encoder_equals_a_new_one(fitted_briefly):
    encoder, losses = fitted_briefly
    expected = encoder.predict(CELLS)
    other = surrogate(seed=4, epochs=2)
    other.fit(CELLS[:6], REWARDS[:6])
    other.restart(3)
    np.testing.assert_allclose(other.fit(CELLS, REWARDS), losses, rtol=1e-5)
    np.testing.assert_allclose(other.predict(CELLS), expected, atol=1e-5)


@pytest.fixture
def untrained(monkeypatch):
    """(surrogate of five predictors that is never trained, list of the arguments of its training steps)."""
    encoder, steps = surrogate(num_predictors=5, epochs=3), []

    def train_on_batch(x, y, sample_weight, return_dict):
        rate = float(encoder.model.optimizer.learning_rate)
        steps.append(SimpleNamespace(tokens=x, targets=y, weights=sample_weight, rate=rate))
        return {"mean_absolute_error": 0.0}

    monkeypatch.setattr(encoder.model, "train_on_batch", train_on_batch)
    return encoder, steps


def test_the_learning_rate_is_lower_after_the_first_fit(untrained):
    encoder, steps = untrained
    for _ in range(3):
        encoder.fit(CELLS[:8], REWARDS[:8])  # one batch ten times, in each of three epochs
    assert [step.rate for step in steps] == pytest.approx([0.01] * 30 + [0.002] * 60)


def test_each_cell_counts_once_a_pass_for_four_of_five_predictors(untrained):
    encoder, steps = untrained
    encoder.fit(CELLS[:20], REWARDS[:20])
    assert len(steps) == 3 * 4 * 3  # epochs * passes (at least 10 batches) * batches of 8 in a pass
    names = {1: 0, 2: 1, 3: "a", 4: "b", 5: "c"}
    passes = []
    for first in range(0, len(steps), 3):
        counted = {}
        for step in steps[first : first + 3]:
            for tokens, weights in zip(step.tokens, step.weights):
                if weights.any():
                    cell = tuple(SPACE.canonical([names[token] for token in tokens if token]))
                    assert cell not in counted
                    counted[cell] = weights
        passes.append(counted)
    seen = np.stack(list(passes[0].values())) != 0
    np.testing.assert_array_equal(seen.sum(axis=1), [4] * 20)  # 4 of 5 predictors for each cell
    np.testing.assert_array_equal(seen.sum(axis=0), [16] * 5)  # 16 of 20 cells for each predictor
    np.testing.assert_allclose([weights.mean() for weights in passes[0].values()], 1)  # the loss stays a mean
    for counted in passes[1:]:  # in another order, but with the same cells held out
        assert list(counted) != list(passes[0])
        assert all(np.array_equal(counted[cell], weights) for cell, weights in passes[0].items())


def test_another_fit_draws_other_batches(untrained):
    encoder, steps = untrained
    for _ in range(2):
        encoder.fit(CELLS[:20], REWARDS[:20])
    first, second = (np.stack([step.tokens for step in half]) for half in np.array_split(np.array(steps), 2))
    assert not np.array_equal(first, second)


def test_many_cells_are_seen_once_in_an_epoch(untrained):
    encoder, steps = untrained
    encoder.fit(CELLS * 4, REWARDS * 4)
    assert len(steps) == 3 * 14  # 108 cells in batches of 8


def test_the_loss_of_an_epoch_is_the_mean_of_its_batches(monkeypatch):
    encoder = surrogate(num_predictors=1, epochs=1)
    batches = itertools.count()
    step = lambda *arguments, **options: {"mean_absolute_error": float(next(batches))}
    monkeypatch.setattr(encoder.model, "train_on_batch", step)
    # 12 cells are batches of eight and four, five times: losses of 0, 1, 2, ..., 9.
    assert encoder.fit(CELLS[:12], REWARDS[:12]) == pytest.approx([(8 * (0 + 2 + 4 + 6 + 8) + 4 * 25) / 60])


def test_each_pass_shuffles_blocks_and_halves(untrained):
    encoder, steps = untrained
    encoder.fit([[0, "a", 0, "b", 0, "b", 0, "c"]], [0.5])
    assert len(steps) == 30
    written = [set(map(tuple, step.tokens)) for step in steps]
    assert all(len(ways) == 1 for ways in written)
    # Two orders of blocks and two orders of each block's halves. 30 draws miss one of the eight with probability 0.15.
    assert len(set.union(*written)) == 8


@pytest.fixture
def one_batch(monkeypatch):
    """An epoch of up to eight cells has one batch."""
    monkeypatch.setattr(Encoder, "BATCHES_PER_EPOCH", 1)


def test_fit_returns_the_mean_l1_loss(one_batch):
    """The weights of the only batch are the initial ones, so the loss is that of the predictions before.

    Rewards of 0 are far from all predictions. So the loss hardly depends on which cells a predictor sees.
    """
    encoder = surrogate(epochs=1)
    before = encoder.predict(CELLS[:6]).mean()
    assert encoder.fit(CELLS[:6], [0.0] * 6) == pytest.approx([before], abs=0.02)


def test_the_loss_of_fit_excludes_the_penalty(one_batch):
    encoder = surrogate(epochs=1, regularization=1)
    before = encoder.predict(CELLS[:6]).mean()
    assert encoder.fit(CELLS[:6], [0.0] * 6) == pytest.approx([before], abs=0.02)


def test_the_loss_of_an_epoch_counts_no_earlier_epoch(one_batch):
    encoder = surrogate(epochs=1)
    assert encoder.fit(CELLS[:6], [0.0] * 6) > [0.7]
    assert encoder.fit(CELLS[:6], encoder.predict(CELLS[:6])) < [0.1]  # the mean of both epochs would be above 0.35

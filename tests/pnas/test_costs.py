"""Costs of cells against the networks they stand for, and searches that keep to a budget."""

import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from benchmarks.cells import CELLS, DENSE_LAYERS, FILTERS, NUM_CELLS
from benchmarks.replays import read_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers
from messages import without_foreign_warnings

from binarized.binary_layers import BinaryConv2D
from pnas.costs import Costs, budget, choose_for_all_costs
from pnas.encoder import StateSpace
from pnas.model import OPERATIONS, build_child, count_binary_weights, count_macs, normalize, operation
from pnas.search import progressive_search

ROOT = Path(__file__).parents[2]
OPERATORS = ["3x3 sep-bconv", "5x5 sep-bconv", "1x7-7x1 bconv", "3x3 bconv"]  # of the table
ROWS = read_rows()
MACS = {tuple(row["cell"]): int(row["macs"]) for row in ROWS}
MNIST = (28, 28, 1)
COSTS = Costs(NUM_CELLS, FILTERS, DENSE_LAYERS, MNIST)


def of_network(cell, *network, **options):
    model = build_child(cell, *network, **options)
    return count_macs(model), count_binary_weights(model)


# ---------------------------------------------------------------------------------------------------------------- costs


@pytest.mark.parametrize("cell", CELLS, ids=range(1, len(CELLS) + 1))
def test_costs_of_a_benchmark_cell_are_those_of_its_network(cell):
    assert COSTS(cell) == of_network(cell, NUM_CELLS, FILTERS, DENSE_LAYERS)


@st.composite
def cells(draw):
    """Cells of one to four blocks that read cells and blocks at random; of few operators, so that halves are equal."""
    operators = draw(st.lists(st.sampled_from(list(OPERATIONS)), min_size=1, max_size=4))
    lookback = draw(st.integers(-3, 0))
    cell = []
    for block in range(1, draw(st.integers(1, 4)) + 1):
        for _ in range(2):
            cell += [draw(st.integers(lookback, block - 1)), draw(st.sampled_from(operators))]
    return cell


@settings(max_examples=24, deadline=None, derandomize=True)
@given(cells())
def test_costs_of_any_cell_are_those_of_its_network(cell):
    network = 3, [2, 3, 4], [5, 10], (11, 9, 2)
    assert Costs(*network)(cell) == of_network(cell, *network[:3], input_shape=network[3])


def test_costs_are_those_that_were_measured_in_a_search():
    for row in ROWS:
        assert COSTS(row["cell"]) == (int(row["macs"]), int(row["binary_weights"])), row["cell"]


def test_a_stacked_cell_that_no_other_reads_costs_nothing():
    # The second cell reads the image by stride 4, the first is not part of the network.
    convolutions, dense = 2 * 9 * 1 * 3, 7 * 7 * 6 * 10
    costs = Costs(2, [2, 3], [10], MNIST)([-1, "3x3 bconv", -1, "3x3 bconv"])
    assert costs == (convolutions * 7 * 7 + dense, convolutions + dense)


@pytest.fixture
def registered():
    """Names of operators as a user may register them."""

    def conv(filters, size, strides, name):
        return BinaryConv2D(filters, size, strides, padding="same", use_bias=False, name=name)

    with patch.dict(OPERATIONS):

        @operation("bottleneck")
        def bottleneck(x, filters, strides, name):
            x = normalize(conv(2, 1, 1, f"{name}_narrow")(x), f"{name}_narrow")
            return layers.Add(name=name)([conv(filters, 3, strides, f"{name}_{n}")(x) for n in (1, 2)])

        @operation("shared trunk")
        def shared_trunk(x, filters, strides, name, copies=1):
            """Two copies do not cost twice as much."""
            x = normalize(conv(3, 3, strides, f"{name}_trunk")(x), f"{name}_trunk")
            return conv(copies * (filters + 1), 1, 1, f"{name}_heads")(x)

        @operation("identity where it fits")
        def identity_where_it_fits(x, filters, strides, name):
            return x if strides == 1 else conv(filters, 1, strides, name)(x)

        yield ["bottleneck", "shared trunk", "identity where it fits"]


@pytest.mark.parametrize(
    "sources", [[0, 0, 0, 0], [0, 0, 1, 1], [-1, 0, 1, -1, 1, 2]], ids=["flat", "block input", "lookback"]
)
@pytest.mark.parametrize("number", range(3))
def test_costs_hold_for_registered_operators(registered, sources, number):
    others = registered[number], "3x3 bconv"
    for position in (0, 1):  # as many copies as possible, then one of everything
        operators = [others[(i * position) % 2] for i in range(len(sources))]
        cell = [entry for half in zip(sources, operators) for entry in half]
        assert Costs(2, [4, 5], [10], MNIST)(cell) == of_network(cell, 2, [4, 5], [10])


def test_copies_of_a_shared_trunk_cost_its_trunk_once(registered):
    one, two = ([0, "shared trunk", 0, operator] for operator in ("3x3 maxpool", "shared trunk"))
    network = 1, [4], [10], (2, 2, 1)
    # The trunk has 9 * 1 * 3 weights, each head 3 * 5; one image channel is pooled. A single pixel stays.
    assert Costs(*network)(one).macs == 27 + 15 + 6 * 10
    assert Costs(*network)(two).macs == 27 + 30 + 10 * 10


def test_an_operator_is_applied_once_for_all_cells():
    calls = []
    with patch.dict(OPERATIONS):

        @operation("counted")
        def counted(x, filters, strides, name, copies=1):
            calls.append(copies)
            return layers.Concatenate()([x[:, ::strides, ::strides]] * copies)

        costs = Costs(1, [4], [10], MNIST)
        for other in ("linear", "3x3 bconv", "5x5 bconv"):
            costs([0, "counted", 0, other])
    assert calls == [1]


# --------------------------------------------------------------------------------------------------------------- budget


def test_38_of_the_285_flat_cells_fit_three_million_macs():
    fits = budget(COSTS, [CELLS[1]], 3_000_000, None)
    assert len(ROWS) == 285
    assert sum(fits(row["cell"]) for row in ROWS) == sum(macs <= 3_000_000 for macs in MACS.values()) == 38


def test_a_cell_at_the_limits_fits_and_one_above_either_does_not():
    cell, macs, weights = CELLS[0], 1_209_280, 74_848  # counted by hand in the tests of pnas.model
    assert budget(COSTS, [cell], macs, weights)(cell)
    for limits in ((macs - 1, None), (None, weights - 1), (macs - 1, weights)):
        with pytest.raises(ValueError, match=f"are {macs} multiply-accumulates and {weights} binary weights"):
            budget(COSTS, [cell], *limits)


def test_without_a_limit_there_is_no_budget():
    assert budget(None, [], None, None) is None


def test_the_error_names_the_limit_and_the_smallest_one_block_cell():
    cells = StateSpace(1, OPERATORS).initial_children()
    message = (
        "no cell of one block is within MAX_MACS = 209351; the least that any of them takes are 209352 "
        "multiply-accumulates and 39186 binary weights"
    )  # the first row of the table, which has two of the smallest operator
    with pytest.raises(ValueError, match=message):
        budget(COSTS, cells, 209_351, None)


class Surrogate:
    """Predicts the same of all cells, and remembers them."""

    def __init__(self, space):
        self.space, self.ranked = space, []

    def fit(self, cells, rewards):
        pass

    def predict(self, cells):
        self.ranked += [tuple(self.space.canonical(cell)) for cell in cells]
        return np.full(len(cells), 0.5)


def searched(fits, B=3, K=1000):
    """(cells that were trained, cells that were ranked) of a search."""
    space = StateSpace(B, OPERATORS)
    surrogate = Surrogate(space)

    def train(new):
        return [child._replace(reward=0.5) for child in new]

    children = progressive_search(space, surrogate, train, K, fits=fits)
    assert [child.number for child in children] == list(range(1, len(children) + 1))
    return [tuple(child.cell) for child in children], surrogate.ranked


def test_cells_above_the_limit_are_never_trained_ranked_or_expanded():
    trained, ranked = searched(budget(COSTS, [CELLS[1]], 3_000_000, None))
    within = {cell for cell, macs in MACS.items() if macs <= 3_000_000}
    # An expansion costs more than its cell here, so all 38 are found.
    assert set(trained) == within and len(trained) == 38
    assert set(ranked) == {cell for cell in within if len(cell) > 4}


def test_a_search_ends_where_no_cell_fits():
    trained, ranked = searched(lambda cell: len(cell) == 4)
    assert len(trained) == 10 and ranked == []


def test_a_limit_below_every_cell_ends_train_py_before_it_writes(tmp_path):
    command = [sys.executable, str(ROOT / "train.py"), "--DATASET", "digits", "--MAX_MACS", "1000"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert result.returncode == 1 and result.stdout == ""
    message = without_foreign_warnings(result.stderr)
    assert message.startswith("train.py: no cell of one block is within MAX_MACS = 1000; the least")
    assert message.count("\n") == 1 and list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------- the best at every cost


def test_the_cell_that_raises_the_best_reward_within_most_budgets_comes_first():
    # Quantiles of the five costs. Cell 1 raises the rewards from cost 2 on by 0.5; then cell 2 from 3 on by 0.1 is as
    # much as nothing else: cell 3 costs more than cell 2 for less, and cell 0 costs least.
    assert choose_for_all_costs([1, 2, 3, 4], [0.1, 0.6, 0.7, 0.65], [(1, 0.1)], 2) == [1, 2]


def test_a_cell_that_is_known_to_be_beaten_comes_last():
    assert choose_for_all_costs([2, 5], [0.4, 0.6], [(1, 0.5)], 2) == [1, 0]


def test_cells_that_raise_nothing_are_compared_among_themselves():
    # The known cell beats all. Among the others, 1 has the highest reward within most of the budgets.
    chosen = choose_for_all_costs([2, 3, 4], [0.1, 0.3, 0.2], [(1, 0.9)], 3)
    assert chosen[0] == 1 and sorted(chosen) == [0, 1, 2]


def test_all_cells_are_chosen_where_there_are_few():
    assert sorted(choose_for_all_costs([7, 7, 7], [0.5, 0.5, 0.2], [], 9)) == [0, 1, 2]
    assert choose_for_all_costs([7, 7, 7], [0.5, 0.6, 0.2], [], 1) == [1]


@given(st.integers(0, 2**32 - 1))
def test_no_cell_raises_the_best_rewards_more_than_the_first_choice(seed):
    random = np.random.default_rng(seed)
    costs, rewards = random.integers(1, 50, 20), random.random(20)
    known = list(zip(random.integers(1, 50, 5), random.random(5)))
    budgets = np.quantile([*costs, *(cost for cost, _ in known)], np.linspace(0, 1, 33), method="higher")

    def gain(cell):
        best = [max([reward for cost, reward in known if cost <= budget], default=0) for budget in budgets]
        return sum(max(rewards[cell] - b, 0) for b, budget in zip(best, budgets) if costs[cell] <= budget)

    (first,) = choose_for_all_costs(costs, rewards, known, 1)
    assert gain(first) == pytest.approx(max(map(gain, range(20)))) or max(map(gain, range(20))) == 0

"""The surrogate on real rewards: tests/data/mnist_cells.csv, whose header says how they were measured."""

import ast
import csv
from pathlib import Path

import pytest

from pnas.encoder import Encoder, StateSpace
from pnas.model import build_child, count_binary_weights, count_macs
from pnas.ranking import ranking_quality

OPERATORS = ["3x3 sep-bconv", "5x5 sep-bconv", "1x7-7x1 bconv", "3x3 bconv"]
SPACE = StateSpace(3, OPERATORS)


@pytest.fixture(scope="module")
def table():
    with open(Path(__file__).parent / "data" / "mnist_cells.csv", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [{**row, "cell": ast.literal_eval(row["cell"])} for row in rows]


def of_size(table, blocks):
    rows = [row for row in table if len(row["cell"]) == 4 * blocks]
    return [row["cell"] for row in rows], [float(row["reward_seed_0"]) for row in rows]


def test_the_table_is_of_this_space(table):
    cells = [row["cell"] for row in table]
    assert cells == [SPACE.canonical(cell) for cell in cells] == [SPACE.decode(row["representation"]) for row in table]
    assert len({tuple(cell) for cell in cells}) == len(cells)
    # All cells of one and two blocks are in it: 4 operators make 10 and 55.
    assert [len(of_size(table, blocks)[0]) for blocks in (1, 2)] == [10, 55]


def test_its_costs_are_those_of_the_networks(table):
    row = table[0]
    model = build_child(row["cell"], 3, [16, 24, 32], [32, 10])
    assert (count_binary_weights(model), count_macs(model)) == (int(row["binary_weights"]), int(row["macs"]))


def test_ten_one_block_cells_teach_the_surrogate_to_rank_the_two_block_ones(table):
    encoder = Encoder(SPACE)
    encoder.fit(*of_size(table, 1))
    cells, rewards = of_size(table, 2)
    quality = ranking_quality(encoder.predict(cells), rewards)
    # Of 55 unrelated pairs, 1 in 10,000 has a rank correlation above 0.49 (normal approximation, 3.7 / sqrt(54)).
    assert quality["spearman"] > 0.5

"""Searches whose rewards are looked up in tests/data/mnist_cells.csv. Its header says how they were measured."""

import math
import random

import pytest
from benchmarks.search_efficiency import BLOCKS, OPERATORS, Oracle, evolved, progressive, read_rewards, read_rows

from pnas.encoder import Encoder, StateSpace
from pnas.journal.children import Child
from pnas.report.ranking import ranking_quality
from pnas.search import SearchCallback, progressive_search

SPACE = StateSpace(BLOCKS, OPERATORS)
REWARDS = read_rewards()


@pytest.fixture(scope="module")
def table():
    return read_rows()


def of_size(blocks):
    cells = [list(cell) for cell in REWARDS if len(cell) == 4 * blocks]
    return cells, [REWARDS[tuple(cell)] for cell in cells]


def test_the_table_holds_every_cell_of_the_space(table):
    cells = [row["cell"] for row in table]
    assert cells == [SPACE.canonical(cell) for cell in cells] == [SPACE.decode(row["representation"]) for row in table]
    assert len({tuple(cell) for cell in cells}) == len(cells)
    # 4 operators make 10, 55 and 220 cells of one, two and three blocks.
    assert [len(of_size(blocks)[0]) for blocks in (1, 2, 3)] == [10, 55, 220]


def test_a_reward_is_the_mean_over_a_cells_seeds(table):
    for row in (table[0], table[-1]):
        rewards = [float(row[f"reward_seed_{seed}"]) for seed in (0, 1, 2) if row[f"reward_seed_{seed}"]]
        assert REWARDS[tuple(row["cell"])] == pytest.approx(sum(rewards) / len(rewards))


@pytest.fixture(scope="module")
def encoder():
    return Encoder(SPACE)


def test_the_surrogate_ranks_two_block_cells_after_ten_rewards(encoder):
    encoder.restart(0)
    encoder.fit(*of_size(1))
    cells = SPACE.expand(of_size(1)[0])
    quality = ranking_quality(encoder.predict(cells), [REWARDS[tuple(SPACE.canonical(cell))] for cell in cells])
    # Of 55 unrelated pairs, 1 in 10,000 has a rank correlation above 0.49 (normal approximation, 3.7 / sqrt(54)).
    assert quality["spearman"] > 0.5


def expected_regret_of_random_search(models):
    """Mean difference between the best of all cells and the best of `models` cells drawn without repetition."""
    ranked = sorted(REWARDS.values(), reverse=True)
    n = len(ranked)
    # The best drawn cell has rank r if the others are drawn from the n - r cells behind it.
    return sum(
        (ranked[0] - reward) * math.comb(n - rank, models - 1) / math.comb(n, models)
        for rank, reward in enumerate(ranked, start=1)
    )


@pytest.mark.parametrize("K", [4, 8])
def test_a_search_has_at_most_half_the_regret_of_random_search(K, encoder):
    regrets = []
    for seed in range(3):
        encoder.restart(seed)
        trained = progressive(REWARDS, SPACE, encoder, K)
        assert [len(cell) // 4 for cell in trained] == [1] * 10 + [2] * K + [3] * K
        assert len(set(trained)) == 10 + 2 * K
        regrets.append(max(REWARDS.values()) - max(REWARDS[cell] for cell in trained))
    assert sum(regrets) / 3 <= expected_regret_of_random_search(10 + 2 * K) / 2


def test_a_resumed_search_trains_the_same_cells(encoder):
    """A resumed search has a new surrogate, fitted to the same rewards with the same seed."""
    encoder.restart(5)
    whole = progressive(REWARDS, SPACE, encoder, K=8)
    kept = whole[:14]  # all cells of one block, half of those of two

    class Kept(SearchCallback):
        def known_child(self, cell):
            if tuple(cell) in kept:
                return Child(kept.index(tuple(cell)) + 1, cell, 0.5, 0, REWARDS[tuple(cell)])

    trained = []

    def look_up(blocks, new, known):
        trained.extend(tuple(cell) for _, cell, _ in new)
        return [Child(number, cell, predicted, 0, REWARDS[tuple(cell)]) for number, cell, predicted in new]

    resumed = progressive_search(SPACE, Encoder(SPACE, seed=5), look_up, 8, Kept())
    assert [tuple(child.cell) for child in resumed] == whole and trained == whole[14:]


def test_a_perfect_surrogate_finds_the_best_expansions():
    trained = progressive(REWARDS, SPACE, Oracle(REWARDS, SPACE), K=4)
    two_blocks = sorted((cell for cell in REWARDS if len(cell) == 8), key=REWARDS.get, reverse=True)
    assert trained[10:14] == two_blocks[:4]


def test_evolution_trains_as_many_different_cells_as_allowed():
    trained = evolved(REWARDS, SPACE, 40, random.Random(0))
    assert len(trained) == len(set(trained)) == 40 and set(trained) <= set(REWARDS)

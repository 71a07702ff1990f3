"""The tables of measured cells in tests/data, and searches whose rewards are looked up in mnist_cells.csv."""

import json
import math
import random
import shutil
import sqlite3

import pytest
from benchmarks import full_cells, make_table
from benchmarks.replays import (
    CONNECTED,
    FULL,
    Lookup,
    evolved,
    nsga2,
    part_of,
    progressive,
    ranked_by_front,
    read_costs,
    read_curves,
    read_rewards,
    read_rows,
    space_of,
)

from pnas.child import Child
from pnas.costs import Costs
from pnas.encoder import Encoder, StateSpace
from pnas.report.ranking import ranking_quality
from pnas.search import progressive_search
from pnas.store.store import Store

REWARDS = read_rewards()
SPACE = space_of(REWARDS)


@pytest.fixture(scope="module")
def table():
    return read_rows()


def cells_of(children):
    return [tuple(child.cell) for child in children]


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


def test_the_connected_table_holds_every_cell_with_its_learning_curve_and_costs():
    rows, curves, costs = read_rows(CONNECTED), read_curves(CONNECTED), Costs(3, [16, 24, 32], [32, 10], (28, 28, 1))
    space = StateSpace(2, ["3x3 bconv", "3x3 sep-bconv", "3x3 maxpool", "linear"], input_lookforward_depth=None)
    ones = space.initial_children()
    every = [*ones, *map(space.canonical, space.expand(ones))]
    assert sorted(map(str, every)) == sorted(str(row["cell"]) for row in rows)
    # 4 operators make 10 first blocks. A second block is one of 36 pairs of 8 halves (4 operators on 2 inputs): 10 read
    # the input alone, which makes 55 unordered pairs of such blocks, and 26 also read the first block.
    assert len(rows) == 10 + 55 + 10 * 26
    for row in rows:
        assert len(curves[tuple(row["cell"])]) == 4
        assert curves[tuple(row["cell"])][-1] == float(row["reward_seed_0"])
        assert (int(row["macs"]), int(row["binary_weights"])) == costs(row["cell"])


def test_the_full_table_holds_the_first_cells_of_full_cells_with_their_learning_curves_and_costs(table):
    rows, curves = read_rows(FULL), read_curves(FULL)
    costs = {tuple(row["cell"]): (row["macs"], row["binary_weights"]) for row in table}
    children = full_cells.children_to_train(SPACE, lambda cell: int(costs[tuple(cell)][0]), 30, 10)
    first = [child.cell for child in children if not child.repeat][: len(rows)]
    assert len(rows) >= 40 and sorted(map(str, first)) == sorted(str(row["cell"]) for row in rows)
    again = {str(child.cell) for child in children if child.repeat}
    assert len(again) == 10 and again == {str(row["cell"]) for row in rows if row["reward_seed_0_repeat_1"]}
    for row in rows:
        assert len(curves[tuple(row["cell"])]) == 20
        assert curves[tuple(row["cell"])][-1] == float(row["reward_seed_0"])
        assert (row["macs"], row["binary_weights"]) == costs[tuple(row["cell"])]


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
        trained = cells_of(progressive(REWARDS, SPACE, encoder, K))
        assert [len(cell) // 4 for cell in trained] == [1] * 10 + [2] * K + [3] * K
        assert len(set(trained)) == 10 + 2 * K
        regrets.append(max(REWARDS.values()) - max(REWARDS[cell] for cell in trained))
    assert sum(regrets) / 3 <= expected_regret_of_random_search(10 + 2 * K) / 2


def test_a_resumed_search_trains_the_same_cells(encoder):
    """A resumed search has a new surrogate, fitted to the same rewards with the same seed."""
    encoder.restart(5)
    whole = cells_of(progressive(REWARDS, SPACE, encoder, K=8))
    kept = whole[:14]  # all cells of one block, half of those of two

    store = Store()
    for number, cell in enumerate(kept, start=1):
        store.add(Child(number, list(cell), 0.5, reward=REWARDS[cell]))
    store.keep_choices(2, [([list(cell) for cell in whole[10:18]], [0.5] * 8)])
    trained = []

    def look_up(children):
        trained.extend(tuple(child.cell) for child in children)
        return [child._replace(reward=REWARDS[tuple(child.cell)]) for child in children]

    resumed = progressive_search(SPACE, Encoder(SPACE, seed=5), look_up, 8, store)
    assert cells_of(resumed) == whole and trained == whole[14:]


def test_a_perfect_surrogate_finds_the_best_expansions():
    trained = cells_of(progressive(REWARDS, SPACE, Lookup(REWARDS, SPACE), K=4))
    two_blocks = sorted((cell for cell in REWARDS if len(cell) == 8), key=REWARDS.get, reverse=True)
    assert trained[10:14] == two_blocks[:4]


def test_evolution_trains_as_many_different_cells_as_allowed():
    trained = evolved(REWARDS, SPACE, 40, random.Random(0))
    assert len(trained) == len(set(trained)) == 40 and set(trained) <= set(REWARDS)


def test_a_search_under_a_budget_trains_no_cell_above_it():
    macs, _ = read_costs()
    rewards = {cell: reward for cell, reward in REWARDS.items() if macs[cell] <= 3_000_000}
    trained = cells_of(progressive(rewards, SPACE, Lookup(macs, SPACE), K=4))
    assert all(macs[cell] <= 3_000_000 for cell in trained)
    assert [len(cell) for cell in trained[:13]] == [4] * 9 + [8] * 4  # the tenth one-block cell takes more
    two_blocks = sorted((macs[cell] for cell in rewards if len(cell) == 8), reverse=True)
    assert [macs[cell] for cell in trained[9:13]] == two_blocks[:4]


def test_evolution_stays_within_the_cells_that_it_is_given():
    few = dict(list(REWARDS.items())[:60])
    assert set(evolved(few, SPACE, 30, random.Random(1))) <= set(few)


def copied(folder, target, **settings):
    """Copies the folder of a search, with other settings."""
    shutil.copytree(folder, target)
    with sqlite3.connect(target / "search.db") as connection:
        (kept,) = connection.execute("SELECT value FROM facts WHERE name = 'settings'").fetchone()
        changed = json.dumps({**json.loads(kept), **settings})
        connection.execute("UPDATE facts SET value = ? WHERE name = 'settings'", [changed])


def test_a_table_of_two_seeds_leaves_blank_what_one_of_them_did_not_train(uninterrupted, tmp_path, monkeypatch, capsys):
    first, second = uninterrupted / "logs" / "pnas", tmp_path / "second"
    children = Store.open("pnas", uninterrupted / "logs").children()
    copied(first, second, SEED=7, K_=9)
    with sqlite3.connect(second / "search.db") as connection:
        connection.execute("DELETE FROM children WHERE number > 3")
    monkeypatch.setattr("sys.argv", ["make_table.py", str(first), str(second)])
    make_table.main()
    (tmp_path / "table.csv").write_text(capsys.readouterr().out)

    rows = {tuple(row["cell"]): row for row in read_rows(tmp_path / "table.csv")}
    assert len(rows) == len(children) == 8
    for child in children:
        row = rows[tuple(child.cell)]
        assert row["reward_seed_0"] == row["val_accuracy_1"] == f"{child.reward:.4f}"  # there is one epoch
        assert (int(row["macs"]), int(row["binary_weights"])) == (child.macs, child.binary_weights)
    of_both = [row for row in rows.values() if row["reward_seed_7"]]
    assert len(of_both) == 3 and all(row["reward_seed_7"] == row["reward_seed_0"] for row in of_both)


@pytest.mark.parametrize("change", [{"MAX_EPOCHS": 9}, {"STOP_EARLY": True}, {"operators": ["linear"]}], ids=str)
def test_a_table_of_searches_that_rewarded_or_wrote_cells_differently_is_refused(
    change, uninterrupted, tmp_path, monkeypatch
):
    copied(uninterrupted / "logs" / "pnas", tmp_path / "other", SEED=1, **change)
    monkeypatch.setattr("sys.argv", ["make_table.py", str(uninterrupted / "logs" / "pnas"), str(tmp_path / "other")])
    with pytest.raises(SystemExit, match=f"they differ in {next(iter(change))}$"):
        make_table.main()


# --------------------------------------------------------------------------------------------------------------- fronts


def test_nsga2_ranks_by_front_and_then_by_crowding():
    costs = {"a": 1, "b": 2, "c": 3, "d": 5, "e": 2, "f": 4}
    shown = {"a": 0.1, "b": 0.4, "c": 0.5, "d": 0.9, "e": 0.2, "f": 0.3}
    # The first front is a, b, c, d. Crowding of b: 2 / 4 + 0.4 / 0.8 = 1, of c: 3 / 4 + 0.5 / 0.8 = 1.375.
    assert ranked_by_front(list("abcdef"), shown, costs) == ["a", "d", "c", "b", "e", "f"]


def test_the_halves_of_a_table_share_its_cells_of_one_block_alone():
    cells = [("one",) * 4, *[(number,) * 8 for number in range(5)]]
    first, second = (set(part_of(cells, part)) for part in ("first", "second"))
    assert first & second == {cells[0]} and first | second == set(cells) == set(part_of(cells, "all"))


def test_nsga2_trains_as_many_different_cells_as_allowed():
    macs, _ = read_costs()
    trained = nsga2(REWARDS, macs, SPACE, 30, random.Random(0))
    assert len(trained) == len(set(trained)) == 30 and set(trained) <= set(REWARDS)

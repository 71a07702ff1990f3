"""Figures of a search: their numbers, counted by hand, and their files for complete and incomplete tables."""

import io
import itertools
import math
import os
import struct
import xml.etree.ElementTree
from pathlib import Path

import pytest
from report_tables import child, write_table

from pnas.journal.children import read_table
from pnas.journal.finalists import FinalistsJournal
from pnas.report import figures as report

SHEETS = ["rewards", "surrogate", "cost", "operators", "best_cell"]


def words(path):
    """Texts of an SVG file. Matplotlib draws letters as curves and writes each text as a comment above them."""
    parser = xml.etree.ElementTree.XMLParser(target=xml.etree.ElementTree.TreeBuilder(insert_comments=True))
    tree = xml.etree.ElementTree.parse(path, parser)
    assert tree.getroot().tag == "{http://www.w3.org/2000/svg}svg"
    return [part.text.strip() for part in tree.iter(xml.etree.ElementTree.Comment)]


def drawn(folder, children, end=""):
    """Draws a table and checks the files; returns dict, sheet -> its texts."""
    write_table(folder, children, end)
    paths = report.write_report("tiny", folder / "logs")
    assert [Path(path) for path in paths] == [
        folder / "logs" / "tiny" / "report" / f"{sheet}.{ending}" for sheet in SHEETS for ending in ("png", "svg")
    ]
    assert sorted(os.listdir(folder / "logs" / "tiny" / "report")) == sorted(Path(path).name for path in paths)
    for path in paths[0::2]:
        content = Path(path).read_bytes()
        assert content[:8] == b"\x89PNG\r\n\x1a\n" and content[12:16] == b"IHDR" and content[-8:-4] == b"IEND"
        assert struct.unpack(">I", content[16:20]) == (800,)
    return {Path(path).stem: "\n".join(words(path)) for path in paths[1::2]}


def test_the_best_so_far_restarts_with_each_block_size():
    rewards = [(1, 0.5), (1, 0.7), (1, 0.6), (2, 0.4), (2, 0.3), (2, 0.9)]
    children = [child(number, reward, blocks) for number, (blocks, reward) in enumerate(rewards, start=1)]
    best = report.best_so_far(children)
    assert {blocks: list(values) for blocks, values in best.items()} == {1: [0.5, 0.7, 0.7], 2: [0.4, 0.4, 0.9]}


def test_of_equal_rewards_the_first_child_is_the_best():
    assert report.best_child([child(2, 0.9), child(1, 0.9), child(3, 0.1)]).number == 1


def test_after_a_search_the_winner_of_its_finalists_is_the_best_cell(tmp_path):
    children = [child(1, 0.9, weights=300), child(2, 0.8, weights=200), child(3, 0.7)]
    assert "best: child 1, 0.9000" in drawn(tmp_path, children)["rewards"]
    journal = FinalistsJournal(tmp_path / "logs" / "tiny", "digits", None)
    journal.write_winner(2, [0.8, 0.9, 1.0])
    text = drawn(tmp_path, children)
    assert "best: child 2, 0.8000, mean 0.9000 of 3 trainings" in text["rewards"]
    assert "Best cell: child 2, reward 0.8000, mean 0.9000 of 3 trainings, 200 binary" in text["best_cell"]
    journal.write_winner(3, [0.7])
    assert "best: child 3, 0.7000\n" in drawn(tmp_path, children)["rewards"] + "\n"


def test_a_winner_that_the_table_lacks_is_named(tmp_path):
    write_table(tmp_path, [child(1, 0.5)])
    FinalistsJournal(tmp_path / "logs" / "tiny", "digits", None).write_winner(7, [0.9])
    with pytest.raises(ValueError, match="winner is child 7, but the table has no such child"):
        report.write_report("tiny", tmp_path / "logs")


def test_spearmans_rho_is_computed_for_each_block_size():
    # Ranks 1 2 3 4 and 1 2 4 3: 1 - 6 * (0 + 0 + 1 + 1) / (4 * (16 - 1)) = 0.8. Three reversed ranks: -1.
    two = [child(2, 0.1, 2, 0.50), child(3, 0.2, 2, 0.51), child(4, 0.9, 2, 0.6), child(5, 0.8, 2, 0.99)]
    three = [child(6, 0.3, 3, 0.1), child(7, 0.2, 3, 0.2), child(8, 0.1, 3, 0.3)]
    without_prediction = [child(1, 0.99), child(9, 0.99, 3)]
    correlations = report.rank_correlations(without_prediction + two + three)
    assert correlations == {2: (pytest.approx(0.8), 4), 3: (pytest.approx(-1), 3)}


@pytest.mark.parametrize("pairs", [[(0.5, 0.6)], [(0.5, 0.6), (0.5, 0.7)], [(0.5, 0.6), (0.4, 0.6)]])
def test_rho_of_one_child_or_of_equal_values_is_nan(pairs):
    children = [child(number, reward, 2, predicted) for number, (predicted, reward) in enumerate(pairs)]
    [(rho, number)] = report.rank_correlations(children).values()
    assert math.isnan(rho) and number == len(pairs)


def test_no_child_beats_one_on_the_pareto_front():
    table = [(10, 0.5), (20, 0.5), (20, 0.8), (30, 0.7), (40, 0.9), (40, 0.9), (5, 0.1), (50, 0.2)]
    children = [child(number, reward, weights=cost, macs=-cost) for number, (cost, reward) in enumerate(table, start=1)]
    assert [row.number for row in report.pareto_front(children, "binary_weights")] == [7, 1, 3, 5]
    assert [row.number for row in report.pareto_front(children, "macs")] == [8, 5]


def test_operator_shares_are_of_the_best_and_worst_tenth():
    # A tenth of 20 children is 2. The best have ops a a a b and a b, the worst c c and c c, the other 16 b b.
    cells = {1: [0, "a", 0, "a", 0, "a", 0, "b"], 2: [0, "a", -1, "b"], 19: [0, "c", 0, "c"], 20: [0, "c", 0, "c"]}
    children = [child(n, 1 - n / 100, cell=cells.get(n, [0, "b", 0, "b"])) for n in range(20, 0, -1)]
    tenth, shares = report.operator_shares(children)
    assert tenth == 2
    assert shares["a"] == pytest.approx((4 / 6, 0, 4 / 42))
    assert shares["b"] == pytest.approx((2 / 6, 0, 34 / 42))
    assert shares["c"] == pytest.approx((0, 1, 4 / 42))


def test_a_tenth_of_three_children_is_one_child():
    tenth, shares = report.operator_shares([child(n, n / 10, cell=[0, f"op {n}", 0, f"op {n}"]) for n in range(1, 4)])
    assert tenth == 1
    assert list(shares) == ["op 1", "op 2", "op 3"]
    assert shares["op 3"] == pytest.approx((1, 0, 1 / 3)) and shares["op 1"] == pytest.approx((0, 1, 1 / 3))


def test_a_search_of_two_block_sizes(tmp_path):
    one = [child(n, 0.80 + n / 100, weights=1000 * n, macs=5000 * n) for n in range(1, 4)]
    predicted = [0.80, 0.85, 0.82, 0.86, 0.87, 0.88]  # ranks 1 3 2 4 5 6; those of the rewards are 1 2 3 4 5 6
    two = [child(n, 0.87 + n / 100, 2, prediction) for n, prediction in enumerate(predicted, start=4)]
    text = drawn(tmp_path, one + two)
    assert all("tiny on digits: 9 children" in words for words in text.values())
    assert "best: child 9, 0.9600" in text["rewards"] and "1 block: 3 children" in text["rewards"]
    # 1 - 6 * (1 + 1) / (6 * (36 - 1)) = 0.943
    assert "2 blocks: ρ = 0.94 (6 children)" in text["surrogate"]
    assert "best tenth (1 child)" in text["operators"] and "all (9 children)" in text["operators"]
    assert "Best cell: child 9, reward 0.9600, 100 binary weights, 1,000 MACs" in text["best_cell"]
    assert "output of the cell: blocks 1, 2, concatenated" in text["best_cell"]


def tick_labels(figure, panel):
    """(text, left, right) of the labels on the horizontal axis of a panel, in pixels."""
    figure.savefig(io.BytesIO(), dpi=report.DPI)
    axes = figure.axes[panel]
    low, high = axes.get_xlim()
    shown = [label for tick, label in zip(axes.get_xticks(), axes.get_xticklabels()) if low <= tick <= high]
    boxes = [label.get_window_extent() for label in shown]
    return [(label.get_text(), box.x0, box.x1) for label, box in zip(shown, boxes)]


@pytest.mark.parametrize(
    "least, ratio",
    [(1, 1), (1234, 1.01), (37_000, 4.9), (99_999, 5.1), (37_000, 18), (480_000, 40), (100_000, 1000), (1, 1e6)],
)
def test_labels_of_costs_do_not_overlap(least, ratio):
    costs = [least, round(least * ratio)]
    children = [child(number, number / 4, weights=cost, macs=10 * cost) for number, cost in enumerate(costs, start=1)]
    figure = report.SHEETS["cost"](children, "about", limits={})
    for panel in (0, 1):
        labels = tick_labels(figure, panel)
        assert len(labels) > 1 and len({text for text, _, _ in labels}) == len(labels)
        assert all(right + 4 < left for (_, _, right), (_, left, _) in itertools.pairwise(labels)), labels


@pytest.mark.parametrize("last", [1, 12, 193])
def test_children_are_numbered_from_one(last):
    figure = report.SHEETS["rewards"]([child(1, 0.5), child(last, 0.6)][: min(last, 2)], "about")
    numbers = [text for text, _, _ in tick_labels(figure, 0)]
    assert numbers[0] == "1" and all(1 < int(number) <= last for number in numbers[1:])


def test_few_children_are_too_few_for_tenths(tmp_path):
    few, enough = ([child(number, number / 100) for number in range(1, last + 1)] for last in (29, 30))
    assert (
        "tiny on digits: 29 children; fewer than 30 are too few to judge" in drawn(tmp_path / "few", few)["operators"]
    )
    assert "too few" not in drawn(tmp_path / "enough", enough)["operators"]


def test_rho_of_fewer_than_six_children_is_not_shown(tmp_path):
    two = [child(n, 0.9 + n / 100, 2, 0.8 + n / 100) for n in range(2, 7)]
    text = drawn(tmp_path, [child(1, 0.5), *two])
    assert "2 blocks: ρ too few to judge (5 children)" in text["surrogate"]


def test_an_unfinished_last_row_is_left_out(tmp_path):
    half = "3,digits,1,\"[0, 'linear', 0, 'linear']\",[[1.]] [[1.]] [[1.]] [[1.]],0.99"
    text = drawn(tmp_path, [child(1, 0.5), child(2, 0.6)], half)
    assert "tiny on digits: 2 children" in text["rewards"] and "best: child 2, 0.6000" in text["rewards"]


def test_failed_children_are_marked_and_have_no_reward(tmp_path):
    failure = 'ResourceExhaustedError: no memory, "4" GB'
    text = drawn(tmp_path, [child(1, 0.5), child(2, 0.0, weights=0, macs=0, error=failure), child(3, 0.6)])
    assert all("tiny on digits: 3 children, 1 failed" in words for words in text.values())
    assert "failed: 1" in text["rewards"] and "1 block: 2 children" in text["rewards"]
    assert "all (2 children)" in text["operators"]


def test_one_child_is_enough_for_a_report(tmp_path):
    text = drawn(tmp_path, [child(1, 0.5)])
    assert "tiny on digits: 1 child" in text["rewards"]
    assert "Nothing to compare yet" in text["surrogate"]


def test_rows_are_read_in_the_order_of_their_numbers(tmp_path):
    path = write_table(tmp_path, [child(2, 0.5), child(1, 0.6), child(3, 0.7, 2, 0.25)])
    _, rows = read_table(path)
    assert [row.number for row in rows] == [1, 2, 3]
    assert math.isnan(rows[0].predicted) and rows[2] == child(3, 0.7, 2, 0.25)


def test_a_cell_with_every_kind_of_input_is_drawn_whole(tmp_path):
    cell = [-2, "3x3 bconv", 0, "linear", -1, "5x5 sep-bconv", 1, "linear", 0, "linear", 1, "3x3 maxpool"]
    texts = drawn(tmp_path, [child(1, 0.5, 3, 0.4, cell=cell)])["best_cell"].split("\n")
    assert {"input -2", "3 cells before", "input -1", "2 cells before", "input 0", "the cell before"} < set(texts)
    assert [texts.count(word) for word in ("linear", "bconv", "sep-bconv", "maxpool")] == [3, 1, 1, 1]
    assert [texts.count(f"block {number}") for number in (1, 2, 3, 4)] == [1, 1, 1, 0]
    assert "output of the cell: blocks 2, 3, concatenated" in texts


def test_no_report_is_drawn_without_children(tmp_path):
    with pytest.raises(ValueError, match="there is no experiment 'tiny'.*children.csv does not exist"):
        report.write_report("tiny", tmp_path / "logs")
    write_table(tmp_path, [])
    with pytest.raises(ValueError, match="no child with a reward yet"):
        report.write_report("tiny", tmp_path / "logs")
    write_table(tmp_path, [child(1, 0.0, error="OSError: full")])
    with pytest.raises(ValueError, match=r"no child with a reward yet \(1 failed\)"):
        report.write_report("tiny", tmp_path / "logs")
    assert not (tmp_path / "logs" / "tiny" / "report").exists()


@pytest.mark.parametrize("damage", [("0.5,", "half,"), ("\"[0, 'linear'", '"[0, __import__(1)'), (",1000,", ",")])
def test_a_damaged_row_is_named(tmp_path, damage):
    path = write_table(tmp_path, [child(17, 0.5)])
    path.write_text(path.read_text().replace(*damage))
    with pytest.raises(ValueError, match="children.csv: row 17 is damaged"):
        report.write_report("tiny", tmp_path / "logs")

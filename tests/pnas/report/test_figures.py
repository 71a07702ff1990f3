"""Figures of a search: their numbers, counted by hand, and their files."""

import itertools
import math
import os
import xml.etree.ElementTree
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.text import Text
from searches import child, found, store_of

from pnas import UsageError
from pnas.report import figures as report


def texts(sheet, children, **changes):
    """The texts of a sheet, a line each."""
    figure = report.SHEETS[sheet](found(children, **changes))
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def points(figure):
    """The points of all lines and the sizes of all bars."""
    lines = [np.array(line.get_xydata()).tolist() for axes in figure.axes for line in axes.lines]
    return lines, [(bar.get_width(), bar.get_height()) for axes in figure.axes for bar in axes.patches]


def extents(figure, artists):
    """Boxes of artists in pixels, after the figure was drawn."""
    figure.draw_without_rendering()
    return [artist.get_tightbbox() for artist in artists]


def search_of(sizes=(8, 12, 16), failed=()):
    """A search with some children of each block size; rewards rise, and predictions fall."""
    numbers = itertools.count(1)
    children = [
        child(next(numbers), 0.5 + size / 10 + n / 1000, size, 0.8 - n / 1000 if size > 1 else math.nan)._replace(
            macs=1000 * size + 10 * n, binary_weights=100 * size + n
        )
        for size, count in enumerate(sizes, start=1)
        for n in range(count)
    ]
    return [each.failed("OSError: full") if each.number in failed else each for each in children]


def test_the_best_so_far_restarts_with_each_block_size():
    rewards = [(1, 0.5), (1, 0.7), (1, 0.6), (2, 0.4), (2, 0.3), (2, 0.9)]
    children = [child(number, reward, blocks) for number, (blocks, reward) in enumerate(rewards, start=1)]
    lines, _ = points(report.SHEETS["rewards"](found(children)))
    assert lines[1] == [[1, 0.5], [2, 0.7], [3, 0.7]] and lines[3] == [[4, 0.4], [5, 0.4], [6, 0.9]]


def test_of_equal_rewards_the_first_child_is_the_best():
    assert found([child(2, 0.9), child(1, 0.9), child(3, 0.1)]).winner.number == 1


def test_after_a_search_the_winner_of_its_finalists_is_the_best_cell():
    store = store_of([child(1, 0.9), child(2, 0.8), child(3, 0.7)])
    assert report.read_found(store).reward == "reward 0.9000"
    for repeat, reward in enumerate([0.9, 1.0], start=1):
        store.add(child(2, reward)._replace(repeat=repeat))
    store.keep_ranking([2])
    result = report.read_found(store)
    assert (result.winner.number, result.reward) == (2, "mean reward 0.9000 of 3 trainings")
    store.keep_ranking([3])
    result = report.read_found(store)
    assert (result.winner.number, result.reward) == (3, "reward 0.7000")


def test_no_child_beats_one_on_the_pareto_front():
    table = [(10, 0.5), (20, 0.5), (20, 0.8), (30, 0.7), (40, 0.9), (40, 0.9), (5, 0.1), (50, 0.2)]
    children = [child(number, reward, weights=cost, macs=-cost) for number, (cost, reward) in enumerate(table, start=1)]
    assert [row.number for row in report.pareto_front(children, "binary_weights")] == [7, 1, 3, 5]
    assert [row.number for row in report.pareto_front(children, "macs")] == [8, 5]


def test_operator_shares_are_of_the_best_and_worst_tenth():
    # A tenth of 30 children is 3. The best have ops a a a b, a b and b b, the worst c c each, the other 24 b b.
    cells = {1: [0, "a", 0, "a", 0, "a", 0, "b"], 2: [0, "a", -1, "b"], 3: [0, "b", 0, "b"]}
    cells |= dict.fromkeys((28, 29, 30), [0, "c", 0, "c"])
    children = [child(n, 1 - n / 100, cell=cells.get(n, [0, "b", 0, "b"])) for n in range(1, 31)]
    shares = report.operator_shares(children)
    assert shares["best tenth (3 children)"] == pytest.approx({"a": 4 / 8, "b": 4 / 8, "c": 0})
    assert shares["worst tenth (3 children)"] == pytest.approx({"a": 0, "b": 0, "c": 1})
    assert shares["all (30 children)"] == pytest.approx({"a": 4 / 62, "b": 52 / 62, "c": 6 / 62})
    assert all(list(group) == ["a", "b", "c"] for group in shares.values())


def test_of_few_children_no_tenths_are_drawn():
    few, enough = ([child(number, number / 100) for number in range(1, last + 1)] for last in (29, 30))
    assert list(report.operator_shares(few)) == ["all (29 children)"] and len(report.operator_shares(enough)) == 3
    assert "from 30 children on" in texts("operators", few) and "children on" not in texts("operators", enough)
    _, bars = points(report.SHEETS["operators"](found(few)))
    assert [width for width, _ in bars] == [100]


def test_a_search_of_two_block_sizes():
    one = [child(n, 0.80 + n / 100, weights=1000 * n, macs=5000 * n) for n in range(1, 4)]
    predicted = [0.80, 0.85, 0.82, 0.86, 0.87, 0.88]  # ranks 1 3 2 4 5 6; those of the rewards are 1 2 3 4 5 6
    macs = [1, 2, 3, 6, 5, 4]
    two = [child(n, 0.87 + n / 100, 2, p, macs=m) for n, (p, m) in enumerate(zip(predicted, macs), start=4)]
    text = {sheet: texts(sheet, one + two) for sheet in report.SHEETS}
    assert all("tiny on digits: 9 children" in words for words in text.values())
    assert "best: child 9, reward 0.9600" in text["rewards"] and "1 block: 3 children" in text["rewards"]
    # 1 - 6 * (1 + 1) / (6 * (36 - 1)) = 0.943; of MACs 1 - 6 * (4 + 0 + 4) / 210 = 0.771
    assert "2 blocks (6 children)\nρ 0.94, of MACs alone 0.77" in text["surrogate"]
    assert "Best cell: child 9, reward 0.9600\n100 binary weights, 4 MACs\n" in text["best_cell"]
    assert "output of the cell: blocks 1, 2, concatenated" in text["best_cell"]


def test_limits_are_drawn():
    figure = report.SHEETS["cost"](found([child(1, 0.5, weights=20, macs=10)], MAX_MACS=12_345))
    weights, macs = ({line.get_label(): list(line.get_xdata()) for line in axes.lines} for axes in figure.axes)
    assert macs == {"1 block": [10], "MAX_MACS = 12,345": [12_345, 12_345], "Pareto front": [10]}
    assert weights == {"1 block": [20], "Pareto front": [20]}


def test_a_front_that_was_searched_for_is_drawn_with_the_means_of_its_trainings():
    children = [child(n, reward, macs=n) for n, reward in ((1, 0.5), (2, 0.7), (3, 0.6))]
    store = store_of(children, PARETO="macs")
    store.keep_ranking([2, 1])  # FINALISTS = 0: of single trainings
    assert "several trainings" not in report.SHEETS["cost"](report.read_found(store)).get_suptitle()
    for number, reward in ((1, 0.7), (2, 0.6)):
        store.add(children[number - 1]._replace(reward=reward, repeat=1))
    store.keep_ranking([1, 2])
    figure = report.SHEETS["cost"](report.read_found(store))
    assert "several trainings" in figure.get_suptitle()
    weights, macs = ({line.get_label(): list(line.get_ydata()) for line in axes.lines} for axes in figure.axes)
    assert macs["Pareto front"] == pytest.approx([0.6, 0.65]) and weights["Pareto front"] == [0.7]
    ends = [segment[:, 1] for segment in figure.axes[1].containers[0].lines[2][0].get_segments()]
    # Deviations of two rewards: their difference / sqrt(2).
    assert np.ptp(ends, axis=1) == pytest.approx([2 * 0.2 / 2**0.5, 2 * 0.1 / 2**0.5])


def tick_labels(figure, panel):
    """(text, left, right) of the labels on the horizontal axis of a panel, in pixels."""
    axes = figure.axes[panel]
    low, high = axes.get_xlim()
    shown = [label for tick, label in zip(axes.get_xticks(), axes.get_xticklabels()) if low <= tick <= high]
    return [(label.get_text(), box.x0, box.x1) for label, box in zip(shown, extents(figure, shown))]


@pytest.mark.parametrize(
    "least, ratio",
    [(1, 1), (1234, 1.01), (37_000, 4.9), (99_999, 5.1), (37_000, 18), (480_000, 40), (100_000, 1000), (1, 1e6)],
)
def test_labels_of_costs_do_not_overlap(least, ratio):
    costs = [least, round(least * ratio)]
    children = [child(number, number / 4, weights=cost, macs=10 * cost) for number, cost in enumerate(costs, start=1)]
    figure = report.SHEETS["cost"](found(children))
    for panel in (0, 1):
        labels = tick_labels(figure, panel)
        assert len(labels) > 1 and len({text for text, _, _ in labels}) == len(labels)
        assert all(right + 4 < left for (_, _, right), (_, left, _) in itertools.pairwise(labels)), labels


@pytest.mark.parametrize("last", [1, 12, 193])
def test_children_are_numbered_from_one(last):
    figure = report.SHEETS["rewards"](found([child(1, 0.5), child(last, 0.6)][: min(last, 2)]))
    numbers = [text for text, _, _ in tick_labels(figure, 0)]
    assert numbers[0] == "1" and all(1 < int(number) <= last for number in numbers[1:])


@pytest.mark.parametrize("sheet", ["rewards", "surrogate", "cost", "operators"])
@pytest.mark.parametrize("sizes", [(3, 2), (8, 12, 16)])
def test_a_legend_hides_nothing(sheet, sizes):
    figure = report.SHEETS[sheet](found(search_of(sizes), MAX_MACS=10**6, MAX_BINARY_WEIGHTS=10**6))
    legend, *others = extents(figure, [*figure.findobj(Legend), *figure.axes])
    assert not any(legend.overlaps(other) for other in others)
    assert legend.x0 >= 4 and legend.x1 <= 796


@pytest.mark.parametrize("sheet", report.SHEETS)
def test_a_title_has_room_on_both_sides(sheet):
    children = [each._replace(macs=123_456_789, binary_weights=12_345_678) for each in search_of(failed=(3,))]
    store = store_of(children, DATASET=f"{40 * 'x'}.npz 0123456789abcdef")
    for repeat in (1, 2):
        store.add(children[-1]._replace(repeat=repeat))
    store.name = 64 * "a"
    store.keep_ranking([children[-1].number])
    figure = report.SHEETS[sheet](report.read_found(store))
    title, *below = extents(figure, [figure._suptitle, *figure.axes[0].texts])
    assert title.x0 >= 20 and title.x1 <= 780
    assert not any(title.overlaps(other) for other in below)


def test_rho_of_fewer_than_six_children_is_not_shown():
    two = [child(n, 0.9 + n / 100, 2, 0.8 + n / 100) for n in range(2, 7)]
    assert "2 blocks (5 children)\ntoo few to judge" in texts("surrogate", [child(1, 0.5), *two])


def test_failed_children_are_marked_among_the_rewards():
    children = [child(1, 0.5), child(2, 0.0, error="OSError: full"), child(3, 0.6), child(4, 0, error="OSError: full")]
    text = texts("rewards", children)
    assert "tiny on digits: 4 children, 2 failed" in text
    assert "failed: 2" in text and "1 block: 2 children" in text
    figure = report.SHEETS["rewards"](found(children))
    lines, _ = points(figure)
    assert [x for x, _ in lines[2]] == [2, 4]  # after the points and the line of one block
    assert figure.axes[0].get_xlim()[1] > 4


@pytest.mark.parametrize("sheet", ["surrogate", "cost", "operators", "best_cell"])
def test_failed_children_change_no_other_sheet(sheet):
    failed = (1, 10, 36)  # the last one would be the best child
    children = search_of(failed=failed)
    trained = [each for each in children if each.number not in failed]
    draw = report.SHEETS[sheet]
    assert points(draw(found(children))) == points(draw(found(trained)))


def test_one_child_is_enough_for_a_report():
    assert "tiny on digits: 1 child" in texts("rewards", [child(1, 0.5)])
    assert "Nothing to compare yet" in texts("surrogate", [child(1, 0.5)])


def test_a_cell_with_every_kind_of_input_is_drawn_whole():
    cell = [-2, "3x3 bconv", 0, "linear", -1, "5x5 sep-bconv", 1, "linear", 0, "linear", 1, "3x3 maxpool"]
    words = texts("best_cell", [child(1, 0.5, 3, 0.4, cell=cell)]).split("\n")
    assert {"input -2", "3 cells before", "input -1", "2 cells before", "input 0", "the cell before"} < set(words)
    assert [words.count(word) for word in ("linear", "bconv", "sep-bconv", "maxpool")] == [3, 1, 1, 1]
    assert [words.count(f"block {number}") for number in (1, 2, 3, 4)] == [1, 1, 1, 0]
    assert "output of the cell: blocks 2, 3, concatenated" in words


def test_a_data_set_whose_name_is_not_utf_8_is_drawn(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"caf\xe9.npz")
    with pytest.raises(UnicodeEncodeError):
        name.encode()
    result = found([child(1, 0.5)], DATASET=name)
    assert result.about == "tiny on caf?.npz: 1 child"
    report.write_sheets("tiny", {"best_cell": lambda: report.SHEETS["best_cell"](result)})


def test_every_sheet_is_written_as_png_and_svg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store_of(search_of(), "tiny").close()
    paths = report.write_report("tiny")
    sheets = ["rewards", "surrogate", "cost", "operators", "best_cell"]
    assert paths == [f"logs/tiny/report/{sheet}.{ending}" for sheet in sheets for ending in ("png", "svg")]
    assert sorted(path.name for path in Path("logs/tiny/report").iterdir()) == sorted(Path(path).name for path in paths)
    for path in paths[0::2]:
        height, width, _ = matplotlib.image.imread(path).shape
        assert width == 800 and height > 200
    for path in paths[1::2]:
        assert xml.etree.ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"


def test_a_sheet_is_the_same_again_whatever_the_style_of_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sheets = {"rewards": lambda: report.SHEETS["rewards"](found([child(1, 0.5), child(2, 0.6)]))}
    first = [Path(path).read_bytes() for path in report.write_sheets("tiny", sheets)]
    others = {"text.usetex": True, "axes.facecolor": "red", "savefig.bbox": "tight", "font.size": 20}
    with matplotlib.rc_context(others):
        assert [Path(path).read_bytes() for path in report.write_sheets("tiny", sheets)] == first
        assert matplotlib.rcParams["font.size"] == 20


def test_a_sheet_is_drawn_in_the_style_of_the_report(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    styles = []

    def draw():
        styles.append({name: matplotlib.rcParams[name] for name in report.STYLE})
        return Figure()

    report.write_sheets("tiny", {"rewards": draw})
    assert styles == [report.STYLE]


def test_no_report_is_drawn_without_children(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there is no experiment 'tiny'"):
        report.write_report("tiny")
    store = store_of([], "tiny")
    with pytest.raises(UsageError, match=r"tiny has no child with a reward yet \(0 failed\)"):
        report.write_report("tiny")
    store.add(child(1, 0.0, error="OSError: full"))
    with pytest.raises(UsageError, match=r"no child with a reward yet \(1 failed\)"):
        report.write_report("tiny")
    assert not Path("logs/tiny/report").exists()

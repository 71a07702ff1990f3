"""Several searches side by side, counted by hand."""

import csv
import re
from pathlib import Path

import pytest
from matplotlib.legend import Legend
from searches import child, store_of

from pnas import UsageError
from pnas.report.comparison import compare, draw_fronts, draw_rewards, rows_of
from pnas.report.figures import read_found
from pnas.store.store import Store

LONG = "a" * 64


@pytest.fixture(autouse=True)
def searches(tmp_path, monkeypatch):
    """Three searches on digits in an empty folder: `first` has finalists, `second` a failed child and a limit."""
    monkeypatch.chdir(tmp_path)
    first = [child(1, 0.5, macs=300), child(2, 0.75, macs=200), child(3, 0.625, macs=100)]
    with_finalists = [child(2, 0.5)._replace(repeat=1), child(2, 1.0)._replace(repeat=2)]
    store = store_of([*first, *with_finalists], "first", SEED=0)
    store.keep_ranking([2])
    store.close()
    predicted = [0.80, 0.85, 0.82, 0.86, 0.87, 0.88]  # ranks 1 3 2 4 5 6; those of the rewards are 1 2 3 4 5 6
    macs = [1, 2, 3, 6, 5, 4]
    two = [child(n, 0.87 + n / 100, 2, p, macs=m) for n, (p, m) in enumerate(zip(predicted, macs), start=2)]
    store_of([child(1, 0, error="OSError: full"), *two], "second", SEED=0, MAX_MACS=1000).close()
    store_of([child(1, 0.5)], LONG, SEED=1, MAX_EPOCHS=9).close()


def read(*names):
    return [read_found(Store.open(name)) for name in names]


def rows(*names):
    return rows_of(read(*names))


def test_a_row_says_what_a_search_has_found():
    first, second = rows("first", "second")
    assert (first["search"], first["children"], first["failed"], first["best_reward"]) == ("first", 3, 0, 0.75)
    assert (first["hours"], second["hours"]) == (0.002, 0.003)  # 5 and 7 trainings of 1.5 s
    # 0.75, 0.5 and 1.0: deviations 0, -0.25 and 0.25, sqrt(0.125 / 2) = 0.25
    assert (first["winner_mean"], first["winner_deviation"], first["winner_trainings"]) == (0.75, 0.25, 3)
    assert (second["winner"], second["winner_mean"], second["winner_deviation"]) == (
        "linear ×2 | linear ×2",
        0.94,
        None,
    )
    assert (second["children"], second["failed"], second["winner_macs"]) == (7, 1, 4)
    # 1 - 6 * (1 + 1) / (6 * (36 - 1)) = 0.943; of MACs 1 - 6 * (4 + 0 + 4) / 210 = 0.771
    assert (second["spearman_2_blocks"], second["spearman_of_macs_2_blocks"]) == ("0.94", "0.77")
    assert first["spearman_2_blocks"] == "too few to judge"


def test_only_constants_that_differ_are_named():
    first, second = rows("first", "second")
    assert (first["MAX_MACS"], second["MAX_MACS"]) == ("None", "1000") and "SEED" not in first
    assert [(row["SEED"], row["MAX_EPOCHS"]) for row in rows("second", LONG)] == [("0", "4"), ("1", "9")]
    checksums = {"checksum of the operator '3x3 bconv'": "1", "checksum of the recipe": "2"}
    store_of([child(1, 0.5)], "edited", SEED=0, operators=["3x3 bconv"], **checksums).close()
    store_of([child(1, 0.5)], "later", SEED=0, operators=["linear"], **{"checksum of the recipe": "3"}).close()
    (row, _) = rows("edited", "later")
    assert (row["operators"], row["checksum of the recipe"]) == ("['3x3 bconv']", "'2'")
    assert "checksum of the operator '3x3 bconv'" not in row


def test_a_table_for_people_has_a_column_a_search(capsys):
    paths = compare(["first", "second"])
    names = ("rewards.png", "rewards.svg", "fronts.png", "fronts.svg", "searches.csv")
    assert paths == [f"logs/compare/{name}" for name in names]
    with Path("logs/compare/searches.csv").open(newline="") as file:
        assert [row["winner_mean"] for row in csv.DictReader(file)] == ["0.75", "0.94"]
    lines = [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert ["search", "first", "second"] in lines and ["MAX_MACS", "None", "1000"] in lines
    assert ["winner", "linear ×2", "linear ×2 | linear ×2"] in lines
    assert ["winner mean", "0.7500 ± 0.2500 of 3 trainings", "0.9400"] in lines
    assert ["Spearman of MACs 2 blocks", "too few to judge", "0.77"] in lines


@pytest.mark.parametrize("dataset, changes, constant", [("mnist", {}, "DATASET"), ("own-1", {"SEED": 3}, "SEED")])
def test_rewards_on_other_images_are_not_compared(dataset, changes, constant):
    store_of([child(1, 0.5)], "own", DATASET="own-1", SEED=0).close()
    store_of([child(1, 0.5)], "other", DATASET=dataset, **{"SEED": 0, **changes}).close()
    with pytest.raises(UsageError, match=f"own and other cannot be compared, as their .* {constant} is .* and "):
        compare(["own", "other"])
    assert not Path("logs/compare").exists()


def test_the_best_reward_so_far_never_falls():
    lines = draw_rewards(read("first", "second")).axes[0].lines
    assert lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.75], [3, 0.75], [3, 0.75]]
    assert lines[1].get_xydata().tolist()[0] == [2, pytest.approx(0.89)]  # the first one has failed
    assert [lines[0].get_markevery(), lines[1].get_markevery()] == [[0, 1], [0, 1, 2, 3, 4, 5]]


def test_each_search_has_its_front():
    points, front, *_ = draw_fronts(read("first", "second")).axes[0].lines
    assert sorted(points.get_xdata()) == [100, 200, 300]
    assert front.get_xydata().tolist() == [[100, 0.625], [200, 0.75]]


@pytest.mark.parametrize("draw", [draw_rewards, draw_fronts])
@pytest.mark.parametrize("names", [["first", "second"], ["first", LONG]])
def test_names_have_room_below_a_figure(draw, names):
    figure = draw(read(*names))
    figure.draw_without_rendering()
    legend, axes = (each.get_tightbbox() for each in (figure.findobj(Legend)[0], figure.axes[0]))
    assert not legend.overlaps(axes) and legend.x0 >= 4 and legend.x1 <= 796


def test_a_search_that_is_missing_is_named():
    with pytest.raises(UsageError, match="there is no experiment 'third'"):
        compare(["first", "third"])

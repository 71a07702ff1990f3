"""The table of a front, with means counted by hand."""

import pytest
from searches import child

from pnas.constants import NAME
from pnas.report.front import front_lines, front_rows
from pnas.search import Finalist
from pnas.store.paths import Paths


@pytest.fixture
def paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = Paths("tiny")
    paths.networks.mkdir(parents=True)
    paths.network(1).write_bytes(b"first")
    paths.network(2, 1).write_bytes(b"no network")
    return paths


def command(representation, experiment):
    return f"retrain {representation} as {experiment}"


ONCE, TWICE = child(1, 0.5, macs=1_000, weights=20), child(2, 0.5, macs=2_345_678, weights=30)
FRONT = [
    Finalist(ONCE, [ONCE]),
    Finalist(TWICE, [TWICE, child(2, 0.75)._replace(repeat=1)]),
]


def test_a_row_has_the_costs_the_mean_and_how_to_retrain_the_cell(paths):
    first, second = front_rows(FRONT, paths, lambda cell: f"string of {cell[1]}", command)
    assert (first["macs"], first["mean"], first["standard_deviation"], first["trainings"]) == (1000, 0.5, None, 1)
    # Deviations of 0.125 from 0.625: sqrt(2 * 0.015625).
    assert (second["mean"], second["standard_deviation"], second["trainings"]) == (0.625, 0.176777, 2)
    assert (
        second["retrain"] == "retrain string of linear as tiny_child_2"
        and second["representation"] == "string of linear"
    )
    assert (first["network"], second["network"]) == (b"first", b"no network")  # that of the highest reward
    assert first["bytes_as_bits"] is None  # what cannot be read as a network


def test_the_name_of_a_retraining_fits_after_the_longest_name_of_a_search():
    rows = front_rows(FRONT, Paths(64 * "n"), str, command)
    names = [row["retrain"].split()[-1] for row in rows]
    assert len(set(names)) == 2 and all(NAME.fullmatch(name) for name in names)


def test_a_network_that_is_gone_costs_no_front(paths):
    paths.network(1).unlink()
    (row, _) = front_rows(FRONT, paths, str, command)
    assert row["network"] is None and row["bytes_as_bits"] is None


def test_the_front_is_shown_cheapest_first(paths):
    rows = front_rows(FRONT, paths, str, command)
    rows[1]["bytes_as_bits"] = 12_345
    title, heading, first, second, files = front_lines(rows, paths)
    assert first.split() == ["1,000", "20", "unknown", "0.5000", "1", "linear", "×2"]
    assert second.split() == ["2,345,678", "30", "12,345", "0.6250", "±", "0.1768", "2", "linear", "×2"]
    assert first.index("linear") == second.index("linear") == heading.index("cell")
    assert "logs/tiny/front.csv" in files and "weights/tiny/front" in files

"""The sheet of a retraining."""

import sys

import pytest

from pnas.journal.architecture import COLUMNS
from pnas.report.__main__ import main
from pnas.report.learning_curve import draw_learning_curve, write_learning_curve

HEADER = ",".join(COLUMNS) + "\n"


def row(epoch, val_accuracy):
    return dict(zip(COLUMNS, (epoch, 0.5, 0.75, 0.25, val_accuracy, 0.01 / epoch, 0.125, 2.0)))


def test_the_sheet_shows_the_table_and_marks_the_best_epoch():
    figure = draw_learning_curve([row(1, 0.5), row(2, 0.875), row(3, 0.875)], "tiny")
    loss, accuracy, learning_rate, flips = figure.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[0.5] * 3, [0.25] * 3]
    training, validation, best = accuracy.lines
    assert list(validation.get_xdata()) == [1, 2, 3] and list(validation.get_ydata()) == [0.5, 0.875, 0.875]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([2], [0.875])
    assert list(learning_rate.lines[0].get_ydata()) == [0.01, 0.005, 0.01 / 3]
    assert list(flips.lines[0].get_ydata()) == [0.125] * 3


def test_the_curve_is_drawn_without_a_search(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pnas.report", "tiny"])
    path = tmp_path / "logs" / "tiny" / "architecture.csv"
    path.parent.mkdir(parents=True)
    path.write_text(HEADER + "1,0.5,0.75,0.25,0.5,0.01,0.125,2.0\n")
    main()
    paths = capsys.readouterr().out.splitlines()
    assert paths == [f"logs/tiny/report/architecture.{ending}" for ending in ("png", "svg")]
    assert all((tmp_path / each).stat().st_size > 1000 for each in paths)


def test_a_training_without_an_epoch_has_no_curve(tmp_path):
    path = tmp_path / "tiny" / "architecture.csv"
    path.parent.mkdir()
    path.write_text(HEADER)
    with pytest.raises(ValueError, match="has no epoch yet"):
        write_learning_curve("tiny", str(tmp_path))

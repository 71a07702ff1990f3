"""The learning curve and the result of one architecture's training."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import damaged, many
from test_events import read

from pnas.journal.architecture import ArchitectureJournal, read_curve

HEADER = "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,sign_flips,seconds\n"


def measures(val_accuracy, seconds=2.0):
    return {
        **{"loss": 0.5, "accuracy": 0.75, "val_loss": 0.25, "val_accuracy": val_accuracy, "learning_rate": 0.01},
        **{"sign_flips": 0.125, "seconds": seconds},
    }


def journal(folder, trained_epochs, *val_accuracies):
    kept = ArchitectureJournal(str(folder))
    kept.start(trained_epochs)
    for epoch, val_accuracy in enumerate(val_accuracies, start=trained_epochs + 1):
        kept.write_epoch(epoch, measures(val_accuracy))
    return kept


def test_an_epoch_is_a_row_and_a_point_of_each_curve(tmp_path):
    journal(tmp_path, 0, 0.5, 0.875)
    rows = "1,0.5,0.75,0.25,0.5,0.01,0.125,2.0\n2,0.5,0.75,0.25,0.875,0.01,0.125,2.0\n"
    assert (tmp_path / "architecture.csv").read_text() == HEADER + rows
    curves, _ = read(tmp_path / "architecture")
    assert curves["architecture/val_accuracy"] == [(1, 0.5), (2, 0.875)] and len(curves) == 7


def test_a_resumed_training_continues_both(tmp_path):
    journal(tmp_path, 0, 0.5, 0.75, 0.25)
    journal(tmp_path, 2, 0.625)
    assert [(row["epoch"], row["val_accuracy"]) for row in read_curve(tmp_path / "architecture.csv")] == [
        *((1, 0.5), (2, 0.75), (3, 0.625))
    ]
    assert read(tmp_path / "architecture")[0]["architecture/val_accuracy"] == [(1, 0.5), (2, 0.75), (3, 0.625)]


def test_a_new_training_moves_earlier_files_aside(tmp_path):
    journal(tmp_path, 0, 0.5).write_result(test_accuracy=0.5)
    before = (tmp_path / "architecture.csv").read_bytes()
    journal(tmp_path, 0, 0.75)
    (moved,) = tmp_path.glob("architecture.2*.csv")
    assert moved.read_bytes() == before and len(list(tmp_path.glob("architecture.2*"))) == 3
    assert not (tmp_path / "architecture.json").exists()


def test_the_result_names_the_first_best_epoch(tmp_path):
    journal(tmp_path, 0, 0.5, 0.75)
    kept = journal(tmp_path, 2, 0.75, 0.25)
    kept.write_result(test_accuracy=0.625)
    result = json.loads((tmp_path / "architecture.json").read_text())
    assert result == {"epochs": 4, "best_epoch": 2, "seconds": 8.0, "test_accuracy": 0.625}


def test_a_curve_without_its_first_epochs_gives_a_warning(tmp_path):
    with pytest.warns(UserWarning, match="architecture.csv lacks some of the 2 epochs"):
        kept = journal(tmp_path, 2, 0.75)
    assert kept.best_epoch() is None
    kept.write_result(test_accuracy=0.5)


@pytest.mark.parametrize(
    "saved",
    [
        lambda content: content.replace("\n", "\r\n"),
        lambda content: content.replace("\n", "\r"),
        lambda content: "\ufeff" + content,
        lambda content: content.rstrip("\n"),
        lambda content: content.replace("0.5", '"0.5"'),
        lambda content: content + "3,0.5,0.75,0.25,0.5,0.01,0.125,",
    ],
)
def test_a_curve_saved_by_a_spreadsheet_or_half_written_keeps_its_rows(saved, tmp_path):
    journal(tmp_path, 0, 0.5, 0.75)
    path = tmp_path / "architecture.csv"
    before = path.read_text()
    path.write_bytes(saved(before).encode())
    with pytest.warns(UserWarning, match="architecture.csv: it gets the rows of the 2 epochs") as given:
        journal(tmp_path, 2)
    (copy,) = tmp_path.glob("architecture.2*.csv")
    assert path.read_text() == before and copy.read_bytes() == saved(before).encode() and len(given) == 1


def test_a_note_below_a_curve_is_not_cut(tmp_path):
    journal(tmp_path, 0, 0.5)
    with open(tmp_path / "architecture.csv", "a") as file:
        file.write("# my note")
    before = (tmp_path / "architecture.csv").read_bytes()
    with pytest.raises(ValueError, match="row 2 has 1 cells, not 8"):
        journal(tmp_path, 1)
    assert (tmp_path / "architecture.csv").read_bytes() == before


CONTENT = (HEADER + "1,0.5,0.75,0.25,0.5,0.01,0.125,2.0\n2,0.5,0.75,0.25,0.875,0.01,0.125,2.0\n").encode()


@many
@given(st.one_of(damaged(CONTENT), st.binary()))
def test_a_damaged_curve_gives_one_error(tmp_path_factory, content):
    path = Path(tmp_path_factory.getbasetemp()) / "architecture.csv"
    path.write_bytes(content)
    try:
        rows = read_curve(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 500
    else:
        assert all(len(row) == 8 for row in rows)


@pytest.mark.parametrize(
    "rows, reason",
    [
        ("1,0.5\n", "row 1 has 2 cells, not 8"),
        ("2,1,1,1,1,1,1,1\n2,1,1,1,1,1,1,1\n", "row 2 has epoch 2"),
        ("0,1,1,1,1,1,1,1\n", "row 1 has epoch 0"),
        ("x,1,1,1,1,1,1,1\n", "row 1 invalid literal"),
    ],
)
def test_the_error_names_the_damaged_row(tmp_path, rows, reason):
    path = tmp_path / "architecture.csv"
    path.write_text(HEADER + rows)
    with pytest.raises(ValueError, match=f"is damaged: .*{reason}"):
        read_curve(path)

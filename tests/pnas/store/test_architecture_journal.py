"""The learning curve and the result of one architecture's training."""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import damaged, some
from test_events import read

from pnas import UsageError
from pnas.store.architecture import ArchitectureJournal, read_curve, read_curves, summary_of
from pnas.store.paths import Paths

HEADER = "epoch,loss,accuracy,val_loss,val_accuracy,learning_rate,sign_flips,seconds\n"
SETTINGS = {"SEED": 0, "DROPOUT": [False, 0.2, 0.5]}


def measures(val_accuracy, seconds=2.0):
    return {
        **{"loss": 0.5, "accuracy": 0.75, "val_loss": 0.25, "val_accuracy": val_accuracy, "learning_rate": 0.01},
        **{"sign_flips": 0.125, "seconds": seconds},
    }


def trained(folder, trained_epochs, *val_accuracies, **result):
    """Adds epochs to a journal, and a result if there is one."""
    journal = ArchitectureJournal(folder)
    journal.start(trained_epochs, SETTINGS)
    for epoch, val_accuracy in enumerate(val_accuracies, start=trained_epochs + 1):
        journal.write_epoch(epoch, measures(val_accuracy))
    if result:
        journal.write_result({**summary_of(journal.rows), **result})
    journal.close()


def test_an_epoch_is_a_row_and_a_point_of_each_curve(tmp_path):
    trained(tmp_path, 0, 0.5, 0.875)
    rows = "1,0.5,0.75,0.25,0.5,0.01,0.125,2.0\n2,0.5,0.75,0.25,0.875,0.01,0.125,2.0\n"
    assert (tmp_path / "architecture.csv").read_text() == HEADER + rows
    curves, _ = read(tmp_path / "architecture")
    assert curves["architecture/val_accuracy"] == [(1, 0.5), (2, 0.875)] and len(curves) == 7


def test_a_resumed_training_continues_all(tmp_path):
    trained(tmp_path, 0, 0.5, 0.75, 0.25)
    (tmp_path / "architecture.csv").unlink()
    trained(tmp_path, 2, 0.625)
    rows = [(row["epoch"], row["val_accuracy"]) for row in read_curve(tmp_path)]
    assert rows == [(1, 0.5), (2, 0.75), (3, 0.625)] and ArchitectureJournal(tmp_path).rows == read_curve(tmp_path)
    assert (tmp_path / "architecture.csv").read_text().count("\n") == 4
    assert read(tmp_path / "architecture")[0]["architecture/val_accuracy"] == rows


def test_the_settings_of_a_training_are_kept(tmp_path):
    assert ArchitectureJournal(tmp_path).get("settings") is None
    trained(tmp_path, 0, 0.5)
    assert ArchitectureJournal(tmp_path).get("settings") == SETTINGS


def test_a_new_training_moves_earlier_files_aside(tmp_path):
    trained(tmp_path, 0, 0.5, test_accuracy=0.5)
    before = (tmp_path / "architecture.csv").read_bytes()
    (tmp_path / "architecture.csv").unlink()  # it is written again first
    trained(tmp_path, 0, 0.75)
    (moved,) = tmp_path.glob("architecture.2*.csv")
    assert moved.read_bytes() == before and len(list(tmp_path.glob("architecture.2*"))) == 3
    assert not (tmp_path / "architecture.json").exists()
    assert [row["val_accuracy"] for row in read_curve(tmp_path)] == [0.75]


def test_the_result_names_the_first_best_epoch(tmp_path):
    trained(tmp_path, 0, 0.5, 0.75)
    trained(tmp_path, 2, 0.75, 0.25, test_accuracy=0.625)
    result = json.loads((tmp_path / "architecture.json").read_text())
    assert result == {"epochs": 4, "best_epoch": 2, "seconds": 8.0, "test_accuracy": 0.625}


def test_a_curve_that_lacks_epochs_is_not_continued(tmp_path):
    trained(tmp_path, 0, 0.5)
    with pytest.raises(UsageError, match="architecture.db lacks some of the 2 epochs .* LOAD_SAVED = False"):
        trained(tmp_path, 2, 0.75)
    assert len(read_curve(tmp_path)) == 1


def test_an_edited_curve_is_kept_under_a_dated_name(tmp_path):
    trained(tmp_path, 0, 0.5)
    path = tmp_path / "architecture.csv"
    before = path.read_text()
    path.write_text(before + "# my note")
    with pytest.warns(UserWarning, match="architecture.csv was edited. It is written anew; as it was, it is kept as "):
        trained(tmp_path, 1)
    (copy,) = tmp_path.glob("architecture.2*.csv")
    assert path.read_text() == before and copy.read_text() == before + "# my note"
    with warnings.catch_warnings(action="error"):
        trained(tmp_path, 1)


def test_a_second_training_of_a_name_is_refused_while_the_first_runs(tmp_path):
    root = str(Path(__file__).parents[3])
    code = f"import sys; sys.path.insert(0, {root!r}); from pnas.store.architecture import ArchitectureJournal\n"
    code += f"journal = ArchitectureJournal({str(tmp_path)!r}); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    first = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "open\n"
    with pytest.raises(UsageError, match=f"process {first.pid} on .*architecture.db"):
        ArchitectureJournal(tmp_path)
    assert read_curve(tmp_path) == []
    first.communicate()
    trained(tmp_path, 0, 0.5)


def test_there_is_no_curve_without_a_training(tmp_path):
    assert read_curve(tmp_path) == []


def test_another_process_of_a_run_writes_its_journal(tmp_path):
    journal = ArchitectureJournal(tmp_path)
    other = ArchitectureJournal(tmp_path, is_locked=True)
    other.start(0, SETTINGS)
    other.write_epoch(1, measures(0.5))
    other.close()
    assert [row["val_accuracy"] for row in journal.rows] == [0.5]
    with pytest.raises(UsageError, match="another run has this EXPERIMENT_NAME"):
        ArchitectureJournal(tmp_path)


def test_the_curves_of_all_seeds_are_read_in_their_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = Paths("tiny")
    for repeat in (9, 1, 0):
        trained(paths.of_seed(repeat)[1], 0, repeat / 10)
    trained(paths.logs / "architecture_seed_3.20260101-000000-000000", 0, 0.75)  # set aside
    best = {seed: rows[0]["val_accuracy"] for seed, rows in read_curves(paths).items()}
    assert list(best.items()) == [(1, 0), (2, 0.1), (10, 0.9)]


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a database."""
    folder = tmp_path_factory.mktemp("whole")
    trained(folder, 0, 0.5, 0.75)
    return (folder / "architecture.db").read_bytes()


@some
@given(data=st.data())
def test_a_damaged_curve_gives_one_error(tmp_path, content, data):
    path = tmp_path / "architecture.db"
    path.write_bytes(data.draw(st.one_of(damaged(content), st.binary())))
    try:
        rows = read_curve(tmp_path)
    except UsageError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert all(len(row) == 8 for row in rows)

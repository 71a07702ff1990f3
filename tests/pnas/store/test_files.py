"""The files of a search survive a run that was killed while writing them."""

import csv
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import MEGABYTE, damaged, some

from pnas.child import Child
from pnas.encoder import StateSpace
from pnas.journal.children import row
from pnas.journal.journal import Journal

SPACE = StateSpace(2, ["3x3 bconv", "linear"])
CELLS = [[0, "3x3 bconv", 0, "3x3 bconv"], [0, "3x3 bconv", 0, "linear"]]
SETTINGS = {"DATASET": "digits", "SEED": 0}
TABLE, TEXT = Path("logs/trial/children.csv"), Path("architectures/trial.txt")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def child(number, reward, **other):
    return Child(number, CELLS[number - 1], 0.5, seed=7, reward=reward, network=b"network %d" % number, **other)


def journal(restore=True, settings=SETTINGS):
    return Journal("trial", settings, restore, SPACE)


def two_children():
    kept = journal()
    kept.write_heading(1, 2)
    kept.write_child(child(1, 0.75))
    kept.write_child(child(2, 0.5))


def test_an_entry_of_the_log_has_the_specified_form():
    two_children()
    assert (
        "Sr. No: 2\nReward: 0.5000\nArchitecture: [0, '3x3 bconv', 0, 'linear']\n"
        'Representation String: "[[1. 0.]] [[1. 0.]] [[1. 0.]] [[0. 1.]]"\n\n'
    ) in TEXT.read_text()


def test_a_later_run_reads_every_child():
    two_children()
    assert journal().finished[tuple(CELLS[1])] == child(2, 0.5)._replace(network=b"", history={})


def test_a_worse_network_does_not_replace_the_best():
    two_children()
    assert Path("weights/trial/best.keras").read_bytes() == b"network 1"
    assert journal().best.number == 1


def test_of_equal_rewards_the_lower_number_is_best():
    kept = journal()
    kept.write_child(child(2, 0.5))
    kept.write_child(child(1, 0.5))
    assert kept.best.number == 1


def test_a_last_row_without_a_line_end_counts():
    two_children()
    TABLE.write_bytes(TABLE.read_bytes()[:-1])
    assert list(journal().finished) == [tuple(cell) for cell in CELLS]


@pytest.mark.parametrize("cut", [2, 10, 60])
def test_a_half_written_row_is_dropped_and_the_others_stay(cut):
    two_children()
    TABLE.write_bytes(TABLE.read_bytes()[:-cut])
    assert list(journal().finished) == [tuple(CELLS[0])]
    with open(TABLE, newline="") as file:
        assert [row["number"] for row in csv.DictReader(file)] == ["1"]


@pytest.mark.parametrize("cut", [1, 2, 30, 100])
def test_a_half_written_entry_is_written_again(cut):
    two_children()
    whole = TEXT.read_text()
    TEXT.write_text(whole[:-cut])
    journal()
    text = TEXT.read_text()
    assert text.count("Sr. No: 1\n") == text.count("Sr. No: 2\n") == 1
    assert text.count("Representation String: ") == 2


def test_other_settings_are_refused_by_name():
    two_children()
    with pytest.raises(ValueError, match="SEED was 0 and is 1"):
        journal(settings={**SETTINGS, "SEED": 1})


def test_a_choice_is_kept_with_exact_predictions():
    cells = [CELLS[1] * 2, CELLS[0] * 2]
    journal().write_choice(2, cells, np.float32([0.1, 0.7]).tolist())
    assert journal().choices == {2: (cells, [float(np.float32(0.1)), float(np.float32(0.7))])}


@pytest.mark.parametrize(
    "content", ["[]", '{"2": 3}', '{"2": [[[0, "linear"]], [0.5]]}', '{"2": [[], [0.5]]}', '{"x": [[], []]}', "{"]
)
def test_a_damaged_choice_is_named(content):
    two_children()
    Path("logs/trial/choices.json").write_text(content)
    with pytest.raises(ValueError, match="choices.json.* is damaged"):
        journal()


def test_children_of_two_blocks_need_their_choice():
    two_children()
    two_blocks = Child(3, CELLS[0] * 2, 0.5, seed=7, reward=0.5)
    with open(TABLE, "a") as file:
        file.write(row(two_blocks, "digits", SPACE.encode(two_blocks.cell)))
    with pytest.raises(ValueError, match="choices.json is gone"):
        journal()


def test_a_child_without_its_row_is_trained_again(monkeypatch):
    kept = journal()

    def killed(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("pnas.journal.journal.append", killed)
        kept.write_child(child(1, 0.5, history={"loss": [1.0]}))
    kept.lock.close()
    assert journal().finished == {}
    assert Path("logs/trial/children/0001/events.out.tfevents").exists()


def test_a_missing_best_network_is_warned_about():
    two_children()
    Path("weights/trial/best.keras").unlink()
    with pytest.warns(UserWarning, match="best.keras, the network of child 1, is gone"):
        journal()


def test_without_restore_everything_is_moved_aside():
    two_children()
    before = TABLE.read_bytes(), TEXT.read_bytes()
    assert journal(restore=False).finished == {}
    (table,), (text,) = Path("logs").glob("trial.*/children.csv"), Path("architectures").glob("trial.*.txt")
    assert (table.read_bytes(), text.read_bytes()) == before
    assert [path.read_bytes() for path in Path("weights/trial").glob("best.*.keras")] == [b"network 1"]


@pytest.mark.parametrize("wrong", ["1,digits,1,x,[[1. 0.]],0.5,nan,1,1,1,1,7,\n", "a\n", "1,2,3\n"])
def test_a_damaged_row_is_named(wrong):
    two_children()
    with open(TABLE, "a") as file:
        file.write(wrong)
    with pytest.raises(ValueError, match="children.csv: row .* is damaged"):
        journal()


def test_a_failed_child_is_never_the_best():
    kept = journal()
    kept.write_child(child(1, 0.0, error="FloatingPointError: the loss diverged"))
    assert kept.best is None
    assert "Failed: FloatingPointError: the loss diverged\n" in TEXT.read_text()


def test_only_its_own_unfinished_files_are_removed():
    two_children()
    others = [
        Path(f"{path}.7.tmp")
        for path in ("architectures/other.txt", "logs/other", "weights/trial/architecture_best.keras")
    ]
    half_written = [
        Path(f"{path}.7.tmp") for path in (TEXT, TABLE, "weights/trial/best.keras", "logs/trial/surrogate.csv")
    ]
    for path in others + half_written:
        path.write_text("")
    journal()
    assert all(path.exists() for path in others) and not any(path.exists() for path in half_written)


def test_a_first_search_leaves_the_files_of_a_retraining_in_place():
    kept = Path("logs/trial/architecture.csv")
    kept.parent.mkdir(parents=True)
    kept.write_text("epoch")
    with warnings.catch_warnings(action="error"):
        journal()
    assert kept.read_text() == "epoch" and TABLE.exists()


@pytest.fixture
def experiment():
    """Function (content of settings.json) that opens a Journal with it."""
    journal().lock.close()

    def opened(content):
        Path("logs/trial/settings.json").write_bytes(content)
        journal().lock.close()

    return opened


JSON = json.dumps(SETTINGS).encode()


@some
@given(
    st.one_of(
        damaged(JSON), st.binary(), st.sampled_from([b"[]", b"3", b"null", b'"SEED"', b"[" * 100000, b"\0" * MEGABYTE])
    )
)
def test_damaged_settings_are_refused_in_one_line(experiment, content):
    try:
        experiment(content)
    except ValueError as error:
        assert "logs/trial" in str(error) and "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert json.loads(content) == SETTINGS

"""Finalists are read back as they were written."""

import pytest

from pnas.child import Child
from pnas.encoder import StateSpace
from pnas.journal.finalists import FinalistsJournal, read_winner

SPACE = StateSpace(1, ["linear"])
CELL = [0, "linear", 0, "linear"]


def journal(folder):
    return FinalistsJournal(str(folder), "digits", SPACE)


def test_nothing_is_chosen_at_first(tmp_path):
    assert journal(tmp_path).chosen is None and journal(tmp_path).read(1) == []


def test_finalists_and_their_trainings_are_read_again(tmp_path):
    first = journal(tmp_path)
    first.choose([3, 7])
    trained = [Child(number, CELL, 0.5, seed=9, reward=0.75) for number in (7, 3)]
    for child in trained:
        first.write(2, child)
    assert journal(tmp_path).chosen == [3, 7]
    assert journal(tmp_path).read(2) == trained[::-1] and journal(tmp_path).read(1) == []


@pytest.mark.parametrize("content", ["{}", '{"numbers": 3}', '{"numbers": ["3"]}', "{", "[3]"])
def test_a_damaged_choice_is_named(content, tmp_path):
    journal(tmp_path).choose([1])
    (tmp_path / "finalists" / "chosen.json").write_text(content)
    with pytest.raises(ValueError, match="chosen.json is damaged"):
        journal(tmp_path)


def test_the_winner_is_read_again(tmp_path):
    assert read_winner(tmp_path) is None
    journal(tmp_path).write_winner(7, [0.5, 1.0])
    assert read_winner(tmp_path) == (7, [0.5, 1.0])


@pytest.mark.parametrize(
    "content", ["{}", '{"number": 7}', '{"number": "7", "rewards": [0.5]}', "[", '{"rewards": []}']
)
def test_a_damaged_winner_is_named(content, tmp_path):
    journal(tmp_path).write_winner(7, [0.5])
    (tmp_path / "finalists" / "winner.json").write_text(content)
    with pytest.raises(ValueError, match="winner.json is damaged"):
        read_winner(tmp_path)

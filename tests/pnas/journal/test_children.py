"""Reading the table of children: damage is one clear error, and nothing in it is run."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import MEGABYTE, damaged, many

from pnas.child import Child, as_fraction, counted
from pnas.encoder import StateSpace
from pnas.journal.children import header, read_table, row

SPACE = StateSpace(2, ["3x3 bconv", "linear"], input_lookback_depth=-1, input_lookforward_depth=None)


CELL = [0, "3x3 bconv", -1, "linear"]


STRING = SPACE.encode(CELL)


CHILDREN = [Child(number, CELL, 0.5, seed=7, reward=number / 4, error='no, "none"') for number in (1, 2, 3)]


TABLE = (header() + "".join(row(child, "digits", STRING) for child in CHILDREN)).encode()


@many
@given(st.one_of(damaged(TABLE), damaged(TABLE).flatmap(damaged), st.binary(), damaged(header().encode())))
def test_a_damaged_table_is_read_whole_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "damaged.csv"
    path.write_bytes(content)
    try:
        _, children = read_table(path)
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000
    else:
        for child in children:
            assert child.number > 0 and 0 <= child.reward <= 1 and len(child.cell) % 4 == 0


@pytest.mark.parametrize(
    "architecture",
    [
        "(" * 10000,
        "-" * 100000 + "1",
        "[" * MEGABYTE,
        "x" * MEGABYTE,
        "__import__('os').system('touch harm')",
        "[0]",
        "{}",
        "",
    ],
)
def test_an_architecture_that_is_not_a_cell_is_refused_and_not_evaluated(architecture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "children.csv"
    path.write_bytes(TABLE.replace(repr(CELL).encode(), architecture.encode(), 1))
    with pytest.raises(ValueError, match="children.csv: .* is damaged"):
        read_table(path)
    assert os.listdir(tmp_path) == ["children.csv"]


@pytest.mark.parametrize("reward", ["nan", "inf", "-0.5", "2", "1e400", "one"])
def test_a_reward_outside_0_to_1_is_refused(reward, tmp_path):
    path = tmp_path / "children.csv"
    path.write_bytes(TABLE.replace(b",0.25,", f",{reward},".encode(), 1))
    with pytest.raises(ValueError, match="children.csv: row 1 is damaged"):
        read_table(path)


def test_two_rows_of_one_number_are_refused(tmp_path):
    path = tmp_path / "children.csv"
    path.write_bytes(TABLE + row(CHILDREN[0], "digits", STRING).encode())
    with pytest.raises(ValueError, match="row 1 is damaged .*two of this number"):
        read_table(path)


def test_an_accuracy_keeps_its_fraction_and_its_float32():
    assert as_fraction(0.800599992275238) == 0.8006  # 4,003 of 5,000 images
    for images in (5000, 597, 160):
        for correct in range(images + 1):
            measured = np.float32(correct) / np.float32(images)
            reward = as_fraction(measured)
            assert np.float32(reward) == measured and round(reward * images, 3) == correct
            assert images != 5000 or reward == correct / images


def test_rewards_of_a_table_with_all_digits_are_the_same_fractions(tmp_path):
    path = tmp_path / "children.csv"
    path.write_bytes(TABLE.replace(b",0.25,", b",0.800599992275238,"))
    assert [child.reward for child in read_table(path)[1]] == [0.8006, 0.5, 0.75]


def test_one_is_counted_as_one():
    assert [counted(number) for number in (0, 1, 2)] == ["0 children", "1 child", "2 children"]
    assert counted(1, "block", "blocks") == "1 block"

"""Files and strings that are damaged or hostile: one clear error each, which names the file, and nothing in them is run."""

import json
import os
from pathlib import Path

import keras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pnas.encoder import StateSpace
from pnas.journal.children import Child, header, read_table, row
from pnas.journal.files import is_experiment_name
from pnas.journal.journal import Journal
from pnas.model import build_child
from pnas.training.architecture import load_network
from pnas.training.callbacks import file_content

SPACE = StateSpace(2, ["3x3 bconv", "linear"], input_lookback_depth=-1, input_lookforward_depth=None)
CELL = [0, "3x3 bconv", -1, "linear"]
STRING = SPACE.encode(CELL)
CHILDREN = [Child(number, CELL, 0.5, seed=7, reward=number / 4, error='no, "none"') for number in (1, 2, 3)]
TABLE = (header() + "".join(row(child, "digits", STRING) for child in CHILDREN)).encode()
SETTINGS = {"DATASET": "digits", "SEED": 0}
MEGABYTE = 2**20

many = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
some = settings(many, max_examples=40)


@st.composite
def damaged(draw, content):
    """`content`, bytes or text, cut off, or with a piece of it replaced, doubled or left out."""
    piece = st.binary(max_size=6) if isinstance(content, bytes) else st.text(max_size=6)
    first, last = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
    last = min(last, first + draw(st.sampled_from([0, 1, 8, len(content)])))
    middle = draw(st.one_of(piece, st.just(content[first:last] * 2), st.just(content[:0])))
    return content[:first] + middle + (content[last:] if draw(st.booleans()) else content[:0])


def other_spaces(string):
    return st.sampled_from("\0\t\n\r\x0b\x1c\x85\xa0\u2003\u2028\u3000").map(lambda space: string.replace(" ", space))


@many
@given(st.one_of(damaged(STRING), other_spaces(STRING), st.text(), st.binary(), st.none()))
def test_a_malformed_representation_string_is_refused(string):
    try:
        cell = SPACE.decode(string)
    except ValueError as error:
        assert "Accepted are 1 to 2 blocks" in str(error) and len(str(error)) < 1000
    else:
        assert SPACE.encode(cell) == string


@pytest.mark.parametrize("string", ["[" * MEGABYTE, STRING + " " * MEGABYTE, (STRING + " ") * 20000, "\0" * MEGABYTE])
def test_a_representation_string_of_a_megabyte_is_refused(string):
    with pytest.raises(ValueError, match="Accepted are 1 to 2 blocks"):
        SPACE.decode(string)


@many
@given(st.one_of(damaged(TABLE), damaged(TABLE).flatmap(damaged), st.binary(), damaged(header().encode())))
def test_a_damaged_table_gives_whole_children_or_one_error_that_names_it(tmp_path_factory, content):
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
def test_an_architecture_that_is_no_cell_is_refused_and_not_run(architecture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "children.csv"
    path.write_bytes(TABLE.replace(repr(CELL).encode(), architecture.encode(), 1))
    with pytest.raises(ValueError, match="children.csv: .* is damaged"):
        read_table(path)
    assert os.listdir(tmp_path) == ["children.csv"]


@pytest.mark.parametrize("reward", ["nan", "inf", "-0.5", "2", "1e400", "one"])
def test_a_reward_that_is_no_accuracy_is_refused(reward, tmp_path):
    path = tmp_path / "children.csv"
    path.write_bytes(TABLE.replace(b",0.25,", f",{reward},".encode(), 1))
    with pytest.raises(ValueError, match="children.csv: row 1 is damaged"):
        read_table(path)


def test_two_rows_of_one_number_are_refused(tmp_path):
    path = tmp_path / "children.csv"
    path.write_bytes(TABLE + row(CHILDREN[0], "digits", STRING).encode())
    with pytest.raises(ValueError, match="row 1 is damaged .*two of this number"):
        read_table(path)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Function (bytes of settings.json) -> what a Journal says to an experiment that has them."""
    folder = tmp_path_factory.mktemp("experiment")
    before = os.getcwd()
    os.chdir(folder)
    Journal("trial", SETTINGS, True, SPACE).lock.close()

    def opened(content):
        Path("logs/trial/settings.json").write_bytes(content)
        Journal("trial", SETTINGS, True, SPACE).lock.close()

    yield opened
    os.chdir(before)


JSON = json.dumps(SETTINGS).encode()


@some
@given(
    st.one_of(
        damaged(JSON), st.binary(), st.sampled_from([b"[]", b"3", b"null", b'"SEED"', b"[" * 100000, b"\0" * MEGABYTE])
    )
)
def test_damaged_settings_are_one_error_that_names_them(experiment, content):
    try:
        experiment(content)
    except ValueError as error:
        assert "logs/trial" in str(error) and "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert json.loads(content) == SETTINGS


@pytest.fixture(scope="module")
def network():
    """The bytes of a .keras file."""
    return file_content(build_child([0, "3x3 bconv", 0, "linear"], 1, [2], [10]))


@some
@given(st.data())
def test_a_damaged_network_is_one_error_that_names_it(network, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.keras"
    path.write_bytes(data.draw(st.one_of(damaged(network), st.binary())))
    try:
        load_network(str(path))
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000


def test_code_in_a_network_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: (open("harm", "w"), x)[1])(image)).save("lambda.keras")
    Path("harm").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="lambda.keras cannot be loaded"):
        load_network("lambda.keras")
    assert not Path("harm").exists()


@many
@given(
    st.one_of(
        st.text(), st.sampled_from(["..", ".", "", "a/b", "a\\b", "a\0", "~", "-a", "a\n", "A" * MEGABYTE, "NAME"])
    )
)
def test_an_experiments_name_cannot_leave_its_folders(name):
    if is_experiment_name(name):
        assert os.path.split(os.path.normpath(os.path.join("logs", name))) == ("logs", name) and len(name) <= 64
    else:
        assert name != "NAME"

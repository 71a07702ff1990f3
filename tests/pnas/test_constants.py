"""Constants of train.py: which are accepted, and how wrong ones are named."""

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pnas.backend import keras
from pnas.constants import RULES, check, read_command_line, retrain_command
from pnas.model import OPERATIONS, build_child
from pnas.training import workers

ROOT = Path(__file__).parents[2]


def constants_of_train():
    """dict of the constants of train.py, read without running it."""
    values = {}
    for statement in ast.parse((ROOT / "train.py").read_text()).body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id in RULES:
            values[statement.targets[0].id] = eval(ast.unparse(statement.value), {}, values)
    return values


def test_the_default_constants_are_accepted():
    constants = constants_of_train()
    assert set(constants) == set(RULES)
    assert check(constants, train_arc=True) == []


@pytest.mark.parametrize(
    "name, value",
    [
        ("B", 0),
        ("B", True),
        ("K_", "two"),
        ("NUM_CELL_FILTERS", [16, -1, 32]),
        ("NUM_CELL_FILTERS", [16, 24]),
        ("operators", ["4x4 bconv"]),
        ("operators", ["3x3 bconv", "3x3 bconv"]),
        ("operators", []),
        ("operators", [["3x3 bconv"]]),
        ("DENSE_LAYERS", [32, 11]),
        ("EXPERIMENT_NAME", "../elsewhere"),
        ("EXPERIMENT_NAME", "a/b"),
        ("EXPERIMENT_NAME", "a\n"),
        ("DATASET", "cifar"),
        ("DATASET", None),
        ("DATASET", "images.npy"),
        ("DATASET", "a\0.npz"),
        ("DROPOUT", (True, 1.5, 0.5)),
        ("LEARNING_RATE", 0),
        ("LEARNING_RATE", True),
        ("LEARNING_RATE", (0.01,)),
        ("LEARNING_RATE", (float("nan"), 0.1)),
        ("INPUT_LOOKBACK_DEPTH", 1),
        ("MAX_MACS", 0),
        ("MAX_BINARY_WEIGHTS", 1e6),
        ("TRAIN_SIZE", 55001),
        ("TRAIN_SIZE", 9),
        ("DENSE_LAYERS", []),
        ("REPRESENTATION_STRING", "[[1. 0.]]"),
        ("REPRESENTATION_STRING", "__import__('os')"),
    ],
)
def test_a_wrong_constant_is_named_with_its_value(name, value):
    faults = check({**constants_of_train(), name: value}, train_arc=True)
    assert len(faults) == 1 and faults[0].startswith(name) and repr(value)[:50] in faults[0]


def test_a_users_file_is_checked_when_it_is_read():
    own = {"DATASET": "some/images.npz", "DENSE_LAYERS": [32, 7], "TRAIN_SIZE": 100000}
    assert check({**constants_of_train(), **own}, train_arc=True) == []


@pytest.mark.parametrize("rate", [0.01, 1, (0.01, 0.001), [1, 0.1]])
def test_a_learning_rate_is_one_number_or_two(rate):
    assert check({**constants_of_train(), "LEARNING_RATE": rate}, train_arc=False) == []


@pytest.mark.parametrize("num_cells, deepest", [(1, 0), (2, -1), (3, -2)])
def test_the_deepest_lookback_is_the_last_that_makes_another_network(num_cells, deepest):
    def faults(depth):
        cells = {"NUM_CELLS": num_cells, "NUM_CELL_FILTERS": [2] * num_cells, "INPUT_LOOKBACK_DEPTH": depth}
        return check({**constants_of_train(), **cells, "DENSE_LAYERS": [10]}, train_arc=False)

    def graph(source):
        cell = [source, "3x3 bconv", source, "linear"]
        network = build_child(cell, num_cells, [2] * num_cells, [10], input_shape=(16, 16, 1))
        return {layer["name"]: layer["inbound_nodes"] for layer in network.get_config()["layers"]}

    assert faults(deepest) == [] and (deepest == 0 or graph(deepest) != graph(deepest + 1))
    assert graph(deepest - 1) == graph(deepest - 2)
    (fault,) = faults(deepest - 1)
    accepted = "0" if deepest == 0 else f"an integer from {deepest} to 0"
    assert fault == f"INPUT_LOOKBACK_DEPTH must be {accepted} with NUM_CELLS = {num_cells}, got {deepest - 1}"


@pytest.fixture
def registered(monkeypatch):
    """Function (module, name) that registers an operator as this module would do it."""

    def register(module, name):
        def operator(x, filters, strides, name):
            return x

        operator.__module__ = module
        monkeypatch.setitem(OPERATIONS, name, operator)

    return register


@pytest.mark.parametrize("module", ["__main__", "my_operators"])
def test_an_operator_that_workers_would_not_know_is_named(module, registered):
    registered("pnas.model", "5x1 bconv")
    registered(module, "9x9 bconv")
    constants = {**constants_of_train(), "operators": ["3x3 bconv", "5x1 bconv", "9x9 bconv"]}
    (fault,) = check(constants, train_arc=False)
    assert fault.startswith("operators: '9x9 bconv' must be registered in pnas/model.py or in a module that it imports")


def test_an_operator_of_another_module_that_workers_know_is_accepted(registered):
    registered("my_operators", "linear")  # a process that imports pnas.model has an operator of this name
    assert check({**constants_of_train(), "operators": ["linear"]}, train_arc=False) == []


@pytest.mark.parametrize("backend", ["torch", "no such backend"])
def test_a_backend_that_cannot_be_imported_is_named_in_one_line(backend, tmp_path):
    """A package that cannot be imported stands in for one that is not installed."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\")\n")
    environment = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, ROOT / "train.py"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("train.py: Keras's backend cannot be imported (")
    assert line.endswith(f"). KERAS_BACKEND must be 'tensorflow' or 'jax', and installed; got {backend!r}")


def test_a_backend_that_cannot_train_a_child_is_named(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    assert check(constants_of_train(), False) == ["KERAS_BACKEND must be 'tensorflow' or 'jax', got 'torch'"]


@pytest.mark.parametrize(
    "backend, command", [("dask", 'pip install "dask[distributed]"'), ("ray", 'pip install "ray"')]
)
def test_a_missing_package_is_named_with_its_pip_command(backend, command, monkeypatch):
    monkeypatch.setitem(workers.PACKAGES, backend, "there_is_no_such_package")
    constants = {**constants_of_train(), "PARALLEL_BACKEND": backend, "SCHEDULER": "tcp://host:8786"}
    (fault,) = check(constants, train_arc=False)
    assert "PARALLEL_BACKEND" in fault and command in fault


@pytest.fixture
def given(monkeypatch):
    """Function (arguments) -> the constants that this command line of train.py gives."""

    def read(*arguments):
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        return read_command_line(ROOT / "train.py", "")

    return read


def test_train_arc_takes_no_value_or_true_or_false(given):
    assert given()["train_arc"] is False and given("--train_arc")["train_arc"] is True
    assert given("--train_arc", "--B", "2") == {"train_arc": True, "summary": False, "B": 2}
    assert given("--train_arc", "True", "--B", "2") == {"train_arc": True, "summary": False, "B": 2}
    assert given("--B", "2", "--train_arc=False") == {"train_arc": False, "summary": False, "B": 2}
    assert check(constants_of_train(), given("--train_arc", "yes")["train_arc"]) == [
        "train_arc must be True or False, got 'yes'"
    ]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--K", "5"], "there is no constant --K; did you mean --K_?"),
        (["--OPERATORS", "['linear']"], "there is no constant --OPERATORS; did you mean --operators?"),
        (["--EPOCHS=3"], "there is no constant --EPOCHS; did you mean --NUM_EPOCHS or --MAX_EPOCHS?"),
        (["--train-arc"], "there is no constant --train-arc; did you mean --train_arc?"),
        (["--colour", "red"], "there is no constant --colour; see --help"),
        (["--B"], "argument --B: expected one argument"),
        (["--operators", "['3x3", "bconv']"], '"bconv\']" belongs to no constant; quote a value with spaces'),
    ],
)
def test_a_wrong_argument_gets_one_line_with_the_nearest_constants(arguments, message, given, capsys):
    with pytest.raises(SystemExit) as end:
        given(*arguments)
    assert end.value.code == 2 and capsys.readouterr() == ("", f"train.py: {message}\n")


def test_the_retraining_command_is_the_one_that_was_typed_and_retrains(given):
    operators, string = "['3x3 bconv', 'linear']", "[[1.]] [[1. 0.]]"
    typed = ["/else where/train.py", "--train_arc", "False", "--operators", operators]
    python, script, *arguments = shlex.split(retrain_command(typed, string))
    assert (python, script) == ("python", typed[0])
    assert given(*arguments) == {
        "train_arc": True,
        "summary": False,
        "operators": ["3x3 bconv", "linear"],
        "REPRESENTATION_STRING": string,
    }

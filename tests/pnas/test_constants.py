"""Constants of train.py: which are accepted, and how wrong ones are named."""

import ast
from pathlib import Path

import pytest

from pnas.constants import RULES, check
from pnas.training import workers
from pnas.training.backend import keras

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
        ("LEARNING_RATE", 0.01),
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

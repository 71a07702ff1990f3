"""Constants of train.py: which are accepted, and how wrong ones are named."""

import dataclasses

import pytest
from train_constants import constants_of_train, settings_of_train

import pnas.backend  # noqa: F401  (imports Keras without its messages)
from pnas import constants
from pnas.command_line import conflicts
from pnas.constants import RULES, Settings, changes, checksum, checksums, faults
from pnas.model import OPERATIONS, build_child


def found(action="train_arc", **changes):
    """The faults and, if there is none, the conflicts of train.py's constants with changes."""
    given = {**constants_of_train(), **changes}
    return faults(given) or list(conflicts(Settings.of(given), action))


def test_the_default_constants_are_accepted():
    assert set(constants_of_train()) == set(RULES)
    assert found("train_arc") == found("summary") == found("search") == []


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
        ("EXPERIMENT_NAME", "compare"),
        ("EXPERIMENT_NAME", "Compare"),
        ("DATASET", "cifar"),
        ("DATASET", None),
        ("DATASET", "images.npy"),
        ("DATASET", "a\0.npz"),
        ("DATASET", "a" * 5000),
        ("DROPOUT", (True, 1.5, 0.5)),
        ("LEARNING_RATE", 0),
        ("LEARNING_RATE", True),
        ("LEARNING_RATE", (0.01,)),
        ("LEARNING_RATE", (float("nan"), 0.1)),
        ("INPUT_LOOKBACK_DEPTH", 1),
        ("MAX_MACS", 0),
        ("REUSE", []),
        ("REUSE", ["quick", "a/b"]),
        ("MAX_BINARY_WEIGHTS", 1e6),
        ("MAX_CHILD_MINUTES", 0),
        ("MAX_CHILD_MINUTES", True),
        ("TRAIN_SIZE", 55001),
        ("TRAIN_SIZE", 9),
        ("DENSE_LAYERS", []),
        ("REPRESENTATION_STRING", "[[1. 0.]]"),
        ("REPRESENTATION_STRING", "__import__('os')"),
    ],
)
def test_a_wrong_constant_is_named_with_its_value(name, value):
    (line,) = found(**{name: value})
    assert line.startswith(name) and repr(value)[:50] in line


def test_a_users_file_is_checked_when_it_is_read():
    assert found(DATASET="some/images.npz", DENSE_LAYERS=[32, 7], TRAIN_SIZE=100000) == []


@pytest.mark.parametrize("rate", [0.01, 1, (0.01, 0.001), [1, 0.1]])
def test_a_learning_rate_is_one_number_or_two(rate):
    assert found("search", LEARNING_RATE=rate) == []


def test_one_learning_rate_stands_for_both():
    assert settings_of_train(LEARNING_RATE=0.25).LEARNING_RATE == (0.25, 0.25)


@pytest.mark.parametrize(
    "name, least, most", [("LEARNING_RATE", 1e-12, 10), ("REGULARIZATION", 0, 1e9), ("REWARD_NOISE", 0, 1)]
)
def test_a_message_names_the_range_that_is_accepted(name, least, most):
    assert found(**{name: least}) == found(**{name: most}) == []
    for value in (least - 1e-13, most * 1.01):
        (line,) = found(**{name: value})
        assert f"a number from {least:g} to {most:g}" in line


def test_children_are_stopped_early_from_four_epochs_on_and_not_for_a_front():
    assert settings_of_train(MAX_EPOCHS=4).stops_early
    for changed in ({"STOP_EARLY": False}, {"MAX_EPOCHS": 3}, {"PARETO": "macs"}):
        assert not settings_of_train(**changed).stops_early


@pytest.mark.parametrize(
    "finalists, pareto, children, expected",
    [(5, None, 42, 5), (5, None, 3, 3), (1, None, 42, 0), (0, None, 42, 0)]
    + [(5, "macs", 42, 30), (5, "binary_weights", 12, 12), (1, "macs", 42, 6), (1, "macs", 1, 1), (0, "macs", 42, 0)],
)
def test_a_front_has_six_times_as_many_finalists(finalists, pareto, children, expected):
    assert settings_of_train(FINALISTS=finalists, PARETO=pareto).most_finalists(children) == expected


@pytest.mark.parametrize("reuse", ["more", ["quick", "more"]])
def test_an_experiment_does_not_reuse_itself(reuse):
    assert found("search", EXPERIMENT_NAME="pnas", REUSE=reuse) == found("train_arc", EXPERIMENT_NAME="more") == []
    (line,) = found("search", EXPERIMENT_NAME="more", REUSE=reuse)
    assert line == f"REUSE must name other experiments than EXPERIMENT_NAME = 'more', got {reuse!r}"


def test_ray_ends_no_child_that_takes_too_long():
    assert found("search", MAX_CHILD_MINUTES=0.5) == []
    lines = found("search", MAX_CHILD_MINUTES=0.5, PARALLEL_BACKEND="ray")
    assert "MAX_CHILD_MINUTES must be None with PARALLEL_BACKEND 'ray', got 0.5" in lines


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings_of_train().B = 1


@pytest.mark.parametrize("num_cells, deepest", [(1, 0), (2, -1), (3, -2)])
def test_the_deepest_lookback_is_the_last_that_makes_another_network(num_cells, deepest):
    def lines(depth):
        cells = {"NUM_CELLS": num_cells, "NUM_CELL_FILTERS": [2] * num_cells, "INPUT_LOOKBACK_DEPTH": depth}
        return found("search", **cells, DENSE_LAYERS=[10])

    def graph(source):
        cell = [source, "3x3 bconv", source, "linear"]
        network = build_child(cell, num_cells, [2] * num_cells, [10], input_shape=(16, 16, 1))
        return {layer["name"]: layer["inbound_nodes"] for layer in network.get_config()["layers"]}

    assert lines(deepest) == [] and (deepest == 0 or graph(deepest) != graph(deepest + 1))
    assert graph(deepest - 1) == graph(deepest - 2)
    (fault,) = lines(deepest - 1)
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


def test_a_fault_of_another_constant_needs_no_operators(monkeypatch):
    """They import Keras, which reads its number of threads then."""
    monkeypatch.setattr(constants, "_operations", None)
    assert constants.faults({"DROP_INPUT": 2}) == ["DROP_INPUT must be a number from 0 to 0.99, got 2"]


def test_operators_that_workers_would_not_know_are_named(registered):
    registered("pnas.model", "5x1 bconv")
    registered("__main__", "9x9 bconv")
    registered("my_operators", "8x8 bconv")
    registered("my_operators", "linear")  # a process that imports pnas.model has an operator of this name
    changes = {"operators": ["5x1 bconv", "9x9 bconv", "8x8 bconv", "linear"]}
    changes["REPRESENTATION_STRING"] = "[[1. 0. 0.]] [[1. 0. 0. 0.]] [[1. 0. 0.]] [[0. 0. 0. 1.]]"
    message = "operators: '9x9 bconv', '8x8 bconv' must be registered in pnas/model.py or in a module that"
    for (fault,) in (found("search", **changes), found("train_arc", TRAIN_SEEDS=2, **changes)):
        assert fault.startswith(message)
    assert found("train_arc", **changes) == found("train_arc", TRAIN_SEEDS=2, N_WORKERS=1, **changes) == []
    assert found("summary", TRAIN_SEEDS=2, **changes) == []


@pytest.mark.parametrize(
    "scheduler, is_accepted",
    [("tcp://host:8786", True), ("host:8786", True), ("tcp://[::1]:8786", True), ("tls://10.0.0.1:1", True)]
    + [(wrong, False) for wrong in ("host", "tcp://host", "http://host:8786", "tcp://host:port", None)],
)
def test_the_address_of_a_dask_cluster_names_host_and_port(scheduler, is_accepted):
    pytest.importorskip("distributed")
    lines = found("search", PARALLEL_BACKEND="dask", SCHEDULER=scheduler)
    assert [line.split(" must ")[0] for line in lines] == ["SCHEDULER"] * (not is_accepted)


@pytest.mark.parametrize(
    "backend, command", [("dask", 'pip install "dask[distributed]"'), ("ray", 'pip install "ray"')]
)
def test_a_missing_package_is_named_with_its_pip_command(backend, command, monkeypatch):
    monkeypatch.setitem(constants.PACKAGES, backend, ("there_is_no_such_package", constants.PACKAGES[backend][1]))
    (fault,) = found("search", PARALLEL_BACKEND=backend, SCHEDULER="tcp://host:8786")
    assert "PARALLEL_BACKEND" in fault and command in fault


CODE = """def double(x):
    return 2 * x  # twice
"""


@pytest.mark.parametrize(
    "code, is_same",
    [
        (CODE.replace("  # twice", ""), True),
        (CODE.replace("):", '):\n    """Twice x."""\n'), True),
        (CODE.replace("2 * x", "(\n        2 * x\n    )"), True),
        (f"# Doubles.\n\n{CODE}", True),
        (CODE.replace("2", "3"), False),
        (CODE.replace("2", "'2'"), False),
        (CODE + "y = 1", False),
    ],
)
def test_a_checksum_minds_code_not_its_comments_and_layout(code, is_same):
    assert (checksum(code) == checksum(CODE)) == is_same


def test_a_search_depends_on_its_recipe_and_operators(monkeypatch):
    settings = settings_of_train(operators=["3x3 bconv", "linear"])
    kept = settings.deciding()
    assert changes(kept, settings.deciding()) == {}
    monkeypatch.setattr(constants, "RECIPE", constants.RECIPE.replace("squared_hinge", "hinge"))
    monkeypatch.setitem(OPERATIONS, "linear", OPERATIONS["3x3 maxpool"])
    monkeypatch.setitem(OPERATIONS, "3x3 avgpool", OPERATIONS["3x3 maxpool"])  # not one of this search
    assert [*changes(kept, settings.deciding()).values()] == [
        "the recipe in pnas/training/recipe.py was changed",
        "the operator 'linear' was changed",
    ]


def test_other_operators_are_no_changed_ones():
    kept, given = (settings_of_train(operators=names).deciding() for names in (["linear"], ["linear", "3x3 bconv"]))
    assert changes(kept, given) == {"operators": "operators was ['linear'] and is ['linear', '3x3 bconv']"}


def test_early_stopping_that_follows_from_another_constant_is_not_named():
    kept, longer, off = (settings_of_train(**given) for given in ({"MAX_EPOCHS": 2}, {}, {"STOP_EARLY": False}))
    assert [*changes(kept.deciding(), longer.deciding())] == ["MAX_EPOCHS"]
    assert [*changes(longer.deciding(), off.deciding())] == ["STOP_EARLY"]


def test_a_checksum_is_that_of_the_code_which_was_imported(tmp_path, monkeypatch):
    path = tmp_path / "edited_operators.py"
    path.write_text("def edited(x, filters, strides, name):\n    return x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import edited_operators

    monkeypatch.setitem(OPERATIONS, "edited", edited_operators.edited)
    before = checksums(["edited"])
    path.write_text("def edited(x, filters, strides, name):\n    return -x  # by an editor, during the search\n")
    assert checksums(["edited"]) == before

"""The command line of train.py: what it accepts, and how it refuses the rest."""

import dataclasses
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from train_constants import settings_of_train

from pnas.backend import keras
from pnas.command_line import import_keras, read_command_line, retrain_command

ROOT = Path(__file__).parents[2]


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


def test_a_backend_that_cannot_train_a_child_is_named(monkeypatch, capsys):
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(SystemExit):
        import_keras(threads=1)
    assert (
        capsys.readouterr().err == "train.py: KERAS_BACKEND must be 'tensorflow' or 'jax', and installed; got 'torch'\n"
    )


@pytest.fixture
def read(monkeypatch):
    """Function (arguments) -> the Settings and the action of this command line of train.py."""

    def read(*arguments):
        monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
        return read_command_line(settings_of_train(), str(ROOT / "train.py"), "")

    return read


def refused(read, capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        read(*arguments)
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    return err


def test_a_constant_of_the_command_line_takes_the_place_of_the_scripts(read):
    settings, action = read("--B", "2", "--operators", "['linear']", "--EXPERIMENT_NAME", "7")
    assert settings == settings_of_train(B=2, operators=["linear"], EXPERIMENT_NAME="7") and action == "search"


@pytest.mark.parametrize("text, names", [("42", "42"), ("1e5", "1e5"), ("quick", "quick"), ("['a', '7']", ["a", "7"])])
def test_an_experiment_to_reuse_may_be_named_like_a_number(text, names, read):
    assert read("--REUSE", text)[0] == settings_of_train(REUSE=names) and read("--REUSE", "None")[0].REUSE is None


def test_a_value_that_python_cannot_make_is_kept_as_text(read):
    assert read("--K_", "{[]: 1}")[0].K_ == "{[]: 1}"  # and is refused by the rule of K_


def test_a_script_may_have_constants_of_its_own(read, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text('"""Mine."""\nSMALL = [2, 2, 2]\nfirst, second = 1, 2\nB = 3  # blocks\n')
    monkeypatch.setattr(sys, "argv", ["mine.py", "--B", "2"])
    settings, _ = read_command_line(settings_of_train(), str(tmp_path / "mine.py"), "")
    assert settings == settings_of_train(B=2)


def test_constants_may_be_written_in_any_way_that_python_has(tmp_path, monkeypatch, capsys):
    """Annotated, two at once, after an import, in a condition; of a constant that is assigned twice the last counts."""
    script = "import os\nB: int = 3  # first\nB, K_ = 3, 7  # last\nif os:\n    ROUNDS = 1\nSEED = 1  # of all\n"
    (tmp_path / "mine.py").write_text(script)
    changes = {"B": 2, "K_": 5, "ROUNDS": 4, "SEED": 9}
    monkeypatch.setattr(sys, "argv", ["mine.py", *(f"--{name}={value}" for name, value in changes.items())])
    settings, _ = read_command_line(settings_of_train(), str(tmp_path / "mine.py"), "")
    assert settings == settings_of_train(**changes)
    monkeypatch.setattr(sys, "argv", ["mine.py", "--help"])
    with pytest.raises(SystemExit):
        read_command_line(settings_of_train(), str(tmp_path / "mine.py"), "")
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "--B INT last (default: (3, 7))" in lines and "--SEED INT of all (default: 1)" in lines


@pytest.mark.parametrize("name", ["dry_run", "train_arc", "summary"])
def test_an_action_takes_no_value_or_true_or_false(name, read, capsys):
    assert read()[1] == read(f"--{name}=False")[1] == read("--B", "2", f"--{name}", "False")[1] == "search"
    assert read(f"--{name}")[1] == read(f"--{name}", "--B", "2")[1] == read(f"--{name}", "True")[1] == name
    for value in ("yes", "5"):
        message = f"train.py: {name} must be True or False, got {int(value) if value == '5' else value!r}\n"
        assert refused(read, capsys, f"--{name}", value) == message


def test_a_dry_run_is_no_training(read):
    assert read("--train_arc", "--summary", "--dry_run")[1] == "dry_run"


def test_a_dropout_rate_reaches_dropout_and_the_other_one_stays(read, capsys):
    use, drop_input, drop_hidden = settings_of_train().DROPOUT
    assert (use, 0.15, drop_hidden) == read("--DROP_INPUT", "0.15")[0].DROPOUT
    assert (use, drop_input, 0.45) == read("--DROP_HIDDEN", "0.45")[0].DROPOUT
    assert read("--DROPOUT", "(True, 0.1, 0.3)", "--DROP_INPUT", "0.15")[0].DROPOUT == (True, 0.1, 0.3)
    assert refused(read, capsys, "--DROP_INPUT", "1") == "train.py: DROP_INPUT must be a number from 0 to 0.99, got 1\n"


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
def test_a_wrong_argument_gets_one_line_with_the_nearest_constants(arguments, message, read, capsys):
    assert refused(read, capsys, *arguments) == f"train.py: {message}\n"


def test_the_retraining_command_is_the_one_that_was_typed_and_retrains(read, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    operators, string = "['3x3 bconv', 'linear']", "[[1.]] [[1. 0.]]"
    typed = ["/else where/train.py", "--train_arc", "False", "--operators", operators]
    python, script, *arguments = shlex.split(retrain_command(typed, string))
    assert (python, script) == ("python", typed[0])
    settings = settings_of_train(operators=["3x3 bconv", "linear"], REPRESENTATION_STRING=string)
    assert read(*arguments) == (settings, "train_arc")
    python, script, *arguments = shlex.split(retrain_command([*typed, "--EXPERIMENT_NAME", "search"], string, "child"))
    assert read(*arguments) == (dataclasses.replace(settings, EXPERIMENT_NAME="child"), "train_arc")


def test_the_retraining_command_names_the_keras_backend(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert retrain_command(["train.py"], "[[1.]]").startswith("KERAS_BACKEND=jax python train.py --train_arc ")

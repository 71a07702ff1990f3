"""The command line of train.py: any constant, given as --NAME VALUE, and what is done; and the checks of both."""

import argparse
import ast
import dataclasses
import difflib
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from pnas.constants import FIELDS, PACKAGES, RULES, TRAINING_IMAGES, Settings, faults

ACTIONS = {  # -> its heading in --help, its help text
    "dry_run": ("search", "show what the search would train, its time, memory and disk; nothing is written"),
    "train_arc": ("retraining", "train REPRESENTATION_STRING instead of searching"),
    "summary": ("retraining", "show the network of REPRESENTATION_STRING and its costs"),
}


def refuse(lines: Iterable[str]) -> NoReturn:
    """Prints what is wrong, a line each, and ends the program with exit code 2."""
    print(*(f"train.py: {line}" for line in lines), sep="\n", file=sys.stderr)
    sys.exit(2)


def read_command_line(settings: Settings, script: str, description: str) -> tuple[Settings, str]:
    """The settings of a script with the constants of the command line in their place. Refuses other arguments.

    Args:
        settings: the constants as they are in the script.
        script: its path. The comment to the right of a constant is its help text.
        description: first lines of the help text.
    Returns:
        The settings, not checked yet, and what is done: 'search' or one of ACTIONS.
    """
    given = _parse(script, description)
    actions = {name: given.pop(name) for name in ACTIONS}
    rates = {name: given.pop(name) for name in ("DROP_INPUT", "DROP_HIDDEN") if name in given}
    no_bools = {name: value for name, value in actions.items() if type(value) is not bool}
    wrong = [f"{name} must be True or False, got {value!r:.200}" for name, value in no_bools.items()]
    wrong += faults(rates) if rates else []
    if wrong:
        refuse(wrong)
    if rates and "DROPOUT" not in given:
        use, *others = settings.DROPOUT
        given["DROPOUT"] = (use, *(rates.get(name, rate) for name, rate in zip(("DROP_INPUT", "DROP_HIDDEN"), others)))
    action = next((name for name in ("dry_run", "summary", "train_arc") if actions[name]), "search")
    return dataclasses.replace(settings, **given), action


def _parse(script, description):
    """dict of what was given, each parsed as a Python literal where its rule is no text and this is possible."""
    source = Path(script).read_text()
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    texts = {}  # of a constant that is assigned twice, the last one
    for statement in ast.parse(source).body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)) and statement.value:
            text = f"{comments.get(statement.end_lineno, '')} (default: {ast.unparse(statement.value)})"
            names = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
            texts |= {node.id: text for node in names if isinstance(node.ctx, ast.Store)}
    parser = argparse.ArgumentParser(
        usage="%(prog)s [--dry_run | --train_arc | --summary] [--CONSTANT VALUE ...]",
        description=description,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=120),
    )
    titles = dict.fromkeys(field.metadata["group"] for field in FIELDS.values())
    groups = {title: parser.add_argument_group(title) for title in titles}
    for name, (title, text) in ACTIONS.items():
        groups[title].add_argument(f"--{name}", nargs="?", type=_literal, const=True, default=False, help=text)
    for name, rule in RULES.items():
        groups[FIELDS.get(name, FIELDS["DROPOUT"]).metadata["group"]].add_argument(
            f"--{name}",
            type={"TEXT": str, "TEXT|LIST": _text_or_list}.get(rule.kind, _literal),
            metavar=rule.kind,
            help=texts.get(name, "").replace("%", "%%"),
        )
    try:
        given, unknown = parser.parse_known_args()
    except argparse.ArgumentError as error:
        refuse([str(error)])
    if unknown:
        names = [name for name in unknown if name.startswith("--")]
        refuse(map(_nearest, names) if names else [f"{unknown[0]!r} belongs to no constant; quote a value with spaces"])
    return vars(given)


def _nearest(argument):
    """What to say of an argument that is no constant."""
    constants = {name.upper(): f"--{name}" for name in [*RULES, *ACTIONS]}
    name = argument.split("=")[0]
    near = [constants[match] for match in difflib.get_close_matches(name[2:].upper(), constants)]
    return f"there is no constant {name:.80}; " + (f"did you mean {' or '.join(near)}?" if near else "see --help")


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


def _text_or_list(text):
    """A text, a list or None; an experiment may be named 42."""
    value = _literal(text)
    return text if isinstance(value, int | float | complex) else value


def import_keras(threads: Any) -> None:
    """Imports Keras and its backend. Ends the program with one line if this fails.

    Args:
        threads: number of threads of the backend, which reads it when it is imported.
    """
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(threads), TF_NUM_INTEROP_THREADS=str(threads))
    accepted = "KERAS_BACKEND must be 'tensorflow' or 'jax', and installed"
    try:
        from pnas.backend import keras
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        got = os.environ.get("KERAS_BACKEND")
        refuse([f"Keras's backend cannot be imported ({reason:.300}). {accepted}; got {got!r}"])
    if keras.backend.backend() not in ("tensorflow", "jax"):
        refuse([f"{accepted}; got {keras.backend.backend()!r}"])


def check(settings: Settings, action: str) -> None:
    """Refuses settings that are not accepted, or do not go together, with a line for each; see `read_command_line`."""
    wrong = faults({name: getattr(settings, name) for name in FIELDS}) or list(conflicts(settings, action))
    if wrong:
        refuse(wrong)


def conflicts(settings: Settings, action: str) -> Iterator[str]:
    """A line for each pair of constants that do not go together; every constant is accepted by its own rule.

    Args:
        settings: Settings.
        action: 'search' or one of ACTIONS.
    """
    s = settings
    if len(s.NUM_CELL_FILTERS) != s.NUM_CELLS:
        yield f"NUM_CELL_FILTERS must have NUM_CELLS = {s.NUM_CELLS} entries, got {s.NUM_CELL_FILTERS!r}"
    if s.DATASET in TRAINING_IMAGES:  # other data sets are checked when they are loaded
        most = TRAINING_IMAGES[s.DATASET]
        if s.TRAIN_SIZE is not None and not 10 <= s.TRAIN_SIZE <= most:
            yield f"TRAIN_SIZE must be None or an integer from 10 to {most} with {s.DATASET!r}, got {s.TRAIN_SIZE!r}"
        if s.DENSE_LAYERS[-1] != 10:
            yield f"DENSE_LAYERS must end with 10, the classes of {s.DATASET!r}, got {s.DENSE_LAYERS!r}"
    if action in ("search", "dry_run"):
        yield from _conflicts_of_search(s)
    else:
        try:
            s.state_space().decode(s.REPRESENTATION_STRING)
        except ValueError as error:
            yield f"REPRESENTATION_STRING: {error}"
    if action in ("search", "dry_run") or (action == "train_arc" and s.TRAIN_SEEDS > 1 and s.N_WORKERS != 1):
        unknown = ", ".join(map(repr, _unknown_to_workers(s.operators)))
        if unknown:
            yield (
                f"operators: {unknown} must be registered in pnas/model.py or in a module that it imports: worker "
                "processes import that, not train.py"
            )


def _conflicts_of_search(s):
    deepest = 1 - s.NUM_CELLS
    if deepest > s.INPUT_LOOKBACK_DEPTH:  # below it, all inputs of all cells are the image
        accepted = "0" if deepest == 0 else f"an integer from {deepest} to 0"
        got = s.INPUT_LOOKBACK_DEPTH
        yield f"INPUT_LOOKBACK_DEPTH must be {accepted} with NUM_CELLS = {s.NUM_CELLS}, got {got}"
    if s.EXPERIMENT_NAME in (s.REUSE if isinstance(s.REUSE, (list, tuple)) else [s.REUSE]):
        yield f"REUSE must name other experiments than EXPERIMENT_NAME = {s.EXPERIMENT_NAME!r}, got {s.REUSE!r:.200}"
    if s.PARALLEL_BACKEND == "ray" and s.MAX_CHILD_MINUTES is not None:
        yield f"MAX_CHILD_MINUTES must be None with PARALLEL_BACKEND 'ray', got {s.MAX_CHILD_MINUTES!r}"
    module, pip_name = PACKAGES.get(s.PARALLEL_BACKEND, (None, None))
    if module and importlib.util.find_spec(module) is None:
        yield f'PARALLEL_BACKEND {s.PARALLEL_BACKEND!r} needs a package that is not installed: pip install "{pip_name}"'
    of_dask = re.fullmatch(r"((tcp|tls|ucx|wss?)://)?[^/]+:\d+", s.SCHEDULER or "")
    if s.PARALLEL_BACKEND == "dask" and not of_dask or s.PARALLEL_BACKEND == "loky" and s.SCHEDULER is not None:
        accepted = "the address of a Dask cluster with 'dask', such as 'tcp://host:8786', and None with 'loky'"
        yield f"SCHEDULER must be {accepted}; got {s.SCHEDULER!r} with {s.PARALLEL_BACKEND!r}"


def _unknown_to_workers(operators):
    """The operators that are not registered in a process that imports pnas.model alone, as workers do."""
    from pnas.model import OPERATIONS  # imports Keras

    elsewhere = [name for name in operators if OPERATIONS[name].__module__ != "pnas.model"]
    if not elsewhere:
        return []
    code = "from pnas.model import OPERATIONS; print(*OPERATIONS, sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    return [name for name in elsewhere if name not in process.stdout.splitlines()]


def retrain_command(command: list[str], representation: str, experiment: str | None = None) -> str:
    """The command line that trains an architecture with the constants and the Keras backend of this run.

    Args:
        command: this run's `sys.argv`. A `--train_arc False` or a name in it does not count, as the last one is ours.
        representation: the architecture's representation string.
        experiment: EXPERIMENT_NAME of the training, or None for that of this run.
    """
    backend = [f"KERAS_BACKEND={quoted(os.environ['KERAS_BACKEND'])}"] if os.environ.get("KERAS_BACKEND") else []
    command = ["python", *command, "--train_arc", "--REPRESENTATION_STRING", representation]
    command += ["--EXPERIMENT_NAME", experiment] if experiment else []
    return " ".join([*backend, *map(quoted, command)])


def quoted(argument: str) -> str:
    """An argument as a shell reads it, in double quotes if possible: operators contain single ones."""
    plain = re.fullmatch(r"[\w./-]*", argument) or re.search(r'["$`\\!]', argument)
    return shlex.quote(argument) if plain else f'"{argument}"'

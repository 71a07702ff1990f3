"""The constants of train.py: the command line that sets them, and the checks of what they may be.

Nothing here imports Keras before `refuse_missing_backend` or `check` is called: the number of its threads is one of the
constants.
"""

import argparse
import ast
import difflib
import importlib
import io
import itertools
import json
import os
import re
import shlex
import subprocess
import sys
import tokenize
import typing

from pnas.journal.files import VERSION, is_experiment_name
from pnas.training.workers import missing_package

WITHOUT_INFLUENCE = {  # constants that change neither rewards nor choices
    *("EXPERIMENT_NAME", "DATA_DIR", "RESTORE_CONTROLLER", "N_WORKERS", "PARALLEL_BACKEND", "SCHEDULER"),
    *("FINALISTS", "FINAL_SEEDS", "REWARD_NOISE"),  # what the search trains does not depend on them
    *("DROP_INPUT", "DROP_HIDDEN"),  # DROPOUT contains them
    *("NUM_EPOCHS", "REPRESENTATION_STRING", "LOAD_SAVED"),
}
TRAINING_IMAGES = {"mnist": 55000, "digits": 1197}
FLAGS = {  # options of the command line that are no constants
    "train_arc": "train REPRESENTATION_STRING instead of searching",
    "summary": "show the network of REPRESENTATION_STRING and its costs",
}
TEXTS = ("EXPERIMENT_NAME", "DATA_DIR", "REPRESENTATION_STRING")  # not parsed as Python literals


def refuse(faults: typing.Iterable[str]) -> typing.NoReturn:
    """Prints faults, a line each, and ends the program with exit code 2."""
    print(*(f"train.py: {fault}" for fault in faults), sep="\n", file=sys.stderr)
    sys.exit(2)


def refuse_missing_backend():
    """Imports Keras. Ends the program with one line if this fails, such as for a backend that is not installed."""
    try:
        import pnas.training.backend  # noqa: F401
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        got = os.environ.get("KERAS_BACKEND")
        accepted = "KERAS_BACKEND must be 'tensorflow' or 'jax', and installed"
        refuse([f"Keras's backend cannot be imported ({reason:.300}). {accepted}; got {got!r}"])


def read_command_line(script: str, description: str) -> dict:
    """Reads the constants of a script from the command line. Refuses other arguments.

    Args:
        script: path of the script. Its constants are the assignments at its top, before the first other statement. The
            comment to the right of each is its help text.
        description: first lines of the help text.
    Returns:
        dict of the constants that were given, each parsed as a Python literal where possible and otherwise left as
        text, and of `train_arc` and `summary`, which are False if they were not given.
    """
    with open(script) as file:
        source = file.read()
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    statements = ast.parse(source).body[1:]  # after the docstring
    constants = list(itertools.takewhile(lambda statement: isinstance(statement, ast.Assign), statements))
    parser = argparse.ArgumentParser(
        usage="%(prog)s [--train_arc] [--CONSTANT VALUE ...]",
        description=description,
        allow_abbrev=False,
        exit_on_error=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=120),
    )
    for title, rules in GROUPS.items():
        group = parser.add_argument_group(title)
        if title == "retraining":
            for name, text in FLAGS.items():
                group.add_argument(f"--{name}", nargs="?", type=_literal, const=True, default=False, help=text)
        for constant in constants:
            name = constant.targets[0].id
            if name in rules:
                text = f"{comments.get(constant.end_lineno, '')} (default: {ast.unparse(constant.value)})"
                kind = str if name in TEXTS else _literal
                group.add_argument(f"--{name}", type=kind, metavar=rules[name].kind, help=text.replace("%", "%%"))
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
    constants = {name.upper(): f"--{name}" for name in [*RULES, *FLAGS]}
    name = argument.split("=")[0]
    near = [constants[match] for match in difflib.get_close_matches(name[2:].upper(), constants)]
    return f"there is no constant {name:.80}; " + (f"did you mean {' or '.join(near)}?" if near else "see --help")


def _literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def search_settings(constants: dict, dataset: str, keras_backend: str) -> dict:
    """The constants on which rewards and choices depend. A search resumes only from results of the same settings.

    Args:
        constants: dict of all constants of train.py.
        dataset: name of the data set that was loaded.
        keras_backend: name of the Keras backend.
    Returns:
        dict of JSON types. It also holds the versions of Keras and its backend.
    """
    settings = {name: value for name, value in constants.items() if name not in WITHOUT_INFLUENCE}
    settings.update(DATASET=dataset, BACKEND=keras_backend)
    for package in ("keras", keras_backend):
        settings[package + VERSION] = importlib.import_module(package).__version__
    return json.loads(json.dumps(settings))  # as they are read from a file


def retrain_command(command: list[str], representation: str) -> str:
    """The command line that trains an architecture with the constants of this run.

    Args:
        command: this run's `sys.argv`. A `--train_arc False` in it does not count, as the last one is ours.
        representation: the architecture's representation string.
    """
    command = [*command, "--train_arc", "--REPRESENTATION_STRING", representation]
    return " ".join(["python", *map(quoted, command)])


def quoted(argument: str) -> str:
    """An argument as a shell reads it, in double quotes if possible: operators contain single ones."""
    plain = re.fullmatch(r"[\w./-]*", argument) or re.search(r'["$`\\!]', argument)
    return shlex.quote(argument) if plain else f'"{argument}"'


def _integer(value, least):
    return type(value) is int and value >= least


def _number(value, least, most):
    return type(value) in (int, float) and least <= value <= most


def _learning_rate(value):
    return _number(value, 1e-12, 10)


def _integers(value):
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(_integer(v, 1) for v in value)


def _operations():
    from pnas.model import OPERATIONS

    return OPERATIONS


def _unknown_to_workers(operators):
    """The operators that are not registered in a process that imports pnas.model alone, as workers do."""
    elsewhere = [name for name in operators if _operations()[name].__module__ != "pnas.model"]
    if not elsewhere:
        return []
    code = "from pnas.model import OPERATIONS; print(*OPERATIONS, sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    return [name for name in elsewhere if name not in process.stdout.splitlines()]


class Rule(typing.NamedTuple):
    """What a constant may be: its type for --help, whether a value is accepted, and what is accepted in words."""

    kind: str
    is_accepted: typing.Callable[[typing.Any], bool]
    accepted: str


BOOL = Rule("BOOL", lambda v: type(v) is bool, "True or False")
COUNT = Rule("INT", lambda v: _integer(v, 1), "an integer of at least 1")
COUNT_OR_ZERO = Rule("INT", lambda v: _integer(v, 0), "an integer of at least 0")
COUNTS = Rule("LIST", _integers, "a list of positive integers")
LIMIT = Rule("INT|None", lambda v: v is None or _integer(v, 1), "None or an integer of at least 1")
RATE = Rule("FLOAT", lambda v: _number(v, 0, 0.99), "a number from 0 to 0.99")

GROUPS = {  # title in --help -> dict, name of a constant -> Rule
    "search": {
        "B": COUNT,
        "K_": COUNT,
        "operators": Rule(
            "LIST",
            lambda v: isinstance(v, (list, tuple)) and 0 < len(v) == len({*map(str, v)} & {*_operations()}),
            "a list of different operators, each one of {operators}",
        ),
        "INPUT_LOOKBACK_DEPTH": Rule("INT", lambda v: type(v) is int and v <= 0, "0 or a negative integer"),
        "INPUT_LOOKFORWARD_DEPTH": Rule(
            "INT|None", lambda v: v is None or _integer(v, 0), "None or an integer of at least 0"
        ),
        "MAX_MACS": LIMIT,
        "MAX_BINARY_WEIGHTS": LIMIT,
        "REGULARIZATION": Rule("FLOAT", lambda v: _number(v, 0, 1e9), "a number of at least 0"),
        "CONTROLLER_CELLS": COUNT,
        "RNN_TRAINING_EPOCHS": COUNT,
        "NUM_PREDICTORS": COUNT,
        "STOP_EARLY": BOOL,
        "FINALISTS": COUNT_OR_ZERO,
        "FINAL_SEEDS": COUNT,
        "REWARD_NOISE": Rule("FLOAT", lambda v: _number(v, 0, 1), "a number from 0 to 1"),
        "RESTORE_CONTROLLER": BOOL,
        "EXPERIMENT_NAME": Rule(
            "TEXT", is_experiment_name, "1 to 64 letters, digits, '_' and '-', a letter or digit first"
        ),
        "SEED": Rule("INT", lambda v: _integer(v, 0) and v < 2**32, "an integer from 0 to 2**32 - 1"),
    },
    "network and data": {
        "DATASET": Rule(
            "TEXT",
            lambda v: isinstance(v, str) and (v in TRAINING_IMAGES or v.endswith(".npz")) and "\0" not in v,
            "'mnist', 'digits' or the path of an .npz file",
        ),
        "DATA_DIR": Rule("TEXT", lambda v: isinstance(v, str) and v != "" and "\0" not in v, "the path of a folder"),
        "TRAIN_SIZE": Rule("INT|None", lambda v: v is None or _integer(v, 2), "None or an integer of at least 2"),
        "USE_EXPANSION": BOOL,
        "DROP_INPUT": RATE,
        "DROP_HIDDEN": RATE,
        "DROPOUT": Rule(
            "TUPLE",
            lambda v: (
                isinstance(v, (list, tuple))
                and len(v) == 3
                and type(v[0]) is bool
                and all(_number(rate, 0, 0.99) for rate in v[1:])
            ),
            "(True or False, rate of the input, rate of the hidden dense layers)",
        ),
        "MAX_EPOCHS": COUNT,
        "BATCHSIZE": Rule("INT", lambda v: _integer(v, 2), "an integer of at least 2"),
        "LEARNING_RATE": Rule(
            "FLOAT|TUPLE",
            lambda v: (
                _learning_rate(v) or (isinstance(v, (list, tuple)) and len(v) == 2 and all(map(_learning_rate, v)))
            ),
            "a positive number of at most 10, or (initial, final), two of them",
        ),
        "NUM_CELLS": COUNT,
        "NUM_CELL_FILTERS": COUNTS,
        "DENSE_LAYERS": COUNTS,
    },
    "machine": {
        "N_WORKERS": Rule("INT|auto", lambda v: v == "auto" or _integer(v, 1), "'auto' or an integer of at least 1"),
        "THREADS_PER_CHILD": COUNT,
        "PARALLEL_BACKEND": Rule("TEXT", lambda v: v in ("loky", "dask", "ray"), "'loky', 'dask' or 'ray'"),
        "SCHEDULER": Rule(
            "TEXT|None",
            lambda v: v is None or (isinstance(v, str) and re.fullmatch(r"[!-~]{1,200}", v) is not None),
            "None or the address of a cluster, such as 'tcp://host:8786'",
        ),
    },
    "retraining": {
        "NUM_EPOCHS": COUNT,
        "REPRESENTATION_STRING": Rule("TEXT", lambda v: isinstance(v, str), "a representation string"),
        "LOAD_SAVED": BOOL,
    },
}
RULES = {name: rule for rules in GROUPS.values() for name, rule in rules.items()}


def check(constants: dict, train_arc: bool) -> list[str]:
    """Checks all constants.

    Args:
        constants: dict of all constants of train.py.
        train_arc: whether REPRESENTATION_STRING will be trained, and so has to fit the search space.
    Returns:
        A line for each wrong constant, with what it got and what is accepted.
    """
    import keras

    from pnas.encoder import StateSpace

    operators = ", ".join(map(repr, _operations()))
    faults = [
        f"{name} must be {rule.accepted.format(operators=operators)}, got {constants[name]!r:.200}"
        for name, rule in RULES.items()
        if not rule.is_accepted(constants[name])
    ]
    if type(train_arc) is not bool:
        faults.append(f"train_arc must be True or False, got {train_arc!r:.200}")
    if keras.backend.backend() not in ("tensorflow", "jax"):
        faults.append(f"KERAS_BACKEND must be 'tensorflow' or 'jax', got {keras.backend.backend()!r}")
    if faults:
        return faults
    c = constants
    if len(c["NUM_CELL_FILTERS"]) != c["NUM_CELLS"]:
        faults.append(f"NUM_CELL_FILTERS must have NUM_CELLS = {c['NUM_CELLS']} entries, got {c['NUM_CELL_FILTERS']!r}")
    if c["DATASET"] in TRAINING_IMAGES:  # other data sets are checked when they are loaded
        name, size, most = c["DATASET"], c["TRAIN_SIZE"], TRAINING_IMAGES[c["DATASET"]]
        if size is not None and not 10 <= size <= most:
            faults.append(f"TRAIN_SIZE must be None or an integer from 10 to {most} with {name!r}, got {size!r}")
        if c["DENSE_LAYERS"][-1] != 10:
            faults.append(f"DENSE_LAYERS must end with 10, the classes of {name!r}, got {c['DENSE_LAYERS']!r}")
    if not train_arc:
        depth, deepest = c["INPUT_LOOKBACK_DEPTH"], 1 - c["NUM_CELLS"]
        if depth < deepest:  # below it, all inputs of all cells are the image
            accepted = "0" if deepest == 0 else f"an integer from {deepest} to 0"
            faults.append(f"INPUT_LOOKBACK_DEPTH must be {accepted} with NUM_CELLS = {c['NUM_CELLS']}, got {depth}")
        unknown = _unknown_to_workers(c["operators"])
        if unknown:
            faults.append(
                f"operators: {', '.join(map(repr, unknown))} must be registered in pnas/model.py or in a module that "
                "it imports: worker processes import that, not train.py"
            )
    backend, scheduler = c["PARALLEL_BACKEND"], c["SCHEDULER"]
    if not train_arc and missing_package(backend):
        faults.append(f"PARALLEL_BACKEND {backend!r} needs a package that is not installed: {missing_package(backend)}")
    if (backend == "dask" and scheduler is None) or (backend == "loky" and scheduler is not None):
        accepted = "the address of a Dask cluster with 'dask', such as 'tcp://host:8786', and None with 'loky'"
        faults.append(f"SCHEDULER must be {accepted}; got {scheduler!r} with {backend!r}")
    if train_arc:
        space = StateSpace(c["B"], c["operators"], c["INPUT_LOOKBACK_DEPTH"], c["INPUT_LOOKFORWARD_DEPTH"])
        try:
            space.decode(c["REPRESENTATION_STRING"])
        except ValueError as error:
            faults.append(f"REPRESENTATION_STRING: {error}")
    return faults

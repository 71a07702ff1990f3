"""The constants of train.py: the command line that sets them, and the checks of what they may be.

Nothing here imports Keras before `check` is called: the number of its threads is one of the constants.
"""

import argparse
import ast
import importlib
import io
import itertools
import json
import re
import shlex
import tokenize

from pnas.journal.files import VERSION, is_experiment_name
from pnas.training.workers import missing_package

WITHOUT_INFLUENCE = {  # constants that change neither rewards nor choices
    *("EXPERIMENT_NAME", "DATA_DIR", "RESTORE_CONTROLLER", "N_WORKERS", "PARALLEL_BACKEND", "SCHEDULER"),
    *("FINALISTS", "FINAL_SEEDS", "REWARD_NOISE"),  # what the search trains does not depend on them
    *("DROP_INPUT", "DROP_HIDDEN"),  # DROPOUT contains them
    *("NUM_EPOCHS", "REPRESENTATION_STRING", "LOAD_SAVED"),
}
TRAINING_IMAGES = {"mnist": 55000, "digits": 1197}
TEXTS = ("EXPERIMENT_NAME", "DATA_DIR", "REPRESENTATION_STRING")  # not parsed as Python literals


def read_command_line(script: str, description: str) -> dict:
    """Reads the constants of a script from the command line.

    Args:
        script: path of the script. Its constants are the assignments at its top, before the first other statement. The
            comment to the right of each is its help text.
        description: first lines of the help text.
    Returns:
        dict of the constants that were given, each parsed as a Python literal where possible and otherwise left as
        text, and of `train_arc` and `summary`, whether these flags were given.
    """
    with open(script) as file:
        source = file.read()
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    parser = argparse.ArgumentParser(
        description=description,
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=32, width=120),
    )
    parser.add_argument(
        "--train_arc", action="store_true", default=False, help="train REPRESENTATION_STRING instead of searching"
    )
    parser.add_argument(
        "--summary", action="store_true", default=False, help="show the network of REPRESENTATION_STRING and its costs"
    )
    statements = ast.parse(source).body[1:]  # after the docstring
    for constant in itertools.takewhile(lambda statement: isinstance(statement, ast.Assign), statements):
        name = constant.targets[0].id
        text = f"{comments.get(constant.end_lineno, '')} (default: {ast.unparse(constant.value)})"
        kind = str if name in TEXTS else _literal
        parser.add_argument(f"--{name}", type=kind, metavar="VALUE", help=text.replace("%", "%%"))
    return vars(parser.parse_args())


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


def retrain_command(arguments: list[str], representation: str) -> str:
    """The command line that trains an architecture with the constants of this run.

    Args:
        arguments: those of this run's command line.
        representation: the architecture's representation string.
    """
    arguments = [*arguments, "--REPRESENTATION_STRING", representation]
    return " ".join(["python train.py --train_arc", *map(_quoted, arguments)])


def _quoted(argument):
    """An argument as a shell reads it, in double quotes if possible: operators contain single ones."""
    plain = re.fullmatch(r"[\w./-]*", argument) or re.search(r'["$`\\!]', argument)
    return shlex.quote(argument) if plain else f'"{argument}"'


def _integer(value, least):
    return type(value) is int and value >= least


def _number(value, least, most):
    return type(value) in (int, float) and least <= value <= most


def _integers(value):
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(_integer(v, 1) for v in value)


def _operations():
    from pnas.model import OPERATIONS

    return OPERATIONS


RULES = {  # name -> (whether a value is accepted, what is accepted)
    "B": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "K_": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "REGULARIZATION": (lambda v: _number(v, 0, 1e9), "a number of at least 0"),
    "CONTROLLER_CELLS": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "RNN_TRAINING_EPOCHS": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "NUM_PREDICTORS": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "FINALISTS": (lambda v: _integer(v, 0), "an integer of at least 0"),
    "FINAL_SEEDS": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "REWARD_NOISE": (lambda v: _number(v, 0, 1), "a number from 0 to 1"),
    "RESTORE_CONTROLLER": (lambda v: type(v) is bool, "True or False"),
    "INPUT_LOOKBACK_DEPTH": (lambda v: type(v) is int and v <= 0, "0 or a negative integer"),
    "INPUT_LOOKFORWARD_DEPTH": (lambda v: v is None or _integer(v, 0), "None or an integer of at least 0"),
    "MAX_MACS": (lambda v: v is None or _integer(v, 1), "None or an integer of at least 1"),
    "MAX_BINARY_WEIGHTS": (lambda v: v is None or _integer(v, 1), "None or an integer of at least 1"),
    "DROP_INPUT": (lambda v: _number(v, 0, 0.99), "a number from 0 to 0.99"),
    "DROP_HIDDEN": (lambda v: _number(v, 0, 0.99), "a number from 0 to 0.99"),
    "DROPOUT": (
        lambda v: (
            isinstance(v, (list, tuple))
            and len(v) == 3
            and type(v[0]) is bool
            and all(_number(rate, 0, 0.99) for rate in v[1:])
        ),
        "(True or False, rate of the input, rate of the hidden dense layers)",
    ),
    "MAX_EPOCHS": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "BATCHSIZE": (lambda v: _integer(v, 2), "an integer of at least 2"),
    "LEARNING_RATE": (
        lambda v: isinstance(v, (list, tuple)) and len(v) == 2 and all(_number(rate, 1e-12, 10) for rate in v),
        "(initial, final), two positive numbers of at most 10",
    ),
    "NUM_CELLS": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "NUM_CELL_FILTERS": (_integers, "a list of positive integers"),
    "DENSE_LAYERS": (_integers, "a list of positive integers"),
    "USE_EXPANSION": (lambda v: type(v) is bool, "True or False"),
    "operators": (
        lambda v: isinstance(v, (list, tuple)) and 0 < len(v) == len({*map(str, v)} & {*_operations()}),
        "a list of different operators, each one of {operators}",
    ),
    "EXPERIMENT_NAME": (
        is_experiment_name,
        "1 to 64 letters, digits, '_' and '-', a letter or digit first",
    ),
    "SEED": (lambda v: _integer(v, 0) and v < 2**32, "an integer from 0 to 2**32 - 1"),
    "DATASET": (
        lambda v: isinstance(v, str) and (v in TRAINING_IMAGES or v.endswith(".npz")) and "\0" not in v,
        "'mnist', 'digits' or the path of an .npz file",
    ),
    "DATA_DIR": (lambda v: isinstance(v, str) and v != "" and "\0" not in v, "the path of a folder"),
    "TRAIN_SIZE": (lambda v: v is None or _integer(v, 2), "None or an integer of at least 2"),
    "N_WORKERS": (lambda v: v == "auto" or _integer(v, 1), "'auto' or an integer of at least 1"),
    "THREADS_PER_CHILD": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "PARALLEL_BACKEND": (lambda v: v in ("loky", "dask", "ray"), "'loky', 'dask' or 'ray'"),
    "SCHEDULER": (
        lambda v: v is None or (isinstance(v, str) and re.fullmatch(r"[!-~]{1,200}", v) is not None),
        "None or the address of a cluster, such as 'tcp://host:8786'",
    ),
    "NUM_EPOCHS": (lambda v: _integer(v, 1), "an integer of at least 1"),
    "LOAD_SAVED": (lambda v: type(v) is bool, "True or False"),
    "REPRESENTATION_STRING": (lambda v: isinstance(v, str), "a representation string"),
}


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
        f"{name} must be {accepted.format(operators=operators)}, got {constants[name]!r:.200}"
        for name, (is_accepted, accepted) in RULES.items()
        if not is_accepted(constants[name])
    ]
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

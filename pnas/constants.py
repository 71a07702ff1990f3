"""The constants of train.py as one frozen object, and what each of them may be.

A new constant is a line in train.py, its comment the help text, and one in `Settings` with its rule; `decides=False` if
neither rewards nor choices depend on it, otherwise searches that were made without it do not resume. On a constant of
the search only choices depend, unless it has `rewards=True`.
"""

import ast
import dataclasses
import functools
import importlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pnas.child import LIMITS, rounds_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # of an experiment; it cannot lead out of the experiment's folders
COMPARISON = "compare"  # names the folder in logs of a comparison of searches, so it names no experiment
TRAINING_IMAGES = {"mnist": 55000, "digits": 1197}
VERSION = " version"  # ends the settings that hold the version of a package; another version is no other setting
CHECKSUM = "checksum of "  # begins the settings that hold one of source code
RECIPE = (Path(__file__).parent / "training" / "recipe.py").read_text()  # now, as it may be edited while a search runs
PACKAGES = {"dask": ("distributed", "dask[distributed]"), "ray": ("ray", "ray")}  # to import, and to install with pip


class Rule(NamedTuple):
    """What a constant may be: its type for --help, what is accepted in words, and whether a value is accepted."""

    kind: str
    accepted: str
    accepts: Callable[[Any], bool]


def _integer(least, most=None):
    words = f"an integer of at least {least}" if most is None else f"an integer from {least} to {most}"
    return Rule("INT", words, lambda v: type(v) is int and v >= least and (most is None or v <= most))


def _number(least, most):
    words = f"a number from {least:g} to {most:g}"
    return Rule("FLOAT", words, lambda v: type(v) in (int, float) and least <= v <= most)


def _text(words, accepts):
    return Rule("TEXT", words, lambda v: isinstance(v, str) and "\0" not in v and accepts(v))


def _optional(rule):
    return Rule(f"{rule.kind}|None", f"None or {rule.accepted}", lambda v: v is None or rule.accepts(v))


def _list(words, accepts):
    return Rule("LIST", words, lambda v: isinstance(v, (list, tuple)) and len(v) > 0 and accepts(v))


def _operations():
    from pnas.model import OPERATIONS

    return OPERATIONS


BOOL = Rule("BOOL", "True or False", lambda v: type(v) is bool)
COUNT = _integer(1)
LIMIT = _optional(COUNT)
RATE = _number(0, 0.99)
COUNTS = _list("a list of positive integers", lambda v: all(map(COUNT.accepts, v)))
OPERATORS = _list(
    "a list of different operators, each one of {operators}", lambda v: len(v) == len({*map(str, v)} & {*_operations()})
)
LOOKBACK = Rule("INT", "0 or a negative integer", lambda v: type(v) is int and v <= 0)
EXPERIMENT = _text(
    f"1 to 64 letters, digits, '_' and '-', a letter or digit first, and not {COMPARISON!r}",
    lambda v: NAME.fullmatch(v) and v.lower() != COMPARISON,
)
EARLIER = Rule(
    "TEXT|LIST",
    "None, the name of an earlier experiment or a list of such names",
    lambda v: v is None or EXPERIMENT.accepts(v) or _list("", lambda v: all(map(EXPERIMENT.accepts, v))).accepts(v),
)
DATA = _text(
    "'mnist', 'digits', the path of an .npz file or that of a folder with four IDX files",
    # Path.is_dir would raise an error for a name that is too long.
    lambda v: v in TRAINING_IMAGES or v.endswith(".npz") or os.path.isdir(v),  # noqa: PTH112
)
DROPOUTS = _list(
    "(True or False, rate of the input, rate before dense layers)",
    lambda v: len(v) == 3 and BOOL.accepts(v[0]) and all(map(RATE.accepts, v[1:])),
)
LEARNING_RATE = _number(1e-12, 10)
LEARNING_RATES = Rule(
    "FLOAT|TUPLE",
    f"{LEARNING_RATE.accepted}, or (initial, final), two of them",
    lambda v: (
        LEARNING_RATE.accepts(v) or _list("", lambda v: len(v) == 2 and all(map(LEARNING_RATE.accepts, v))).accepts(v)
    ),
)
WORKERS = Rule("INT|auto", f"'auto' or {COUNT.accepted}", lambda v: v == "auto" or COUNT.accepts(v))
CLUSTER = _text("the address of a cluster, such as 'tcp://host:8786'", re.compile(r"[!-~]{1,200}").fullmatch)


def _field(group, rule, decides=True, rewards=True):
    """A constant: its heading in --help, its Rule, whether a search depends on it, and whether single rewards do."""
    return dataclasses.field(metadata={"group": group, "rule": rule, "decides": decides, "rewards": rewards})


_search = functools.partial(_field, "search", rewards=False)
_data, _machine, _retraining = (
    functools.partial(_field, group) for group in ("network and data", "machine", "retraining")
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The constants of train.py. The comments beside them there say what they mean."""

    B: int = _search(COUNT)
    K_: int = _search(COUNT)
    operators: list[str] = _search(OPERATORS)
    INPUT_LOOKBACK_DEPTH: int = _search(LOOKBACK)
    INPUT_LOOKFORWARD_DEPTH: int | None = _search(_optional(_integer(0)))
    MAX_MACS: int | None = _search(LIMIT)
    MAX_BINARY_WEIGHTS: int | None = _search(LIMIT)
    REGULARIZATION: float = _search(_number(0, 1e9))
    CONTROLLER_CELLS: int = _search(COUNT)
    RNN_TRAINING_EPOCHS: int = _search(COUNT)
    NUM_PREDICTORS: int = _search(COUNT)
    ROUNDS: int = _search(COUNT)
    PARETO: str | None = _search(_optional(_text("'macs' or 'binary_weights'", LIMITS.__contains__)))
    STOP_EARLY: bool = _search(BOOL)
    FINALISTS: int = _search(_integer(0), decides=False)
    FINAL_SEEDS: int = _search(COUNT, decides=False)
    REWARD_NOISE: float = _search(_number(0, 1), decides=False)
    RESTORE_CONTROLLER: bool = _search(BOOL, decides=False)
    REUSE: str | list[str] | None = _search(EARLIER, decides=False)
    EXPERIMENT_NAME: str = _search(EXPERIMENT, decides=False)
    SEED: int = _search(_integer(0, 2**32 - 1), rewards=True)
    DATASET: str = _data(DATA)
    DATA_DIR: str = _data(_text("the path of a folder", bool), decides=False)
    TRAIN_SIZE: int | None = _data(_optional(_integer(2)))
    USE_EXPANSION: bool = _data(BOOL)
    DROPOUT: tuple[bool, float, float] = _data(DROPOUTS)
    MAX_EPOCHS: int = _data(COUNT)
    BATCHSIZE: int = _data(_integer(2))
    LEARNING_RATE: tuple[float, float] = _data(LEARNING_RATES)
    NUM_CELLS: int = _data(COUNT)
    NUM_CELL_FILTERS: list[int] = _data(COUNTS)
    DENSE_LAYERS: list[int] = _data(COUNTS)
    N_WORKERS: int | str = _machine(WORKERS, decides=False)
    THREADS_PER_CHILD: int = _machine(COUNT)
    MAX_CHILD_MINUTES: float | None = _machine(_optional(_number(0.01, 1e5)), decides=False)
    PARALLEL_BACKEND: str = _machine(_text("'loky', 'dask' or 'ray'", {"loky", *PACKAGES}.__contains__), decides=False)
    SCHEDULER: str | None = _machine(_optional(CLUSTER), decides=False)
    NUM_EPOCHS: int = _retraining(COUNT, decides=False)
    TRAIN_SEEDS: int = _retraining(COUNT, decides=False)
    REPRESENTATION_STRING: str = _retraining(_text("a representation string", lambda v: True), decides=False)
    LOAD_SAVED: bool = _retraining(BOOL, decides=False)

    def __post_init__(self):
        if type(self.LEARNING_RATE) in (int, float):
            object.__setattr__(self, "LEARNING_RATE", (self.LEARNING_RATE, self.LEARNING_RATE))

    @classmethod
    def of(cls, constants: Mapping[str, Any]) -> "Settings":
        """The settings that a dict holds under their names, such as `globals()` of train.py."""
        return cls(**{name: constants[name] for name in FIELDS})

    @property
    def rounds(self) -> list[int]:
        """The largest number of children of each round of a block size after the first."""
        return rounds_of(self.K_, self.ROUNDS)

    @property
    def stops_early(self) -> bool:
        """Whether children may be stopped early: not in a search for a front, whose cheap cells are behind for good."""
        return self.STOP_EARLY and not self.PARETO and self.MAX_EPOCHS >= 4

    def most_finalists(self, children: int) -> int:
        """The largest number of cells that a search of so many children trains again at the end."""
        count = min(self.FINALISTS * (6 if self.PARETO else 1), children)
        return count if count > 1 or self.PARETO else 0

    def state_space(self):
        """The `pnas.encoder.StateSpace` of all cells."""
        from pnas.encoder import StateSpace

        return StateSpace(self.B, self.operators, self.INPUT_LOOKBACK_DEPTH, self.INPUT_LOOKFORWARD_DEPTH)

    def costs(self, shape: tuple[int, int, int]):
        """The `pnas.costs.Costs` of networks that read images of this shape."""
        from pnas.costs import Costs

        return Costs(self.NUM_CELLS, self.NUM_CELL_FILTERS, self.DENSE_LAYERS, shape)

    def deciding(self) -> dict[str, Any]:
        """What the rewards and choices of a search depend on, in JSON types.

        Constants, checksums of the recipe and the operators, the Keras backend, and versions.
        """
        import keras

        backend = keras.backend.backend()
        settings = {name: getattr(self, name) for name, field in FIELDS.items() if field.metadata["decides"]}
        settings["STOP_EARLY"] = self.stops_early
        versions = {package + VERSION: importlib.import_module(package).__version__ for package in ("keras", backend)}
        return json.loads(json.dumps({**settings, **checksums(self.operators), "BACKEND": backend, **versions}))


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
# On these only depends which cells are trained, not the reward that a cell gets.
CHOICES = {name for name, field in FIELDS.items() if not field.metadata["rewards"]}
RULES = {name: field.metadata["rule"] for name, field in FIELDS.items()} | {"DROP_INPUT": RATE, "DROP_HIDDEN": RATE}


def faults(constants: Mapping[str, Any]) -> list[str]:
    """A line for each value that its rule does not accept, with what it got and what is accepted."""
    return [
        f"{name} must be {_in_words(RULES[name].accepted)}, got {value!r:.200}"
        for name, value in constants.items()
        if not RULES[name].accepts(value)
    ]


def _in_words(accepted):
    """Imports Keras for operators alone: the number of its threads may not have been set yet."""
    return accepted.format(operators=", ".join(map(repr, _operations()))) if "{" in accepted else accepted


def changes(kept: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, str]:
    """What has changed from kept settings to given ones: name -> a clause that says it.

    A checksum that only one of them has is left out: it is that of an operator, and `operators` has changed. So is
    STOP_EARLY where it may have changed because PARETO or MAX_EPOCHS has.
    """
    names = [name for name in {**kept, **given} if kept.get(name) != given.get(name)]
    if {"PARETO", "MAX_EPOCHS"} & set(names):
        names = [name for name in names if name != "STOP_EARLY"]
    return {
        name: f"{name.removeprefix(CHECKSUM)} was changed"
        if name.startswith(CHECKSUM)
        else f"{name} was {kept.get(name)!r:.200} and is {given.get(name)!r:.200}"
        for name in names
        if not name.startswith(CHECKSUM) or name in kept and name in given
    }


def checksums(operators: Iterable[str]) -> dict[str, str]:
    """Checksums of the code that rewards depend on, as this process has imported it: the recipe and some operators."""
    from pnas.model import OPERATIONS, source_of

    known = {f"{CHECKSUM}the operator {name!r}": checksum(source_of(OPERATIONS[name])) for name in operators}
    return {f"{CHECKSUM}the recipe in pnas/training/recipe.py": checksum(RECIPE), **known}


@functools.cache
def checksum(source: str) -> str:
    """Checksum of Python code, whatever its layout, comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [part for part in node.body if not _is_text(part)]
    return f"{zlib.crc32(ast.unparse(tree).encode()):08x}"


def _is_text(statement):
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)

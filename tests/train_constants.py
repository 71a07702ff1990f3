"""The constants of train.py, read without running it."""

import dataclasses
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from pnas.constants import Settings  # noqa: E402


def constants_of_train():
    """dict, name of a constant of train.py -> its value."""
    constants = {}
    exec((ROOT / "train.py").read_text().partition("\nimport ")[0], constants)
    return {name: value for name, value in constants.items() if not name.startswith("__")}


def settings_of_train(**changes):
    """The Settings of train.py, with changes."""
    return dataclasses.replace(Settings.of(constants_of_train()), **changes)

"""Searches to report on."""

import math
from types import SimpleNamespace

from pnas.child import Child
from pnas.constants import Settings
from pnas.report.figures import read_found
from pnas.store.store import Store


def child(number, reward, blocks=1, predicted=math.nan, cell=None, weights=100, macs=1000, error=""):
    cell = cell or [0, "linear", 0, "linear"] * blocks
    return Child(number, cell, predicted, 7, reward, seconds=1.5, binary_weights=weights, macs=macs, error=error)


class SomeSettings(SimpleNamespace):
    most_finalists = Settings.most_finalists
    stops_early = Settings.stops_early


def settings_of(**changes):
    """Those of the constants of train.py that a report depends on, with changes."""
    constants = {"EXPERIMENT_NAME": "tiny", "DATASET": "digits", "MAX_EPOCHS": 4, "FINALISTS": 0, "FINAL_SEEDS": 1}
    constants["STOP_EARLY"] = False
    limits = {"MAX_MACS": None, "MAX_BINARY_WEIGHTS": None, "PARETO": None}
    constants |= {**limits, **changes}
    return SomeSettings(**constants)


def store_of(children, name=None, **changes):
    """A Store of children, in memory if it has no name."""
    store = Store(name, vars(settings_of(**changes)))
    store.name = name or "tiny"
    for each in children:
        store.add(each)
    return store


def found(children, **changes):
    return read_found(store_of(children, **changes))

"""Trains cells of one and two blocks at train.py's settings, all to the end: the rows of mnist_cells_full.csv.

    python tests/benchmarks/full_cells.py [--DATA_DIR data] [--FIRST 30] [--AGAIN 10] [--N_WORKERS 2]
    python tests/benchmarks/make_table.py logs/full > tests/data/mnist_cells_full.csv

First all cells of one block, then all of two in an order drawn at random with seed 0, so that a part of them is a fair
sample whenever it is stopped. Of the FIRST ones of two blocks, AGAIN cells evenly spread over the order of their
multiply-accumulates are trained a second time, with another seed. The same command goes on where it was stopped.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]
from train_constants import settings_of_train  # noqa: E402

from mnist.mnist_data import load_data  # noqa: E402
from pnas.child import Child, in_short  # noqa: E402
from pnas.manager import Manager  # noqa: E402
from pnas.store.store import Store  # noqa: E402


def children_to_train(space, macs, first, again):
    """The children in the order of their training, untrained.

    Args:
        space: StateSpace of the cells.
        macs: function of a cell.
        first, again: see above.
    """
    ones = space.initial_children()
    twos = space.expand(ones)
    twos = [space.canonical(twos[i]) for i in np.random.default_rng(0).permutation(len(twos))]
    by_macs = sorted(twos[:first], key=macs)
    spread = [by_macs[i] for i in np.linspace(0, len(by_macs) - 1, again).round().astype(int)]
    children = []
    for number, cell in enumerate([*ones, *twos], start=1):
        children += [Child(number, cell, math.nan, repeat=repeat) for repeat in range(1 + (cell in spread))]
    return children


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--DATA_DIR", default="data")
    parser.add_argument("--FIRST", type=int, default=30)
    parser.add_argument("--AGAIN", type=int, default=10)
    parser.add_argument("--N_WORKERS", type=int, default=2)
    options = parser.parse_args()
    constants = {"B": 2, "STOP_EARLY": False, "EXPERIMENT_NAME": "full"}
    settings = settings_of_train(DATA_DIR=options.DATA_DIR, N_WORKERS=options.N_WORKERS, **constants)
    data = load_data(settings.DATASET, settings.DATA_DIR, None, settings.USE_EXPANSION, settings.SEED)
    costs = settings.costs((28, 28, 1))
    store = Store(settings.EXPERIMENT_NAME, settings.deciding())
    known = {
        (child.number, child.repeat) for repeat in (0, 1) for child in store.children(repeat=repeat) if not child.error
    }
    children = children_to_train(settings.state_space(), lambda cell: costs(cell).macs, options.FIRST, options.AGAIN)
    new = [child for child in children if (child.number, child.repeat) not in known]
    print(f"{len(children)} trainings, {len(children) - len(new)} of them known", flush=True)
    for child in Manager(data, settings).train_children(new):
        store.add(child)
        print(
            f"{child.number:3} {child.repeat} {child.reward:.4f} {child.seconds:5.0f} s  {in_short(child.cell)}",
            flush=True,
        )


if __name__ == "__main__":
    main()

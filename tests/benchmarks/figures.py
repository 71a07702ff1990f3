"""Draws the figures of both READMEs: the report of an exhaustive search, from tests/data/mnist_cells.csv.

Children are numbered as the search numbers them: by block size, then by predicted reward.

    python tests/benchmarks/figures.py
"""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from replays import read_rows  # noqa: E402

from pnas.child import LIMITS, Child  # noqa: E402
from pnas.report.figures import write_report  # noqa: E402
from pnas.store.store import Store  # noqa: E402

SHEETS = ("best_cell", "rewards", "surrogate")


def main():
    rows = read_rows()
    rows.sort(key=lambda row: (len(row["cell"]), -float(row["predicted"]) if row["predicted"] != "nan" else 0))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        store = Store("table", {"DATASET": "mnist", **dict.fromkeys(LIMITS.values())})
        for number, row in enumerate(rows, start=1):
            costs = {name: int(row[name]) for name in LIMITS}
            child = Child(number, row["cell"], float(row["predicted"]), reward=float(row["reward_seed_0"]), **costs)
            store.add(child)
        for path in map(Path, write_report("table")):
            if path.suffix == ".png" and path.stem in SHEETS:
                print(shutil.copy(path, ROOT / "tests" / "figures"))
        store.close()


if __name__ == "__main__":
    main()

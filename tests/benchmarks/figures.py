"""Draws the figures of both READMEs: the report of an exhaustive search, from tests/data/mnist_cells.csv; a network.

Children are numbered as the search numbers them: by block size, then by predicted reward. The network is that of CELL
with the constants of train.py.

    python tests/benchmarks/figures.py
"""

import contextlib
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from replays import read_rows  # noqa: E402
from train_constants import settings_of_train  # noqa: E402

from pnas.child import LIMITS, Child  # noqa: E402
from pnas.report.figures import write_report, write_sheets  # noqa: E402
from pnas.report.network_drawing import draw_network  # noqa: E402
from pnas.store.store import Store  # noqa: E402

SHEETS = ("best_cell", "rewards", "surrogate", "network")
CELL = [0, "3x3 bconv", -1, "linear", 1, "3x3 sep-bconv", 1, "linear"]


def main():
    rows = read_rows()
    rows.sort(key=lambda row: (len(row["cell"]), -float(row["predicted"]) if row["predicted"] != "nan" else 0))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        store = Store("table", {"DATASET": "mnist", **dict.fromkeys(LIMITS.values())})
        for number, row in enumerate(rows, start=1):
            costs = {name: int(row[name]) for name in LIMITS}
            child = Child(number, row["cell"], float(row["predicted"]), reward=float(row["reward_seed_0"]), **costs)
            store.add(child)
        network = write_sheets("table", {"network": lambda: draw_network(CELL, settings_of_train(), (28, 28, 1))})
        for path in map(Path, [*write_report("table"), *network]):
            if path.suffix == ".png" and path.stem in SHEETS:
                print(shutil.copy(path, ROOT / "tests" / "figures"))
        store.close()


if __name__ == "__main__":
    main()

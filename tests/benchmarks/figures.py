"""Draws the figures of both READMEs: the report of an exhaustive search, from tests/data/mnist_cells.csv.

Children are numbered as the search numbers them: by block size, then by predicted reward.

    python tests/benchmarks/figures.py
"""

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from replays import read_rows  # noqa: E402

from pnas.child import Child  # noqa: E402
from pnas.journal.children import header, row  # noqa: E402
from pnas.report.figures import write_report  # noqa: E402

SHEETS = ("best_cell", "rewards", "surrogate")


def main():
    rows = read_rows()
    rows.sort(key=lambda row: (len(row["cell"]), -float(row["predicted"]) if row["predicted"] != "nan" else 0))
    with tempfile.TemporaryDirectory() as logs:
        table = Path(logs, "table", "children.csv")
        table.parent.mkdir()
        lines = [header()]
        for number, facts in enumerate(rows, start=1):
            child = Child(
                *(number, facts["cell"], float(facts["predicted"]), 0, float(facts["reward_seed_0"])),
                binary_weights=int(facts["binary_weights"]),
                macs=int(facts["macs"]),
            )
            lines.append(row(child, "mnist", facts["representation"]))
        table.write_text("".join(lines))
        for path in map(Path, write_report("table", logs)):
            if path.suffix == ".png" and path.stem in SHEETS:
                target = ROOT / "tests" / "figures" / path.name
                target.write_bytes(path.read_bytes())
                print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()

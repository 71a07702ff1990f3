"""What a search has found, in pictures, and whether to trust it.

    python -m pnas.report EXPERIMENT_NAME

draws five sheets into logs/EXPERIMENT_NAME/report/, each as PNG and SVG, from logs/EXPERIMENT_NAME/search.db, at any
time, also while the search runs:

    rewards     reward of every child, with the best so far of each block size
    surrogate   predicted against actual reward, with Spearman's rho of each block size (says so while there is none),
                and what a count of multiply-accumulates (MACs) alone has
    cost        reward against binary weights and against MACs, with the Pareto fronts within the budget
    operators   how often each operation stands in the best and in the worst tenth of the children
    best_cell   the best cell as a graph

While a search runs, its best child is the one of the highest reward, and afterwards the winner of its finalists.
After `train.py --train_arc` it also draws `architecture`, the learning curve in logs/EXPERIMENT_NAME/architecture.csv,
and those of further seeds.

Children that failed have no reward: the first sheet marks them, the others leave them out.

    python -m pnas.report EXPERIMENT_NAME ANOTHER ...

compares searches on the same validation images. It prints a table and writes it into logs/compare/ (searches.csv), with
two figures: `rewards`, the best reward so far against the children trained, and `fronts`, reward against MACs.
"""

import argparse
import io
import os
import sys

os.environ["MPLBACKEND"] = "agg"  # a notebook may leave a name that this Python lacks, and nothing is shown anyway

from pnas import UsageError
from pnas.constants import NAME
from pnas.report.comparison import compare
from pnas.report.figures import write_report, write_sheets
from pnas.report.learning_curve import draw_learning_curves
from pnas.store.architecture import read_curves
from pnas.store.paths import Paths


def main():
    parser = argparse.ArgumentParser(
        prog="python -m pnas.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("EXPERIMENT_NAME", nargs="+")
    name, *others = dict.fromkeys(parser.parse_args().EXPERIMENT_NAME)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # it may lack ×, and characters of names
    try:
        if others:
            print(*compare([name, *others]), sep="\n")
            return
        curves = read_curves(Paths(name)) if NAME.fullmatch(name) else {}
        if curves:
            print(*write_sheets(name, {"architecture": lambda: draw_learning_curves(curves, name)}), sep="\n")
        if not curves or Paths(name).database.exists():
            print(*write_report(name), sep="\n")
    except (UsageError, OSError) as error:
        sys.exit(f"pnas.report: {error}")


if __name__ == "__main__":
    main()

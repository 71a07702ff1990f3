"""What a search has found, in pictures, and whether to trust it.

    python -m pnas.report EXPERIMENT_NAME

draws five sheets into logs/EXPERIMENT_NAME/report/, each as PNG and SVG, from logs/EXPERIMENT_NAME/children.csv and the
limits in settings.json beside it, at any time, also while the search runs:

    rewards     reward of every child, with the best so far of each block size
    surrogate   predicted against actual reward, with Spearman's rho of each block size (says so while there is none)
    cost        reward against binary weights and against MACs, with the Pareto fronts within the budget
    operators   how often each operation stands in the best and in the worst tenth of the children
    best_cell   the best cell as a graph

Children that failed have no reward: the first sheet marks them, the others leave them out.
"""

import argparse
import sys

from pnas.report.figures import write_report


def main():
    parser = argparse.ArgumentParser(
        prog="python -m pnas.report", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("EXPERIMENT_NAME")
    try:
        print(*write_report(parser.parse_args().EXPERIMENT_NAME), sep="\n")
    except (ValueError, OSError) as error:
        sys.exit(f"pnas.report: {error}")


if __name__ == "__main__":
    main()

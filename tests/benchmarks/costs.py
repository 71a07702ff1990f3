"""How many cells a second `pnas.costs.Costs` counts, on one core, with the network of train.py.

Two spaces of three-block cells: the flat cells of its operators, and cells of the same operators that also read the
cell before their input and every block. CELLS cells are drawn from each. The first pass applies every operator to every
input that it meets. REPEATS passes over the same cells follow. It prints the seconds of the first pass, and the fastest
and the median of the others, by processor time and by the clock.

    python tests/benchmarks/costs.py
"""

import os
import random
import statistics
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")

import pnas.backend  # noqa: E402, F401  (first: it imports Keras without its messages)
from pnas.costs import Costs  # noqa: E402
from pnas.encoder import StateSpace  # noqa: E402

OPERATORS = ["3x3 sep-bconv", "5x5 sep-bconv", "1x7-7x1 bconv", "3x3 bconv"]
CELLS, REPEATS = 5_000, 21


def draw_cells(space, draw):
    """Random three-block cells of a space."""
    two_blocks = space.expand(space.initial_children())
    cells = space.expand(draw.sample(two_blocks, min(100, len(two_blocks))))
    return [draw.choice(cells) for _ in range(CELLS)]


def count_all(costs, cells):
    """Processor's seconds and the clock's."""
    processor, clock = time.process_time(), time.perf_counter()
    for cell in cells:
        costs(cell)
    return time.process_time() - processor, time.perf_counter() - clock


def main():
    print(f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}; {CELLS:,} cells, {REPEATS} passes")
    for name, lookback, lookforward in (("flat cells", 0, 0), ("lookback and block inputs", -1, None)):
        cells = draw_cells(StateSpace(3, OPERATORS, lookback, lookforward), random.Random(0))
        costs = Costs(3, [16, 24, 32], [32, 10], (28, 28, 1))
        first, _ = count_all(costs, cells)
        for clock, seconds in zip(("processor time", "clock"), zip(*(count_all(costs, cells) for _ in range(REPEATS)))):
            fastest, median = CELLS / min(seconds), CELLS / statistics.median(seconds)
            print(
                f"{name:26} {fastest:8,.0f} cells a second, median {median:,.0f} ({clock}; first pass {first:.1f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()

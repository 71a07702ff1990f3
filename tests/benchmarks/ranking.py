"""How many candidates a second the surrogate ranks, and in how much memory.

A space somewhat larger than the paper's: 8 operators, cells of up to 5 blocks, three outer inputs instead of two, and
every block of the cell as a further one; K = 256 children kept of each size. The surrogate is not trained, which costs
a ranking nothing. It prints, for each size, the candidates, the LSTM steps a candidate (those that begin alike share
them) and the seconds of their expansion with deduplication and of their ranking; then the ranking of all, half and a
quarter of the largest size's, interleaved, REPEATS times, as medians; then the same candidates through
`keras.Model.predict`, on a sample.

    python tests/benchmarks/ranking.py [--NUM_PREDICTORS 5]
"""

import argparse
import os
import platform
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the script's own folder is there by itself
from pnas.backend import keras  # noqa: E402
from pnas.encoder import Encoder, StateSpace  # noqa: E402

OPERATORS = ["3x3 sep-bconv", "5x5 sep-bconv", "7x7 sep-bconv", "3x3 bconv", "5x5 bconv", "7x7 bconv"]
OPERATORS += ["1x7-7x1 bconv", "3x3 maxpool"]
B, K = 5, 256
REPEATS = 5
SAMPLE = 8192  # candidates that Keras predicts


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def rank(encoder, cells):
    """The K cells of the highest predictions, as a search chooses them."""
    best = np.argsort(-encoder.predict(cells), kind="stable")[:K]
    return [encoder.state_space.canonical(cells[i]) for i in best]


def peak():
    return f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GiB"


def steps(cells):
    """LSTM steps of all cells: the number of their distinct beginnings."""
    return sum(len({tuple(cell[: step + 1]) for cell in cells}) for step in range(len(cells[0])))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--NUM_PREDICTORS", type=int, default=5, help="LSTMs in the surrogate")
    options = parser.parse_args()
    print(
        f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, Keras {keras.__version__} on {keras.backend.backend()}, "
        f"{options.NUM_PREDICTORS} LSTM(s)"
    )
    space = StateSpace(B, OPERATORS, -2, None)
    encoder = Encoder(space, num_predictors=options.NUM_PREDICTORS)
    cells = space.initial_children()
    print(f"1 block: {len(cells)} cells")
    for blocks in range(2, B + 1):
        expanding, candidates = timed(space.expand, cells)
        ranking, cells = timed(rank, encoder, candidates)
        print(
            f"{blocks} blocks: {len(candidates):,} candidates, "
            f"{steps(candidates) / len(candidates):.2f} LSTM steps each; "
            f"expansion {expanding:.1f} s, ranking {ranking:.1f} s, {len(candidates) / ranking:,.0f} a second, "
            f"both {len(candidates) / (expanding + ranking):,.0f} a second; {peak()}",
            flush=True,
        )

    parts = [candidates[::every] for every in (1, 2, 4)]  # of every part of the space as many
    seconds = [[timed(rank, encoder, part)[0] for part in parts] for _ in range(REPEATS)]
    print(f"median of {REPEATS} rankings:")
    for part, median in zip(parts, np.median(seconds, axis=0)):
        print(f"{len(part):9,} candidates  {median:6.2f} s  {len(part) / median:9,.0f} a second")

    tokens = encoder._tokens(candidates[:: len(candidates) // SAMPLE])
    encoder.model.predict(tokens, batch_size=1024, verbose=0)  # traces it
    seconds, outputs = timed(lambda: encoder.model.predict(tokens, batch_size=1024, verbose=0))
    print(f"keras.Model.predict: {len(tokens) / seconds:,.0f} a second")
    print(f"largest difference {abs(outputs[..., 0] - encoder._lstms.predict(tokens)).max():.1e}; {peak()}")


if __name__ == "__main__":
    main()

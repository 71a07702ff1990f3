"""How well surrogates of more or fewer LSTMs rank: what train.py's NUM_PREDICTORS was chosen by.

Replayed on tests/data/mnist_cells.csv: a surrogate learns the rewards of all cells of up to b blocks and predicts those
of all with one block more. Printed for each number of LSTMs, mean and standard deviation over SEEDS: Spearman's rank
correlation of predictions and rewards for the cells of two and of three blocks, the share of the best five three-block
cells among the five ranked first, and the seconds that the two fits and predictions took.

    python tests/benchmarks/predictors.py [--SEEDS 20] [--COUNTS 1,2,3,5,10]
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
from replays import read_rewards, space_of  # noqa: E402

from pnas.encoder import Encoder  # noqa: E402
from pnas.report.ranking import ranking_quality  # noqa: E402


def replay(encoder, space, seed, rewards):
    """[Spearman on two blocks, Spearman on three blocks, top-5 recall on three, seconds]"""
    start = time.perf_counter()
    encoder.restart(seed)
    qualities = []
    for blocks in range(1, space.B):
        known = [list(cell) for cell in rewards if len(cell) <= 4 * blocks]
        unknown = space.expand([cell for cell in known if len(cell) == 4 * blocks])
        encoder.fit(known, [rewards[tuple(cell)] for cell in known])
        predicted = encoder.predict(unknown)
        qualities.append(ranking_quality(predicted, [rewards[tuple(space.canonical(cell))] for cell in unknown]))
    correlations = [quality["spearman"] for quality in qualities]
    return [*correlations, qualities[-1]["top_5_recall"], time.perf_counter() - start]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--SEEDS", type=int, default=20)
    parser.add_argument("--COUNTS", default="1,2,3,5,10", help="numbers of LSTMs, with ',' between them")
    options = parser.parse_args()
    rewards = read_rewards()
    space = space_of(rewards)
    print(
        f"{len(rewards)} cells, {options.SEEDS} seeds\n"
        "LSTMs  Spearman, 2 blocks  3 blocks         top-5 recall   seconds"
    )
    for count in map(int, options.COUNTS.split(",")):
        encoder = Encoder(space, num_predictors=count)  # traced once
        results = np.array([replay(encoder, space, seed, rewards) for seed in range(options.SEEDS)])
        columns = zip(results.mean(axis=0), results.std(axis=0, ddof=1))
        print(f"{count:5}  ", *(f"{mean:.3f} ± {deviation:.3f}  " for mean, deviation in columns), flush=True)


if __name__ == "__main__":
    main()

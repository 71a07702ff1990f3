"""What the surrogate can know of cells whose operators interact, on a table of measured cells.

Spearman's rank correlation with the rewards of two-block cells (means over seeds of the surrogate and of the draws)

1. of all of them, after the one-block cells alone, as in a search: of the surrogate, ridge regression on operator
   counts, multiply-accumulates (MACs) and binary weights; and of the sum of a standardized prediction and the
   standardized logarithm of a cost, with the weight in WEIGHTS that turns out best on this table: what a cost as a
   further input could reach at most. And what it does reach: a line in the logarithm of the MACs is fitted to the
   one-block cells, and the surrogate to what the line leaves;
2. of those that were not trained, after K more cells, drawn at random or ranked highest by the surrogate.

Before that, the noise of a reward (its standard deviation over seeds, of the cells that have several), also as a share
of 1 - reward, beside the spread of the rewards with seed 0, over all cells and over those with rewards above GOOD. And
the rank correlation with the rewards that the same cells have in another table, OTHER, and the noise between the two,
each table's seed 0 counted as a seed of its own.

    python tests/benchmarks/interactions.py [--TABLE tests/data/mnist_cells_connected.csv] [--OTHER TABLE] [--SEEDS 20]
"""

import argparse
import collections

import numpy as np
from replays import CONNECTED, RidgeOnCounts, read_costs, read_rewards, read_rows, space_of
from scipy.stats import spearmanr

from pnas.encoder import Encoder

BUDGETS = (16, 32, 64, 128)  # K
GOOD = 0.8
WEIGHTS = np.linspace(0, 4, 41)


def print_noise(rows, above):
    """Prints noise, also as a share of the error, and spread of the cells whose mean reward is above a number."""
    rewards = [[float(row[name]) for name in row if name.startswith("reward_") and row[name]] for row in rows]
    repeated = [trainings for trainings in rewards if len(trainings) > 1 and np.mean(trainings) > above]
    squares = np.array([np.var(trainings) * len(trainings) for trainings in repeated])
    errors = np.array([1 - np.mean(trainings) for trainings in repeated])
    degrees = sum(len(trainings) - 1 for trainings in repeated)
    noise, share = (squares.sum() / degrees) ** 0.5, ((squares / errors**2).sum() / degrees) ** 0.5
    first = [trainings[0] for trainings in rewards if trainings[0] > above]
    print(f"Rewards above {above}: noise {noise:.4f}, {share:.3f} of 1 - reward ({len(repeated)} cells), ", end="")
    print(f"spread {np.std(first, ddof=1):.4f} ({len(first)} cells).")


def standardized(values):
    return (values - np.mean(values)) / np.std(values)


def correlation(values, rewards):
    return spearmanr(values, rewards)[0]


def best_sum(predictions, cost, rewards):
    """Mean correlation of predictions (one array a seed) plus weight times log cost, for the best weight; and it."""
    means = [
        np.mean([correlation(standardized(p) + weight * standardized(np.log(cost)), rewards) for p in predictions])
        for weight in WEIGHTS
    ]
    return f"{max(means):.3f} (weight {WEIGHTS[np.argmax(means)]:.1f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--TABLE", default=str(CONNECTED), help="CSV file of measured cells")
    parser.add_argument("--SEEDS", type=int, default=20)
    parser.add_argument("--OTHER", help="a table of other trainings of the same cells")
    options = parser.parse_args()
    for above in (0, GOOD):
        print_noise(read_rows(options.TABLE), above)
    table, costs = read_rewards(options.TABLE), read_costs(options.TABLE)
    space = space_of(table)
    if options.OTHER:
        other, seeds = read_rewards(options.OTHER), collections.defaultdict(dict)
        for path in (options.TABLE, options.OTHER):
            for row in read_rows(path):
                seeds[tuple(row["cell"])][f"reward_{path}"] = row["reward_seed_0"]
        print("Between the tables: ", end="")
        print_noise(seeds.values(), 0)
        for size in (4, 8):
            shared = [cell for cell in table if cell in other and len(cell) == size]
            found = correlation(*([of[cell] for cell in shared] for of in (table, other)))
            print(f"Rank correlation with {options.OTHER}: {found:.3f}, {len(shared)} cells of {size // 4} block(s).")
    ones, twos = ([list(cell) for cell in table if len(cell) == size] for size in (4, 8))
    known, rewards = (np.array([table[tuple(cell)] for cell in cells]) for cells in (ones, twos))
    macs, weights = (np.array([cost[tuple(cell)] for cell in twos]) for cost in costs)
    encoder, ridge = Encoder(space), RidgeOnCounts(space)

    def fitted_to_ones(seed):
        encoder.restart(seed)
        encoder.fit(ones, known)
        return encoder.predict(twos)

    log_macs = np.log([costs[0][tuple(cell)] for cell in ones])
    line = np.polynomial.Polynomial.fit(log_macs, known, 1)

    def line_and_rest(seed):
        encoder.restart(seed)
        # Around the mean reward instead of 0, because the surrogate's output is a sigmoid.
        encoder.fit(ones, known - line(log_macs) + known.mean())
        return encoder.predict(twos) + line(np.log(macs))

    ridge.fit(ones, known)
    predicted = {"surrogate": [fitted_to_ones(seed) for seed in range(options.SEEDS)], "ridge": [ridge.predict(twos)]}
    print(f"{len(twos)} cells of two blocks after {len(ones)} of one, {options.SEEDS} seeds. ", end="")
    print(f"MACs: {correlation(macs, rewards):.3f}, binary weights: {correlation(weights, rewards):.3f}.\n")
    print("| | alone | with log MACs | with log binary weights |\n| --- | --- | --- | --- |")
    for name, predictions in predicted.items():
        alone = np.mean([correlation(p, rewards) for p in predictions])
        sums = [best_sum(predictions, cost, rewards) for cost in (macs, weights)]
        print(f"| {name} | {alone:.3f} | {sums[0]} | {sums[1]} |")
    fitted = np.mean([correlation(line_and_rest(seed), rewards) for seed in range(options.SEEDS)])
    print(f"| line in log MACs, surrogate of the rest | {fitted:.3f} | | |")

    print("\n| K | cells | surrogate | ridge | MACs |\n| --- | --- | --- | --- | --- |")
    for K in (K for K in BUDGETS if len(twos) > K):
        for how in ("random", "ranked highest"):
            results = []
            for seed, first in enumerate(predicted["surrogate"]):
                order = np.random.default_rng(seed).permutation(len(twos)) if how == "random" else np.argsort(-first)
                chosen, others = order[:K], order[K:]
                cells, targets = ones + [twos[i] for i in chosen], [*known, *rewards[chosen]]
                fitted_to_ones(seed)
                encoder.fit(cells, targets)
                ridge.fit(cells, targets)
                unseen = [twos[i] for i in others]
                values = encoder.predict(unseen), ridge.predict(unseen), macs[others]
                results.append([correlation(value, rewards[others]) for value in values])
            print(f"| {K} | {how} | " + " | ".join(f"{mean:.3f}" for mean in np.mean(results, axis=0)) + " |")


if __name__ == "__main__":
    main()

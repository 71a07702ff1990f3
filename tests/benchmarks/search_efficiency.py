"""Progressive search against what one would do without it, replayed on the measured rewards of
tests/data/mnist_cells.csv.

Nothing is trained: a reward is looked up, the mean over the seeds that a cell has. Each method trains, that is looks
    up, as many
different cells as a progressive search with K cells a block size does (10 + K + K, or as many as there are):

    PNAS       the search of train.py: all cells of one block, then the K best-ranked expansions of each size
    random     cells drawn uniformly from the whole space
    evolution  regularized evolution (Real et al. 2019, arXiv:1802.01548): a population of POPULATION random cells; the
    best of
               SAMPLE drawn ones has a child with one operator replaced by another, one block more or one block less
               (each a third); the oldest dies. A cell that was trained before costs nothing again.
    oracle     PNAS with a surrogate that is never wrong

Printed over the seeds: the mean reward of the best cell found, its regret against the best of the table, and mean and
    median
of the models trained until the first cell of the top 1 %. Random search goes on past the budget until it finds one; for
the others, runs that found none count as the whole budget, and their share is given.

With NOISE every search is shown rewards of its own, off the table's by normal noise of this standard deviation, as if
all cells had been trained once more; it is judged by what the table says of the cell that it takes for the best.

    python tests/benchmarks/search_efficiency.py [--SEEDS 100] [--NOISE 0] [--WORKERS 2] [--PLOT
    tests/figures/search_efficiency.png]
"""

import argparse
import ast
import csv
import os
import random
import sys
from pathlib import Path

import joblib
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import pnas.training.backend  # noqa: E402, F401  (first: it imports Keras without its messages)
from pnas.journal.children import Child  # noqa: E402
from pnas.search import progressive_search  # noqa: E402

BUDGETS = (4, 8, 16, 32, 64)  # K
OPERATORS = ["3x3 sep-bconv", "5x5 sep-bconv", "1x7-7x1 bconv", "3x3 bconv"]
BLOCKS = 3
POPULATION, SAMPLE = 10, 3
METHODS = ("PNAS", "random", "evolution", "oracle")


def read_rows():
    """The rows of the table, each a dict of texts and, under `cell`, the cell as a list."""
    with open(ROOT / "tests" / "data" / "mnist_cells.csv", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [{**row, "cell": ast.literal_eval(row["cell"])} for row in rows]


def read_rewards():
    """dict, cell as a tuple -> its mean reward."""
    return {
        tuple(row["cell"]): np.mean([float(row[key]) for key in row if key.startswith("reward_") and row[key]])
        for row in read_rows()
    }


class Oracle:
    """A surrogate that knows the rewards."""

    def __init__(self, rewards, space):
        self.rewards, self.space = rewards, space

    def fit(self, cells, rewards):
        pass

    def rank(self, cells, K):
        ranked = sorted(map(self.space.canonical, cells), key=lambda cell: -self.rewards[tuple(cell)])[:K]
        return ranked, [self.rewards[tuple(cell)] for cell in ranked]


def progressive(rewards, space, surrogate, K):
    """The cells in the order in which the search of train.py trains them."""

    def look_up(blocks, new, known):
        return [Child(number, cell, predicted, 0, rewards[tuple(cell)]) for number, cell, predicted in new]

    return [tuple(child.cell) for child in progressive_search(space, surrogate, look_up, K)]


def evolved(rewards, space, budget, draw):
    """The different cells that regularized evolution trains, in their order."""
    population = [draw.choice(list(rewards)) for _ in range(POPULATION)]
    trained = dict.fromkeys(population)
    while len(trained) < budget:
        parent = max(draw.sample(population, SAMPLE), key=rewards.get)
        child = mutated(parent, space, draw)
        population = [*population[1:], child]
        trained[child] = None
    return list(trained)[:budget]


def mutated(cell, space, draw):
    cell = list(cell)
    how = draw.choice(["operator", "longer", "shorter"])
    if how == "longer" and len(cell) < 4 * BLOCKS:
        cell += [0, draw.choice(OPERATORS), 0, draw.choice(OPERATORS)]
    elif how == "shorter" and len(cell) > 4:
        first = 4 * draw.randrange(len(cell) // 4)
        del cell[first : first + 4]
    else:
        place = 2 * draw.randrange(len(cell) // 2) + 1
        cell[place] = draw.choice([operator for operator in OPERATORS if operator != cell[place]])
    return tuple(space.canonical(cell))


def trained_again(rewards, noise, seed):
    """The rewards as another training of every cell might give them."""
    draw = np.random.default_rng(seed)
    return {cell: reward + noise * draw.standard_normal() for cell, reward in rewards.items()}


def replay(seeds, rewards, noise):
    """For each seed a dict, (method, K) -> the cells in the order in which they are trained."""
    from pnas.encoder import Encoder, StateSpace

    space = StateSpace(BLOCKS, OPERATORS)
    encoder = Encoder(space)  # traced once
    results = []
    for seed in seeds:
        trained = {}
        shown = trained_again(rewards, noise, seed)
        for K in BUDGETS:
            draw = random.Random(seed)
            encoder.restart(seed)
            trained["PNAS", K] = progressive(shown, space, encoder, K)
            trained["oracle", K] = progressive(shown, space, Oracle(rewards, space), K)
            trained["random", K] = draw.sample(list(rewards), len(rewards))  # goes on past the budget
            trained["evolution", K] = evolved(shown, space, len(trained["PNAS", K]), draw)
        results.append(trained)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--SEEDS", type=int, default=100)
    parser.add_argument("--NOISE", type=float, default=0.0, help="standard deviation of the rewards that are shown")
    parser.add_argument("--WORKERS", type=int, default=joblib.cpu_count())
    parser.add_argument("--PLOT", help="PNG file to draw the regrets into")
    arguments = parser.parse_args()
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")  # of each worker
    rewards = read_rewards()
    best = max(rewards.values())
    top = set(sorted(rewards, key=rewards.get)[-max(1, round(len(rewards) / 100)) :])
    print(
        f"{len(rewards)} cells, best {best:.4f}, top 1 %: {len(top)} cells; "
        f"{arguments.SEEDS} seeds, noise {arguments.NOISE}"
    )
    shares = [range(worker, arguments.SEEDS, arguments.WORKERS) for worker in range(arguments.WORKERS)]
    replays = joblib.Parallel(arguments.WORKERS)(
        joblib.delayed(replay)(seeds, rewards, arguments.NOISE) for seeds in shares
    )
    runs = [run for share in replays for run in share]
    shown = [trained_again(rewards, arguments.NOISE, seed) for seeds in shares for seed in seeds]

    regrets, models, missed = {}, {}, {}
    print("K    models  method     best reward  regret (± of the mean)  models to top 1 % (median)  not within budget")
    for K in BUDGETS:
        for method in METHODS:
            trained = [run[method, K] for run in runs]
            budgets = [len(run["PNAS", K]) for run in runs]
            found = [max(cells[:n], key=seen.get) for cells, n, seen in zip(trained, budgets, shown)]
            found = np.array([rewards[cell] for cell in found])
            until = [next((n for n, cell in enumerate(cells, 1) if cell in top), len(cells)) for cells in trained]
            missed[method, K] = np.mean([top.isdisjoint(cells[:budget]) for cells, budget in zip(trained, budgets)])
            error = found.std(ddof=1) / len(found) ** 0.5 if len(found) > 1 else 0
            regrets[method, K], models[method, K] = (best - found.mean(), error), np.mean(until)
            print(
                f"{K:<4d} {np.mean(budgets):6.0f}  {method:9}  {found.mean():11.4f}  "
                f"{best - found.mean():7.4f} ± {error:.4f}        "
                f"{np.mean(until):17.1f} ({np.median(until):5.1f})  {missed[method, K]:18.0%}"
            )
    for K in BUDGETS:
        regret = regrets["PNAS", K][0] / max(regrets["random", K][0], 1e-9)
        at_least = "at least " * bool(missed["PNAS", K])  # a run that missed counts as the budget, which is too few
        print(
            f"K = {K}: PNAS has {regret:.2f} times random search's regret and needs {at_least}"
            f"{models['PNAS', K] / models['random', K]:.2f} times its models to reach the top 1 %"
        )
    if arguments.PLOT:
        draw_regrets(regrets, arguments.SEEDS, arguments.PLOT)


def draw_regrets(regrets, seeds, path):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot(
        xlabel="K, cells trained for each block size after the first",
        ylabel="Regret (best reward of the table less the best found)",
        xscale="log",
        title=f"Searches replayed on the measured cells, mean of {seeds} seeds, bars: standard error",
    )
    for method, line in zip(METHODS, ("o-", "s--", "^-.", "D:")):
        means, errors = zip(*(regrets[method, K] for K in BUDGETS))
        axes.errorbar(BUDGETS, means, errors, fmt=line, label=method, markerfacecolor="none", capsize=3)
    axes.set_xticks(BUDGETS, BUDGETS)
    axes.minorticks_off()
    axes.grid(color="0.88")
    axes.legend()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()

"""Searches for the best cell at every cost (PARETO of train.py), replayed on a table of measured cells.

Nothing is trained: a reward is looked up. Each method trains as many cells as a search with K cells a block size.

    LSTMs, reward             the search for the highest reward, in one round
    LSTMs, front, N rounds    `choose_for_all_costs` by the mean and standard deviation of the LSTMs, in N rounds
    LSTMs and line            LSTMs fitted to what a line in the logarithm of the cost leaves unexplained
    ridge, reward and front   ridge regression on how often a cell has each operator instead of the LSTMs, one round
    MACs, binary weights      the cells of the most multiply-accumulates, or binary weights
    random                    cells drawn uniformly from the whole space
    random, even in cost      after the cells of one block, one drawn from each of K equal shares of the candidates,
                              sorted by cost
    NSGA-II                   Deb et al. 2002, doi:10.1109/4235.996017: POPULATION cells, at first random; the winner of
                              a tournament of two has a child, mutated as in `replays.mutated`; the next population is
                              the best by rank of front and crowding distance
    oracle, front             `choose_for_all_costs` by a surrogate that is never wrong

Printed as Markdown, in units of 0.0001, with the standard error of the mean: the front regret of each K, the reward of
the best cell within a budget less that of the cell that the search takes for the best within it, mean over BUDGETS
budgets, quantiles of the costs from the first quartile up; and the regret, the same without a budget.

    python tests/benchmarks/fronts.py [--TABLE tests/data/mnist_cells_connected.csv] [--COST macs] [--NOISE 0]
        [--PART all] [--SEEDS 100] [--METHODS ...] [--WORKERS 2] [--KEEP FOLDER]

With NOISE every search is shown rewards that are off the table's by normal noise of this share of 1 - reward, and the
front regret is also printed after finals: the finalists of `pnas.search.finalists`, six times FINALISTS at most, are
trained with REPEATS more seeds, and within each budget the one of the highest mean is taken. PART
'first' or 'second' takes a random half of the cells of more than one block (numpy's default_rng(0)): on the first one
what is set by hand was chosen. KEEP is a folder for the results of each seed, from which the same command goes on.
"""

import argparse
import math
import os
import random

import joblib
import numpy as np
from replays import (
    FINALISTS,
    TABLE,
    EvenInCost,
    Lookup,
    RememberingEncoder,
    RidgeOnCounts,
    WithLine,
    noisy_trainings,
    nsga2,
    part_of,
    progressive,
    read_costs,
    read_rewards,
    space_of,
)

from pnas.child import Child
from pnas.costs import Cost
from pnas.search import finalists

KS = (8, 16, 32)
BUDGETS = 16
METHODS = {  # surrogate, whether it searches for a front, rounds
    "MACs": ("MACs", False, 1),
    "binary weights": ("binary weights", False, 1),
    "random": None,
    "random, even in cost": ("even", False, 1),
    "NSGA-II": None,
    "ridge, reward": ("ridge", False, 1),
    "ridge, front": ("ridge", True, 1),
    "LSTMs, reward": ("LSTMs", False, 1),
    "LSTMs, reward, 2 rounds": ("LSTMs", False, 2),
    "LSTMs, front, 1 round": ("LSTMs", True, 1),
    "LSTMs, front, 2 rounds": ("LSTMs", True, 2),
    "LSTMs, front, 4 rounds": ("LSTMs", True, 4),
    "LSTMs and line, front, 2 rounds": ("line", True, 2),
    "oracle, front": ("oracle", True, 1),
}


def replay(seed, table, cost, noise, part, methods):
    """Front regret, regret and front regret after finals of each method and K: dict, method -> float array (3, KS)."""
    rewards = read_rewards(table)
    costs = read_costs(table)[Cost._fields.index(cost)]
    space = space_of(rewards)
    kept = part_of(list(rewards), part)
    trainings = noisy_trainings(rewards, noise, seed)
    shown = {cell: trainings[cell][0] for cell in kept}
    means = {cell: trainings[cell].mean() for cell in kept}
    budgets = np.quantile([costs[cell] for cell in kept], np.linspace(0.25, 1, BUDGETS))

    def regrets(trained, by):
        """Of each budget; a search that trained no cell within it is left with the worst of all."""
        found = []
        for budget in budgets:
            within = [cell for cell in kept if costs[cell] <= budget]
            ours = [cell for cell in trained if costs[cell] <= budget]
            took = rewards[max(ours, key=by.get)] if ours else min(rewards[cell] for cell in kept)
            found.append(max(rewards[cell] for cell in within) - took)
        return found

    def cost_of(cell):
        return costs[tuple(space.canonical(cell))]

    surrogates = {name: Lookup(count, space) for name, count in zip(("MACs", "binary weights"), read_costs(table))}
    surrogates |= {"ridge": RidgeOnCounts(space), "oracle": Lookup(rewards, space)}
    if any(name.startswith("LSTMs") for name in methods):
        surrogates["LSTMs"] = _encoder(space)
        surrogates["line"] = WithLine(surrogates["LSTMs"], cost_of)

    def finals(trained, surrogate):
        """The finalists of a search; without a surrogate of rewards, by the rewards themselves."""
        children = [
            Child(number, list(cell), 0, reward=shown[cell], **{cost: costs[cell]})
            for number, cell in enumerate(trained, start=1)
        ]
        learns = surrogate in ("LSTMs", "line", "ridge")
        surrogate = surrogates[surrogate] if learns else Lookup(shown, space)
        return [tuple(child.cell) for child in finalists(children, surrogate, noise * learns, 6 * FINALISTS, cost)]

    results = {}
    for method in methods:
        columns = []
        for K in KS:
            draw = random.Random(seed)
            budget = len(progressive(shown, space, surrogates["MACs"], K))
            surrogates["even"] = EvenInCost(cost_of, K, draw)
            surrogate, is_front, rounds = METHODS[method] or (None, False, 1)
            if surrogate:
                if hasattr(surrogates[surrogate], "restart"):
                    surrogates[surrogate].restart(seed)
                asked = {"rounds": rounds, "cost": cost_of if is_front else None}
                children = progressive(shown, space, surrogates[surrogate], K, **asked)
                trained = [tuple(child.cell) for child in children]
            elif method == "random":
                trained = draw.sample(kept, budget)
            else:
                trained = nsga2(shown, costs, space, budget, draw)
            found = regrets(trained, shown)
            after_finals = np.mean(regrets(finals(trained, surrogate), means)) if noise else math.nan
            columns.append([np.mean(found), found[-1], after_finals])
        results[method] = np.transpose(columns)
    return results


_encoders = {}  # of this process: another one would be traced anew


def _encoder(space):
    key = space.B, tuple(space.operators)
    if key not in _encoders:
        _encoders[key] = RememberingEncoder(space)
    return _encoders[key]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--TABLE", default=str(TABLE), help="CSV file of measured cells")
    parser.add_argument("--COST", default="macs", choices=Cost._fields)
    parser.add_argument("--NOISE", type=float, default=0.0, help="of the rewards that are shown, a share of 1 - reward")
    parser.add_argument("--PART", default="all", choices=["all", "first", "second"])
    parser.add_argument("--SEEDS", type=int, default=100)
    parser.add_argument("--METHODS", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--WORKERS", type=int, default=joblib.cpu_count())
    parser.add_argument("--KEEP", help="folder for results, to go on from")
    options = parser.parse_args()
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")  # of each worker
    kept_replay = joblib.Memory(options.KEEP, verbose=0).cache(replay)
    runs = joblib.Parallel(options.WORKERS, batch_size=len(options.METHODS))(  # a seed shares its first fit
        joblib.delayed(kept_replay)(seed, options.TABLE, options.COST, options.NOISE, options.PART, [method])
        for seed in range(options.SEEDS)
        for method in options.METHODS
    )
    print(f"{options.TABLE}, {options.PART} of the cells, noise {options.NOISE:g}, {options.SEEDS} seeds\n")
    names = ["front regret", "regret", "front regret after finals"][: 3 if options.NOISE else 2]
    print("| method | " + " | ".join(f"{name}, K = {K}" for name in names for K in KS) + " |")
    print("| --- " * (1 + len(names) * len(KS)) + "|")
    for method in options.METHODS:
        regrets = 1e4 * np.array([run[method][: len(names)].ravel() for run in runs if method in run])
        errors = regrets.std(axis=0, ddof=1 if len(regrets) > 1 else 0) / len(regrets) ** 0.5
        cells = [f"{mean:.0f} ± {error:.1f}" for mean, error in zip(regrets.mean(axis=0), errors)]
        print(f"| {method} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

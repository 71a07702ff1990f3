"""Progressive search against what one would do without it, replayed on a table of measured cells.

Nothing is trained: a reward is looked up, the mean over the seeds that a cell has. Each method trains, that is looks
up, as many different cells as the search of train.py with K cells a block size: all cells of one block, then K of each
larger size, or as many as there are within budget.

    LSTMs      the search of train.py: the K expansions that the surrogate ranks highest
    ridge      the same with ridge regression on how often a cell has each operator, fitted to everything trained so far
    MACs       the same with the multiply-accumulates of a cell's network, most first; nothing is trained or learned
    binary weights   the same with the number of its binary weights
    random     cells drawn uniformly from the whole space
    evolution  regularized evolution (Real et al. 2019, arXiv:1802.01548): a population of POPULATION random cells; the
               best of SAMPLE drawn ones has a child with an operator or an input replaced, one block more or one block
               less (each a third); the oldest dies. A cell that was trained before costs nothing again.
    oracle     progressive search with a surrogate that is never wrong

For each budget of MAX_MACS multiply-accumulates, above which cells are left out, it prints as Markdown the mean over
seeds of

- Spearman's rank correlation on each size: what the method said of all cells of this size before any was trained, and
  their rewards, in the search with the largest K, which keeps all cells of two blocks if they are no more than that;
- regret: the reward of the best cell less that of the cell that the search takes for the best;
- models until top TOP: how many are trained until the first of the TOP best cells. Random search goes on past its
  budget until it finds one. Another search that finds none counts with all its models, and the figure has a >=;
- with NOISE, regret after finals: the FINALISTS best cells by the shrunk reward (see `pnas.search.finalists`; by the
  reward where a method predicts none) are trained with REPEATS more seeds each, and the highest mean wins.

With NOISE every search is shown rewards of its own, off the table's by normal noise of this share of 1 - reward, as if
all cells had been trained once more; it is judged by what the table says of the cell that it takes for the best.

    python tests/benchmarks/search_efficiency.py [--TABLE tests/data/mnist_cells.csv] [--MAX_MACS inf 9e6 6e6 3e6]
        [--NOISE 0] [--SEEDS 100] [--WORKERS 2] [--KEEP FOLDER] [--PLOT tests/figures/search_efficiency.png]

KEEP is a folder for the results of each seed, from which the same command goes on. Name another one after a change to
the code.
"""

import argparse
import math
import os

import joblib
import numpy as np
from replays import BUDGETS, FINALISTS, METHODS, REPEATS, TABLE, TOP, read_costs, read_rewards, replay


def mean_until(results, column):
    """Mean of the models trained until the first of the top, as text."""
    until = [result["until"][column] or result["models"][column] for result in results]
    return ">= " * any(result["until"][column] is None for result in results) + f"{np.mean(until):.0f}"


def print_table(runs, noise):
    """Prints the means over runs as Markdown.

    Args:
        runs: list of what `replay` returns.
        noise: whether there were finals.
    """
    sizes = len(runs[0]["MACs"]["spearman"])
    for method in METHODS:
        counts = [f"{np.mean(counts):.0f}" for counts in zip(*(run[method]["models"] for run in runs))]
        if method == METHODS[0]:
            print(f"Models trained: {', '.join(f'{n} with K = {K}' for n, K in zip(counts, BUDGETS))}", end="")
            usual = counts
        elif counts != usual:
            print(f"; {method}: {', '.join(counts)}", end="")
    print(f"; finals: {FINALISTS * REPEATS} more.\n" if noise else ".\n")
    columns = [f"Spearman, {size} blocks" for size in range(2, 2 + sizes)]
    for title in ("regret", "regret after finals", f"models until top {TOP}"):
        if noise or title != "regret after finals":
            columns += [f"{title}, K = {BUDGETS[0]}", *map(str, BUDGETS[1:])]
    print("| " + " | ".join(["method", *columns]) + " |\n" + "| --- " * (1 + len(columns)) + "|")
    errors = []
    for method in METHODS:
        results = [run[method] for run in runs]
        cells = [""] * sizes
        if "spearman" in results[0]:
            cells = [f"{mean:.3f}" for mean in np.mean([result["spearman"] for result in results], axis=0)]
        for name in ("regret", "finals") if noise else ("regret",):
            regrets = np.array([result[name] for result in results])
            cells += [f"{mean:.4f}" for mean in regrets.mean(axis=0)]
            errors.append(regrets.std(axis=0, ddof=1 if len(runs) > 1 else 0).max() / len(runs) ** 0.5)
        cells += [mean_until(results, column) for column in range(len(BUDGETS))]
        print("| " + " | ".join([method, *cells]) + " |")
    print(f"\nStandard errors of the regrets: at most {max(errors):.4f}.\n", flush=True)


def draw_regrets(runs, path):
    """Draws regret against K, with standard errors; the methods side by side, so that none hides another."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axes = figure.add_subplot(
        xlabel="K, cells trained for each block size after the first",
        ylabel="Regret (best reward of the table less the best found)",
        xscale="log",
        title=f"Searches replayed on the measured cells, mean of {len(runs)} seeds, bars: standard error",
    )
    for place, (method, marker) in enumerate(zip(METHODS, "ovx+s^D")):
        regrets = np.array([run[method]["regret"] for run in runs])
        errors = regrets.std(axis=0, ddof=1) / len(runs) ** 0.5
        look = {"fmt": marker, "label": method, "markerfacecolor": "none", "capsize": 3}
        axes.errorbar(np.array(BUDGETS) * 1.08 ** (place - 3), regrets.mean(axis=0), errors, **look)
    axes.set_xticks(BUDGETS, BUDGETS)
    axes.minorticks_off()
    axes.grid(axis="y", color="0.88")
    axes.legend()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--TABLE", default=str(TABLE), help="CSV file of measured cells")
    parser.add_argument("--MAX_MACS", type=float, nargs="+", default=[math.inf], help="budgets; inf is none")
    parser.add_argument("--NOISE", type=float, default=0.0, help="of the rewards that are shown, a share of 1 - reward")
    parser.add_argument("--SEEDS", type=int, default=100)
    parser.add_argument("--WORKERS", type=int, default=joblib.cpu_count())
    parser.add_argument("--KEEP", help="folder for results, to go on from")
    parser.add_argument("--PLOT", help="PNG file to draw the regrets of the first budget into")
    options = parser.parse_args()
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")  # of each worker
    rewards, macs = read_rewards(options.TABLE), read_costs(options.TABLE)[0]
    kept_replay = joblib.Memory(options.KEEP, verbose=0).cache(replay)
    for max_macs in options.MAX_MACS:
        within = [cell for cell in rewards if macs[cell] <= max_macs]
        budget = f"At most {max_macs:,.0f} MACs" if max_macs < math.inf else "No budget"
        best = max(rewards[cell] for cell in within)
        print(
            f"**{budget}, noise {options.NOISE:g}**: {len(within)} of {len(rewards)} cells, best {best:.4f}, ", end=""
        )
        print(f"{options.SEEDS} seeds. ", end="")
        runs = joblib.Parallel(options.WORKERS)(
            joblib.delayed(kept_replay)(seed, options.TABLE, max_macs, options.NOISE) for seed in range(options.SEEDS)
        )
        print_table(runs, options.NOISE > 0)
        if options.PLOT and max_macs == options.MAX_MACS[0]:
            draw_regrets(runs, options.PLOT)


if __name__ == "__main__":
    main()

"""Children that are stopped early, replayed on a table of cells with learning curves.

Nothing is trained. The surrogate of train.py, fitted to the one-block cells, ranks the two-block cells. Of the K best,
the first share, the pioneers, are trained to the end. Every other one is stopped after a quarter of STOPS if its
validation accuracy, the best so far, is then below a quantile of the pioneers' after the same epoch: the median rule
(Golovin et al. 2017) where the quantile is 0.5, a rung of successive halving (Jamieson & Talwalkar 2016) that keeps the
best quarter where it is 0.75. As the pioneers are known before the others begin, it does not matter who ends first.
With a third signal, a child whose predicted reward is among the best quarter of the K is never stopped.

The search takes the cell of the highest reward among those trained to the end. Rules are chosen on one random half of
the two-block cells: of those whose regret is at most TOLERANCE above that without stopping, for every K and NOISE, the
ones that train the fewest epochs. They are judged on the other half. Printed as Markdown, means over seeds: the share
of epochs that are trained, one-block cells included, and the regret less the regret without stopping.

    python tests/benchmarks/early_stopping.py [--TABLE tests/data/mnist_cells_connected.csv] [--NOISE 0 0.0092]
        [--SEEDS 100] [--JUDGE] [--BY_MACS]

With BY_MACS an epoch counts as much as its cell has multiply-accumulates, with which most of its time grows.
With JUDGE nothing is chosen: BUILT and the rules that differ from it in one part are judged on all two-block cells.

Otherwise, last, what the surrogate learns of stopped children, whose rewards are those that they had by then:
Spearman's rank correlation of its predictions with the rewards of the two-block cells that were not trained, after K
that were ranked highest, when all of these were trained to the end and when some were stopped by BUILT, the rule of
`pnas.training.early_stopping`.

NOISE is the standard deviation of normal noise on every accuracy of a curve, drawn for each epoch by itself.
"""

import argparse
import itertools
import operator

import numpy as np
from replays import CONNECTED, read_costs, read_curves, space_of
from scipy.stats import spearmanr

from pnas.encoder import Encoder
from pnas.training import early_stopping

BUDGETS = (8, 16, 32, 64, 128)  # K
PIONEERS = (0.125, 0.25, 0.5)  # share of the K cells that is trained to the end
STOPS = ((1,), (2,), (1, 2), (1, 2, 3))  # quarters of the epochs
QUANTILES = (0.5, 0.75, 0.9)
TOLERANCE = 0.0002
SHOWN = 3  # rules
BUILT = (early_stopping.PIONEERS, (1,), early_stopping.QUANTILE, False)
ALL = (1.0, (), 0.0, False)  # the rule that stops no child


def replay(curves, predicted, rule):
    """Trains cells in their order, some of them not to the end.

    Args:
        curves: array (cells, epochs), best accuracies so far.
        predicted: their predicted rewards, highest first.
        rule: see RULES.
    Returns:
        Array (cells,), the number of epochs of each.
    """
    pioneers, stops, quantile, is_spared = rule
    epochs = np.full(len(curves), curves.shape[1])
    first = early_stopping.count_pioneers(len(curves), pioneers)
    for stop in (curves.shape[1] // 4 * quarter for quarter in reversed(stops)):
        is_low = curves[:, stop - 1] < np.quantile(curves[:first, stop - 1], quantile)
        is_low[:first] = False
        if is_spared:
            is_low &= predicted < np.quantile(predicted, 0.75)
        epochs[is_low] = stop
    return epochs


RULES = [ALL, *itertools.product(PIONEERS, STOPS, QUANTILES, (False, True))]


def replays(encoder, space, curves, weights, half, noise, seeds):
    """Share of epochs and regret of every rule and K.

    Args:
        weights: dict, cell -> what an epoch of it counts.
        half: set of the two-block cells that the search knows.
    Returns:
        Two arrays (seeds, RULES, BUDGETS).
    """
    cells = [cell for cell in curves if len(cell) == 4 or cell in half]
    clean = np.stack([curves[cell] for cell in cells])
    index = {cell: number for number, cell in enumerate(cells)}
    ones = [cell for cell in cells if len(cell) == 4]
    weight = np.array([weights[cell] for cell in cells], float)
    of_ones = clean.shape[1] * sum(map(weights.get, ones))
    shares, regrets = np.empty((2, seeds, len(RULES), len(BUDGETS)))
    for seed in range(seeds):
        shown = clean + noise * np.random.default_rng(seed).standard_normal(clean.shape)
        shown = np.maximum.accumulate(shown, axis=1)
        encoder.restart(seed)
        encoder.fit([list(cell) for cell in ones], [shown[index[cell], -1] for cell in ones])
        known = [list(cell) for cell in half]
        predicted = encoder.predict(known)
        best = np.argsort(-predicted, kind="stable")
        predicted, order = predicted[best], [index[tuple(space.canonical(known[i]))] for i in best]
        for (r, rule), (k, K) in itertools.product(enumerate(RULES), enumerate(BUDGETS)):
            epochs = replay(shown[order[:K]], predicted[:K], rule)
            ended = [*map(index.get, ones), *itertools.compress(order[:K], epochs == shown.shape[1])]
            winner = ended[np.argmax(shown[ended, -1])]
            whole = of_ones + shown.shape[1] * weight[order[:K]].sum()
            shares[seed, r, k] = (of_ones + epochs @ weight[order[:K]]) / whole
            regrets[seed, r, k] = clean[:, -1].max() - clean[winner, -1]
    return shares, regrets


def taught(encoder, curves, seeds):
    """Prints what the surrogate has learned of children that were all trained to the end, and of some that were not."""
    ones, twos = ([cell for cell in curves if len(cell) == size] for size in (4, 8))
    matrix = np.stack([curves[cell] for cell in twos])
    first = [list(cell) for cell in ones], [curves[cell][-1] for cell in ones]
    print("\n| K | all to the end | some stopped |\n| --- | --- | --- |")
    for K in BUDGETS[-3:]:
        results = []
        for seed in range(seeds):
            encoder.restart(seed)
            encoder.fit(*first)
            predicted = encoder.predict([list(cell) for cell in twos])
            order = np.argsort(-predicted, kind="stable")
            correlations = []
            for rule in (ALL, BUILT):
                epochs = replay(matrix[order[:K]], predicted[order[:K]], rule)
                rewards = matrix[order[:K], epochs - 1]
                encoder.restart(seed)
                encoder.fit(*first)
                encoder.fit(first[0] + [list(twos[i]) for i in order[:K]], [*first[1], *rewards])
                unseen = encoder.predict([list(twos[i]) for i in order[K:]])
                correlations.append(spearmanr(unseen, matrix[order[K:], -1])[0])
            results.append(correlations)
        print(f"| {K} | " + " | ".join(f"{mean:.3f}" for mean in np.mean(results, axis=0)) + " |")


def correlations(matrix):
    """Spearman's rank correlation of each column with the last one, in words."""
    return ", ".join(f"{spearmanr(column, matrix[:, -1])[0]:.3f}" for column in matrix.T)


def print_rules(rules, noises, results):
    """Prints share of epochs and cost of rules, given by number, as Markdown.

    Args:
        results: name of the cells -> what `replays` returns for each noise.
    """
    columns = ["pioneers", "stops", "quantile", "spared", "noise", "cells", *(f"K = {K}" for K in BUDGETS)]
    print("| " + " | ".join(columns) + " |\n" + "| --- " * len(columns) + "|")
    errors = []
    for rule in rules:
        for noise, *parts in zip(noises, *results.values()):
            for name, (shares, regrets) in zip(results, parts):
                differences = regrets[:, rule] - regrets[:, 0]
                errors.append(differences.std(axis=0, ddof=1).max() / len(regrets) ** 0.5)
                pairs = zip(shares[:, rule].mean(axis=0), differences.mean(axis=0))
                cells = [
                    *map(str, RULES[rule]),
                    f"{noise:g}",
                    name,
                    *(f"{share:.2f}, {loss:+.4f}" for share, loss in pairs),
                ]
                print("| " + " | ".join(cells) + " |")
    print(f"\nStandard errors of the differences: at most {max(errors):.4f}.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--TABLE", default=str(CONNECTED), help="CSV file of cells with learning curves")
    parser.add_argument("--NOISE", type=float, nargs="+", default=[0, 0.0092], help="of the accuracies that are shown")
    parser.add_argument("--SEEDS", type=int, default=100)
    parser.add_argument("--JUDGE", action="store_true", help="the rule of train.py and its neighbours; none is chosen")
    parser.add_argument(
        "--BY_MACS", action="store_true", help="weigh epochs by the multiply-accumulates of their cells"
    )
    options = parser.parse_args()
    curves = read_curves(options.TABLE)
    weights = read_costs(options.TABLE)[0] if options.BY_MACS else dict.fromkeys(curves, 1)
    space = space_of(curves)
    twos = [cell for cell in curves if len(cell) == 8]
    matrix = np.stack([curves[cell] for cell in twos])
    best = np.argsort(-matrix[:, -1])[: max(10, len(twos) // 10)]
    of_all, of_best = (correlations(rows) for rows in (matrix, matrix[best]))
    print(f"Spearman's rank correlation of the best accuracy up to epoch 1, 2, ... with the reward, {len(twos)} cells")
    print(f"of two blocks: {of_all}; among the best {len(best)}: {of_best}.\n")

    encoder = Encoder(space)
    if options.JUDGE:
        on_all = [replays(encoder, space, curves, weights, twos, noise, options.SEEDS) for noise in options.NOISE]
        neighbours = [number for number, rule in enumerate(RULES) if sum(map(operator.ne, rule, BUILT)) <= 1]
        print(f"{options.SEEDS} seeds, {len(twos)} cells:\n")
        print_rules(neighbours, options.NOISE, {"all": on_all})
        return
    order = np.random.default_rng(0).permutation(len(twos))
    halves = [[twos[i] for i in sorted(part)] for part in np.array_split(order, 2)]
    chosen, judged = (
        [replays(encoder, space, curves, weights, half, noise, options.SEEDS) for noise in options.NOISE]
        for half in halves
    )
    losses = [(regrets - regrets[:, :1]).mean(axis=0).max(axis=1) for _, regrets in chosen]
    allowed = np.flatnonzero(np.max(losses, axis=0) <= TOLERANCE)
    costs = np.mean([shares.mean(axis=(0, 2)) for shares, _ in chosen], axis=0)
    cheapest = allowed[np.argsort(costs[allowed], kind="stable")[:SHOWN]]
    print(f"{options.SEEDS} seeds; the cheapest rules that cost at most {TOLERANCE} on the {len(halves[0])} cells they")
    print(f"are chosen on, judged on the other {len(halves[1])}:\n")
    print_rules(cheapest, options.NOISE, {"chosen on": chosen, "judged on": judged})
    taught(encoder, curves, min(options.SEEDS, 20))


if __name__ == "__main__":
    main()

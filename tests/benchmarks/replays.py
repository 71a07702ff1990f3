"""Searches whose rewards are looked up in a table of measured cells; see search_efficiency.py."""

import ast
import csv
import functools
import math
import random
import sys
from pathlib import Path

import numpy as np
from sklearn.linear_model import Ridge

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

from pnas.child import Child  # noqa: E402
from pnas.encoder import Encoder, StateSpace  # noqa: E402
from pnas.report.ranking import rank_correlation  # noqa: E402
from pnas.search import finalists, progressive_search  # noqa: E402

TABLE = ROOT / "tests" / "data" / "mnist_cells.csv"
CONNECTED = TABLE.with_name("mnist_cells_connected.csv")
FULL = TABLE.with_name("mnist_cells_full.csv")
BUDGETS = (4, 8, 16, 32, 64)  # K
POPULATION, SAMPLE = 10, 3
TOP = 3  # cells, 1 % of a table of 300
FINALISTS, REPEATS = 5, 2
METHODS = ("LSTMs", "ridge", "MACs", "binary weights", "random", "evolution", "oracle")


def read_rows(path=TABLE):
    """The rows of a table, each a dict of texts and, under `cell`, the cell as a list."""
    with Path(path).open(newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return [{**row, "cell": ast.literal_eval(row["cell"])} for row in rows]


def read_rewards(path=TABLE):
    """dict, cell as a tuple -> its mean reward over the seeds that it has."""
    return {
        tuple(row["cell"]): np.mean([float(row[key]) for key in row if key.startswith("reward_") and row[key]])
        for row in read_rows(path)
    }


def read_curves(path):
    """dict, cell as a tuple -> array, its best validation accuracy up to each epoch."""
    curves = {}
    for row in read_rows(path):
        names = sorted((name for name in row if name.startswith("val_accuracy_")), key=lambda name: int(name[13:]))
        curves[tuple(row["cell"])] = np.maximum.accumulate([float(row[name]) for name in names])
    return curves


def read_costs(path=TABLE):
    """Two dicts, cell as a tuple -> multiply-accumulates and binary weights of its network."""
    rows = read_rows(path)
    return [{tuple(row["cell"]): int(row[name]) for row in rows} for name in ("macs", "binary_weights")]


def part_of(cells, part):
    """All of the cells, or those of one block and a random half of the others."""
    larger = [cell for cell in cells if len(cell) > 4]
    order = np.random.default_rng(0).permutation(len(larger))
    halves = {"first": order[: len(larger) // 2], "second": order[len(larger) // 2 :], "all": order}
    kept = {larger[i] for i in halves[part]}
    return [cell for cell in cells if len(cell) == 4 or cell in kept]


def space_of(cells):
    """The StateSpace that a table's cells are all of."""
    sources = {source for cell in cells for source in cell[0::2]}
    operators = dict.fromkeys(operator for cell in cells for operator in cell[1::2])
    return StateSpace(max(map(len, cells)) // 4, operators, min(sources), None if max(sources) > 0 else 0)


def noisy_trainings(rewards, noise, seed):
    """dict, cell -> float array (1 + REPEATS,), its reward with noise, a share of 1 - reward, from 0 to 1."""
    draws = np.random.default_rng(seed).standard_normal((len(rewards), 1 + REPEATS))
    pairs = zip(rewards.items(), draws)
    return {cell: np.clip(reward + noise * (1 - reward) * draw, 0, 1) for (cell, reward), draw in pairs}


class Certain:
    """A surrogate of one prediction a cell, whose deviations are 0."""

    def predict_with_deviation(self, cells):
        predicted = self.predict(cells)
        return predicted, np.zeros_like(predicted)


class Lookup(Certain):
    """A surrogate that looks up a number of each cell, and learns nothing.

    Args:
        numbers: dict, cell as a tuple -> number.
        space: StateSpace of the cells.
    """

    def __init__(self, numbers, space):
        self.numbers, self.state_space = numbers, space

    def fit(self, cells, rewards):
        pass

    def predict(self, cells):
        return np.array([self.numbers[tuple(self.state_space.canonical(cell))] for cell in cells], float)


class EvenInCost:
    """Predicts nothing: draws a cell from each of K equal shares of the candidates, sorted by their costs."""

    def __init__(self, cost_of, K, draw):
        self.cost_of, self.K, self.draw = cost_of, K, draw

    def fit(self, cells, rewards):
        pass

    def predict(self, cells):
        order = sorted(range(len(cells)), key=lambda i: self.cost_of(cells[i]))
        drawn = [self.draw.choice(share) for share in np.array_split(order, min(self.K, len(cells)))]
        predicted = np.zeros(len(cells))
        predicted[drawn] = range(len(drawn), 0, -1)  # they are chosen in the order of their costs
        return predicted


class RidgeOnCounts(Certain):
    """Ridge regression on how often a cell has each operator."""

    def __init__(self, space):
        self.state_space, self.model = space, Ridge()

    def fit(self, cells, rewards):
        self.model.fit(self._counts(cells), rewards)

    def predict(self, cells):
        return self.model.predict(self._counts(cells))

    def _counts(self, cells):
        return [[cell.count(operator) for operator in self.state_space.operators] for cell in cells]


class RememberingEncoder(Encoder):
    """An Encoder that makes each first fit of a seed once: the searches of every K begin with the same one."""

    remembered = None, None, None  # what decides about a first fit, it, and the values of all variables after it

    def fit(self, cells, rewards):
        key = self.seed, cells, list(rewards)
        variables = [*self.model.variables, *self.model.optimizer.variables]
        if not self.fits and self.remembered[0] == key:
            self.fits.append(self.remembered[1])
            for variable, value in zip(variables, self.remembered[2]):
                variable.assign(value)
            return
        super().fit(cells, rewards)
        if len(self.fits) == 1:
            self.remembered = key, self.fits[0], [np.array(variable) for variable in variables]


class WithLine:
    """A surrogate that learns what a line in the logarithm of a cost leaves unexplained.

    Args:
        surrogate: has `predict_with_deviation` and learns numbers from 0 to 1.
        cost_of: function of a cell.
    """

    def __init__(self, surrogate, cost_of):
        self.surrogate, self.cost_of, self.restart = surrogate, cost_of, surrogate.restart

    def fit(self, cells, rewards):
        self.line = np.polyfit(self._logarithms(cells), rewards, 1)
        self.surrogate.fit(cells, list(np.clip(rewards - self._on_line(cells), 0, 1)))

    def predict_with_deviation(self, cells):
        predicted, deviations = self.surrogate.predict_with_deviation(cells)
        return predicted + self._on_line(cells), deviations

    def predict(self, cells):
        return self.predict_with_deviation(cells)[0]

    def _logarithms(self, cells):
        return [math.log(self.cost_of(cell)) for cell in cells]

    def _on_line(self, cells):
        return np.polyval(self.line, self._logarithms(cells)) - 0.8  # where the LSTMs' outputs begin is near 0.86


class Judged:
    """A surrogate whose predictions are compared with the rewards.

    Attributes:
        correlations: list of Spearman's rank correlations over all cells that were to be ranked, one a call of
            `predict`.
    """

    def __init__(self, surrogate, rewards):
        self.surrogate, self.rewards, self.correlations = surrogate, rewards, []
        self.fit = surrogate.fit

    def predict(self, cells):
        rewards = [self.rewards[tuple(self.surrogate.state_space.canonical(cell))] for cell in cells]
        predicted = self.surrogate.predict(cells)
        self.correlations.append(rank_correlation(predicted, rewards))
        return predicted


def progressive(rewards, space, surrogate, K, **options):
    """The children of the search of train.py among the cells that have a reward, in the order of their training."""

    def look_up(children):
        return [child._replace(reward=rewards[tuple(child.cell)]) for child in children]

    def fits(cell):
        return tuple(space.canonical(cell)) in rewards

    return progressive_search(space, surrogate, look_up, K, fits=fits, **options)


def evolved(rewards, space, budget, draw):
    """The different cells that regularized evolution trains, in their order."""
    population = [draw.choice(list(rewards)) for _ in range(POPULATION)]
    trained = dict.fromkeys(population)
    while len(trained) < budget:
        parent = max(draw.sample(population, SAMPLE), key=rewards.get)
        child = mutated(parent, space, draw)
        if child in rewards:  # or else it is over budget
            population = [*population[1:], child]
            trained[child] = None
    return list(trained)[:budget]


def nsga2(shown, costs, space, budget, draw):
    """The different cells that NSGA-II trains."""
    population = draw.sample(list(shown), min(POPULATION, budget))
    trained = dict.fromkeys(population)
    while len(trained) < budget:
        order = {cell: place for place, cell in enumerate(ranked_by_front(population, shown, costs))}
        children = []
        while len(children) < POPULATION and len(trained) < budget:
            child = mutated(min(draw.sample(population, 2), key=order.get), space, draw)
            if child in shown:
                children.append(child)
                trained[child] = None
        population = ranked_by_front(list(dict.fromkeys(population + children)), shown, costs)[:POPULATION]
    return list(trained)


def ranked_by_front(cells, shown, costs):
    """Cells by the number of their front, and within one by crowding distance."""
    ranked, left = [], sorted(cells, key=lambda cell: (costs[cell], -shown[cell]))
    while left:
        front = []
        for cell in left:
            if not front or shown[cell] > shown[front[-1]]:
                front.append(cell)
        scales = [(of, (of[front[-1]] - of[front[0]]) or 1) for of in (costs, shown)]
        distance = dict.fromkeys(front, np.inf)
        for before, cell, after in zip(front, front[1:], front[2:]):
            distance[cell] = sum(abs(of[after] - of[before]) / scale for of, scale in scales)
        ranked += sorted(front, key=lambda cell: -distance[cell])
        left = [cell for cell in left if cell not in distance]
    return ranked


def mutated(cell, space, draw):
    """A cell that differs from this one in an operator or an input, or by a block at its end."""
    cell = list(cell)
    how = draw.choice(["entry", "longer", "shorter"])
    if how == "longer" and len(cell) < 4 * space.B:
        cell += [draw.choice(values_at(place, space)) for place in range(len(cell), len(cell) + 4)]
    elif how == "shorter" and len(cell) > 4:
        first = 4 * draw.randrange(len(cell) // 4)
        del cell[first : first + 4]
        number = first // 4 + 1  # whatever read this block reads the cell's input, and later blocks move up
        cell[0::2] = [0 if source == number else source - (source > number) for source in cell[0::2]]
    else:
        places = [place for place in range(len(cell)) if len(values_at(place, space)) > 1]
        place = draw.choice(places)
        cell[place] = draw.choice([value for value in values_at(place, space) if value != cell[place]])
    return tuple(space.canonical(cell))


def values_at(place, space):
    """What may stand at a place of a cell."""
    if place % 2:
        return space.operators
    return [*range(space.input_lookback_depth, 1), *(range(1, place // 4 + 1) if space.input_lookforward_depth else ())]


@functools.cache
def prepared(table, max_macs):
    """Rewards of all cells of a table, their space, the rewards of the cells within budget, and surrogates."""
    everything, (macs, binary_weights) = read_rewards(table), read_costs(table)
    space = space_of(everything)
    rewards = {cell: reward for cell, reward in everything.items() if macs[cell] <= max_macs}
    surrogates = {
        "LSTMs": RememberingEncoder(space),  # traced once
        "ridge": RidgeOnCounts(space),
        "MACs": Lookup(macs, space),
        "binary weights": Lookup(binary_weights, space),
        "oracle": Lookup(rewards, space),
    }
    return everything, space, rewards, surrogates


def replay(seed, table, max_macs, noise):
    """What each method does with one seed.

    Args:
        seed: int, of the encoder, the noise and random choices.
        table: path of the table.
        max_macs: budget of a cell, inf for none.
        noise: standard deviation of a reward from one training to the next, as a share of 1 - reward.
    Returns:
        dict, method -> dict of lists with a number for each of BUDGETS: `models`, `regret`, `until` (models trained
        until the first of the top, or None) and, with noise, `finals` (regret after the finals); progressive searches
        also have `spearman`, a list with a number for each size after the first.
    """
    everything, space, rewards, surrogates = prepared(table, max_macs)
    trainings = noisy_trainings(everything, noise, seed)
    shown = {cell: trainings[cell][0] for cell in rewards}
    means = {cell: trainings[cell].mean() for cell in rewards}
    top = sorted(rewards, key=rewards.get)[-TOP:]

    def regret(children, by):
        return rewards[top[-1]] - rewards[max((tuple(child.cell) for child in children), key=by.get)]

    def as_children(cells):
        return [Child(number, list(cell), math.nan, 0, shown[cell]) for number, cell in enumerate(cells, 1)]

    results = {method: {"models": [], "regret": [], "until": [], "finals": []} for method in METHODS}
    for K in BUDGETS:
        draw = random.Random(seed)
        surrogates["LSTMs"].restart(seed)
        judged = {method: Judged(surrogate, rewards) for method, surrogate in surrogates.items()}
        trained = {method: progressive(shown, space, surrogate, K) for method, surrogate in judged.items()}
        budget = len(trained["LSTMs"])
        trained["random"] = as_children(draw.sample(list(rewards), len(rewards)))  # goes on past the budget
        trained["evolution"] = as_children(evolved(shown, space, budget, draw))
        for method, result in results.items():
            children = trained[method][:budget]
            result["models"].append(len(children))
            result["regret"].append(regret(children, shown))
            result["until"].append(next((child.number for child in trained[method] if tuple(child.cell) in top), None))
            if noise:
                learns = method in ("LSTMs", "ridge")  # the others predict no rewards, and none are shrunk
                surrogate = surrogates[method if learns else "oracle"]
                result["finals"].append(regret(finalists(children, surrogate, noise * learns, FINALISTS), means))
            if method in judged:
                result["spearman"] = judged[method].correlations  # in the end those of the largest K
    return results

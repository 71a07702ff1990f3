"""What the networks of cells cost, found without building them, and which cells are within a budget or good at a cost.

Each operator is applied once to every shape of input that it meets, and its cost is kept. After that a cell takes a
look-up for each of its halves in each stacked cell, and no Keras.
"""

import collections
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from pnas import UsageError
from pnas.encoder import Cell
from pnas.model import operator_cost, origin_of, readers_of_halves

Cost = collections.namedtuple("Cost", "macs binary_weights")
SHARES = 32  # of the costs that `choose_for_all_costs` looks at, from the least to the greatest


class Costs:
    """The cost of cells, as `count_macs` and `count_binary_weights` count it in the networks of `build_child`.

    Args:
        num_cells, filters, dense_layers, input_shape: the network, see `pnas.model.build_child`.
    """

    def __init__(self, num_cells: int, filters: list[int], dense_layers: list[int], input_shape: tuple[int, int, int]):
        *size, self.channels = input_shape
        self.sizes = [tuple(-(-length // 2**halvings) for length in size) for halvings in range(num_cells + 1)]
        self.filters = filters
        self.first_dense = math.prod(self.sizes[-1]) * dense_layers[0]  # weights for each channel that it reads
        self.other_dense = sum(inputs * units for inputs, units in itertools.pairwise(dense_layers))
        self._operator_cost = functools.cache(self._operator_cost)
        self._stacked_cells = functools.cache(self._stacked_cells)

    def __call__(self, cell: Cell) -> Cost:
        """The cost of a cell's network, dense layers included.

        Args:
            cell: flat list `[input1, op1, input2, op2, ...]`, its operators registered.
        Returns:
            Cost: multiply-accumulates for one image, binary weights.
        """
        macs, weights, outputs = self._count(cell)
        dense = self.first_dense * outputs[len(self.sizes) - 1] + self.other_dense
        return Cost(macs + dense, weights + dense)

    def shapes(self, cell: Cell) -> dict[int, tuple[int, int, int]]:
        """(height, width, channels) of the image, 0, and of the output of every stacked cell that is read."""
        return {number: (*self.sizes[number], channels) for number, channels in self._count(cell)[2].items()}

    def _count(self, cell):
        """MACs and binary weights of the stacked cells, and number -> channels of the image and of each cell."""
        # A block reads only blocks before it. In the order of their inputs, halves follow what they read.
        halves = [
            (source, operator, sum(readers.values()), readers.items())
            for (source, operator), readers in sorted(readers_of_halves(cell).items())
        ]
        macs = weights = 0
        outputs = {0: self.channels}  # channels of the image and of the cells
        for number in self._stacked_cells(frozenset(cell[0::2])):
            channels = [0] * (len(cell) // 4 + 1)  # of the cell's output and of the blocks that are read
            for source, operator, copies, readers in halves:
                origin = origin_of(source, number)
                read = channels[source] if source > 0 else outputs[origin]
                half_macs, half_weights, results = self._operator_cost(operator, copies, number, origin, read)
                macs += half_macs
                weights += half_weights
                for reader, count in readers:
                    channels[reader] += results * count // copies
            outputs[number] = channels[0]
        return macs, weights, outputs

    def _stacked_cells(self, sources):
        """The numbers of the stacked cells, without those that no later cell reads, where cells have these inputs."""
        last = len(self.sizes) - 1
        used = {last}
        for number in range(last, 0, -1):
            if number in used:
                used.update(origin_of(source, number) for source in sources)
        return sorted(used - {0})

    def _operator_cost(self, operator, copies, number, origin, channels):
        """`operator_cost` in a stacked cell, on an input of so many channels."""
        shape = *self.sizes[origin], channels
        return operator_cost(operator, shape, self.filters[number - 1], 2 ** (number - origin), copies)


def budget(
    costs: Callable[[Cell], Cost], cells: Iterable[Cell], max_macs: int | None, max_binary_weights: int | None
) -> Callable[[Cell], bool] | None:
    """The function that says whether a cell is within the limits, or None without limits.

    Args:
        costs: function of a cell, such as `Costs`. It is called only where there is a limit.
        cells: the smallest cells.
        max_macs, max_binary_weights: limits of the whole network, None for no limit.
    Raises:
        UsageError: none of `cells` is within the limits. The message names the smallest costs.
    """
    if max_macs is None and max_binary_weights is None:
        return None
    limits = {"MAX_MACS": max_macs, "MAX_BINARY_WEIGHTS": max_binary_weights}

    def fits(cell):
        return all(limit is None or cost <= limit for cost, limit in zip(costs(cell), limits.values()))

    cells = list(cells)
    if not any(map(fits, cells)):
        given = " and ".join(f"{name} = {limit}" for name, limit in limits.items() if limit is not None)
        macs, binary_weights = map(min, zip(*map(costs, cells)))
        raise UsageError(
            f"no cell of one block is within {given}; the least that any of them takes are {macs} multiply-accumulates "
            f"and {binary_weights} binary weights"
        )
    return fits


def choose_for_all_costs(
    costs: Sequence[float], rewards: Sequence[float], known: Sequence[tuple[float, float]], K: int
) -> list[int]:
    """The K cells that promise most for the best reward within each of many budgets, SHARES + 1 quantiles of all costs.

    Greedy: the next cell is the one that would raise the best reward within each budget most, summed over all budgets,
    assuming that what is hoped of it and of those chosen before is right. When none would raise it any more, the rest
    are compared among themselves in the same way, as if nothing else was known.

    Args:
        costs: one number a cell.
        rewards: an optimistic prediction for each cell, such as the mean of several plus their standard deviation.
        known: (cost, reward) of cells that have been trained.
        K: how many to choose; fewer if there are no more cells.
    Returns:
        Indices, in the order of the choice.
    """
    costs, rewards = np.asarray(costs), np.asarray(rewards, float)
    budgets = np.quantile([*costs, *(cost for cost, _ in known)], np.linspace(0, 1, SHARES + 1), method="higher")
    best = np.array([max((reward for cost, reward in known if cost <= budget), default=0) for budget in budgets])
    # The cells that the same budgets can pay for differ in their rewards alone: the best of them that is left is next.
    least_budgets = np.searchsorted(budgets, costs)
    waiting = [collections.deque() for _ in budgets]
    for cell in np.argsort(-rewards, kind="stable"):
        waiting[least_budgets[cell]].append(int(cell))
    chosen = []
    while len(chosen) < min(K, len(costs)):
        gains = {
            least: np.maximum(rewards[cells[0]] - best[least:], 0).sum() for least, cells in enumerate(waiting) if cells
        }
        least = max(gains, key=gains.get)
        if gains[least] == 0 and best.any():
            best = np.zeros_like(best)
            continue
        chosen.append(waiting[least].popleft())
        best[least:] = np.maximum(best[least:], rewards[chosen[-1]])
    return chosen

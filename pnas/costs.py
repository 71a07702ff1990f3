"""What the networks of cells cost, found without building them, and which cells are within a budget."""

import collections
import functools
import itertools
import math
from collections.abc import Callable, Iterable

from pnas import UsageError
from pnas.encoder import Cell
from pnas.model import operator_cost, origin_of, readers_of_halves

Cost = collections.namedtuple("Cost", "macs binary_weights")


class _OperatorCosts(dict):
    """dict, (operator, copies) -> `operator_cost` on one input, which is counted when it is first needed."""

    def __init__(self, input_shape, filters, strides):
        self.arguments = input_shape, filters, strides

    def __missing__(self, key):
        operator, copies = key
        self[key] = operator_cost(operator, *self.arguments, copies)
        return self[key]


class Costs:
    """The cost of cells, as `count_macs` and `count_binary_weights` count it in the networks of `build_child`.

    Args:
        num_cells, filters, dense_layers, input_shape: the network, see `pnas.model.build_child`.
    """

    def __init__(
        self,
        num_cells: int,
        filters: list[int],
        dense_layers: list[int],
        input_shape: tuple[int, int, int] = (28, 28, 1),
    ):
        *size, self.channels = input_shape
        self.sizes = [tuple(-(-length // 2**halvings) for length in size) for halvings in range(num_cells + 1)]
        self.filters = filters
        self.first_dense = math.prod(self.sizes[-1]) * dense_layers[0]  # weights for each channel that it reads
        self.other_dense = sum(inputs * units for inputs, units in itertools.pairwise(dense_layers))
        self._operator_costs = functools.cache(self._operator_costs)
        self._plan = functools.lru_cache(2**14)(self._plan)  # bounded: large spaces have many of them

    def __call__(self, cell: Cell) -> Cost:
        """The cost of a cell's network, dense layers included.

        Args:
            cell: flat list `[input1, op1, input2, op2, ...]`, its operators registered.
        Returns:
            Cost: multiply-accumulates for one image, binary weights.
        """
        sources, operators = tuple(cell[0::2]), cell[1::2]
        halves = list(zip(sources, operators))
        macs = weights = 0
        outputs = {0: self.channels}  # channels of the image and of the cells
        for number, inputs in self._plan(sources, tuple(map(halves.index, halves))):
            channels = [0] * (len(cell) // 4 + 1)  # of the cell's output and of the blocks that are read
            for source, origin, places in inputs:
                costs = self._operator_costs(number, origin, channels[source] if source > 0 else outputs[origin])
                for place, copies, reader, readers in places:
                    half_macs, half_weights, results = costs[operators[place], copies]
                    macs += half_macs
                    weights += half_weights
                    if readers is None:
                        channels[reader] += results
                    else:
                        for reader, count in readers:
                            channels[reader] += results * count // copies
            outputs[number] = channels[0]
        dense = self.first_dense * channels[0] + self.other_dense
        return Cost(macs + dense, weights + dense)

    def _plan(self, sources, places):
        """What all cells have in common that read these inputs and have equal halves at the same places.

        Args:
            sources: tuple of the input of each half.
            places: tuple of the place at which each half first stands in the cell, from 0.
        Returns:
            List of (number, inputs) of the stacked cells, without those that no later cell reads. `inputs` is a list of
            (input, its origin, halves), `halves` one of (place, copies, reader, None) or (place, copies, None, readers
            with their copies).
        """
        halves_of = collections.defaultdict(list)
        pattern = itertools.chain(*zip(sources, places))  # the cell, places instead of operators
        for (source, place), readers in readers_of_halves(list(pattern)).items():
            shared = (*readers, None) if len(readers) == 1 else (None, list(readers.items()))
            halves_of[source].append((place, sum(readers.values()), *shared))
        last = len(self.sizes) - 1
        used, cells = {last}, []
        for number in range(last, 0, -1):
            if number in used:
                # A block reads only blocks before it, so that these come first.
                inputs = [(source, origin_of(source, number), halves_of[source]) for source in sorted(halves_of)]
                used.update(origin for _, origin, _ in inputs)
                cells.insert(0, (number, inputs))
        return cells

    def _operator_costs(self, number, origin, channels):
        """Costs of operators of a stacked cell on an input of so many channels."""
        return _OperatorCosts((*self.sizes[origin], channels), self.filters[number - 1], 2 ** (number - origin))


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
    largest = [math.inf if limit is None else limit for limit in limits.values()]

    def fits(cell):
        return all(cost <= limit for cost, limit in zip(costs(cell), largest))

    cells = list(cells)
    if not any(map(fits, cells)):
        given = " and ".join(f"{name} = {limit}" for name, limit in limits.items() if limit is not None)
        macs, binary_weights = map(min, zip(*map(costs, cells)))
        raise UsageError(
            f"no cell of one block is within {given}; the least that any of them takes are {macs} multiply-accumulates "
            f"and {binary_weights} binary weights"
        )
    return fits

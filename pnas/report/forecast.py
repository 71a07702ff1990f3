"""What a search will take: its cells and their costs, how many are trained, and the time, memory and disk."""

import contextlib
import math
import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import EngFormatter
from rich.table import Table
from scipy.optimize import nnls

from pnas import UsageError
from pnas.child import counted
from pnas.constants import FIELDS, Settings
from pnas.costs import Cost, budget
from pnas.encoder import Cell
from pnas.report.console import standard_output
from pnas.store.paths import Paths
from pnas.training.early_stopping import count_pioneers, least_share
from pnas.training.speed import Images, Speed, measure_speeds
from pnas.training.workers import Workers

MOST_CELLS = 200_000  # of a size that are all listed
SPREAD = 2_000  # cells that stand for those of a larger size
LONG = 10_000_000  # training images, each counted as often as it is trained on: a shorter search begins at once
UNITS = {"s": 1, "min": 60, "h": 3600, "days": 86400}


class Size(NamedTuple):
    """The cells of one number of blocks.

    `count` is how many there are and `trained` how many of them a search trains; both are the most that are possible.
    `costs` are those of all cells or, where there are too many, of some from the cheapest to the costliest, in rising
    order, with the first and the last of these cells.
    """

    blocks: int
    count: int
    trained: int
    costs: list[Cost]
    cheapest: Cell
    costliest: Cell


def sizes_of(settings: Settings, shape: tuple[int, int, int]) -> list[Size]:
    """The block sizes of a search, up to the last one of which a cell is within the budget.

    Args:
        settings: those of the search.
        shape: (height, width, channels) of the images.
    Raises:
        UsageError: no cell of one block is within the budget.
    """
    space = settings.state_space()
    costs = settings.costs(shape)
    cells = space.initial_children()
    fits = budget(costs, cells, settings.MAX_MACS, settings.MAX_BINARY_WEIGHTS)
    cells = list(filter(fits, cells))
    count = trained = len(cells)
    sizes = []
    while cells:
        cells.sort(key=costs)
        sizes.append(Size(len(sizes) + 1, count, trained, list(map(costs, cells)), cells[0], cells[-1]))
        blocks = len(sizes) + 1
        if blocks > space.B:
            break
        most = space.most_expansions(count, blocks)
        if len(cells) == count and most <= MOST_CELLS:
            cells = list(filter(fits, space.expand(cells)))
            count = len(cells)
        else:
            parents = max(2, SPREAD // space.most_expansions(1, blocks))
            places = np.unique(np.linspace(0, len(cells) - 1, parents).round().astype(int))
            cells = list(filter(fits, space.expand([cells[place] for place in places])))
            count = most
        trained = min(settings.K_, count, space.most_expansions(trained, blocks))
    return sizes


class Measured(NamedTuple):
    """A cell whose training was measured: its number of blocks, its cost, and what it takes."""

    blocks: int
    cost: Cost
    speed: Speed


def measure(sizes: list[Size], settings: Settings, images: Images, workers: Workers) -> list[Measured]:
    """Measures the cheapest and the costliest cell of a search, the cheapest first; one, if they are the same.

    Args:
        sizes: of `sizes_of`.
        settings, images, workers: see `measure_speeds`.
    """
    least, most = min(sizes, key=lambda size: size.costs[0]), max(sizes, key=lambda size: size.costs[-1])
    cells = {least.costs[0]: least.cheapest, most.costs[-1]: most.costliest}
    speeds = measure_speeds(list(cells.values()), settings, images, workers)
    return [Measured(len(cell) // 4, cost, speed) for (cost, cell), speed in zip(cells.items(), speeds)]


def child_seconds(measured: list[Measured]) -> Callable[[int, int], float]:
    """How long cells train whose time was not measured.

    What follows every block, such as normalization, takes a time of its own, and convolutions one that grows with their
    multiply-accumulates: seconds = a * blocks + c * MACs, with a and c at least 0, by least squares.

    Returns:
        Function of a number of blocks and MACs.
    """
    facts = [(each.blocks, each.cost.macs * 1e-6) for each in measured]
    (a, c), _ = nnls(np.array(facts, float), np.array([each.speed.seconds for each in measured]))
    return lambda blocks, macs: a * blocks + c * 1e-6 * macs


def time_range(
    sizes: list[Size], seconds: Callable[[int, int], float], settings: Settings, workers: int
) -> tuple[float, float]:
    """The least and the most seconds that all trainings of a search take, in rounds side by side.

    Where not all cells of a size are trained, these are its cheapest or its costliest ones, and where children may be
    stopped early, all of these are stopped or none. Finalists take as long as the children of the last size; a front
    may have so few and so small ones that the least does not count them.

    Args:
        sizes: those of `sizes_of`.
        seconds: of `child_seconds`.
        settings: those of the search.
        workers: number of trainings side by side.
    """
    total = np.zeros(2)
    for size in sizes:
        times = sorted(seconds(size.blocks, cost.macs) for cost in size.costs)
        part = max(1, round(len(times) * size.trained / size.count))
        bounds = np.array([np.mean(times[:part]), np.mean(times[-part:])])
        stopped = settings.stops_early and size.blocks > 1
        total += _waves(size, settings, workers) * bounds * [least_share(size.trained) if stopped else 1, 1]
    finalists = settings.most_finalists(sum(size.trained for size in sizes))
    finals = settings.FINAL_SEEDS * math.ceil(finalists / workers) * bounds
    total += finals * [not settings.PARETO, True]
    return tuple(total.tolist())


def _waves(size, settings, workers):
    """How often children of a size are handed out, one to each worker; the children of a round wait for each other."""
    if size.blocks == 1:
        return math.ceil(size.trained / workers)
    waves, left, parts = 0, size.trained, settings.rounds
    if settings.stops_early:  # the other children wait for the pioneers
        pioneers = min(parts[0], count_pioneers(left))
        parts = [pioneers, parts[0] - pioneers, *parts[1:]]
    for most in parts:
        waves += math.ceil(min(left, most) / workers)
        left -= min(left, most)
    return waves


def disk(sizes: list[Size], measured: list[Measured], settings: Settings) -> tuple[int, float]:
    """The number and the bytes of all networks, at most.

    Each is as large as the largest of its size, and those of finalists as the largest of the last size.

    Args:
        sizes: those of `sizes_of`.
        measured: of `measure`; between these cells the bytes grow with the binary weights.
        settings: FINALISTS and FINAL_SEEDS of the search.
    """
    known = sorted((each.cost.binary_weights, each.speed.network) for each in measured)
    largest = [np.interp(max(cost.binary_weights for cost in size.costs), *zip(*known)) for size in sizes]
    counts = [size.trained for size in sizes]
    counts[-1] += settings.FINAL_SEEDS * settings.most_finalists(sum(counts))
    return sum(counts), float(np.dot(counts, largest))


def announce(settings: Settings, images: Images, workers: Workers, known: int) -> None:
    """Prints how long a search will take, measured in its workers; nothing if it is short or its time is known.

    Args:
        settings, images, workers: those of the search.
        known: number of its children that earlier runs have trained.
    """
    space = settings.state_space()
    ones = len(space.initial_children())
    trained = ones + sum(space.most_children(ones, 2, settings.K_))
    if known or not workers.pool or trained * settings.MAX_EPOCHS * images.training < LONG:
        return
    console, sizes = standard_output(), sizes_of(settings, images.shape)
    measured = _measured(console, sizes, settings, images, workers)
    if isinstance(measured, str):  # the search itself says what is wrong, or goes on without the children that fail
        console.print(f"Time to expect: not known yet ({measured})")
        return
    time = _time(sizes, measured, settings, workers)
    console.print(f"Time to expect: {time} for {_trainings(sizes, settings)}")


def _measured(console, sizes, settings, images, workers):
    """What `measure` returns, or the reason why these cells cannot be trained. A terminal says what is going on."""
    text = "Measuring the cheapest and the costliest cell"
    with console.status(text) if console.is_interactive else contextlib.nullcontext():
        try:
            return measure(sizes, settings, images, workers)
        except UsageError:
            raise
        except Exception as error:
            return f"{type(error).__name__}: {error}"


def _time(sizes, measured, settings, workers):
    """How long a search takes, in words."""
    time = range_in_words(*time_range(sizes, child_seconds(measured), settings, workers.count))
    return f"about {time}" + " (less with REUSE)" * bool(settings.REUSE)


def _trainings(sizes, settings):
    """How many children and finalists are trained, in words."""
    children = sum(size.trained for size in sizes)
    finalists = settings.most_finalists(children)
    at_most = "at most " * any(size.trained < size.count for size in sizes[:-1])
    seeds = counted(settings.FINAL_SEEDS, "further seed", "further seeds")
    finals = f"{'at most ' * bool(settings.PARETO)}{counted(finalists, 'finalist', 'finalists')} with {seeds}"
    return f"{at_most}{counted(children)}" + f" and {finals}" * (finalists > 0)


def range_in_words(low: float, high: float) -> str:
    """A range of seconds, each to two digits, such as `95 s`, `40 to 55 min` or `95 min to 2.5 h`."""
    units = [next((unit for unit, size in UNITS.items() if seconds < 99.5 * size), "days") for seconds in (low, high)]
    first, last = (f"{_two_digits(seconds / UNITS[unit])} {unit}" for seconds, unit in zip((low, high), units))
    if first == last:
        return first
    return f"{first.removesuffix(' ' + units[0]) if units[0] == units[1] else first} to {last}"


def _two_digits(number):
    return f"{float(f'{number:.2g}'):g}"


def _bytes(number):
    return f"{_two_digits(number / 1e9)} GB" if number >= 1e9 else f"{_two_digits(number / 1e6)} MB"


def print_constants(settings: Settings, script: Settings) -> None:
    """Prints the constants of a search, first those of the command line.

    Args:
        settings: those of the search.
        script: those of train.py.
    """
    groups, given = {}, []
    for name, field in FIELDS.items():
        value, other = getattr(settings, name), getattr(script, name)
        if field.metadata["group"] == "retraining":
            continue
        if value == other:
            groups.setdefault(field.metadata["group"], []).append(f"{name} = {value!r}")
        else:
            given.append(f"  {name} = {value!r}, not {other!r}")
    console = standard_output()
    if given:
        console.print("Constants of the command line, and train.py's:", *given, sep="\n")
    console.print("All other constants are train.py's:" if given else "All constants are train.py's:")
    for group, constants in groups.items():
        text = f"{group}: " + ", ".join(constant.replace(" ", "\xa0") for constant in constants)
        text = text.replace(",\xa0", ", ")  # a line ends after a comma alone
        lines = textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)
        console.print("\n".join(lines).replace("\xa0", " "))


def print_forecast(settings: Settings, images: Images, workers: Workers) -> None:
    """Prints what a search will take, measured in its workers. Writes no file.

    Args:
        settings, images, workers: those of the search.
    """
    console, sizes = standard_output(), sizes_of(settings, images.shape)
    console.print(_table(sizes))
    epochs = "at most " * settings.stops_early + counted(settings.MAX_EPOCHS, "epoch", "epochs")
    console.print(f"Trainings: {_trainings(sizes, settings)}, each of {epochs} on {images.training:,} images")
    measured = "Ray's workers cannot be asked"
    if workers.pool:
        measured = _measured(console, sizes, settings, images, workers)
    if isinstance(measured, str):
        console.print(f"Time:      not measured ({measured})")
        return
    time = _time(sizes, measured, settings, workers)
    seconds_each = sorted(cell.speed.seconds for cell in measured)
    each = range_in_words(seconds_each[0], seconds_each[-1])
    console.print(f"Time:      {time}, {workers.count} side by side; a child takes {each}")
    one, arrays = max(cell.speed.memory for cell in measured), 4 * math.prod(images.shape)
    arrays *= images.training + images.validation
    memory = f"about {_bytes(one + arrays)} in each worker"
    if settings.PARALLEL_BACKEND == "loky":  # the search has the images, and its workers share a copy
        number = counted(workers.count, "worker", "workers")
        memory = f"about {_bytes(workers.count * one + 2 * arrays)} for {number} of {_bytes(one)} and twice the images"
    console.print(f"Memory:    {memory}")
    count, total = disk(sizes, measured, settings)
    console.print(f"Disk:      at most about {_bytes(total)} for {counted(count, 'network', 'networks')}")
    paths = Paths(settings.EXPERIMENT_NAME)
    if paths.database.exists():
        console.print(
            f"{paths.logs} already has a search. The figures above are for a whole one, including what is trained."
        )


def _table(sizes):
    """The costs of the cells of each size."""
    title = "Cells within the budget, and what their networks cost"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    costs = [f"{cost}\n{word}" for cost in ("MACs:", "weights:") for word in ("least", "median", "most")]
    for head in ("blocks", "cells", "trained", *costs):
        table.add_column(head, justify="right", no_wrap=True)
    for size in sizes:
        is_all = len(size.costs) == size.count
        costs = [_short(value) for numbers in zip(*size.costs) for value in np.quantile(numbers, (0, 0.5, 1))]
        count = f"{size.count:,}" if is_all else f"≤{_short(size.count)}"
        table.add_row(
            str(size.blocks), count, f"{size.trained:,}", *(f"{'' if is_all else '~'}{cost}" for cost in costs)
        )
    return table


def _short(number):
    """A number with three digits, such as 39.2k or 1.66M."""
    return EngFormatter(sep="")(float(f"{number:.3g}"))

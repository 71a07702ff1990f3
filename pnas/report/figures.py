"""The sheets of a report, drawn from what the store keeps of a search."""

import io
import itertools
import math
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from pnas import UsageError
from pnas.child import LIMITS, Child, counted, pareto_front
from pnas.report.cell_drawing import LINES, add_cell, canvas
from pnas.report.ranking import TOO_FEW, in_words, judge
from pnas.store.atomic import write_atomically
from pnas.store.paths import Paths
from pnas.store.store import Store

MARKERS = "os^DvPX*"  # of block sizes 1, 2, ...; with the lines they tell them apart where there is no colour
COLOURS = ("#1f3b73", "#e07b1a", "#2f7d53", "#a57bc0")
DPI = 100  # 8 inches are 800 pixels
TICK_GAP = 0.18  # least distance of two labels on an axis of costs, as a share of its length
FEWEST_TENTHS = 30  # children; of fewer, a tenth is one child or two
STYLE = {
    "font.size": 10,
    "figure.titlesize": 11,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.88",
    "hatch.linewidth": 0.8,
    "text.parse_math": False,  # a name is not a formula
    "svg.hashsalt": "pnas",  # the same search gives the same file
}


class Found(NamedTuple):
    """What a search has found so far.

    `about` names the search in a title. `trainings` are those that have a reward, `children` the first ones of these,
    `failed` the numbers of the other children. `winner` is the best child, and `reward` its reward in words. `again` is
    a dict, number of a finalist of a search that has ended -> the rewards of all its trainings.
    """

    name: str
    settings: dict[str, Any]
    about: str
    trainings: list[Child]
    children: list[Child]
    failed: list[int]
    winner: Child
    reward: str
    again: dict[int, list[float]]


def read_found(store: Store) -> Found:
    """Reads what a search has found so far. The best child is the winner of the finalists or, as long as there is none,
    that of the highest reward, of equal ones the first.

    Raises:
        UsageError: no child has a reward yet.
    """
    trainings = store.trainings()
    children = [child for child in trainings if not child.repeat]
    failed = [child.number for child in store.failed() if not child.repeat]
    if not children:
        raise UsageError(f"{store.name} has no child with a reward yet ({len(failed)} failed)")
    about = f"{store.name} on {store.settings['DATASET']}: {counted(len(children) + len(failed))}"
    about += f", {len(failed)} failed" * bool(failed)
    about = textwrap.fill(about.encode(errors="replace").decode(), 75)  # a file's name need not be UTF-8
    again = {number: [child.reward for child in trainings if child.number == number] for number in store.ranking()}
    number, rewards = next(iter(again.items()), (None, []))
    winner = max(children, key=lambda child: (child.number == number, child.reward, -child.number))
    reward = f"reward {winner.reward:.4f}"
    if len(rewards) > 1:
        reward = f"mean reward {np.mean(rewards):.4f} of {len(rewards)} trainings"
    return Found(store.name, store.settings, about, trainings, children, failed, winner, reward, again)


def by_size(children: list[Child]) -> dict[int, list[Child]]:
    """Number of blocks -> its children, in their order."""
    sizes = sorted(children, key=lambda child: child.blocks)
    return {size: list(group) for size, group in itertools.groupby(sizes, key=lambda child: child.blocks)}


def operator_shares(children: list[Child]) -> dict[str, dict[str, float]]:
    """Share of each operation among all operations of the best tenth, the worst tenth and all of the children.

    Returns:
        Group in words -> {operation: share in [0, 1]}, in the order in which the children first used them: that of
        train.py's `operators`. Of fewer than FEWEST_TENTHS children there is only the group of all.
    """
    groups = {"all": children}
    if len(children) >= FEWEST_TENTHS:
        ranked, tenth = sorted(children, key=lambda child: (-child.reward, child.number)), len(children) // 10
        groups = {"best tenth": ranked[:tenth], "worst tenth": ranked[-tenth:], **groups}
    used = {f"{name} ({counted(len(group))})": _operations(group) for name, group in groups.items()}
    operations = dict.fromkeys(_operations(children))
    return {name: {op: ops.count(op) / len(ops) for op in operations} for name, ops in used.items()}


def _operations(children):
    return [operation for child in children for operation in child.cell[1::2]]


def write_report(experiment: str) -> list[str]:
    """Draws the sheets of an experiment anew; each file is the old one or the whole new one at any time.

    Args:
        experiment: EXPERIMENT_NAME of the search.
    Returns:
        The paths that were written, logs/EXPERIMENT/report/*.png and *.svg.
    Raises:
        UsageError: there is no such experiment, no child of it has a reward yet, or its database is damaged.
        OSError: a file cannot be read or written.
    """
    found = read_found(Store.open(experiment))
    return write_sheets(experiment, {name: lambda draw=draw: draw(found) for name, draw in SHEETS.items()})


def write_sheets(experiment: str, sheets: dict[str, Callable[[], Figure]], folder: Path | None = None) -> list[str]:
    """Draws sheets, in matplotlib's default style and STYLE, whatever the user's own style is.

    Args:
        experiment: EXPERIMENT_NAME.
        sheets: name of a file -> function that draws its figure.
        folder: where they are written, None for logs/EXPERIMENT/report.
    Returns:
        The paths that were written, NAME.png and NAME.svg of each sheet.
    """
    folder, paths = folder or Paths(experiment).report, []
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.style.context(["default", STYLE]):
        for name, draw in sheets.items():
            figure = draw()
            for ending in ("png", "svg"):
                content = io.BytesIO()
                figure.savefig(content, format=ending, dpi=DPI, metadata={"Date": None})
                paths.append(str(folder / f"{name}.{ending}"))
                write_atomically(paths[-1], content.getvalue())
    return paths


def sheet(title: str, about: str, height: float = 5.0) -> Figure:
    """An empty figure with its title, 8 inches wide."""
    figure = Figure(figsize=(8, height))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08, wspace=0.04)
    figure.suptitle(f"{title}\n{about}")
    return figure


def look(size: int) -> tuple[str, str, str]:
    """Colour, marker and line of a block size, or of a search among others, counted from 1."""
    return COLOURS[(size - 1) % len(COLOURS)], MARKERS[(size - 1) % len(MARKERS)], LINES[(size - 1) % len(LINES)]


def _scatter(axes, x, y, size, label=None):
    colour, marker, _ = look(size)
    return axes.plot(x, y, marker, color=colour, markersize=5, markerfacecolor="none", label=label)[0]


def _draw_rewards(found):
    figure = sheet("Reward of every child, and the best so far of each block size (lines)", found.about)
    axes = figure.add_subplot(
        xlabel="Child, by number (from 2 blocks on: in the order of their choice)",
        ylabel="Reward (accuracy on validation images, 0 to 1)",
    )
    handles = {}
    for size, group in by_size(found.children).items():
        numbers, rewards = [child.number for child in group], [child.reward for child in group]
        colour, _, line = look(size)
        points = _scatter(axes, numbers, rewards, size)
        best = np.maximum.accumulate(rewards)
        [steps] = axes.plot(numbers, best, line, color=colour, drawstyle="steps-post", linewidth=1.8)
        handles[f"{counted(size, 'block', 'blocks')}: {counted(len(group))}"] = (points, steps)
    if found.failed:
        heights, foot = [0.02] * len(found.failed), axes.get_xaxis_transform()
        handles[f"failed: {len(heights)}"] = axes.plot(found.failed, heights, "x", color="k", transform=foot)[0]
    winner = found.winner
    axes.plot(winner.number, winner.reward, "o", color="k", markersize=12, markerfacecolor="none")
    axes.margins(y=0.14)
    last = max(found.children[-1].number, *found.failed, 1)
    axes.set_xlim(0.5 - 0.015 * last, last + 0.5 + 0.015 * last)
    ticks = MaxNLocator(integer=True).tick_values(0, last)
    axes.set_xticks([1, *(tick for tick in ticks if ticks[1] / 2 < tick - 1 and tick <= last)])
    axes.annotate(
        f"best: child {winner.number}, {found.reward}",
        *((winner.number, winner.reward), (0, 9), "data", "offset points"),
        ha="right" if winner.number > np.mean(axes.get_xlim()) else "left",
    )
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    return figure


def _draw_surrogate(found):
    title = "Rewards as the surrogate predicted them and as they came\n(ρ: Spearman's rank correlation)"
    sizes = by_size([child for child in found.children if not math.isnan(child.predicted)])
    if not sizes:
        return sheet(f"{title}\nNothing to compare yet: the surrogate predicts from 2 blocks on", found.about, height=1)
    columns = min(2, len(sizes))
    lines = math.ceil(len(sizes) / columns)
    figure = sheet(title, found.about, height=1.6 + 3.6 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat
    for axes, (size, group) in zip(panels, sizes.items()):
        _scatter(axes, [child.predicted for child in group], [child.reward for child in group], size)
        quality, number = judge(group), counted(len(group))
        ours, theirs = in_words(quality["spearman"]), in_words(quality["spearman_of_macs"])
        words = ours if ours == TOO_FEW else f"ρ {ours}, of MACs alone {theirs}"
        axes.set_title(f"{size} blocks ({number})\n{words}", fontsize=10)
        axes.set_xlabel("Predicted reward (0 to 1)")
        start = (group[0].predicted, group[0].predicted)
        line = axes.axline(start, slope=1, color="0.4", linestyle="--", linewidth=1)
        axes.tick_params(labelbottom=True)  # there may be no panel below
    for axes in panels[len(sizes) :]:
        axes.remove()
    figure.legend([line], ["predicted = actual"], loc="outside lower center")
    figure.supylabel("Reward (accuracy on validation images, 0 to 1)", fontsize=10)
    return figure


def _draw_cost(found):
    title = "Reward against cost; on the Pareto front, no other child is as good for less"
    if found.settings["PARETO"] and any(len(rewards) > 1 for rewards in found.again.values()):
        title += "\n(of the front that was searched for: mean and standard deviation of several trainings)"
    limits = {cost: found.settings[name] for cost, name in LIMITS.items() if found.settings[name] is not None}
    figure = sheet(title, found.about)
    panels = figure.subplots(1, 2, sharey=True)
    labels = {"binary_weights": "Binary weights (1 bit each)", "macs": "Multiply-accumulates for an image (MACs)"}
    for axes, (cost, label) in zip(panels, labels.items()):
        axes.set(xlabel=label, xscale="log")
        for size, group in by_size(found.children).items():
            name = counted(size, "block", "blocks")
            _scatter(axes, [getattr(child, cost) for child in group], [child.reward for child in group], size, name)
        if cost in limits:
            axes.axvline(limits[cost], color="k", linestyle=":", label=f"{LIMITS[cost]} = {limits[cost]:,}")
        look = {"drawstyle": "steps-post", "linewidth": 1, "markersize": 11, "markerfacecolor": "none"}
        costs, rewards, deviations = _front(found, cost)
        axes.plot(costs, rewards, "k-o", label="Pareto front", **look)
        if any(deviations):
            axes.errorbar(costs, rewards, deviations, fmt="none", ecolor="k", elinewidth=1, capsize=3)
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(cost_ticks(*axes.get_xlim()))
    handles = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3 if limits else 6)
    panels[0].set_ylabel("Reward (accuracy on validation images, 0 to 1)")
    return figure


def _front(found, cost):
    """Costs, rewards and standard deviations of the Pareto front; that of the means where a front was searched for."""
    children, rewards = found.children, {child.number: [child.reward] for child in found.children}
    if cost == found.settings["PARETO"] and found.again:
        children, rewards = [child for child in children if child.number in found.again], found.again
    front = pareto_front(children, cost, lambda child: np.mean(rewards[child.number]))
    of_front = [rewards[child.number] for child in front]
    deviations = [np.std(each, ddof=1) if len(each) > 1 else 0 for each in of_front]
    return [getattr(child, cost) for child in front], [np.mean(each) for each in of_front], deviations


def cost_ticks(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis, none of them nearer to the next than TICK_GAP."""
    least = TICK_GAP * math.log10(high / low)
    equal_steps = [MaxNLocator(number) for number in (4, 3, 2)]
    equal_ratios = [LogLocator(subs=subs) for subs in ((1, 2, 5), (1, 3), (1,))] + [LogLocator(numticks=5)]
    for locator in equal_ratios if high > 5 * low else equal_steps:
        ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
        if len(ticks) > 1 and min(np.diff(np.log10(ticks))) >= least:
            break
    return ticks


def _draw_operators(found):
    groups = operator_shares(found.children)
    title = "How often each operation stands in the best and the worst cells"
    if len(groups) == 1:
        title = (
            f"How often each operation stands in the cells\n(best and worst tenth: from {FEWEST_TENTHS} children on)"
        )
    operations = list(groups[next(iter(groups))])
    figure = sheet(title, found.about, 2.2 + 0.7 * len(operations))
    axes = figure.add_subplot(xlabel="Share of the operations in these cells (%)")
    looks = ({"color": COLOURS[0]}, {"color": "w", "hatch": "////"}, {"color": "0.8"})
    width = 0.8 / len(groups)
    for number, ((label, shares), look) in enumerate(zip(groups.items(), looks[-len(groups) :])):
        places = np.arange(len(operations)) + width * (number - (len(groups) - 1) / 2)
        percent = [100 * share for share in shares.values()]
        bars = axes.barh(places, percent, width, edgecolor=COLOURS[0], label=label, **look)
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
    axes.set_yticks(range(len(operations)), operations)
    axes.margins(x=0.08)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _draw_best_cell(found):
    child = found.winner
    costs = f"{child.binary_weights:,} binary weights, {child.macs:,} MACs"
    title = f"Best cell: child {child.number}, {found.reward}\n{costs}\n{found.about}"
    return canvas(title, lambda axes, y: add_cell(axes, child.cell, y))


SHEETS = {
    "rewards": _draw_rewards,
    "surrogate": _draw_surrogate,
    "cost": _draw_cost,
    "operators": _draw_operators,
    "best_cell": _draw_best_cell,
}

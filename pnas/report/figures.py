"""The sheets of a report, drawn from children.csv, the limits in settings.json and the winner of the finalists."""

import functools
import io
import itertools
import math
import os

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullLocator

from pnas.child import LIMITS, counted
from pnas.journal.children import read_table
from pnas.journal.files import is_experiment_name, read_json, write_atomically
from pnas.journal.finalists import read_winner
from pnas.report.cell_drawing import LINES, draw_cell
from pnas.report.ranking import FEWEST, TOO_FEW, rank_correlation

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
    "svg.hashsalt": "pnas",  # the same table gives the same file
}


def by_size(children):
    """dict, number of blocks -> its children, in their order."""
    sizes = sorted({child.blocks for child in children})
    return {size: [child for child in children if child.blocks == size] for size in sizes}


def best_child(children):
    """The child of the highest reward; of equal ones the first."""
    return max(children, key=lambda child: (child.reward, -child.number))


def winner_of(children, kept=None):
    """The child to show as the best one.

    Args:
        children: list of Child, those that have a reward.
        kept: the winner of the finalists as of `read_winner`, or None, and then it is the child of the highest reward.
    Returns:
        (Child, its reward in words).
    Raises:
        ValueError: no child has the winner's number.
    """
    number, rewards = kept or (best_child(children).number, [])
    winner = next((child for child in children if child.number == number), None)
    if winner is None:
        raise ValueError(f"the search's winner is child {number}, but the table has no such child with a reward")
    mean = f", mean {np.mean(rewards):.4f} of {len(rewards)} trainings" if len(rewards) > 1 else ""
    return winner, f"{winner.reward:.4f}{mean}"


def best_so_far(children):
    """dict, number of blocks -> array of the best reward that this block size had after each of its children."""
    return {size: np.maximum.accumulate([child.reward for child in group]) for size, group in by_size(children).items()}


def rank_correlations(children):
    """dict, number of blocks -> (Spearman's rho of predicted and actual rewards, number of children with a prediction).

    rho is NaN where it is not defined: with less than two children, or where all predictions or all rewards are equal.
    """
    correlations = {}
    for size, group in by_size([child for child in children if not math.isnan(child.predicted)]).items():
        predicted, rewards = [child.predicted for child in group], [child.reward for child in group]
        correlations[size] = rank_correlation(predicted, rewards), len(group)
    return correlations


def pareto_front(children, cost):
    """The children that no other one beats, with a higher reward at no higher cost or as high a reward at a lower cost.

    Args:
        children: list of Child.
        cost: name of the field to keep low.
    Returns:
        List of Child, cheapest first; of equal ones the first only.
    """
    front = []
    for child in sorted(children, key=lambda child: (getattr(child, cost), -child.reward, child.number)):
        if not front or child.reward > front[-1].reward:
            front.append(child)
    return front


def operator_shares(children):
    """Share of each operation among all operations of the best tenth, the worst tenth and all of the children.

    Returns:
        Number of children in a tenth (at least 1), and dict, operation -> (best tenth, worst tenth, all), in [0, 1], in
        the order in which the children first used them: that of train.py's `operators`.
    """
    ranked = sorted(children, key=lambda child: (-child.reward, child.number))
    tenth = max(1, len(children) // 10)
    used = [[op for child in part for op in child.cell[1::2]] for part in (ranked[:tenth], ranked[-tenth:], children)]
    return tenth, {op: tuple(ops.count(op) / len(ops) for ops in used) for op in dict.fromkeys(used[2])}


def write_report(experiment, logs="logs"):
    """Draws the sheets of an experiment anew; each file is the old one or the whole new one at any time.

    Args:
        experiment: EXPERIMENT_NAME of the search.
        logs: folder of the experiments.
    Returns:
        List of the paths that were written, LOGS/EXPERIMENT/report/*.png and *.svg.
    Raises:
        ValueError: there is no such experiment, no child of it has a reward yet, or one of its files is damaged.
        OSError: a file cannot be read or written.
    """
    table = os.path.join(logs, experiment, "children.csv")
    if not is_experiment_name(experiment) or not os.path.isfile(table):
        raise ValueError(f"there is no experiment {experiment!r}: {table} does not exist")
    dataset, rows = read_table(table)
    children = [row for row in rows if not row.error]
    if not children:
        raise ValueError(f"{table} has no child with a reward yet ({len(rows)} failed)")
    about = experiment + (" " if len(experiment) < 40 else "\n")
    about += f"on {dataset}: {counted(len(rows))}"
    if len(rows) > len(children):
        about += f", {len(rows) - len(children)} failed"
    settings_path = os.path.join(logs, experiment, "settings.json")
    settings = read_json(settings_path) if os.path.exists(settings_path) else {}
    limits = {cost: settings[name] for cost, name in LIMITS.items() if settings.get(name) is not None}
    sheets = {**SHEETS, "cost": functools.partial(_draw_cost, limits=limits)}
    kept = read_winner(os.path.join(logs, experiment))
    sheets.update({name: functools.partial(SHEETS[name], kept=kept) for name in ("rewards", "best_cell")})
    folder = os.path.join(logs, experiment, "report")
    os.makedirs(folder, exist_ok=True)
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, draw in sheets.items():
            figure = draw(rows if name == "rewards" else children, about)
            paths += save_sheet(figure, os.path.join(folder, name))
    return paths


def save_sheet(figure, path):
    """Writes a figure as PATH.png and PATH.svg. Returns both paths."""
    paths = [f"{path}.png", f"{path}.svg"]
    for each in paths:
        content = io.BytesIO()
        figure.savefig(content, format=each[-3:], dpi=DPI, metadata={"Date": None})
        write_atomically(each, content.getvalue())
    return paths


def sheet(title, about, height=5.0):
    """An empty figure with its title, 8 inches wide."""
    figure = Figure(figsize=(8, height))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.08, wspace=0.04)
    figure.suptitle(f"{title}\n{about}")
    return figure


def _look(size):
    """Colour, marker and line of a block size."""
    return COLOURS[(size - 1) % len(COLOURS)], MARKERS[(size - 1) % len(MARKERS)], LINES[(size - 1) % len(LINES)]


def _scatter(axes, x, y, size, label=None):
    colour, marker, _ = _look(size)
    return axes.plot(x, y, marker, color=colour, markersize=5, markerfacecolor="none", label=label)[0]


def _draw_rewards(rows, about, kept=None):
    children = [row for row in rows if not row.error]
    figure = sheet("Reward of every child, and the best so far of each block size (lines)", about)
    axes = figure.add_subplot(
        xlabel="Child, by number (from 2 blocks on: highest predicted reward first)",
        ylabel="Reward (accuracy on validation images, 0 to 1)",
    )
    handles = {}
    best = best_so_far(children)
    for size, group in by_size(children).items():
        numbers = [child.number for child in group]
        colour, _, line = _look(size)
        points = _scatter(axes, numbers, [child.reward for child in group], size)
        [steps] = axes.plot(numbers, best[size], line, color=colour, drawstyle="steps-post", linewidth=1.8)
        handles[f"{counted(size, 'block', 'blocks')}: {counted(len(group))}"] = (points, steps)
    failed = [row.number for row in rows if row.error]
    if failed:
        foot = axes.get_xaxis_transform()
        handles[f"failed: {len(failed)}"] = axes.plot(failed, [0.02] * len(failed), "x", color="k", transform=foot)[0]
    winner, reward = winner_of(children, kept)
    axes.plot(winner.number, winner.reward, "o", color="k", markersize=12, markerfacecolor="none")
    axes.margins(y=0.14)
    last = rows[-1].number
    axes.set_xlim(0.5 - 0.015 * last, last + 0.5 + 0.015 * last)
    ticks = MaxNLocator(integer=True).tick_values(0, last)
    axes.set_xticks([1, *(tick for tick in ticks if ticks[1] / 2 < tick - 1 and tick <= last)])
    axes.annotate(
        f"best: child {winner.number}, {reward}",
        *((winner.number, winner.reward), (0, 9), "data", "offset points"),
        ha="right" if winner.number > np.mean(axes.get_xlim()) else "left",
    )
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3)
    return figure


def _draw_surrogate(children, about):
    title = "Rewards as the surrogate predicted them and as they came (ρ: Spearman's rank correlation)"
    correlations = rank_correlations(children)
    if not correlations:
        figure = sheet(title, about, height=2.4)
        figure.set_layout_engine("none")
        figure.text(0.5, 0.4, "Nothing to compare yet: the surrogate predicts from 2 blocks on.", ha="center")
        return figure
    columns = min(2, len(correlations))
    lines = math.ceil(len(correlations) / columns)
    figure = sheet(title, about, height=1.2 + 3.6 * lines)
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).flat
    sizes = by_size([child for child in children if not math.isnan(child.predicted)])
    for axes, (size, group) in itertools.zip_longest(panels, sizes.items(), fillvalue=(None, None)):
        if size is None:
            axes.remove()
            continue
        rho, number = correlations[size]
        _scatter(axes, [child.predicted for child in group], [child.reward for child in group], size)
        value = "not defined" if math.isnan(rho) else f"= {rho:.2f}"
        value = TOO_FEW if number < FEWEST else value
        axes.set_title(f"{size} blocks: ρ {value} ({counted(number)})", fontsize=10)
        line = {"color": "0.4", "linestyle": "--", "linewidth": 1, "label": "predicted = actual"}
        axes.axline((group[0].predicted, group[0].predicted), slope=1, **line)
        axes.legend(loc="upper left", fontsize=8)
        axes.tick_params(labelbottom=True)  # there may be no panel below
    figure.supxlabel("Predicted reward (0 to 1)", fontsize=10)
    figure.supylabel("Reward (accuracy on validation images, 0 to 1)", fontsize=10)
    return figure


def _draw_cost(children, about, limits):
    figure = sheet("Reward against cost; on the Pareto front, no other child is as good for less", about)
    panels = figure.subplots(1, 2, sharey=True)
    labels = {"binary_weights": "Binary weights (1 bit each)", "macs": "Multiply-accumulates for an image (MACs)"}
    for axes, (cost, label) in zip(panels, labels.items()):
        axes.set(xlabel=label, xscale="log")
        for size, group in by_size(children).items():
            name = counted(size, "block", "blocks")
            _scatter(axes, [getattr(child, cost) for child in group], [child.reward for child in group], size, name)
        if cost in limits:
            axes.axvline(limits[cost], color="k", linestyle=":", label=f"{LIMITS[cost]} = {limits[cost]:,}")
        within = [child for child in children if all(getattr(child, name) <= limits[name] for name in limits)]
        front = pareto_front(within, cost)
        look = {"drawstyle": "steps-post", "linewidth": 1, "markersize": 11, "markerfacecolor": "none"}
        costs, rewards = [getattr(child, cost) for child in front], [child.reward for child in front]
        axes.plot(costs, rewards, "k-o", label="Pareto front", **look)
        axes.xaxis.set_major_formatter(EngFormatter())
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(_cost_ticks(*axes.get_xlim()))
    handles = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels())}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=4 if limits else 6)
    panels[0].set_ylabel("Reward (accuracy on validation images, 0 to 1)")
    return figure


def _cost_ticks(low, high):
    """Round numbers on a logarithmic axis, none of them nearer to the next than TICK_GAP."""
    least = TICK_GAP * math.log10(high / low)
    equal_steps = [MaxNLocator(number) for number in (4, 3, 2)]
    equal_ratios = [LogLocator(subs=subs) for subs in ((1, 2, 5), (1, 3), (1,))] + [LogLocator(numticks=5)]
    for locator in equal_ratios if high > 5 * low else equal_steps:
        ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
        if len(ticks) > 1 and min(np.diff(np.log10(ticks))) >= least:
            break
    return ticks


def _draw_operators(children, about):
    tenth, shares = operator_shares(children)
    if len(children) < FEWEST_TENTHS:
        about += f"; fewer than {FEWEST_TENTHS} are too few to judge"
    figure = sheet("How often each operation stands in the best and the worst cells", about, 2.2 + 0.7 * len(shares))
    axes = figure.add_subplot(xlabel="Share of the operations in these cells (%)")
    places = np.arange(len(shares))
    best, worst, everywhere = (100 * np.array(column) for column in zip(*shares.values()))
    for offset, values, label, colour, hatch in (
        (-0.27, best, f"best tenth ({counted(tenth)})", COLOURS[0], ""),
        (0, worst, f"worst tenth ({counted(tenth)})", "w", "////"),
        (0.27, everywhere, f"all ({counted(len(children))})", "0.8", ""),
    ):
        bars = axes.barh(places + offset, values, 0.25, color=colour, hatch=hatch, edgecolor=COLOURS[0], label=label)
        axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
    axes.set_yticks(places, shares)
    axes.set_xlim(0, max(*best, *worst, *everywhere) * 1.08)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def _draw_best_cell(children, about, kept=None):
    child, reward = winner_of(children, kept)
    costs = f"{child.binary_weights:,} binary weights, {child.macs:,} MACs"
    return draw_cell(child.cell, f"Best cell: child {child.number}, reward {reward}, {costs}\n{about}")


SHEETS = {
    "rewards": _draw_rewards,
    "surrogate": _draw_surrogate,
    "cost": _draw_cost,
    "operators": _draw_operators,
    "best_cell": _draw_best_cell,
}

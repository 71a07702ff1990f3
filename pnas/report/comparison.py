"""Several searches side by side: a table, and two figures. Needs no Keras, so that it starts at once."""

import sys
import textwrap
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator, NullLocator
from rich.console import Console
from rich.table import Table

from pnas import UsageError
from pnas.child import counted, in_short, pareto_front
from pnas.constants import COMPARISON, TRAINING_IMAGES, changes
from pnas.report.figures import Found, by_size, cost_ticks, look, read_found, sheet, write_sheets
from pnas.report.ranking import in_words, judge
from pnas.store.atomic import write_atomically
from pnas.store.files import table
from pnas.store.paths import Paths
from pnas.store.store import Store

OF_IMAGES = ("DATASET", "SEED")  # what decides the validation images; SEED only those of a user's data


def compare(names: list[str]) -> list[str]:
    """Prints a table of searches and writes it, and two figures, into logs/compare/.

    - `searches.csv`: the constants in which they differ (of those that rewards and choices depend on),
      children, hours, rewards, winners, and how well the surrogate, and a count of multiply-accumulates (MACs) alone,
      predicted the rewards.
    - `rewards`: the best reward so far against the number of children trained.
    - `fronts`: reward against MACs, with the Pareto front of each search.

    Args:
        names: EXPERIMENT_NAMEs of two searches or more, which may still run.
    Returns:
        The paths that were written.
    Raises:
        UsageError: there is no such experiment, no child of it has a reward yet, or the searches have rewarded their
            children on different validation images.
        OSError: a file cannot be read or written.
    """
    searches = [read_found(Store.open(name)) for name in names]
    check_comparable(searches)
    rows, folder = rows_of(searches), Paths(COMPARISON).logs
    figures = {"rewards": lambda: draw_rewards(searches), "fronts": lambda: draw_fronts(searches)}
    paths = write_sheets(COMPARISON, figures, folder)
    path = folder / "searches.csv"
    write_atomically(path, table(rows[0], rows))
    _print(rows)
    return [*paths, str(path)]


def check_comparable(searches: list[Found]) -> None:
    """Refuses searches whose rewards are accuracies on different validation images.

    Raises:
        UsageError: names the first two, and in what they differ.
    """
    first, *others = searches
    for other in others:
        for constant in OF_IMAGES[: 1 if first.settings["DATASET"] in TRAINING_IMAGES else 2]:
            values = first.settings[constant], other.settings[constant]
            if values[0] != values[1]:
                raise UsageError(
                    f"{first.name} and {other.name} cannot be compared, as their validation images may differ: "
                    f"{constant} is {values[0]!r:.200} and {values[1]!r:.200}"
                )


def rows_of(searches: list[Found]) -> list[dict[str, Any]]:
    """A row a search: dict, what it says -> number or text, None where there is nothing to say.

    `hours` are those of all trainings together, without reused children; side by side they take less. The winner is
    that of the finalists, or as long as there is none, the best child; its mean and standard deviation are those of its
    trainings. Spearman's rank correlation is that of the children of each size from two blocks on.
    """
    first, *others = (search.settings for search in searches)
    different = dict.fromkeys(name for other in others for name in changes(first, other))
    sizes = sorted({child.blocks for search in searches for child in search.children} - {1})
    rows = []
    for search in searches:
        children, winner = search.children, search.winner
        rewards = [child.reward for child in search.trainings if child.number == winner.number]
        row = {
            "search": search.name,
            **{name: repr(search.settings[name]) if name in search.settings else None for name in different},
            "children": len(children) + len(search.failed),
            "failed": len(search.failed),
            "hours": round(sum(child.seconds for child in search.trainings if not child.reused) / 3600, 3),
            "best_reward": max(child.reward for child in children),
            "winner": in_short(winner.cell),
            "winner_mean": round(float(np.mean(rewards)), 6),
            "winner_deviation": round(float(np.std(rewards, ddof=1)), 6) if len(rewards) > 1 else None,
            "winner_trainings": len(rewards),
            "winner_macs": winner.macs,
            "winner_binary_weights": winner.binary_weights,
        }
        groups = by_size(children)
        for size in sizes:
            quality = judge(groups.get(size, []))
            row[f"spearman_{size}_blocks"] = in_words(quality["spearman"])
            row[f"spearman_of_macs_{size}_blocks"] = in_words(quality["spearman_of_macs"])
        rows.append(row)
    return rows


def _lines(rows):
    """The rows turned over, for people: a line each for what they say, which stands first."""
    lines = [["search", *(row["search"] for row in rows)]]
    for name in list(rows[0])[1:]:
        values = [row[name] for row in rows]
        if name == "winner_mean":
            values = [
                f"{row['winner_mean']:.4f}"
                + f" ± {row['winner_deviation'] or 0:.4f} of {row['winner_trainings']} trainings"
                * (row["winner_trainings"] > 1)
                for row in rows
            ]
        elif name in ("winner_deviation", "winner_trainings"):  # stand beside the mean
            continue
        words = name.replace("_", " ").replace("macs", "MACs").replace("spearman", "Spearman")
        lines.append([words if name.islower() else name, *values])
    return lines


def _text(value):
    if value is None:
        return ""
    return f"{value:,}" if type(value) is int else str(value)


def _print(rows):
    head, *lines = _lines(rows)
    shown = Table(*map(_text, head))
    for column in shown.columns:
        column.overflow = "fold"
    for line in lines:
        shown.add_row(*map(_text, line))
    width = None if sys.stdout.isatty() else 200  # a table in a file is never broken
    Console(highlight=False, markup=False, emoji=False, width=width).print(shown)


def draw_rewards(searches: list[Found]):
    """The best reward so far of each search, against the number of its children."""
    figure = _sheet("Best reward so far", searches)
    axes = figure.add_subplot(xlabel="Children trained", ylabel="Reward (accuracy on validation images, 0 to 1)")
    for number, search in enumerate(searches, start=1):
        colour, marker, line = look(number)
        children = search.children
        numbers, best = [child.number for child in children], np.maximum.accumulate([c.reward for c in children])
        last = max([numbers[-1], *search.failed])
        rises = np.flatnonzero(np.diff(best, prepend=0) > 0).tolist()
        axes.plot(
            [*numbers, last],
            [*best, best[-1]],
            marker + line,
            color=colour,
            drawstyle="steps-post",
            markevery=rises,
            markerfacecolor="none",
            label=_label(search),
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _draw_legend(figure, searches)
    return figure


def draw_fronts(searches: list[Found]):
    """Reward against MACs: all children, small, and the Pareto front of each search."""
    figure = _sheet("Reward against cost; on the Pareto front, no other child is as good for less", searches)
    axes = figure.add_subplot(
        xlabel="Multiply-accumulates for an image (MACs)",
        ylabel="Reward (accuracy on validation images, 0 to 1)",
        xscale="log",
    )
    for number, search in enumerate(searches, start=1):
        colour, marker, line = look(number)
        children, front = search.children, pareto_front(search.children, "macs")
        axes.plot(
            [c.macs for c in children], [c.reward for c in children], marker, color=colour, markersize=3, alpha=0.4
        )
        look_of_front = {"drawstyle": "steps-post", "markersize": 8, "markerfacecolor": "none", "label": _label(search)}
        axes.plot([c.macs for c in front], [c.reward for c in front], marker + line, color=colour, **look_of_front)
    axes.xaxis.set_major_formatter(EngFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(cost_ticks(*axes.get_xlim()))
    _draw_legend(figure, searches)
    return figure


def _label(search):
    return f"{search.name}: {counted(len(search.children) + len(search.failed))}"


def _sheet(title, searches):
    images = searches[0].settings["DATASET"].encode(errors="replace").decode()  # a file's name need not be UTF-8
    return sheet(title, textwrap.fill(f"{len(searches)} searches on {images}", 75))


def _draw_legend(figure, searches):
    is_short = max(len(search.name) for search in searches) < 20
    figure.legend(loc="outside lower center", ncols=3 if is_short else 1)
    if not is_short:
        figure.set_figheight(figure.get_figheight() + 0.2 * len(searches))

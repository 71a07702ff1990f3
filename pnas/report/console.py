"""What a search prints while it runs: a line per child, and on a terminal also a progress bar and what is in training.

Rich draws it. It adapts to the terminal, respects NO_COLOR and FORCE_COLOR, and prints plain lines where the output is
not a terminal.
"""

import bisect
import contextlib
import functools
import io
import math
import os
import re
import statistics
import sys
import textwrap
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from pnas.child import LIMITS, Child, counted, in_short, round_in_words
from pnas.constants import Settings
from pnas.encoder import Cell
from pnas.report.ranking import TOO_FEW, in_words, judge
from pnas.search import Callback, Finalist
from pnas.store.paths import Paths

SHOWN = 8  # children in training that get a line of their own, at most
SLOW = 10  # times the mean time of its size after which a child is named that has no result yet
LOOK = 5  # seconds between two looks at whether there is one


def standard_output() -> Console:
    """The standard output as a Console. Where it is not a terminal, nothing moves in it and no line is broken."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # it may lack characters: × in ASCII, some names of files in UTF-8
    console = Console(highlight=False, markup=False, emoji=False)
    console.is_interactive = console.is_interactive and console.file.isatty()  # FORCE_COLOR asks for colours alone
    if "JPY_PARENT_PID" in os.environ:  # a cell of a notebook is a terminal in which nothing can move
        console.is_interactive = False
    console.soft_wrap = not console.is_interactive
    return console


def end_lines(finalists: list[Finalist], settings: Settings, command: str) -> list[str]:
    """What a search ends with, on the console and in the log.

    A line per finalist if there are several, best first, with the mean and standard deviation of its rewards (not with
    PARETO, see `pnas.report.front`); then the winner, its costs, and the command that retrains it.

    Args:
        finalists: the winner first.
        settings: those of the search. The costs name their limits.
        command: command line.
    """
    child, limits = finalists[0].child, _limits(settings)
    costs = [f"{child.macs:,} MACs", f"{child.binary_weights:,} binary weights"]
    costs = [f"{cost} ({limits[name]})" if name in limits else cost for cost, name in zip(costs, LIMITS)]
    lines = [f"{_reward(each)}  child {each.child.number:<4d}  {in_short(each.child.cell)}" for each in finalists]
    return [
        *lines * (len(finalists) > 1 and not settings.PARETO),  # else a table of the front has them
        f"Best: {_reward(finalists[0])}, child {child.number}, {child.cell}",
        f"Costs:       {', '.join(costs)}",
        f"Retrain it:  {command}",
    ]


def result_lines(result: dict[str, Any], folder: Path) -> list[str]:
    """What a retraining ends with: a line per seed if there are several, their mean, and the best one's accuracies.

    Args:
        result: of `pnas.training.architecture.keep_best`.
        folder: where it has put the best network.
    """
    lines = [
        f"Seed {each['seed']}: validation accuracy {each['validation_accuracy']:.4f} (epoch {each['best_epoch']}), "
        f"test accuracy {each['test_accuracy']:.4f}"
        for each in result.get("trainings", ())
    ]
    if lines:
        kinds = [(kind, f"{kind}_accuracy") for kind in ("validation", "test")]
        mean, deviation = result["mean"], result["standard_deviation"]
        means = ", ".join(f"{kind} accuracy {mean[name]:.4f} ± {deviation[name]:.4f}" for kind, name in kinds)
        lines += [f"Mean of {len(lines)} seeds: {means}", f"Best by validation accuracy: seed {result['seed']}"]
    lines.append(f"Validation accuracy: {result['validation_accuracy']:.4f}, best epoch {result['best_epoch']}")
    lines.append(f"Test accuracy: {result['test_accuracy']:.4f}")
    if "test_accuracy_as_bits" in result:
        lines.append(f"Test accuracy as bits: {result['test_accuracy_as_bits']:.4f}, {folder / 'network.npz'}")
    return lines


def _reward(finalist):
    trainings = len(finalist.trainings)
    if trainings == 1:
        return f"reward {finalist.mean:.4f}"
    return f"mean reward {finalist.mean:.4f} ± {finalist.standard_deviation:.4f} of {trainings} trainings"


def _limits(settings):
    """dict, cost of a child -> its limit in words, for those that are limited."""
    return {cost: f"{name} = {getattr(settings, name):,}" for cost, name in LIMITS.items() if getattr(settings, name)}


def hanging(line: Text, width: int) -> Text:
    """A line that ends with a cell; where it is wider than a terminal, the cell goes on below itself.

    Args:
        line: two spaces stand before its cell, and none in it.
        width: columns of the terminal.
    """
    start = line.plain.rindex("  ") + 2
    if len(line) <= width or width - start < len("1x7-7x1 bconv + "):
        return line
    head, cell = line.divide([start])
    text = re.sub(r"(?<![|+]) (?![|+])", "\xa0", cell.plain)  # within an operation is no break
    return head.append(
        "\n".join(textwrap.wrap(text, width - start)).replace("\n", "\n" + " " * start).replace("\xa0", " ")
    )


def _duration(seconds):
    """Seconds as h:mm:ss."""
    return timedelta(seconds=round(max(seconds, 0)))


class Progress(Callback, contextlib.AbstractContextManager):
    """Shows a search, one block size after the other, and then its finalists.

    It is a context manager around the search: at its end the terminal is as before, however the search ends.

    Args:
        settings: those of the search.
        workers: pnas.training.workers.Workers. Its `count` is the number of children trained at the same time; on a
            cluster that grows, at its start.
    """

    def __init__(self, settings: Settings, workers):
        self.settings, self.workers = settings, workers.count
        self.console = standard_output()
        self.live = contextlib.ExitStack()  # what is shown below the lines
        self.best_first = []  # (-reward, number) of all children that have a reward
        self.seconds = {}  # number of blocks -> seconds that each child of this run took
        self.earlier_seconds = {}  # the same of earlier runs and experiments, which may have used another machine
        self.running, self.named = {}, set()
        self.ended = threading.Event()

    def __enter__(self):
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.live.close()

    def _watch(self):
        while not self.ended.wait(LOOK):
            self.name_slow()

    def name_slow(self):
        """Names each child in training once that takes much longer than the mean child of its size."""
        for number, (cell, start) in list(self.running.items()):
            seconds, mean = time.monotonic() - start, self._mean(len(cell) // 4)
            if self.seconds and seconds > SLOW * mean and (number, start) not in self.named:
                self.named.add((number, start))
                line = f"child {number} has had no result for {_duration(seconds)}; children of its size take "
                line += f"{_duration(mean)} on average. Set MAX_CHILD_MINUTES to end such children  {in_short(cell)}"
                self.console.print(Text(line, "yellow"))

    def on_round_begin(
        self, blocks: int, round: tuple[int, int], new: list[Child], known: list[Child], later: list[tuple[int, int]]
    ):
        self.first_rewards = None
        self.later = later
        for child in known:
            self._count(child, self.earlier_seconds)
        self._begin(round_in_words(blocks, round), f"{blocks}-block cells", blocks, new, len(known))

    def on_repeat_begin(self, repeat: int, finalists: list[Child], new: list[Child]):
        self.first_rewards = {child.number: child.reward for child in finalists}
        repeats, blocks = self.settings.FINAL_SEEDS, max(child.blocks for child in finalists)
        self.later = [(blocks, len(finalists))] * (repeats - repeat)
        title = f"Finalists, further seed {repeat} of {repeats}"
        self._begin(title, f"finalists, seed {repeat}", blocks, new, len(finalists) - len(new))

    def _begin(self, title, bar_title, blocks, new, known):
        self.live.close()
        self.bar_title, self.blocks, self.done, self.children = bar_title, blocks, known, len(new) + known
        self.console.print(f"{title}: {counted(self.children)}" + f", {known} of them known" * bool(known))
        self.waiting = [(child.number, child.cell) for child in new]
        self.running = {}  # number -> (cell, when it was handed out)
        self.last = time.monotonic()
        self._hand_out()
        if new and self.console.is_interactive:
            live = Live(console=self.console, get_renderable=self._panel, refresh_per_second=2, transient=True)
            self.live.enter_context(live)

    def _hand_out(self):
        """Follows the workers: one that is done gets the next child at once."""
        while self.waiting and len(self.running) < self.workers:
            number, cell = self.waiting.pop(0)
            self.running[number] = cell, time.monotonic()

    def on_child_end(self, child: Child):
        self.last = time.monotonic()
        self.done += 1
        self.running.pop(child.number, None)
        self.waiting = [waiting for waiting in self.waiting if waiting[0] != child.number]  # it may have been reused
        self._hand_out()
        self._count(child, self.earlier_seconds if child.reused else self.seconds)
        line = self._line(child)
        self.console.print(hanging(line, self.console.width) if self.console.is_interactive else line)
        if self.done == self.children:
            self.live.close()

    def _count(self, child, seconds):
        if not child.error:
            # Finalists, and perhaps all others, are trained to the end.
            if not child.was_stopped(self.settings.MAX_EPOCHS):
                seconds.setdefault(child.blocks, []).append(child.seconds)
            if self.first_rewards is None:
                bisect.insort(self.best_first, (-child.reward, child.number))

    def _line(self, child):
        line = Text(f"{self.done:4d}/{self.children}  child {child.number:<4d}  ")
        if child.error:
            line.append(f"failed: {child.error}", "red")
            if child.traceback:
                line.append(f" ({Paths(self.settings.EXPERIMENT_NAME).error(child.number, child.repeat)})")
        elif self.first_rewards is not None:
            line.append(f"reward {child.reward:.4f}  first {self.first_rewards[child.number]:.4f}")
        else:  # of equal rewards the lower number is the better one
            rank = self.best_first.index((-child.reward, child.number)) + 1
            line.append(f"reward {child.reward:.4f}  rank {rank:<4d}", "bold green" if rank == 1 else "")
        if child.was_stopped(self.settings.MAX_EPOCHS):
            line.append(f"  stopped after {counted(child.epochs, 'epoch', 'epochs')}")
        left = "" if self.console.is_interactive else f"{self._left()}  "
        seconds = "reused" if child.reused else f"{child.seconds:.0f} s"
        return line.append(f"  {seconds:>7}  {left}{in_short(child.cell)}")

    def _left(self):
        """The time left, in words.

        Children are trained in rounds side by side, each as long as the mean child of its size. No more children are
        finalists than have a reward, and one alone is not trained again.
        """
        if self._mean(self.blocks) is None:
            return "time left not known yet"
        sizes = [(self.blocks, self.children - self.done), *self.later]
        if self.first_rewards is None:
            finalists = self.settings.most_finalists(len(self.best_first) + sum(children for _, children in sizes))
            largest = max(size for size, children in sizes if children or size == self.blocks)
            sizes += [(largest, finalists)] * self.settings.FINAL_SEEDS
        left = self.last - time.monotonic()
        for size, children in sizes:
            left += math.ceil(children / self.workers) * self._mean(size)
        # A front may have fewer finalists, and smaller ones, and larger children may be stopped early.
        is_less = self.later or self.settings.PARETO or (self.settings.stops_early and self.blocks > 1)
        at_most = "at most " * (self.first_rewards is None and bool(is_less))
        return f"{at_most}about {_duration(left)} left"

    def _mean(self, blocks):
        """The mean seconds of children of a size, or None.

        Those of a size of which none was trained yet take longer than the nearest one by the ratio of their numbers of
        blocks.
        """
        measured = self.seconds or self.earlier_seconds
        if not measured:
            return None
        nearest = blocks if blocks in measured else max(measured)
        return statistics.mean(measured[nearest]) * blocks / nearest

    def _panel(self):
        """What stands below the lines of the children: the progress bar, and the children in training."""
        text = functools.partial(Column, no_wrap=True)
        bar = Table.grid(text(), Column(max_width=30), text(), text(), text(), padding=(0, 2))
        best = f"best {-self.best_first[0][0]:.4f}" if self.best_first else ""
        done = f"{self.done}/{self.children}"
        bar.add_row(self.bar_title, ProgressBar(self.children, self.done), done, best, self._left())
        lines = [
            f"  child {number:<4d}  in training for {_duration(time.monotonic() - start)}  {in_short(cell)}"
            for number, (cell, start) in list(self.running.items())[:SHOWN]
        ]
        if len(self.running) > SHOWN:
            lines.append(f"  and {len(self.running) - SHOWN} more")
        return Group(bar, *(Text(line, "dim", no_wrap=True, overflow="ellipsis") for line in lines))

    def on_size_end(self, blocks: int, children: list[Child]):
        if blocks > 1:
            quality = judge(children)
            if TOO_FEW in quality.values():
                self.console.print(f"Predicted before training: {TOO_FEW}")
            else:
                stopped = sum(child.was_stopped(self.settings.MAX_EPOCHS) for child in children)
                self.console.print(
                    f"Predicted before training: Spearman {in_words(quality['spearman'])} (of MACs alone "
                    f"{in_words(quality['spearman_of_macs'])}), mean absolute error "
                    f"{quality['mean_absolute_error']:.4f}, top-5 recall {quality['top_5_recall']:.1f}"
                    + f"; {stopped} of {counted(len(children))} were stopped early"
                    * (stopped > 0)
                )

    def on_choice(self, blocks: int, cells: list[Cell]):
        if not cells:
            limits, fewer = " and ".join(_limits(self.settings).values()), counted(blocks - 1, "block", "blocks")
            self.console.print(f"No expansion of a child is within {limits}: the search ends with {fewer} a cell")

"""What a search prints while it runs: a line per child, and on a terminal also a progress bar and what is in training.

Rich draws it. It adapts to the terminal, respects NO_COLOR, and prints plain lines where the output is not a terminal.
"""

import bisect
import io
import math
import statistics
import sys
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pnas.child import counted, in_short
from pnas.report.ranking import TOO_FEW

SHOWN = 8  # children in training that get a line of their own, at most


def duration(seconds):
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


def finalist_lines(finalists):
    """A line per finalist, best first, with the mean and standard deviation of its rewards."""
    return [
        f"mean {finalist.mean:.4f} ± {finalist.standard_deviation:.4f} of "
        f"{counted(len(finalist.rewards), 'training', 'trainings')}  child {finalist.child.number:<4d}  "
        f"{in_short(finalist.child.cell)}"
        for finalist in finalists
    ]


class Progress:
    """Shows a search, one block size after the other, and then its finalists.

    Args:
        K: number of children of a block size after the first, at most.
        B: largest number of blocks.
        workers: children trained at the same time; on a cluster that grows, at its start.
        finalists, seeds: number of finalists after the last block size, at most, and of further seeds of each.
        epochs: training epochs of a child that is not stopped early.
        most_expansions: function (children of a size, next size) -> the most cells of the next size that there are,
            such as that of StateSpace.
    """

    def __init__(
        self, K, B, workers, finalists=0, seeds=0, epochs=0, most_expansions=lambda children, blocks: math.inf
    ):
        self.K, self.B, self.workers, self.finalists, self.seeds = K, B, workers, finalists, seeds
        self.epochs, self.most_expansions = epochs, most_expansions
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")  # it may lack characters, such as × in ASCII
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.best_first = []  # (-reward, number) of all children that have a reward
        self.seconds = {}  # number of blocks -> seconds that each child of this run took
        self.earlier_seconds = {}  # the same of earlier runs, which may have used another machine
        self.training_seconds = 0.0  # of this run's children, in training steps and validation, all workers together

    def follow(self, blocks, new, known, results):
        """Yields the results of a block size and shows each once the caller, who saves it, asks for the next.

        Args:
            blocks: int, the size.
            new: list of (number, cell, predicted reward), the children to train, in the order in which they are handed
                out.
            known: list of Child, those that an earlier run has trained.
            results: iterable of Child, the new ones as they come.
        """
        self.first_rewards = None
        self.later, children = [], len(new) + len(known)
        for size in range(blocks + 1, self.B + 1):
            children = min(self.K, self.most_expansions(children, size))
            self.later.append((size, children))
        for child in known:
            self._count(child, self.earlier_seconds)
        title = f"{counted(blocks, 'block', 'blocks')} a cell"
        yield from self._follow(title, f"{blocks}-block cells", blocks, new, len(known), results)

    def follow_finalists(self, seed, seeds, finalists, new, results):
        """Like `follow`, for the trainings of the finalists with one further seed.

        Args:
            seed, seeds: which of how many further seeds.
            finalists: list of Child, their first trainings.
            new: list of (number, cell, predicted reward), those to train.
            results: iterable of Child.
        """
        self.first_rewards = {child.number: child.reward for child in finalists}
        self.later, self.seeds = [(self.B, len(finalists))] * (seeds - seed), 0
        title = f"Finalists, further seed {seed} of {seeds}"
        yield from self._follow(title, f"finalists, seed {seed}", self.B, new, len(finalists) - len(new), results)

    def _follow(self, title, bar_title, blocks, new, known, results):
        self.bar_title, self.blocks, self.done, self.children = bar_title, blocks, known, len(new) + known
        known_too = f", {known} of them known" * bool(known)
        self._print(f"{title}: {counted(self.children)}{known_too}")
        self.waiting = [(number, cell) for number, cell, _ in new]
        self.running = {}  # number -> (cell, when it was handed out)
        self.last = time.monotonic()
        self._hand_out()
        if new and self.console.is_interactive:
            with Live(console=self.console, get_renderable=self._panel, refresh_per_second=2, transient=True):
                yield from self._shown(results)
        else:
            yield from self._shown(results)

    def _shown(self, results):
        for child in results:
            yield child
            self.last = time.monotonic()
            self.done += 1
            self.running.pop(child.number, None)
            self._hand_out()
            self._count(child, self.seconds)
            self.training_seconds += child.training_seconds
            self._print(self._line(child))

    def _hand_out(self):
        """Follows the workers: one that is done gets the next child at once."""
        while self.waiting and len(self.running) < self.workers:
            number, cell = self.waiting.pop(0)
            self.running[number] = cell, time.monotonic()

    def _count(self, child, seconds):
        if not child.error:
            seconds.setdefault(child.blocks, []).append(child.seconds)
            if self.first_rewards is None:
                bisect.insort(self.best_first, (-child.reward, child.number))

    def _line(self, child):
        line = Text(f"{self.done:4d}/{self.children}  child {child.number:<4d}  ")
        if child.error:
            line.append(f"failed: {child.error}", "red")
        elif self.first_rewards is not None:
            line.append(f"reward {child.reward:.4f}  first {self.first_rewards[child.number]:.4f}")
        else:  # of equal rewards the lower number is the better one
            rank = self.best_first.index((-child.reward, child.number)) + 1
            line.append(f"reward {child.reward:.4f}  rank {rank:<4d}", "bold green" if rank == 1 else "")
        if 0 < child.epochs < self.epochs:
            line.append(f"  stopped after {counted(child.epochs, 'epoch', 'epochs')}")
        left = "" if self.console.is_interactive else f"{self._left()}  "
        return line.append(f"  {child.seconds:5.0f} s  {left}{in_short(child.cell)}")

    def _left(self):
        """The time left, in words.

        Children are trained in rounds side by side, each as long as the mean child of its size. A size of which none
        was trained yet takes longer than the nearest one by the ratio of their numbers of blocks. Of a later size there
        are at most K, or all that there are. No more children are finalists than have a reward.
        """
        measured = self.seconds or self.earlier_seconds
        if not measured:
            return "time left not known yet"
        left = self.last - time.monotonic()
        sizes = [(self.blocks, self.children - self.done), *self.later]
        finalists = min(self.finalists, len(self.best_first) + sum(children for _, children in sizes))
        for size, children in sizes + [(self.B, finalists)] * self.seeds:
            nearest = size if size in measured else max(measured)
            left += math.ceil(children / self.workers) * statistics.mean(measured[nearest]) * size / nearest
        return f"{'at most ' * (self.blocks < self.B)}about {duration(max(left, 0))} left"

    def _panel(self):
        """What stands below the lines of the children: the progress bar, and the children in training."""
        bar = Table.grid(padding=(0, 2))
        best = f"best {-self.best_first[0][0]:.4f}" if self.best_first else ""
        progress = ProgressBar(self.children, self.done, width=30)
        bar.add_row(self.bar_title, progress, f"{self.done}/{self.children}", best, self._left())
        running = list(self.running.items())
        lines = [
            Text(f"  child {number:<4d}  in training for {duration(time.monotonic() - start)}  {in_short(cell)}")
            for number, (cell, start) in running[:SHOWN]
        ]
        if len(running) > SHOWN:
            lines.append(Text(f"  and {len(running) - SHOWN} more"))
        for line in lines:
            line.no_wrap, line.overflow, line.style = True, "ellipsis", "dim"
        return Group(bar, *lines)

    def show_quality(self, quality):
        """Shows how well the surrogate had predicted the children of this block size (see `pnas.report.ranking`)."""
        if TOO_FEW in quality.values():
            self._print(f"Predicted before training: {TOO_FEW}")
        else:
            self._print(
                f"Predicted before training: Spearman {quality['spearman']:.2f}, mean absolute error "
                f"{quality['mean_absolute_error']:.4f}, top-5 recall {quality['top_5_recall']:.1f}"
            )

    def show_times(self, wall):
        """Shows the share of its wall time, in seconds, that a search spent outside training steps and validation.

        With a child, workers trace and save. Without one, they start, or wait for the last children of a size or the
        surrogate.
        """
        if self.training_seconds:
            available = wall * self.workers
            share = 1 - self.training_seconds / available
            idle = 1 - sum(map(sum, self.seconds.values())) / available
            self._print(
                f"{duration(wall)} with {counted(self.workers, 'worker', 'workers')}, {share:.1%} of it outside "
                f"training steps and validation ({idle:.1%} without a child)"
            )

    def _print(self, line):
        self.console.print(line, soft_wrap=not self.console.is_interactive)  # a line in a file is never broken

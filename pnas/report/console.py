"""What a search says while it runs: a line a child, and on a terminal also a bar, the time left and what is trained
now.

Rich draws it, and sees to what other terminals can show, to NO_COLOR, and to plain lines where the output is not a
terminal.
"""

import bisect
import math
import statistics
import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

SHOWN = 8  # most children in training that have a line of their own


def in_short(cell):
    """A cell on one line, such as `3x3 bconv ×2 | linear + -1:3x3 maxpool | 1:linear + 5x5 bconv`.

    Blocks are parted by ` | `, the two operators of a block by ` + `, and `×2` is a block of the same operator twice on
    the same input. An operator reads the cell's own input, or what stands before its colon: -k for the cell k before
    that, j for block j.
    """
    halves = [f"{source}:{op}" if source else op for source, op in zip(cell[0::2], cell[1::2])]
    blocks = zip(halves[0::2], halves[1::2])
    return " | ".join(f"{left} ×2" if left == right else f"{left} + {right}" for left, right in blocks)


def duration(seconds):
    """Seconds as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


class Progress:
    """Shows a search, one block size after the other.

    Args:
        K: most children of a block size after the first.
        B: largest number of blocks.
        workers: children trained at the same time; on a cluster that grows, at its start.
    """

    def __init__(self, K, B, workers):
        self.K, self.B, self.workers = K, B, workers
        self.console = Console(highlight=False, markup=False, emoji=False)
        self.best_first = []  # (-reward, number) of all children that have a reward
        self.seconds = {}  # number of blocks -> what each child of this run took
        self.earlier_seconds = {}  # the same of earlier runs, which may have had another machine
        self.training_seconds = 0.0  # seconds that their training steps and validation took, all workers together

    def follow(self, blocks, new, known, results):
        """Yields the results of a block size and shows each once the caller, who keeps it, asks for the next.

        Args:
            blocks: int, the size.
            new: list of (number, cell, predicted reward), the children to train in the order in which they are handed
                out.
            known: list of Child, those that an earlier run has trained.
            results: iterable of Child, the new ones as they come.
        """
        self.blocks, self.done, self.children = blocks, len(known), len(new) + len(known)
        known_too = f", {self.done} of them known" * bool(known)
        self._print(f"{blocks} block{'s' * (blocks > 1)} a cell: {self.children} children{known_too}")
        for child in known:
            self._count(child, self.earlier_seconds)
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
            bisect.insort(self.best_first, (-child.reward, child.number))
            seconds.setdefault(child.blocks, []).append(child.seconds)

    def _line(self, child):
        line = Text(f"{self.done:4d}/{self.children}  child {child.number:<4d}  ")
        if child.error:
            line.append(f"failed: {child.error}", "red")
        else:  # of equal rewards the lower number is the better one
            rank = self.best_first.index((-child.reward, child.number)) + 1
            line.append(f"reward {child.reward:.4f}  rank {rank:<4d}", "bold green" if rank == 1 else "")
        left = "" if self.console.is_interactive else f"{self._left()}  "
        return line.append(f"  {child.seconds:5.0f} s  {left}{in_short(child.cell)}")

    def _left(self):
        """The time left, in words.

        It is that of rounds of children trained side by side, each as long as a child of its size; where none of a size
        has been trained yet, longer than those of the size before by the number of blocks. Of a later size there are at
        most K.
        """
        measured = self.seconds or self.earlier_seconds
        if not measured:
            return "time left not known yet"
        left = self.last - time.monotonic()
        for size in range(self.blocks, self.B + 1):
            children = self.K if size > self.blocks else self.children - self.done
            nearest = size if size in measured else max(measured)
            left += math.ceil(children / self.workers) * statistics.mean(measured[nearest]) * size / nearest
        return f"{'at most ' * (self.blocks < self.B)}about {duration(max(left, 0))} left"

    def _panel(self):
        """What stands below the lines of the children: the bar, and what is trained now."""
        bar = Table.grid(padding=(0, 2))
        best = f"best {-self.best_first[0][0]:.4f}" if self.best_first else ""
        progress = ProgressBar(self.children, self.done, width=30)
        bar.add_row(f"{self.blocks}-block cells", progress, f"{self.done}/{self.children}", best, self._left())
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
        """Shows how well the surrogate had predicted the children of this block size."""
        self._print(
            f"Predicted before training: Spearman {quality['spearman']:.2f}, mean absolute error "
            f"{quality['mean_absolute_error']:.4f}, top-5 recall {quality['top_5_recall']:.1f}"
        )

    def show_times(self, wall):
        """Shows which share of its wall time, in seconds, a search spent outside training steps and validation.

        With a child, workers trace and save; without one, they start, or wait for the last children of a size or for
        the surrogate.
        """
        if self.training_seconds:
            available = wall * self.workers
            share = 1 - self.training_seconds / available
            idle = 1 - sum(map(sum, self.seconds.values())) / available
            self._print(
                f"{duration(wall)} with {self.workers} worker{'s' * (self.workers > 1)}, {share:.1%} of it outside training "
                f"steps and validation ({idle:.1%} without a child)"
            )

    def _print(self, line):
        self.console.print(line, soft_wrap=not self.console.is_interactive)  # a line of a file stays whole

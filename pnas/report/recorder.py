"""What a search keeps and shows, as callbacks of `pnas.search.progressive_search`."""

import os

from pnas.journal.files import write_atomically
from pnas.report.ranking import judge
from pnas.search import SearchCallback


class Recorder(SearchCallback):
    """Keeps everything on disk, and shows how well the surrogate predicted.

    Args:
        journal: Journal.
        finalists_journal: FinalistsJournal.
        progress: pnas.report.console.Progress.
    """

    def __init__(self, journal, finalists_journal, progress):
        self.journal, self.finalists_journal, self.progress = journal, finalists_journal, progress

    def known_child(self, cell):
        return self.journal.finished.get(tuple(cell))

    def known_choice(self, blocks):
        return self.journal.choices.get(blocks)

    def on_size_begin(self, blocks, children):
        self.journal.write_heading(blocks, children)

    def on_child_end(self, child):
        self._write_network(child)
        self.journal.write_child(child)

    def on_size_end(self, blocks, children):
        if blocks > 1:
            quality = judge(children)
            self.journal.write_quality(blocks, quality)
            self.progress.show_quality(quality)

    def on_fit_end(self, blocks, losses):
        self.journal.events.write_surrogate(blocks, losses)

    def on_choice(self, blocks, cells, predicted):
        self.journal.write_choice(blocks, cells, predicted)

    def known_finalists(self):
        return self.finalists_journal.chosen

    def on_finalists_chosen(self, numbers):
        self.finalists_journal.choose(numbers)

    def known_repeats(self, seed):
        return self.finalists_journal.read(seed)

    def on_repeat_end(self, seed, child):
        self._write_network(child, seed)
        self.finalists_journal.write(seed, child)

    def keep_winner(self, finalist):
        """Keeps the winner for the report, and writes `best.keras`: its network of the highest reward."""
        self.finalists_journal.write_winner(finalist.child.number, finalist.rewards)
        trainings = [(finalist.child, 0), *((child, seed) for seed, child in enumerate(finalist.repeats, start=1))]
        paths = {child.reward: self._network_path(child, seed) for child, seed in reversed(trainings)}
        kept = [reward for reward, path in paths.items() if os.path.exists(path)]
        if kept:  # else an older version trained the children
            with open(paths[max(kept)], "rb") as file:
                write_atomically(self.journal.network_path, file.read())

    def _write_network(self, child, seed=0):
        if child.network:
            path = self._network_path(child, seed)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, child.network)

    def _network_path(self, child, seed):
        name = f"{child.number:04d}" + (f"_seed_{seed}" if seed else "")
        return os.path.join(os.path.dirname(self.journal.network_path), "children", f"{name}.keras")

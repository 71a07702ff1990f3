"""What a search keeps and shows, as callbacks of `pnas.search.progressive_search`."""

from pnas.report.ranking import ranking_quality
from pnas.search import SearchCallback


class Recorder(SearchCallback):
    """Keeps everything in a journal, and shows how well the surrogate predicted.

    Args:
        journal: Journal.
        progress: pnas.report.console.Progress.
    """

    def __init__(self, journal, progress):
        self.journal, self.progress = journal, progress

    def known_child(self, cell):
        return self.journal.finished.get(tuple(cell))

    def known_choice(self, blocks):
        return self.journal.choices.get(blocks)

    def on_size_begin(self, blocks, children):
        self.journal.write_heading(blocks, children)

    def on_child_end(self, child):
        self.journal.write_child(child)

    def on_size_end(self, blocks, children):
        judged = [child for child in children if not child.error]
        if blocks > 1 and len(judged) > 1:
            quality = ranking_quality([child.predicted for child in judged], [child.reward for child in judged])
            self.journal.write_quality(blocks, quality)
            self.progress.show_quality(quality)

    def on_fit_end(self, blocks, losses):
        self.journal.events.write_surrogate(blocks, losses)

    def on_choice(self, blocks, cells, predicted):
        self.journal.write_choice(blocks, cells, predicted)

"""The files of a search for people and tools, written from its store: the log, tables, TensorBoard's events, errors."""

import csv
import datetime
import io
import warnings
from collections.abc import Callable, Iterable, Sequence

from pnas.child import Child, counted, round_in_words
from pnas.constants import Settings
from pnas.store.atomic import append
from pnas.store.events import Events
from pnas.store.store import CURVES, Store

COLUMNS = ("number", "dataset", "blocks", "architecture", "representation", "reward", "predicted", "seconds")
COLUMNS += ("parameters", "binary_weights", "macs", "epochs", "seed", "reused", "error")  # of children.csv


class Files:
    """A callback of `pnas.search` that writes what the store has. All is complete again after a resumed run.

    - `architectures/NAME.txt`: a header per run, a heading per round, an entry per child. It is only appended to.
    - `logs/NAME/children.csv`, `learning_curves.csv`, `surrogate.csv`: the children, without repeats, as a table with
      more columns; all epochs of all trainings; how well the surrogate predicted the children of each block size.
    - `logs/NAME/children/`, `surrogate/`: event files for TensorBoard.
    - `logs/NAME/errors/`: the tracebacks of children that failed.
    - `weights/NAME/best.keras`: the best network so far, with the weights of its best epoch; at the end the winner's.
    - `logs/NAME/front.csv`, `weights/NAME/front/`: the front that a search with PARETO ends with, and its networks.

    Args:
        store: of an experiment that has a name.
        state_space: StateSpace, which writes the representation strings.
        settings: constants of the search.
        judge: function of the children of a block size that measures how well they were predicted, and returns a dict,
            such as that of `pnas.report.ranking`.
    """

    def __init__(self, store: Store, state_space, settings: Settings, judge: Callable[[list[Child]], dict]):
        self.store, self.paths, self.state_space, self.settings = store, store.paths, state_space, settings
        self._judge, self._events = judge, Events(self.paths.logs, state_space.operators)
        children = store.children()
        self._continue_log(children)
        for fitted, losses in store.fits().items():
            self._events.write_fit(fitted, losses)
        for blocks, quality in store.qualities().items():
            self._events.write_quality(blocks, quality)
        self._write_files()

    def on_round_begin(self, blocks, round, new, known, later):
        self._append(f"# ---- {round_in_words(blocks, round)}: {counted(len(new) + len(known))} ----\n\n")

    def on_child_end(self, child):
        self._write_files()
        if not child.repeat:
            self._append(self._entry(child))

    def on_size_end(self, blocks, children):
        if blocks > 1:  # those of one block were not predicted
            quality = self._judge(children)
            self.store.keep_quality(blocks, quality)
            self._events.write_quality(blocks, quality)
            self._write_files()

    def on_fit_end(self, children, losses):
        self.store.keep_fit(children, losses)
        self._events.write_fit(children, losses)

    def on_search_end(self, finalists):
        self._write_files()

    def write_end(self, lines: Iterable[str]):
        """Adds what the search ends with to the log, such as `pnas.report.console.end_lines`."""
        self._append("".join(f"# {line}\n" for line in lines) + "\n")

    def write_front(self, rows: Sequence[dict]):
        """Writes `logs/NAME/front.csv`, and the networks of the front into `weights/NAME/front/`.

        Args:
            rows: those of `pnas.report.front.front_rows`.
        """
        networks = {self.paths.front_network(row["macs"], row["number"]): row["network"] for row in rows}
        for path in set(self.paths.front_networks.glob("*_macs_child_*.keras")) - set(networks):  # of another front
            if "." not in path.stem:  # else it is an edited one that was set aside
                path.unlink()
        files = {path: content for path, content in networks.items() if content}
        columns = [name for name in rows[0] if name != "network"]
        self.store.write_files({self.paths.front: table(columns, rows), **files})

    def _append(self, text):
        append(self.paths.text, text.encode(errors="replace"))  # a file's name need not be UTF-8

    def _continue_log(self, children):
        """Adds what the log lacks: the rest of an entry, this run's header, entries of children. Nothing is removed."""
        content = self.paths.text.read_bytes() if self.paths.text.exists() else b""
        text = content.decode("utf-8-sig", "replace").replace("\r\n", "\n").replace("\r", "\n")  # editors change these
        entries = {self._entry(child): f"Sr. No: {child.number}\nReward: {child.reward:.4f}\n" for child in children}
        whole, blank, last = text.rpartition("\n\n")
        if last:  # the entry that a killed run was writing, or a user's note
            lacking = [entry for entry, start in entries.items() if start not in whole + blank]
            rest = [entry[len(last) :] for entry in lacking if entry.startswith(last)]
            if rest and rest[-1] != "\n":
                warnings.warn(f"{self.paths.text}: the rest of a half-written entry is added", stacklevel=3)
            added = rest[-1] if rest else "\n" * (2 - last.endswith("\n"))
            self._append(added)
            text += added
        constants = "\n".join(f"# {name} = {value!r}" for name, value in self.store.settings.items())
        now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        self._append(f"# {'Continued' if children else 'Started'} {now}\n{constants}\n\n")
        for entry, start in entries.items():
            if start not in text:
                self._append(entry)

    def _entry(self, child):
        end = ""
        if child.error:
            where = f" ({self.paths.error(child.number)})" * bool(child.traceback)
            end = f"Failed: {child.error}{where}\n"
        if child.reused:
            end += f"Reused: from experiment {child.reused}\n"
        if child.was_stopped(self.settings.MAX_EPOCHS):
            end += f"Stopped early: after {child.epochs} of {self.settings.MAX_EPOCHS} epochs\n"
        return (
            f"Sr. No: {child.number}\n"
            f"Reward: {child.reward:.4f}\n"
            f"Architecture: {child.cell}\n"
            f'Representation String: "{self.state_space.encode(child.cell)}"\n{end}\n'
        )

    def _write_files(self):
        """Writes what is wholly determined by the store."""
        store, paths = self.store, self.paths
        children = store.children()
        qualities = [{"blocks": blocks, **quality} for blocks, quality in store.qualities().items()]
        files = {paths.children: table(COLUMNS, map(self._row, children)), paths.curves: table(CURVES, store.epochs())}
        if qualities:
            files[paths.qualities] = table(qualities[0], qualities)
        for child in children:
            if not child.error and not self._events.has_child(child.number):
                self._events.write_child(child._replace(history=store.history(child.number)))
        for child in store.failed():
            if child.traceback:
                files[paths.error(child.number, child.repeat)] = child.traceback.encode()
        ranking = store.ranking()
        trained = store.trainings(ranking[0]) if ranking else [child for child in children if not child.error]
        if trained:
            best = max(trained, key=lambda child: (child.reward, -child.number, -child.repeat))
            network = paths.network(best.number, best.repeat)
            if network.exists():
                files[paths.best] = network.read_bytes()
            elif not paths.best.exists():
                warnings.warn(
                    f"{network}, the network of the best child, is gone; retrain it from the log", stacklevel=3
                )
        store.write_files(files)

    def _row(self, child):
        return {
            **child._asdict(),
            "dataset": self.store.settings["DATASET"],
            "blocks": child.blocks,
            "architecture": child.cell,
            "representation": self.state_space.encode(child.cell),
            "reward": None if child.error else child.reward,
            "seconds": f"{child.seconds:.3f}",
        }


def table(columns: Iterable[str], rows: Iterable[dict]) -> bytes:
    """The content of a CSV file with a header; rows may have more keys than columns."""
    content = io.StringIO()
    writer = csv.DictWriter(content, list(columns), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return content.getvalue().encode(errors="replace")  # a file's name need not be UTF-8

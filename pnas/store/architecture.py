"""What the training of one architecture keeps in logs/NAME: its learning curve and its result."""

import io
import json
from pathlib import Path
from typing import Any

from pnas import UsageError
from pnas.store.atomic import append, check_writable, set_aside, write_atomically
from pnas.store.database import Database, lock
from pnas.store.events import curves, file_version, records
from pnas.store.files import table
from pnas.store.paths import Paths
from pnas.store.store import MEASURES as MEASURES_OF_A_CHILD

MEASURES = (*MEASURES_OF_A_CHILD, "seconds")
DATABASE = "architecture.db"
COLUMNS = ("epoch", *MEASURES)


class ArchitectureJournal(Database):
    """One architecture's training, kept epoch by epoch. See `pnas.training.architecture`.

    - `architecture.db`: all of it. One process at a time writes it.
    - `architecture.csv`: the learning curve, a row of COLUMNS per epoch, counted from 1. `seconds` are those of the
      epoch, validation included. `sign_flips` is the share of binary weights whose signs the epoch flipped.
    - `architecture/`: the same for TensorBoard, as `architecture/loss` and so on.
    - `architecture.json`: the result, when the training has ended.

    Args:
        folder: of the experiment, logs/NAME, or of a further seed, see `pnas.store.paths.Paths.of_seed`.
        is_locked: whether the process that started this one keeps other writers out.
    Attributes:
        curve_path, result_path: of architecture.csv and architecture.json.
    Raises:
        UsageError: another process trains an architecture of this name, or architecture.db is damaged.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: str | Path, is_locked: bool = False):
        check_writable(folder)
        self.curve_path, self.result_path = Path(folder, "architecture.csv"), Path(folder, "architecture.json")
        self._events = Path(folder, "architecture", "events.out.tfevents")
        path = Path(folder, DATABASE)
        if is_locked:
            path.touch()
        super().__init__(path, lock=io.BytesIO() if is_locked else lock(path))

    @property
    def rows(self) -> list[dict[str, float]]:
        """The epochs so far, as column -> number."""
        return _rows(self)

    def start(self, trained_epochs: int, settings: dict[str, Any]):
        """Continues a training, or starts a new one and moves the files of an earlier one aside.

        Args:
            trained_epochs: number of epochs that were trained and saved, 0 for a new training. A later epoch, which was
                killed while its network was being saved, is dropped, because it is trained again.
            settings: what the training is made with, in JSON types.
        Raises:
            UsageError: epochs are lacking.
        """
        if len(self.rows) < trained_epochs:
            raise UsageError(
                f"{self.path} lacks some of the {trained_epochs} epochs that were trained. Put it back, or set "
                "LOAD_SAVED = False"
            )
        if not trained_epochs:
            self._write_tables()  # also what was deleted
            set_aside(self.curve_path, self.result_path, self._events.parent)
            self.put("result", None)
        with self.transaction() as connection:
            connection.execute("DELETE FROM facts WHERE name = 'epoch' AND number > ?", [trained_epochs])
        self.put("settings", settings)
        self._write_tables()
        self._events.parent.mkdir(exist_ok=True)
        write_atomically(self._events, file_version() + b"".join(map(_event, self.rows)))

    def write_epoch(self, epoch: int, measures: dict[str, float]):
        """Adds an epoch, counted from 1, with at least MEASURES."""
        row = {"epoch": epoch, **{name: float(measures[name]) for name in MEASURES}}
        self.put("epoch", list(row.values()), epoch)
        self._write_tables()
        append(self._events, _event(row))

    def write_result(self, result: dict[str, Any]):
        """Writes the result, in JSON types. Moves one aside."""
        set_aside(self.result_path)
        self.put("result", result)
        self._write_tables()

    def _write_tables(self):
        files, rows, result = {}, self.rows, self.get("result")
        if rows:
            files[self.curve_path] = table(COLUMNS, rows)
        if result:
            files[self.result_path] = (json.dumps(result, indent=2) + "\n").encode()
        self.write_files(files)


def read_curve(folder: str | Path) -> list[dict[str, float]]:
    """The epochs of a training, also while it runs, as `ArchitectureJournal.rows`; none if there is no training.

    Args:
        folder: that of the journal.
    Raises:
        UsageError: architecture.db is damaged.
        OSError: it cannot be read.
    """
    path = Path(folder, DATABASE)
    return _rows(Database(path)) if path.exists() and path.stat().st_size else []


def read_curves(paths: Paths) -> dict[int, list[dict[str, float]]]:
    """Seed, counted from 1 -> its epochs, of every seed of a retraining that has one; see `read_curve`."""
    folders = {paths.logs: 1, **paths.seeds()}
    return dict(sorted((seed, rows) for folder, seed in folders.items() if (rows := read_curve(folder))))


def summary_of(rows: list[dict[str, float]]) -> dict[str, float]:
    """The number of `epochs`, the first `best_epoch` by validation accuracy, and the `seconds` of all epochs."""
    best = max(rows, key=lambda row: row["val_accuracy"])
    return {"epochs": len(rows), "best_epoch": best["epoch"], "seconds": round(sum(row["seconds"] for row in rows), 3)}


def _rows(database):
    try:
        return [dict(zip(COLUMNS, row, strict=True)) for row in database.numbered("epoch").values()]
    except (TypeError, ValueError) as error:
        raise database.damaged(error) from None


def _event(row):
    history = {name: [row[name]] for name in MEASURES}
    return records([(row["epoch"], summary) for _, summary in curves("architecture", history)])

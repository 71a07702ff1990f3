"""What the training of one architecture keeps in logs/NAME: its learning curve and its result."""

import csv
import io
import json
import math
import os
import warnings
from pathlib import Path

from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from pnas.journal.children import split_rows
from pnas.journal.events import file_version, records
from pnas.journal.files import append, remove_unfinished, repair, set_aside, write_atomically

CURVE = "architecture.csv"
MEASURES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "sign_flips", "seconds")
COLUMNS = ("epoch", *MEASURES)


class ArchitectureJournal:
    """The files of one architecture's training, written epoch by epoch. See `pnas.training.architecture`.

    - `architecture.csv`: the learning curve, a row of COLUMNS per epoch, counted from 1. `seconds` are those of the
      epoch, validation included. `sign_flips` is the share of binary weights whose signs the epoch flipped.
    - `architecture/`: the same for TensorBoard, as `architecture/loss` and so on.
    - `architecture.json`: the result, when the training has ended.

    Args:
        folder: of the experiment, logs/NAME.
    Attributes:
        rows: list of dict, column -> number, of all epochs so far.
    """

    def __init__(self, folder):
        self.folder, self.rows = folder, []
        self.curve_path = os.path.join(folder, CURVE)
        self.result_path = os.path.join(folder, "architecture.json")
        self._events_folder = os.path.join(folder, "architecture")
        self._events_path = os.path.join(self._events_folder, "events.out.tfevents")

    def start(self, trained_epochs):
        """Continues the files of a training, or starts new ones and moves earlier ones aside.

        Args:
            trained_epochs: number of epochs that were trained and saved, 0 for a new training. A row of a later epoch,
                which was killed while its network was being saved, is dropped, because that epoch is trained again.
                A copy of a file that is changed is kept.
        Raises:
            ValueError: architecture.csv is damaged. Nothing has been changed.
            OSError: the files cannot be written.
        """
        if trained_epochs and os.path.exists(self.curve_path):
            self.rows = [row for row in read_curve(self.curve_path) if row["epoch"] <= trained_epochs]
        if not trained_epochs:
            set_aside(self.curve_path, self.result_path, self._events_folder)
        elif len(self.rows) < trained_epochs:
            warnings.warn(
                f"{self.curve_path} lacks some of the {trained_epochs} epochs that were trained", stacklevel=2
            )
        os.makedirs(self._events_folder, exist_ok=True)
        remove_unfinished(self.curve_path, self.result_path, self._events_path)
        content = (_line(COLUMNS) + "".join(map(_row, self.rows))).encode()
        if not os.path.exists(self.curve_path):
            write_atomically(self.curve_path, content)
        elif content != Path(self.curve_path).read_bytes():
            repair(self.curve_path, content, f"it gets the rows of the {trained_epochs} epochs that were saved, alone")
        write_atomically(self._events_path, file_version() + records(_events(self.rows)))

    def write_epoch(self, epoch, measures):
        """Adds an epoch, counted from 1; `measures` is a dict, name -> number, of at least MEASURES."""
        row = {"epoch": epoch, **{name: measures[name] for name in MEASURES}}
        self.rows.append(row)
        append(self.curve_path, _row(row))
        append(self._events_path, records(_events([row])))

    def best_epoch(self):
        """The first epoch with the highest validation accuracy, or None if architecture.csv lacks epochs."""
        if not self.rows or len(self.rows) < self.rows[-1]["epoch"]:
            return None
        return max(self.rows, key=lambda row: (row["val_accuracy"], -row["epoch"]))["epoch"]

    def write_result(self, **facts):
        """Writes the result, preceded by the number of epochs, the best one and the seconds of all. Moves one aside."""
        seconds = round(sum(row["seconds"] for row in self.rows), 3)
        facts = {
            "epochs": self.rows[-1]["epoch"] if self.rows else None,
            "best_epoch": self.best_epoch(),
            "seconds": seconds,
            **facts,
        }
        set_aside(self.result_path)
        write_atomically(self.result_path, (json.dumps(facts, indent=2) + "\n").encode())


def read_curve(path):
    """Reads architecture.csv. A last row that was being written when the run was killed is left out.

    Returns:
        List of dict, column -> number, by epoch.
    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read()
    where = "its first line"
    try:
        whole, _ = split_rows(content, lambda cells: len(cells) == len(COLUMNS) and cells[-1] != "")
        reader = csv.reader(io.StringIO(whole, newline=""), strict=True)
        if next(reader, None) != list(COLUMNS):
            raise ValueError(f"must be {','.join(COLUMNS)}")
        rows = []
        for cells in filter(any, reader):
            where = f"row {len(rows) + 1}"
            if len(cells) != len(COLUMNS):
                raise ValueError(f"has {len(cells)} cells, not {len(COLUMNS)}")
            rows.append({"epoch": int(cells[0]), **dict(zip(MEASURES, map(float, cells[1:])))})
            epochs = [row["epoch"] for row in rows[-2:]]
            if epochs[0] < 1 or epochs != sorted(set(epochs)) or math.isnan(rows[-1]["val_accuracy"]):
                raise ValueError(f"has epoch {cells[0]:.20} and val_accuracy {cells[4]:.20}")
    except (ValueError, csv.Error) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is damaged: {where} {reason}. Correct it, or move it away") from None
    return rows


def _line(cells):
    return ",".join(map(str, cells)) + "\n"


def _row(row):
    return _line(row[name] for name in COLUMNS)


def _events(rows):
    return [(row["epoch"], scalar_pb(f"architecture/{name}", row[name])) for row in rows for name in MEASURES]

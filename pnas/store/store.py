"""What is kept of a search, in one SQLite file: `pnas.search` asks it what is known, and tells it what is new."""

import itertools
import json
import math
import os
import re
import typing
import warnings
from pathlib import Path
from typing import Any

from pnas import UsageError
from pnas.child import Child
from pnas.constants import NAME, VERSION, changes
from pnas.store.atomic import check_writable, dated, set_aside, write_atomically
from pnas.store.database import Database, lock
from pnas.store.paths import Paths

MEASURES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "sign_flips")  # of a learning curve
CURVES = ("number", "repeat", "epoch", *MEASURES)  # columns of the table of learning curves
FIELDS = {name: kind for name, kind in typing.get_type_hints(Child).items() if name not in ("history", "network")}
KINDS = {int: "INTEGER", float: "REAL", str: "TEXT", list: "TEXT"}  # a cell is JSON
# A reward is NULL if training failed, a prediction if there was none.
TABLES = f"""
CREATE TABLE children (
    {", ".join(f"{name} {KINDS[kind]}" for name, kind in FIELDS.items())},
    PRIMARY KEY (number, repeat),
    CHECK (number > 0 AND repeat >= 0),
    CHECK ((reward IS NULL) = (error != '') AND (reward IS NULL OR reward BETWEEN 0 AND 1))
);
CREATE INDEX cells ON children (cell);
CREATE TABLE curves (
    number INTEGER, repeat INTEGER, epoch INTEGER, {" REAL, ".join(MEASURES)} REAL, PRIMARY KEY (number, repeat, epoch)
)"""


class Store(Database):
    """Children, choices and finalists of a search. What was kept is on the disk.

    Args:
        name: EXPERIMENT_NAME, of the files that are written, or None to keep all in memory.
        settings: on what rewards and choices depend, in JSON types.
        restore: whether to go on with what earlier runs have kept. Otherwise it is moved aside under dated names.
    Attributes:
        name, settings: those given.
        paths: Paths of the experiment, or None.
    Raises:
        UsageError: what was kept was made with other settings, is damaged or gone; or another run writes it.
        OSError: the files cannot be written.
    """

    def __init__(self, name: str | None = None, settings: dict[str, Any] | None = None, restore: bool = True):
        self.name, self.settings, self.paths = name, json.loads(json.dumps(settings or {})), None
        if name is None:
            super().__init__(None, TABLES)
            return
        self.paths = Paths(name)
        check_writable(self.paths.text.parent, self.paths.logs, self.paths.weights)
        left = [path for path in (self.paths.children, *self._files_elsewhere()) if path.exists()]
        if restore and left and _is_empty(self.paths.database):
            raise UsageError(
                f"{self.paths.database} is gone, but {left[0]} of its search is there. Put it back, or set "
                "RESTORE_CONTROLLER = False to move the rest aside"
            )
        held = lock(self.paths.database)
        if not restore:
            self._move_aside()
            if not self.paths.database.exists():  # a new one has its own lock
                moved, held = held, lock(self.paths.database)
                moved.close()
        remedy = "set RESTORE_CONTROLLER = False to move it aside and start over"
        super().__init__(self.paths.database, TABLES, held, remedy)
        try:
            self._check_settings()
            self._remove_unfinished()
            for child in self.failed():
                again = f" (repeat {child.repeat})" * bool(child.repeat)
                what = f"child {child.number}{again} failed in an earlier run and is trained again"
                warnings.warn(f"{what}: {child.error}", stacklevel=2)
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, name: str, logs: str | Path = "logs") -> "Store":
        """A Store that only reads, also while a search writes.

        Args:
            name: of the experiment.
            logs: folder of the experiments.
        Raises:
            UsageError: there is no such experiment, or its database is damaged.
            OSError: it cannot be read.
        """
        store = cls.__new__(cls)
        store.name, store.paths = name, Paths(name, logs)
        if not NAME.fullmatch(name) or _is_empty(store.paths.database):
            raise UsageError(f"there is no experiment {name!r:.80}: {store.paths.database!s:.200} does not exist")
        store._opened = store.paths.database.stat()
        Database.__init__(store, store.paths.database, TABLES)
        store.settings = store.get("settings") or {}
        return store

    @property
    def is_in_place(self) -> bool:
        """Whether the database of `open` is still where it was: a search that starts over moves it aside."""
        path = self.paths.database
        return path.exists() and os.path.samestat(path.stat(), self._opened)

    def _files_elsewhere(self):
        """The files and folders of a search outside logs/NAME."""
        return self.paths.text, self.paths.best, self.paths.surrogate, self.paths.networks, self.paths.front_networks

    def _move_aside(self):
        """Moves the files of a search aside, not those of a retraining of the same name."""
        paths = self.paths
        stays = ("architecture", "search.db") if _is_empty(paths.database) else "architecture"
        files = [path for path in paths.logs.iterdir() if not path.name.startswith(stays)]
        set_aside(*self._files_elsewhere())
        if files not in ([], [paths.report]):  # a retraining has a report, too
            folder = dated(paths.logs)
            folder.mkdir()
            for path in files:
                path.rename(folder / path.name)

    def _check_settings(self):
        kept, given = self.get("settings"), self.settings
        if kept is None:
            self.put("settings", given)
            return
        different, versions = differences(kept, given)
        if different:
            raise UsageError(
                f"{self.paths.logs} was made with other settings: {', '.join(different):.2000}. Set them back "
                "to resume it, choose another EXPERIMENT_NAME, or set RESTORE_CONTROLLER = False to move it aside"
            )
        if versions:
            what = f"{self.paths.logs}: {', '.join(versions)}"
            warnings.warn(f"{what}. The same seed may give slightly different rewards", stacklevel=3)

    def _remove_unfinished(self):
        """Removes what killed runs have left half-written."""
        paths = self.paths
        folders = paths.networks, paths.front_networks, *map(paths.logs.joinpath, ("errors", "children", "surrogate"))
        written = (folder.rglob("*.tmp") for folder in folders)
        for path in itertools.chain(paths.weights.glob("[bs]*.tmp"), paths.logs.glob("*.tmp"), *written):
            if re.search(r"\.\d+\.tmp$", path.name) and not path.name.startswith("architecture"):
                path.unlink()

    # Children

    def add(self, child: Child):
        """Keeps a trained child. It may replace one of its number, repeat and cell that had failed.

        Raises:
            UsageError: another child has its number and repeat.
            OSError: the disk is full, or cannot be written.
        """
        values = child._asdict() | {"cell": json.dumps(child.cell)}
        row = {name: values[name] if kind is list else kind(values[name]) for name, kind in FIELDS.items()}
        row |= {"reward": None} if child.error else {}
        key = {"number": row["number"], "repeat": row["repeat"]}
        curves = [child.history.get(name, []) for name in MEASURES]
        with self.transaction() as connection:
            found = connection.execute(
                "SELECT cell, error FROM children WHERE (number, repeat) = (:number, :repeat)", key
            )
            if any(cell != row["cell"] or not error for cell, error in found):
                raise UsageError(f"{self.path} already has another child {child.number}, repeat {child.repeat}")
            if child.network and self.paths:
                path = self.paths.network(child.number, child.repeat)
                path.parent.mkdir(exist_ok=True)
                write_atomically(path, child.network)
            columns = ", ".join(f":{name}" for name in FIELDS)
            connection.execute(f"INSERT OR REPLACE INTO children VALUES ({columns})", row)
            connection.execute("DELETE FROM curves WHERE (number, repeat) = (:number, :repeat)", key)
            connection.executemany(
                f"INSERT INTO curves VALUES (?, ?, ?{', ?' * len(MEASURES)})",
                [
                    (*key.values(), epoch, *(None if value is None else float(value) for value in values))
                    for epoch, values in enumerate(itertools.zip_longest(*curves), start=1)
                ],
            )

    def child(self, cell: list) -> Child | None:
        """The first training of a cell, or None if there is none that did not fail."""
        found = self._select("WHERE cell = ? AND repeat = 0 AND error = ''", json.dumps(cell))
        return found[0] if found else None

    def training(self, cell: list, seed: int) -> Child | None:
        """The training of a cell with a seed, with its learning curves, or None if there is none that did not fail."""
        found = self._select("WHERE cell = ? AND seed = ? AND error = ''", json.dumps(cell), seed)
        return found[0]._replace(history=self.history(found[0].number, found[0].repeat)) if found else None

    def children(self, blocks: int | None = None, repeat: int = 0) -> list[Child]:
        """Children in the order of their numbers, also those that failed, without histories and networks.

        Args:
            blocks: the size of all, or None for all sizes.
            repeat: 0 for the first trainings, or 1, 2, ... for the further trainings of finalists.
        """
        return [child for child in self._select("WHERE repeat = ?", repeat) if blocks in (None, child.blocks)]

    def trainings(self, number: int | None = None) -> list[Child]:
        """All trainings of a child, or of all, that did not fail, the first one of each first."""
        return self._select("WHERE error = '' AND number = coalesce(?, number)", number)

    def failed(self) -> list[Child]:
        """All trainings that failed, repeats included."""
        return self._select("WHERE error != ''")

    def epochs(self) -> list[dict[str, float]]:
        """All learning curves: number and repeat of a child, epoch from 1, and MEASURES."""
        rows = self.read("SELECT * FROM curves ORDER BY repeat, number, epoch")
        return [dict(zip(CURVES, row)) for row in rows]

    def history(self, number: int, repeat: int = 0) -> dict[str, list[float]]:
        """The learning curves of a child: name -> a number an epoch."""
        epochs = self.read("SELECT * FROM curves WHERE number = ? AND repeat = ? ORDER BY epoch", number, repeat)
        curves = zip(MEASURES, list(zip(*epochs))[3:])
        return {name: list(curve) for name, curve in curves if curve.count(None) < len(curve)}

    def _select(self, where="", *values):
        rows = self.read(f"SELECT * FROM children {where} ORDER BY number, repeat", *values)
        return [self._child(dict(zip(FIELDS, row))) for row in rows]

    def _child(self, row):
        row["reward"] = 0.0 if row["error"] else row["reward"]
        row["predicted"] = math.nan if row["predicted"] is None else row["predicted"]
        try:
            row["cell"] = json.loads(row["cell"])
            kinds = [type(value) for value in row["cell"]]
            if not kinds or kinds != [int, str] * (len(kinds) // 4 * 2):
                raise ValueError(f"{row['cell']} is no cell")
            return Child(**{name: kind(row[name]) for name, kind in FIELDS.items()})
        except (TypeError, ValueError, RecursionError) as error:
            raise self.damaged(f"child {row['number']}: {error}") from None

    # The search

    def choices(self, blocks: int) -> list[tuple[list[list], list[float]]]:
        """The choices for a block size, one a round: cells, in the order of their numbers, and predicted rewards."""
        return [tuple(choice) for choice in self.get("choices", blocks) or []]

    def keep_choices(self, blocks: int, choices: list[tuple[list[list], list[float]]]):
        """Keeps the choices for a block size; one may have no cell. They replace earlier ones."""
        self.put("choices", choices, blocks)

    def finalists(self, count: int, chosen_from: Any) -> list[int]:
        """The numbers of the finalists, at most `count`; none if they have not been chosen from this yet.

        Args:
            chosen_from: what else their choice depends on, in JSON types.
        """
        numbers, of_these = self.get("finalists", count) or ([], None)
        return numbers if of_these == chosen_from else []

    def keep_finalists(self, count: int, numbers: list[int], chosen_from: Any):
        self.put("finalists", (numbers, chosen_from), count)

    def ranking(self) -> list[int]:
        """The numbers of the finalists that the search ended with, the winner first; none if it has not ended."""
        return self.get("ranking") or []

    def keep_ranking(self, numbers: list[int]):
        self.put("ranking", numbers)

    # The surrogate

    def fits(self) -> dict[int, list[float]]:
        """Number of children -> the surrogate's loss over the epochs of its fit to them."""
        return self.numbered("fit")

    def keep_fit(self, children: int, losses: list[float]):
        self.put("fit", list(map(float, losses)), children)

    def qualities(self) -> dict[int, dict[str, Any]]:
        """Block size -> how well the surrogate predicted its children, a dict of measures."""
        return self.numbered("quality")

    def keep_quality(self, blocks: int, quality: dict[str, Any]):
        self.put("quality", quality, blocks)


def differences(kept: dict[str, Any], given: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What differs between the settings of an earlier search and given ones, each in words, versions of packages apart.

    Returns:
        ("NAME was this and is that" of settings, the same of versions)
    """
    words = changes(kept, given)
    versions = [words.pop(name) for name in [*words] if name.endswith(VERSION)]
    return [*words.values()], versions


def _is_empty(path):
    return not path.exists() or path.stat().st_size == 0

"""What is kept of a search, in one SQLite file: `pnas.search` asks it what is known, and tells it what is new."""

import json
import math
import re
import warnings
from typing import Any

from pnas import UsageError
from pnas.child import Child
from pnas.constants import NAME
from pnas.store.atomic import check_writable, dated, set_aside, write_atomically
from pnas.store.database import Database
from pnas.store.paths import Paths

MEASURES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "sign_flips")  # of a learning curve
VERSION = " version"  # ends the settings that hold the version of a package; another version is no other setting
NUMBERS = {"seed": int, "reward": float, "seconds": float, "training_seconds": float}
NUMBERS |= dict.fromkeys(("parameters", "binary_weights", "macs", "epochs"), int)
COLUMNS = ("number", "repeat", "cell", "predicted", *NUMBERS, "error", "traceback")
TABLES = f"""
CREATE TABLE children (
    number INTEGER NOT NULL CHECK (number > 0),
    repeat INTEGER NOT NULL CHECK (repeat >= 0),
    cell TEXT NOT NULL,
    predicted REAL,
    seed INTEGER NOT NULL,
    reward REAL CHECK ((reward IS NULL) = (error != '') AND (reward IS NULL OR reward BETWEEN 0 AND 1)),
    seconds REAL NOT NULL,
    training_seconds REAL NOT NULL,
    parameters INTEGER NOT NULL,
    binary_weights INTEGER NOT NULL,
    macs INTEGER NOT NULL,
    epochs INTEGER NOT NULL,
    error TEXT NOT NULL,
    traceback TEXT NOT NULL,
    PRIMARY KEY (number, repeat)
);
CREATE INDEX cells ON children (cell);
CREATE TABLE curves (
    number INTEGER, repeat INTEGER, epoch INTEGER, {" REAL, ".join(MEASURES)} REAL, PRIMARY KEY (number, repeat, epoch)
)"""


class Store:
    """Children, choices and finalists of a search. What a method has kept is on the disk when it returns.

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
            self._database = Database(None, TABLES)
            return
        self.paths = Paths(name)
        check_writable(self.paths.text.parent, self.paths.logs, self.paths.weights)
        is_new = _is_empty(self.paths.database)
        if restore and is_new and any(self.paths.networks.glob("*.keras")):
            raise UsageError(
                f"{self.paths.database} is gone, but the networks of its children are in {self.paths.networks}. Put it "
                "back, or set RESTORE_CONTROLLER = False to move the rest aside"
            )
        self._database = Database(
            self.paths.database,
            TABLES,
            "set RESTORE_CONTROLLER = False to move it aside and start over",
            move=lambda: self._move_aside(restore, is_new) if is_new or not restore else None,
        )
        try:
            self._restore()
        except BaseException:
            self.close()
            raise

    @classmethod
    def open(cls, name: str, logs: str = "logs") -> "Store":
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
        store._database = Database(store.paths.database, TABLES, "move it away", is_reader=True)
        store.settings = store._database.get("settings") or {}
        return store

    def _move_aside(self, restore, is_new):
        """Moves the files of a search aside, not those of a retraining of the same name."""
        paths = self.paths
        stays = ("architecture", "search.db") if is_new else ("architecture",)
        files = [path for path in paths.logs.iterdir() if not path.name.startswith(stays)]
        moved = set_aside(paths.text, paths.best, paths.surrogate, paths.networks)
        if any(path != paths.report for path in files):
            folder = dated(paths.logs)
            folder.mkdir()
            moved += [path.rename(folder / path.name) for path in files]
        if restore and moved:
            names = ", ".join(map(str, moved))
            warnings.warn(f"{paths.database} is missing. The search starts over; moved aside: {names}", stacklevel=4)

    def _restore(self):
        """Compares the settings, removes what killed runs have left half-written, and names children that failed."""
        paths = self.paths
        for path in (*paths.logs.rglob("*.tmp"), *paths.weights.glob("[bc]*.tmp"), *paths.networks.glob("*.tmp")):
            if re.search(r"\.\d+\.tmp$", path.name) and not path.name.startswith("architecture"):
                path.unlink()
        kept = self._database.get("settings")
        if kept is None:
            self._database.put("settings", self.settings)
            kept = self.settings
        changes = {
            name: f"{name} was {kept.get(name)!r:.200} and is {self.settings.get(name)!r:.200}"
            for name in {**kept, **self.settings}
            if kept.get(name) != self.settings.get(name)
        }
        versions = [change for name, change in changes.items() if name.endswith(VERSION)]
        others = [change for name, change in changes.items() if not name.endswith(VERSION)]
        if others:
            raise UsageError(
                f"{paths.logs} was made with other settings: {', '.join(others):.2000}. Set them back to resume it, "
                "choose another EXPERIMENT_NAME, or set RESTORE_CONTROLLER = False to move the files aside"
            )
        if versions:
            warnings.warn(
                f"{paths.logs}: {', '.join(versions)}. The same seed may give slightly different rewards", stacklevel=3
            )
        for child in self._select():
            if child.error:
                again = f" (repeat {child.repeat})" * bool(child.repeat)
                warnings.warn(
                    f"child {child.number}{again} failed in an earlier run and is trained again: {child.error}",
                    stacklevel=3,
                )

    def close(self):
        """Closes the file. Other runs may write it then."""
        self._database.close()

    # Children ---------------------------------------------------------------------------------------------------------

    def add(self, child: Child):
        """Keeps a trained child. It may replace one of its number, repeat and cell that had failed.

        Raises:
            UsageError: another child has its number and repeat.
            OSError: the disk is full, or cannot be written.
        """
        if child.network and self.paths:
            path = self.paths.network(child.number, child.repeat)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, child.network)
        cell, key = json.dumps(child.cell), (int(child.number), int(child.repeat))
        facts = {name: convert(getattr(child, name)) for name, convert in NUMBERS.items()}
        if child.error:
            facts["reward"] = None
        row = (*key, cell, float(child.predicted), *facts.values(), child.error, child.traceback)
        curves = [[float(value) for value in child.history.get(name, ())] for name in MEASURES]
        epochs = range(max(map(len, curves)))
        points = [(*key, e + 1, *(curve[e] if e < len(curve) else None for curve in curves)) for e in epochs]
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM children WHERE number = ? AND repeat = ? AND cell = ? AND error != ''", (*key, cell)
            )
            if connection.execute("SELECT 1 FROM children WHERE number = ? AND repeat = ?", key).fetchone():
                raise UsageError(f"{self._database.path} has a child {child.number}, repeat {child.repeat}, already")
            connection.execute("DELETE FROM curves WHERE number = ? AND repeat = ?", key)
            connection.execute(f"INSERT INTO children VALUES ({','.join('?' * len(row))})", row)
            connection.executemany(f"INSERT INTO curves VALUES (?, ?, ?{', ?' * len(MEASURES)})", points)

    def child(self, cell: list) -> Child | None:
        """The first training of a cell, or None if there is none that did not fail."""
        found = self._select("WHERE cell = ? AND repeat = 0 AND error = ''", json.dumps(cell))
        return found[0] if found else None

    def children(self, blocks: int | None = None, repeat: int = 0) -> list[Child]:
        """Children in the order of their numbers, also those that failed, without histories and networks.

        Args:
            blocks: the size of all, or None for all sizes.
            repeat: 0 for the first trainings, or 1, 2, ... for the further trainings of finalists.
        """
        children = self._select("WHERE repeat = ?", repeat)
        return [child for child in children if blocks in (None, child.blocks)]

    def history(self, number: int, repeat: int = 0) -> dict[str, list[float]]:
        """The learning curves of a child, name -> a number an epoch; those that it has."""
        rows = self._database.read(
            f"SELECT {', '.join(MEASURES)} FROM curves WHERE number = ? AND repeat = ? ORDER BY epoch", number, repeat
        )
        curves = dict(zip(MEASURES, map(list, zip(*rows))))
        return {name: curve for name, curve in curves.items() if curve.count(None) < len(curve)}

    def curve(self, number: int, repeat: int = 0) -> list[float]:
        """The validation accuracy of a child after each epoch."""
        return self.history(number, repeat).get("val_accuracy", [])

    def epochs(self) -> list[tuple]:
        """All learning curves: rows of number, repeat, epoch and MEASURES."""
        return self._database.read("SELECT * FROM curves ORDER BY repeat, number, epoch")

    def _select(self, where="", *values):
        rows = self._database.read(
            f"SELECT {', '.join(COLUMNS)} FROM children {where} ORDER BY number, repeat", *values
        )
        return [self._child(dict(zip(COLUMNS, row))) for row in rows]

    def _child(self, row):
        try:
            cell = json.loads(row["cell"])
            if not cell or [type(value) for value in cell] != [int, str, int, str] * (len(cell) // 4):
                raise ValueError(f"{row['cell']} is no cell")
            facts = {name: convert(row[name] or 0) for name, convert in NUMBERS.items()}
        except (TypeError, ValueError) as error:
            raise self._database.damaged(f"child {row['number']}: {error}") from None
        predicted = math.nan if row["predicted"] is None else row["predicted"]
        return Child(**{**row, **facts, "cell": cell, "predicted": predicted})

    # The search -------------------------------------------------------------------------------------------------------

    def choice(self, blocks: int) -> tuple[list[list], list[float]] | None:
        """The cells that were chosen for a block size, in the order of their numbers, and their predicted rewards."""
        choice = self._database.get("choice", blocks)
        return choice and tuple(choice)

    def add_choice(self, blocks: int, cells: list[list], predicted: list[float]):
        """Keeps the choice of a block size, which may have no cell. It replaces an earlier one."""
        self._database.put("choice", [cells, list(map(float, predicted))], blocks)

    def finalists(self) -> list[int]:
        """The numbers of the finalists; none if they have not been chosen yet."""
        return self._database.get("finalists") or []

    def keep_finalists(self, numbers: list[int]):
        self._database.put("finalists", numbers)

    def winner(self) -> tuple[int, list[float]] | None:
        """The number of the child that won the search, and the rewards of its trainings, those that did not fail."""
        number = self._database.get("winner")
        if number is None:
            return None
        return number, [child.reward for child in self._select("WHERE number = ? AND error = ''", number)]

    def keep_winner(self, number: int):
        self._database.put("winner", number)

    # The surrogate ----------------------------------------------------------------------------------------------------

    def fits(self) -> dict[int, list[float]]:
        """Block size -> the surrogate's loss over the epochs of its fit to all children of up to that size."""
        return self._database.numbered("fit")

    def keep_fit(self, blocks: int, losses: list[float]):
        self._database.put("fit", list(map(float, losses)), blocks)

    def qualities(self) -> dict[int, dict[str, Any]]:
        """Block size -> how well the surrogate predicted its children, a dict of measures."""
        return self._database.numbered("quality")

    def keep_quality(self, blocks: int, quality: dict[str, Any]):
        self._database.put("quality", quality, blocks)

    def write_files(self, contents: dict):
        """See `Database.write_files`."""
        self._database.write_files(contents)


def _is_empty(path):
    return not path.exists() or path.stat().st_size == 0

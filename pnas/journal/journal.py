"""The files of a search: the readable log, the table of children, TensorBoard's events and the best network."""

import csv
import datetime
import io
import json
import os
import warnings
import zipfile
import zlib

from pnas.child import LIMITS, counted
from pnas.journal.children import header, read_table, row, split_rows
from pnas.journal.events import Events
from pnas.journal.files import (
    append,
    check_settings,
    check_writable,
    lock,
    read_json,
    remove_unfinished,
    repair,
    set_aside,
    text_lines,
    write_atomically,
)


class Journal:
    """The files of one experiment, written child by child so that nothing is lost when a run ends early.

    - `architectures/NAME.txt`: a header per run, a heading per block size, an entry per child.
    - `logs/NAME/children.csv`: the same children as a table, with more columns.
    - `logs/NAME/settings.json`: the constants that the results depend on.
    - `logs/NAME/choices.json`: the cells that were chosen for each block size after the first, and their predicted
      rewards.
    - `logs/NAME/surrogate.csv`: how well the surrogate predicted the children of each block size.
    - `logs/NAME/children/`, `logs/NAME/surrogate/`: event files for TensorBoard.
    - `weights/NAME/best.keras`: the best network so far, with the weights of its best epoch.
    - `weights/NAME/controller.keras`: the surrogate; see `pnas.journal.controller`.

    All files of an earlier run are read and checked before any of them is changed.

    Args:
        name: of the experiment.
        settings: dict of the constants on which rewards and choices depend, in JSON types.
        restore: whether to resume from the files of earlier runs. Otherwise they are moved aside under dated names.
        state_space: StateSpace, which writes and reads the representation strings.
        defaults: dict of the values of settings that a settings.json of an earlier version may lack.
    Attributes:
        finished: dict, cell as a tuple -> Child, of the children that earlier runs have trained. Without those that
            failed, which are trained again.
        best: Child with the highest reward so far, or None.
        choices: dict, block size -> (list of cells in the order of their numbers, list of their predicted rewards).
        events: Events, which also keeps the surrogate's loss.
    Raises:
        ValueError: restore is set, but the files were made with other constants, are damaged or incomplete; or another
            run is writing to this experiment.
        OSError: a folder cannot be written.
    """

    def __init__(self, name, settings, restore, state_space, defaults={}):
        self.settings, self.state_space = settings, state_space
        self.text_path = os.path.join("architectures", f"{name}.txt")
        self.logs = os.path.join("logs", name)
        self.table_path = os.path.join(self.logs, "children.csv")
        self.settings_path = os.path.join(self.logs, "settings.json")
        self.choices_path = os.path.join(self.logs, "choices.json")
        self.network_path = os.path.join("weights", name, "best.keras")
        self.controller_path = os.path.join("weights", name, "controller.keras")
        networks = os.path.join("weights", name, "children")
        self.finished = {}
        self.best = None
        self.choices = {}
        self.qualities = []
        self.lock = lock(f"{self.logs}.lock")
        weights = self.network_path, self.controller_path
        remove_unfinished(self.text_path, f"{self.logs}/**/*", *weights, f"{networks}/*")
        children = self._restore(defaults) if restore else []
        if not restore or not os.path.exists(self.settings_path):
            # A retraining of this name may have come first. Its files are not those of a search.
            kept = os.listdir(self.logs) if os.path.isdir(self.logs) else []
            searched = not restore or not all(name.startswith(("architecture", "report")) for name in kept)
            moved = set_aside(self.text_path, *[self.logs] * searched, *weights, networks)
            if restore and moved:
                warnings.warn(
                    f"{self.settings_path} is missing. The search starts over; moved aside: {', '.join(moved)}"
                )
        check_writable(*(os.path.dirname(path) for path in (self.text_path, self.table_path, self.network_path)))
        if not os.path.exists(self.settings_path):
            write_atomically(self.table_path, header().encode())
            write_atomically(self.settings_path, _indented(settings))
        self.events = Events(self.logs, state_space.operators)
        self._continue_log(children)

    def _restore(self, defaults):
        """Reads and checks the files of earlier runs, then repairs what a killed run or an editor has left.

        Returns:
            List of Child, all that earlier runs have trained.
        """
        if not os.path.exists(self.settings_path):
            if os.path.exists(self.table_path):
                with open(self.table_path, "rb") as file:
                    if file.read() != header().encode():
                        raise ValueError(
                            f"{self.settings_path} is gone, so the constants behind {self.table_path} are not known. "
                            "Put it back, or set RESTORE_CONTROLLER = False to move the rest aside"
                        )
            return []
        settings = check_settings(
            self.settings_path,
            self.settings,
            "choose another EXPERIMENT_NAME, or set RESTORE_CONTROLLER = False to move the files aside",
            defaults,
        )
        children = self._read_table()
        self._read_choices()

        added = {key: value for key, value in settings.items() if key not in read_json(self.settings_path)}
        if added:
            new = ", ".join(f"{key} = {value!r}" for key, value in added.items())
            repair(self.settings_path, _indented(settings), f"an earlier version made it; it gets the default {new}")
        with open(self.table_path, "rb") as file:
            content = file.read()
        rows, unfinished = split_rows(content)
        if rows.encode() != content:
            found = (
                "its last row is half-written and is left out" if unfinished else "an editor has changed its line ends"
            )
            repair(self.table_path, rows.encode(), found)
        if "epochs" not in rows.partition("\n")[0]:
            rows = header() + "".join(map(self._row, children))
            repair(self.table_path, rows.encode(), "an earlier version made it; it gets the column epochs, of zeros")
        for child in children:
            if child.is_failed:
                warnings.warn(f"child {child.number} failed in an earlier run and is trained again: {child.error}")
        is_kept = os.path.exists(self.network_path)
        if self.best and not (is_kept and _is_whole(self.network_path)):
            fault = "damaged" if is_kept else "gone"
            warnings.warn(
                f"{self.network_path}, the network of child {self.best.number}, is {fault}; retrain it from the log"
            )
        return children

    def _read_table(self):
        _, children = read_table(self.table_path)
        for child in children:
            try:
                self.state_space.encode(child.cell)
            except ValueError as error:
                raise ValueError(f"{self.table_path}: row {child.number} is damaged ({str(error)[:200]})") from None
            if not child.is_failed:
                self.finished[tuple(child.cell)] = child
                self._update_best(child)
        return children

    def _read_choices(self):
        if not os.path.exists(self.choices_path):
            if any(child.blocks > 1 for child in self.finished.values()):
                raise ValueError(
                    f"{self.choices_path} is gone, so the numbers of new children are not known. Put it back, or set "
                    "RESTORE_CONTROLLER = False to move the rest aside"
                )
            return
        for blocks, choice in read_json(self.choices_path).items():
            try:
                cells, predicted = choice
                if not cells or len(cells) != len(predicted):
                    raise ValueError(f"it has {len(cells)} cells and {len(predicted)} predicted rewards")
                unique = {tuple(self.state_space.canonical(cell)) for cell in cells}
                if len(unique) < len(cells):
                    raise ValueError("it has a cell twice")
                if any(len(cell) != 4 * int(blocks) for cell in cells):
                    raise ValueError("it has a cell of another number of blocks")
                self.choices[int(blocks)] = cells, [float(prediction) for prediction in predicted]
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{self.choices_path}: the choice of {blocks!s:.20} blocks is damaged ({str(error)[:200]})"
                ) from None

    def _continue_log(self, children):
        """Adds what the log lacks: the rest of an entry, this run's header, entries of children. Nothing is removed."""
        append(self.text_path, "")
        with open(self.text_path, "rb") as file:
            text = text_lines(file.read(), errors="replace")
        entries = {self._entry(child): f"Sr. No: {child.number}\nReward: {child.reward:.4f}\n" for child in children}
        whole, blank, last = text.rpartition("\n\n")
        if last:  # the entry that a killed run was writing, or a user's note
            lacking = [entry for entry, start in entries.items() if start not in whole + blank]
            rest = [entry[len(last) :] for entry in lacking if entry.startswith(last)]
            if rest and rest[-1] != "\n":
                warnings.warn(f"{self.text_path}: the rest of a half-written entry is added")
            added = rest[-1] if rest else "\n" * (2 - last.endswith("\n"))
            append(self.text_path, added)
            text += added
        constants = "\n".join(f"# {key} = {value!r}" for key, value in self.settings.items())
        now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        append(self.text_path, f"# {'Continued' if children else 'Started'} {now}\n{constants}\n\n")
        for entry, start in entries.items():
            if start not in text:
                append(self.text_path, entry)

    def write_heading(self, blocks, children):
        """Adds the heading of a block size to the log."""
        append(self.text_path, f"# ---- {counted(blocks, 'block', 'blocks')} a cell: {counted(children)} ----\n\n")

    def write_choice(self, blocks, cells, predicted):
        """Keeps the cells that were chosen for a block size, so that a resumed run gives them the same numbers.

        A surrogate that is fitted again, for example on another processor, may rank close cells in another order.
        """
        self.choices[blocks] = cells, predicted
        write_atomically(self.choices_path, json.dumps(self.choices).encode())

    def write_child(self, child):
        """Keeps a trained child. Runs resume from the table, so files that it cannot restore are written first."""
        if self._update_best(child):
            write_atomically(self.network_path, child.network)
        self.events.write_child(child)
        append(self.table_path, self._row(child))
        append(self.text_path, self._entry(child))

    def _row(self, child):
        return row(child, self.settings["DATASET"], self.state_space.encode(child.cell))

    def _entry(self, child):
        end = f"Failed: {child.error}\n" if child.error else ""
        if 0 < child.epochs < self.settings.get("MAX_EPOCHS", 0):
            end = f"Stopped early: after {child.epochs} of {self.settings['MAX_EPOCHS']} epochs\n"
        return (
            f"Sr. No: {child.number}\n"
            f"Reward: {child.reward:.4f}\n"
            f"Architecture: {child.cell}\n"
            f'Representation String: "{self.state_space.encode(child.cell)}"\n{end}\n'
        )

    def _update_best(self, child):
        """Compares a child with the best one and says whether it is better. Of equal rewards the lower number wins."""
        is_best = not child.error and (
            self.best is None or (child.reward, -child.number) > (self.best.reward, -self.best.number)
        )
        if is_best:
            self.best = child
        return is_best

    def write_quality(self, blocks, quality):
        """Keeps how well the surrogate predicted the children of a block size (see `pnas.report.ranking`)."""
        path = os.path.join(self.logs, "surrogate.csv")
        self.qualities.append({"blocks": blocks, **quality})  # a resumed run starts with the first size
        table = io.StringIO()
        writer = csv.DictWriter(table, self.qualities[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.qualities)
        write_atomically(path, table.getvalue().encode())
        self.events.write_quality(blocks, quality)

    def costs_of(self, child):
        """What a child costs and, where there is a budget, its limits, in words."""
        costs = []
        for (cost, constant), unit in zip(LIMITS.items(), ("MACs", "binary weights")):
            limit = self.settings.get(constant)
            within = "" if limit is None else f" ({constant} = {limit:,})"
            costs.append(f"{getattr(child, cost):,} {unit}{within}")
        return ", ".join(costs)

    def write_end(self, best, finalists, command):
        """Adds the best architecture, its costs and the command that retrains it to the log.

        Args:
            best: Child.
            finalists: list of lines about the finalists.
            command: command line.
        """
        lines = [f"Best: Sr. No {best.number}, reward {best.reward:.4f}, {best.cell}", *finalists]
        lines += [f"Costs: {self.costs_of(best)}", "Retrain it:", command]
        append(self.text_path, "".join(f"# {line}\n" for line in lines) + "\n")


def _indented(settings):
    return json.dumps(settings, indent=1).encode()


def _is_whole(path):
    """Whether a .keras file, a zip archive, has the checksums of its parts."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError):
        return False

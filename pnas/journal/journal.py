"""What a search keeps: the readable log, the table of children, TensorBoard's events and the best network."""

import csv
import datetime
import io
import json
import os
import warnings

from pnas.journal.children import LIMITS, header, read_table, row
from pnas.journal.events import Events
from pnas.journal.files import (
    append,
    check_settings,
    check_writable,
    lock,
    read_json,
    remove_unfinished,
    set_aside,
    truncate_after,
    write_atomically,
)


class Journal:
    """The files of one experiment, written child by child so that nothing is lost when a run ends early.

    - `architectures/NAME.txt`: a header per run, a heading per block size, an entry per child.
    - `logs/NAME/children.csv`: the same and more as a table. `logs/NAME/settings.json`: the constants it was made with.
    - `logs/NAME/choices.json`: which cells of each block size after the first are trained, and what was predicted of
    them.
    - `logs/NAME/surrogate.csv`: how well the surrogate had predicted the children of each block size.
    - `logs/NAME/children/`, `logs/NAME/surrogate/`: event files for TensorBoard.
    - `weights/NAME/best.keras`: the best network so far, with the weights of its best epoch.

    Args:
        name: the experiment's name.
        settings: dict of the constants that decide about rewards and choice, JSON's types.
        restore: whether to go on with what earlier runs kept. Otherwise that is moved aside under a dated name.
        state_space: StateSpace, which writes and reads the representation strings.
    Attributes:
        finished: dict, cell as a tuple -> Child, of those that earlier runs trained.
        best: Child with the highest reward so far, or None.
        choices: dict, block size -> (list of cells in the order of their numbers, list of their predicted rewards).
        events: Events, which also keeps the surrogate's loss.
    Raises:
        ValueError: restore is set, but what was kept was made with other constants, or is damaged; or another run is
            writing to this experiment.
        OSError: a folder cannot be written.
    """

    def __init__(self, name, settings, restore, state_space):
        self.settings, self.state_space = settings, state_space
        self.text_path = os.path.join("architectures", f"{name}.txt")
        self.logs = os.path.join("logs", name)
        self.table_path = os.path.join(self.logs, "children.csv")
        self.settings_path = os.path.join(self.logs, "settings.json")
        self.choices_path = os.path.join(self.logs, "choices.json")
        self.network_path = os.path.join("weights", name, "best.keras")
        self.finished = {}
        self.best = None
        self.choices = {}
        self.qualities = []
        self.lock = lock(f"{self.logs}.lock")
        remove_unfinished(f"{self.text_path}.*", f"{self.logs}/**/*", f"{self.network_path}.*")
        if os.path.exists(self.settings_path) and restore:
            check_settings(
                self.settings_path,
                settings,
                "choose another EXPERIMENT_NAME, or set RESTORE_CONTROLLER = False to move it aside",
            )
            self._read_table()
            self._read_choices()
        else:
            set_aside(self.text_path, self.logs, self.network_path)
        check_writable(*(os.path.dirname(path) for path in (self.text_path, self.table_path, self.network_path)))
        if not os.path.exists(self.settings_path):
            write_atomically(self.table_path, header().encode())
            write_atomically(self.settings_path, json.dumps(settings, indent=1).encode())
        self.events = Events(self.logs, state_space.operators, state_space.B)
        self._write_header()

    def _read_table(self):
        truncate_after(self.table_path, b"\n")
        _, children = read_table(self.table_path)
        for child in children:
            try:
                self.state_space.encode(child.cell)
            except ValueError as error:
                raise ValueError(f"{self.table_path}: row {child.number} is damaged ({str(error)[:200]})") from None
            self.finished[tuple(child.cell)] = child
            self._update_best(child)
        if self.best and not os.path.exists(self.network_path):
            warnings.warn(
                f"{self.network_path}, the network of child {self.best.number}, is gone; retrain it from the log"
            )

    def _read_choices(self):
        if not os.path.exists(self.choices_path):
            if any(child.blocks > 1 for child in self.finished.values()):
                raise ValueError(
                    f"{self.choices_path} is gone, without which the numbers of new children are not known. Put it back, or set "
                    "RESTORE_CONTROLLER = False to move the rest aside"
                )
            return
        for blocks, choice in read_json(self.choices_path).items():
            try:
                cells, predicted = choice
                if len(cells) != len(predicted):
                    raise ValueError("there are more cells than predictions, or fewer")
                for cell in cells:
                    self.state_space.encode(cell)
                self.choices[int(blocks)] = cells, [float(prediction) for prediction in predicted]
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"{self.choices_path}: the choice of {blocks:.20} blocks is damaged ({str(error)[:200]})"
                ) from None

    def _write_header(self):
        append(self.text_path, "")
        whole = truncate_after(self.text_path, b"\n\n").decode(errors="replace")
        constants = "\n".join(f"# {key} = {value!r}" for key, value in self.settings.items())
        now = datetime.datetime.now().strftime("%Y-%m-%d %H:%M:%S")
        append(self.text_path, f"# {'Continued' if self.finished else 'Started'} {now}\n{constants}\n\n")
        for child in self.finished.values():
            if f"Sr. No: {child.number}\n" not in whole:
                append(self.text_path, self._entry(child))

    def write_heading(self, blocks, children):
        """Announces the children of a block size."""
        append(self.text_path, f"# ---- {blocks} block{'s' * (blocks > 1)} a cell: {children} children ----\n\n")

    def write_choice(self, blocks, cells, predicted):
        """Keeps which cells of a block size are trained, so that a later run trains the same under the same numbers.

        A surrogate that is fitted again, on another processor perhaps, may rank close cells in another order.
        """
        self.choices[blocks] = cells, predicted
        write_atomically(self.choices_path, json.dumps(self.choices).encode())

    def write_child(self, child):
        """Keeps a trained child. What a later run goes on from is the table; what that does not hold is written first."""
        if self._update_best(child):
            write_atomically(self.network_path, child.network)
        self.events.write_child(child)
        append(self.table_path, row(child, self.settings["DATASET"], self.state_space.encode(child.cell)))
        append(self.text_path, self._entry(child))

    def _entry(self, child):
        failure = f"Failed: {child.error}\n" if child.error else ""
        return (
            f"Sr. No: {child.number}\n"
            f"Reward: {child.reward:.4f}\n"
            f"Architecture: {child.cell}\n"
            f'Representation String: "{self.state_space.encode(child.cell)}"\n{failure}\n'
        )

    def _update_best(self, child):
        """Makes a child the best one if it is, and says whether it is; of equal ones the lower number wins."""
        is_best = not child.error and (
            self.best is None or (child.reward, -child.number) > (self.best.reward, -self.best.number)
        )
        if is_best:
            self.best = child
        return is_best

    def write_quality(self, blocks, quality):
        """Keeps how well the surrogate had predicted the children of a block size (see `pnas.report.ranking`)."""
        path = os.path.join(self.logs, "surrogate.csv")
        self.qualities.append({"blocks": blocks, **quality})  # a run that goes on begins with the first again
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
        """Names the best architecture, its costs and the command that retrains it.

        Args:
            best: Child.
            finalists: list of lines about the finalists.
            command: command line.
        """
        lines = [f"Best: Sr. No {best.number}, reward {best.reward:.4f}, {best.cell}", *finalists]
        lines += [f"Costs: {self.costs_of(best)}", "Retrain it:", command]
        append(self.text_path, "".join(f"# {line}\n" for line in lines) + "\n")

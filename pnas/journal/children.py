"""The result of training one child, in words and in children.csv, the table that keeps it."""

import ast
import csv
import io
import re
import typing

import numpy as np

from pnas.journal.files import text_lines

COLUMNS = (
    "number",
    "dataset",
    "blocks",
    "architecture",
    "representation",
    "reward",
    "predicted",
    "seconds",
    "parameters",
    "binary_weights",
    "macs",
    "epochs",
    "seed",
    "error",
)

EARLIER = tuple(name for name in COLUMNS if name != "epochs")  # of earlier versions

LIMITS = {"macs": "MAX_MACS", "binary_weights": "MAX_BINARY_WEIGHTS"}  # cost of a child -> the constant that limits it


class Child(typing.NamedTuple):
    """A child, before and after its training.

    `number` counts the children of a search from 1. `predicted` is the reward that the surrogate predicted before
    training, or NaN. `history` holds lists of one number an epoch: loss, accuracy, val_loss, val_accuracy,
    learning_rate and sign_flips, the share of binary weights whose signs the epoch flipped. `network` is the content of
    a .keras file. `error` is the reason why training failed (the reward is then 0), or empty. Of its `seconds`,
    `training_seconds` were spent on training steps and validation. `epochs` is the number of epochs that were trained,
    0 where a table of an earlier version does not say.
    """

    number: int
    cell: list
    predicted: float
    seed: int
    reward: float = 0.0
    seconds: float = 0.0
    training_seconds: float = 0.0
    parameters: int = 0
    binary_weights: int = 0
    macs: int = 0
    epochs: int = 0
    history: dict = {}
    network: bytes = b""
    error: str = ""

    @property
    def blocks(self):
        return len(self.cell) // 4

    def failed(self, reason):
        """This child as a failed one, with the reason in one line of at most 500 printable characters."""
        printable = "".join(character if character.isprintable() else " " for character in reason[:500])
        return self._replace(reward=0.0, error=printable)

    @property
    def is_failed(self):
        return self.error != "" and self.reward == 0


def as_fraction(accuracy):
    """The shortest number that is the same float32 as an accuracy: 0.8006, not 0.800599992275238."""
    return float(str(np.float32(accuracy)))


def in_short(cell):
    """A cell on one line, such as `3x3 bconv ×2 | linear + -1:3x3 maxpool | 1:linear + 5x5 bconv`.

    Blocks are separated by ` | ` and the two operators of a block by ` + `. `×2` means the same operator twice on the
    same input. An operator reads the cell's own input unless another one stands before its colon: -k is the cell k
    before that, j is block j.
    """
    halves = [f"{source}:{op}" if source else op for source, op in zip(cell[0::2], cell[1::2])]
    blocks = zip(halves[0::2], halves[1::2])
    return " | ".join(f"{left} ×2" if left == right else f"{left} + {right}" for left, right in blocks)


def counted(number, noun="child", plural="children"):
    """A number with its noun, such as `1 child` or `2 children`."""
    return f"{number} {noun if number == 1 else plural}"


def header():
    """The first line of children.csv."""
    return ",".join(COLUMNS) + "\n"


def row(child, dataset, representation):
    """The line of a child in children.csv."""
    facts = {
        **child._asdict(),
        "dataset": dataset,
        "blocks": child.blocks,
        "architecture": child.cell,
        "representation": representation,
        "seconds": f"{child.seconds:.3f}",
    }
    line = io.StringIO()
    csv.DictWriter(line, COLUMNS, extrasaction="ignore", lineterminator="\n").writerow(facts)
    return line.getvalue()


def split_rows(content, is_whole=None):
    """Separates whole rows of a table from one that was being written when a run was killed.

    The last row needs no line end to be whole. In children.csv its last cell may be empty, so a row that has all its
    cells lacks nothing but perhaps the end of an error message.

    Args:
        content: bytes of the file. Spreadsheets and editors may have changed its line ends and its byte order mark.
        is_whole: function that says whether a last row with these cells is whole. By default it must have as many as
            the first row.
    Returns:
        (str, the whole rows, each with the line end "\\n"; str, the beginning of another row, or "").
    Raises:
        ValueError: the file is not UTF-8.
    """
    end = 1 + max(content.rfind(b"\n"), content.rfind(b"\r"))
    rows, last = text_lines(content[:end]), content[end:].decode(errors="ignore")
    if not last:
        return rows, ""
    is_whole = is_whole or (lambda cells: len(cells) == 1 + rows.partition("\n")[0].count(","))
    try:
        unfinished = not is_whole(next(csv.reader([last], strict=True)))
    except csv.Error:  # a quoted cell without its end
        unfinished = True
    if unfinished and re.match(r"\d+(,|$)", last):
        return rows, last
    return f"{rows}{last}\n", ""


def read_table(path):
    """Reads children.csv. Nothing in it is executed.

    The beginning of a row at its end is left out. A failed child may have another row further down, from when it was
    trained again; that one counts.

    Args:
        path: of the file.
    Returns:
        (name of the data set, or None if there is no row; list of Child, by number, without histories and networks).
    Raises:
        ValueError: the file is damaged.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        content = file.read()
    dataset, children = None, {}
    where = "the file"
    try:
        rows, _ = split_rows(content)
        reader = csv.DictReader(io.StringIO(rows, newline=""), strict=True)
        if reader.fieldnames not in (list(COLUMNS), list(EARLIER)):
            raise ValueError(f"its first line is {rows[: rows.find(chr(10))]!r:.60}, not {header()[:40]}...")
        for line in reader:
            if not any(line.values()):  # a spreadsheet's empty row
                continue
            where = f"row {line['number']!s:.20}"
            if None in line or None in line.values():
                raise ValueError("it has too few or too many cells")
            dataset = line["dataset"]
            child = _child(line)
            earlier = children.get(child.number)
            if earlier and not (earlier.is_failed and earlier.cell == child.cell):
                raise ValueError("there are two of this number")
            children[child.number] = child
            where = f"the part after row {child.number}"
    except (ValueError, SyntaxError, MemoryError, RecursionError, csv.Error) as error:
        reason = " ".join(f"{where} is damaged ({type(error).__name__}: {str(error)[:200]})".split())
        raise ValueError(f"{path}: {reason}. Correct it, or move the file's folder away to start over") from None
    return dataset, [children[number] for number in sorted(children)]


def _child(line):
    cell = ast.literal_eval(line["architecture"])
    is_cell = isinstance(cell, list) and len(cell) > 0 and len(cell) % 4 == 0
    if not is_cell or [type(entry) for entry in cell] != [int, str] * (len(cell) // 2):
        raise ValueError(f"architecture {line['architecture']:.80} is no cell")
    child = Child(
        cell=cell,
        error=line["error"],
        epochs=int(line.get("epochs", 0)),
        **{name: int(line[name]) for name in ("number", "seed", "parameters", "binary_weights", "macs")},
        **{name: float(line[name]) for name in ("reward", "predicted", "seconds")},
    )
    if child.number < 1 or not 0 <= child.reward <= 1:
        raise ValueError(f"number {child.number}, reward {child.reward}")
    return child._replace(reward=as_fraction(child.reward))  # an earlier version wrote all digits of the float32

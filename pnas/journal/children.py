"""What is known of a trained child, and children.csv, the table that keeps it."""

import ast
import csv
import io
import typing

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
    "seed",
    "error",
)

LIMITS = {"macs": "MAX_MACS", "binary_weights": "MAX_BINARY_WEIGHTS"}  # cost of a child -> the constant that limits it


class Child(typing.NamedTuple):
    """A child, before and after its training.

    `number` counts the children of a search from 1; `predicted` is the surrogate's reward before training, NaN where
    there was none; `history` holds a list per epoch of loss, accuracy, val_loss, val_accuracy, learning_rate and
    sign_flips, the share of binary weights whose signs the epoch flipped; `network` is the content of a .keras file;
    `error` says why training failed (the reward is 0 then), or is empty. Of its `seconds`, `training_seconds` went into
    training steps and validation.
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
    history: dict = {}
    network: bytes = b""
    error: str = ""

    @property
    def blocks(self):
        return len(self.cell) // 4

    def failed(self, reason):
        """This child with the reason in `error`: one line, of at most 500 printable characters."""
        printable = "".join(character if character.isprintable() else " " for character in reason[:500])
        return self._replace(reward=0.0, error=printable)


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


def read_table(path):
    """What children.csv holds; nothing in it is run. A last row without a line end is still being written, and left
    out.

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
        lines = content[: content.rfind(b"\n") + 1].decode()
        if not lines.startswith(header()):
            raise ValueError(f"it does not start with {header()[:40]}...")
        for line in csv.DictReader(io.StringIO(lines, newline="")):
            where = f"row {line['number']!s:.20}"
            if None in line or None in line.values():
                raise ValueError("it has too few or too many entries")
            dataset = line["dataset"]
            child = _child(line)
            if child.number in children:
                raise ValueError("there are two of this number")
            children[child.number] = child
            where = f"what follows row {child.number}"
    except (ValueError, SyntaxError, MemoryError, RecursionError, csv.Error) as error:
        raise ValueError(
            f"{path}: {where} is damaged ({type(error).__name__}: {str(error)[:200]}). Put it right, or move the file's folder "
            "away to begin anew"
        ) from None
    return dataset, [children[number] for number in sorted(children)]


def _child(line):
    cell = ast.literal_eval(line["architecture"])
    is_cell = isinstance(cell, list) and len(cell) > 0 and len(cell) % 4 == 0
    if not is_cell or [type(entry) for entry in cell] != [int, str] * (len(cell) // 2):
        raise ValueError(f"architecture {line['architecture']:.80} is no cell")
    child = Child(
        cell=cell,
        error=line["error"],
        **{name: int(line[name]) for name in ("number", "seed", "parameters", "binary_weights", "macs")},
        **{name: float(line[name]) for name in ("reward", "predicted", "seconds")},
    )
    if child.number < 1 or not 0 <= child.reward <= 1:
        raise ValueError(f"number {child.number}, reward {child.reward}")
    return child

"""The result of training one child, in words and in children.csv, the table that keeps it."""

import ast
import csv
import io
import re

from pnas.child import Child, as_fraction
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

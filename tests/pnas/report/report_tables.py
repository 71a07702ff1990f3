"""Tables of children for reports."""

import math

from pnas.child import Child
from pnas.journal.children import header, row


def child(number, reward, blocks=1, predicted=math.nan, cell=None, weights=100, macs=1000, error=""):
    cell = cell or [0, "linear", 0, "linear"] * blocks
    return Child(number, cell, predicted, 7, reward, seconds=1.5, binary_weights=weights, macs=macs, error=error)


def write_table(folder, children, end=""):
    path = folder / "logs" / "tiny" / "children.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(header() + "".join(row(child, "digits", "") for child in children) + end)
    return path

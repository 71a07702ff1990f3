"""A network as a graph: the image, the stacked cells and the dense layers with their sizes, and below them the cell.

All lengths are in inches.
"""

import math
import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pnas.child import in_short
from pnas.constants import Settings
from pnas.model import origin_of
from pnas.report.cell_drawing import BOX, LINE, LINES, TRACK, WIDTH, add_cell, canvas, draw_box, draw_line

MIDDLE, SIDE = 1.9, 1.1  # of the boxes: their middle and their left side
TEXT = 3.0  # left side of what is said beside the boxes
CHARACTERS = 74  # of a line that fits there
GAP = 0.2  # between rows
ABOUT_CELLS = (
    "In every cell, what operators return is normalized and binarized. Operators on an input divide height and\n"
    "width by its stride, rounding up. Operators on a block keep them. Poolings and identities keep the channels."
)


class Row(NamedTuple):
    """A box with its colour, what is said beside it, and the rows that it reads, counted from the image, 0."""

    box: str
    fill: str
    lines: list[str]
    reads: list[int]


def draw_network(cell: list, settings: Settings, input_shape: tuple[int, int, int]) -> Figure:
    """Draws the network of a cell.

    Args:
        cell: flat list `[input1, op1, input2, op2, ...]`, its operators registered.
        settings: those of the network, see `pnas.training.child.build_with_seed`.
        input_shape: (height, width, channels) of the images.
    Returns:
        Figure, 8 inches wide and as high as the network needs.
    """
    costs = settings.costs(input_shape)
    macs, binary_weights = costs(cell)
    name = textwrap.fill(f"Network of the cell {in_short(cell)}", 80)
    title = f"{name}\n{binary_weights:,} binary weights (-1 or +1), {macs:,} multiply-accumulates for an image"
    rows = list(_rows(cell, settings, costs.shapes(cell)))
    return canvas(title, lambda axes, y: add_cell(axes, cell, _add_rows(axes, rows, y)))


def _sizes(shape):
    return " x ".join(map(str, shape))


def _rows(cell, settings, shapes) -> Iterator[Row]:
    """The rows of a network; `shapes` are those of the image, 0, and of the stacked cells that are read."""
    use_dropout, *rates = settings.DROPOUT
    of_image, of_dense = ([f"dropout {rate:g} in training"] * use_dropout for rate in rates)
    lines = ["height x width x channels; in [-1, +1], not binarized", *of_image]
    yield Row(f"image\n{_sizes(shapes[0])}", "w", lines, [])
    for number, filters in enumerate(settings.NUM_CELL_FILTERS, start=1):
        yield _row_of_cell(cell, number, filters, shapes)
    last = settings.NUM_CELLS
    count = math.prod(shapes[last])
    read = f"{_sizes(shapes[last])} = {count:,}"
    for number, units in enumerate(settings.DENSE_LAYERS, start=1):
        is_end = number == len(settings.DENSE_LAYERS)
        outputs = "a score for each class, not binarized; the highest wins" if is_end else "outputs -1 or +1"
        lines = [f"reads {read} numbers", *of_dense, f"{count * units:,} weights; {outputs}"]
        yield Row(f"dense layer {number}\n{units} units", "w" if is_end else "0.92", lines, [last + number - 1])
        count = read = units


def _row_of_cell(cell, number, filters, shapes):
    if number not in shapes:
        return Row(f"cell {number}\nleft out", "w", ["no later cell reads it"], [])
    read = {}  # origin -> inputs that have it
    for source in sorted({source for source in cell[0::2] if source <= 0}, reverse=True):
        read.setdefault(origin_of(source, number), []).append(str(source))
    lines = [f"{filters} filters for each operator; outputs -1 or +1"]
    for origin, sources in read.items():
        inputs = f"input{'s' * (len(sources) > 1)} {', '.join(sources)}"
        where, stride = f"cell {origin}" if origin else "the image", 2 ** (number - origin)
        lines.append(f"{inputs}: {where}, {_sizes(shapes[origin])}, stride {stride} (height and width / {stride})")
    return Row(f"cell {number}\n{_sizes(shapes[number])}", "0.78", lines, list(read))


def _add_rows(axes: Axes, rows: list[Row], y: float) -> float:
    """Draws rows from y on, and what is said of all cells. Returns where that ends."""
    tops = []  # of the boxes
    for number, row in enumerate(rows):
        lines = [part for line in row.lines for part in textwrap.wrap(line, CHARACTERS)]
        height = max(BOX, LINE * len(lines))
        tops.append(y - (height - BOX) / 2)
        draw_box(axes, MIDDLE, tops[-1], 2 * (MIDDLE - SIDE), row.box, row.fill, "round")
        axes.text(TEXT, y - height / 2, "\n".join(lines), va="center", fontsize=9)
        if number - 1 in row.reads:
            draw_line(axes, (MIDDLE, MIDDLE), (tops[number - 1] - BOX, tops[number]), arrow=True)
        y -= height + GAP
    _add_skips(axes, [[origin for origin in row.reads if origin < number - 1] for number, row in enumerate(rows)], tops)
    axes.text(WIDTH / 2, y - GAP / 2, ABOUT_CELLS, ha="center", va="top", fontsize=9)
    return y - 2 * GAP - 2 * LINE


def _add_skips(axes, skips, tops):
    """Lines to the left of the boxes, one for each box that is read by another than the next one.

    Args:
        skips: for each row, the rows before the previous one that it reads.
        tops: upper sides of the boxes.
    """
    origins = sorted({origin for row in skips for origin in row})
    for track, origin in enumerate(origins):
        x, style = SIDE - 0.2 - TRACK * (len(origins) - 1 - track), LINES[track % len(LINES)]
        # The lines of earlier boxes end further down, where those of later ones have ended already.
        ends = [
            tops[number] - BOX * (len(row) - sorted(row).index(origin)) / (len(row) + 1)
            for number, row in enumerate(skips)
            if origin in row
        ]
        start = tops[origin] - BOX * 3 / 4
        draw_line(axes, (SIDE, x, x), (start, start, ends[-1]), style)
        for end in ends:
            draw_line(axes, (x, SIDE), (end, end), style)
        axes.plot([SIDE - 0.05] * len(ends), ends, "k>", markersize=6)
        axes.plot([x] * (len(ends) - 1), ends[:-1], "ko", markersize=4)

"""A cell as a graph: its inputs, operations, blocks and output, from top to bottom.

Every block has a column of its own, below the blocks that it reads. A line runs down from its source, along a track of
its own above the operations that read it, and down into them, so that it never crosses a box. All lengths are in
inches.
"""

import itertools
from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

LINES = ("-", "--", "-.", ":")  # of sources, and of block sizes: they tell them apart where there is no colour
WIDTH = 8
LINE = 0.18  # height of a line of the title
BOX = 0.46  # height of a box
GAP = 0.24  # between operations and their block
TRACK = 0.15  # distance of tracks


def canvas(title: str, draw: Callable[[Axes, float], float]) -> Figure:
    """A figure, WIDTH inches wide, with a title and what a function draws below it.

    Args:
        title: text of a few lines.
        draw: function of axes in inches, whose origin is the upper left corner, and of the y at which to begin.
            Returns the y of the lower end.
    """
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    height = 0.1 - draw(axes, -0.35 - LINE * len(title.split("\n")))
    figure.set_size_inches(WIDTH, height)
    axes.set(xlim=(0, WIDTH), ylim=(-height, 0))
    figure.suptitle(title, y=1 - 0.08 / height)
    return figure


def add_cell(axes: Axes, cell: list, y: float) -> float:
    """Draws a cell, WIDTH inches wide.

    Args:
        axes: in inches.
        cell: flat list `[input1, op1, input2, op2, ...]`.
        y: of its upper side.
    Returns:
        y of its lower side.
    """
    blocks = [cell[i : i + 4] for i in range(0, len(cell), 4)]
    levels = _levels(blocks)
    sources = sorted(set(cell[0::2]))
    inputs = [source for source in sources if source <= 0]
    tracks = [inputs] + [
        sorted({source for block, at in zip(blocks, levels) if at == level for source in block[0::2] if source > 0})
        for level in range(1, max(levels) + 1)
    ]
    above = [0.32 + TRACK * len(track) for track in tracks]  # a level's operations
    column = min(2.4, (WIDTH - 0.8) / len(blocks))
    left = (WIDTH - column * len(blocks)) / 2
    op_font = _fitting(column * 0.45, *"\n".join(map(_in_words, cell[0::2], cell[1::2])).split("\n"))
    block_font = _fitting(column * 0.95, "concatenation")

    origins = {}  # source -> where its line begins
    middles = [left + column * place for place in _spread(len(inputs), len(blocks))]
    # The outermost boxes stay within the figure, so they may come nearer to the next ones.
    room = [(x - 0.15) / 1.6 for x in middles[1:2]] + [0.95 * (b - a) for a, b in itertools.pairwise(middles)]
    width = min([1.3, *room])
    edge = 0.15 + width / 2
    for source, x in zip(inputs, middles):
        words = "the cell before" if source == 0 else f"{1 - source} cells before"
        font = _fitting(width, words)
        draw_box(axes, min(max(x, edge), WIDTH - edge), y, width, f"input {source}\n{words}", "w", "round", font)
        origins[source] = (x, y - BOX)
    tops = []  # of the operations of each level
    for space in above:
        tops.append(y - BOX - space)
        y = tops[-1] - BOX - GAP
    floor = y - BOX - 0.32  # upper side of the concatenation

    unread = [number for number in range(1, len(blocks) + 1) if number not in sources]
    readers = {}  # (source, track's level) -> [(x, y) of an operation]
    for number, (block, level) in enumerate(zip(blocks, levels), start=1):
        middle = left + column * (number - 0.5)
        top = tops[level] - BOX - GAP  # of the block
        for x, source, operator in zip((middle - column / 4, middle + column / 4), block[0::2], block[1::2]):
            draw_box(axes, x, tops[level], column * 0.45, _in_words(source, operator), "0.92", font=op_font)
            draw_line(axes, (x, x), (tops[level] - BOX, top), arrow=True)
            readers.setdefault((source, level if source > 0 else 0), []).append((x, tops[level]))
        draw_box(axes, middle, top, column * 0.95, f"block {number}\nconcatenation", "0.78", font=block_font)
        origins[number] = (middle, top - BOX)
        if number in unread:
            draw_line(axes, (middle, middle), (top - BOX, floor), arrow=True)
    text = f"output of the cell: block{'s' * (len(unread) > 1)} {', '.join(map(str, unread))}"
    text += ", concatenated" * (len(unread) > 1)
    draw_box(axes, WIDTH / 2, floor, column * (len(blocks) - 0.05), text, "0.92", "round")

    for (source, level), ends in sorted(readers.items()):
        style = LINES[sources.index(source) % len(LINES)]
        x, y = origins[source]
        along = tops[level] + 0.2 + TRACK * tracks[level][::-1].index(source)
        places = sorted([x, *(end for end, _ in ends)])
        draw_line(axes, (x, x), (y, along), style)
        draw_line(axes, (places[0], places[-1]), (along, along), style)
        for end, top in ends:
            draw_line(axes, (end, end), (along, top), style, arrow=True)
        goes_on = any(other > level for reader, other in readers if reader == source)
        joins = [place for place in places if places[0] < place < places[-1] or (place == x and goes_on)]
        axes.plot(joins, [along] * len(joins), "ko", markersize=4)
        origins[source] = (x, along)
    return floor - BOX


def _in_words(source, operator):
    """An operator on two lines. `linear` is the identity on a block. On an input it halves the image, as others do."""
    if operator == "linear":
        return "linear\n(identity)" if source > 0 else "linear\n(1x1 bconv)"
    return operator.replace(" ", "\n")


def _levels(blocks):
    """Level of each block: 0 if it reads inputs alone, else one below the lowest block that it reads."""
    levels = []
    for block in blocks:
        levels.append(max((levels[source - 1] + 1 for source in block[0::2] if source > 0), default=0))
    return levels


def _spread(number, columns):
    """Places of inputs over the columns of blocks: multiples of 1/2, as operations stand at 1/4 and 3/4 of a column."""
    left = [columns * (2 * i + 1) // number / 2 for i in range(number // 2)]
    return left + [columns / 2] * (number % 2) + [columns - place for place in reversed(left)]


def _fitting(width, *lines):
    """Font size at which the longest of some lines fits into a box."""
    return min(9, 110 * width / max(map(len, lines)))


def draw_box(axes, x, y, width, text, fill, style="square", font=9):
    """A box with its upper side at y."""
    style = f"{style},pad=0" + ",rounding_size=0.12" * (style == "round")
    axes.add_patch(FancyBboxPatch((x - width / 2, y - BOX), width, BOX, style, facecolor=fill, edgecolor="k"))
    axes.text(x, y - BOX / 2, text, ha="center", va="center", fontsize=font)


def draw_line(axes, x, y, style="-", arrow=False):
    axes.plot(x, y, color="k", linewidth=1.1, linestyle=style)
    if arrow:
        axes.plot(x[-1], y[-1] + 0.05, "kv", markersize=6)

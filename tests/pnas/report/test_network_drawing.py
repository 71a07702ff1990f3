"""Drawings of networks: what they say, with sizes counted by hand, and that nothing overlaps."""

import itertools

import pytest
from matplotlib.patches import FancyBboxPatch
from matplotlib.text import Text
from tiny_training import settings_of

from pnas.model import build_child
from pnas.report.network_drawing import draw_network

NETWORK = {"NUM_CELLS": 3, "NUM_CELL_FILTERS": [16, 24, 32], "DENSE_LAYERS": [32, 10]}
CONNECTED = [0, "3x3 bconv", -1, "linear", 1, "5x5 sep-bconv", -2, "3x3 maxpool", 2, "linear", 1, "1x7-7x1 bconv"]


def drawn(cell, input_shape=(28, 28, 1), **changes):
    return draw_network(cell, settings_of(**{**NETWORK, **changes}), input_shape)


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_the_default_network_is_drawn_with_its_sizes():
    found = texts(drawn([0, "3x3 sep-bconv", 0, "3x3 sep-bconv"]))
    # A depthwise kernel has 9 weights a channel, a pointwise one a weight for each channel and filter; then the dense
    # layers. Two operators have two times 16, 24 and 32 filters. Cells have 14x14, 7x7 and 4x4 positions.
    cells = [2 * (9 + 16), 2 * (9 * 32 + 32 * 24), 2 * (9 * 48 + 48 * 32)]
    dense = 4 * 4 * 64 * 32 + 32 * 10
    macs = 196 * cells[0] + 49 * cells[1] + 16 * cells[2] + dense
    title = "Network of the cell 3x3 sep-bconv ×2\n"
    title += f"{sum(cells) + dense:,} binary weights (-1 or +1), {macs:,} multiply-accumulates for an image"
    assert title in found
    boxes = ["image\n28 x 28 x 1", "cell 1\n14 x 14 x 32", "cell 2\n7 x 7 x 48", "cell 3\n4 x 4 x 64"]
    assert {*boxes, "dense layer 1\n32 units", "dense layer 2\n10 units"} <= {*found}
    for filters, what in ((16, "the image, 28 x 28 x 1"), (24, "cell 1, 14 x 14 x 32"), (32, "cell 2, 7 x 7 x 48")):
        line = f"input 0: {what}, stride 2 (height and width / 2)"
        assert f"{filters} filters for each operator; outputs -1 or +1\n{line}" in found
    assert "reads 4 x 4 x 64 = 1,024 numbers\n32,768 weights; outputs -1 or +1" in found
    assert "reads 32 numbers\n320 weights; a score for each class, not binarized; the highest wins" in found
    assert {"input 0\nthe cell before", "block 1\nconcatenation", "output of the cell: block 1"} <= {*found}


def test_a_drawing_says_what_earlier_cells_a_cell_reads():
    found = "\n".join(texts(drawn([0, "3x3 bconv", -1, "linear"], input_shape=(9, 7, 3), DROPOUT=(True, 0.2, 0.5))))
    # 9x7 is halved to 5x4, 3x2 and 2x1; each cell has two operators.
    for line in (
        *("cell 1\n5 x 4 x 32", "cell 2\n3 x 2 x 48", "cell 3\n2 x 1 x 64"),
        "inputs 0, -1: the image, 9 x 7 x 3, stride 2 (height and width / 2)",
        "input 0: cell 1, 5 x 4 x 32, stride 2 (height and width / 2)\n"
        "input -1: the image, 9 x 7 x 3, stride 4 (height and width / 4)",
        "input 0: cell 2, 3 x 2 x 48, stride 2 (height and width / 2)\n"
        "input -1: cell 1, 5 x 4 x 32, stride 4 (height and width / 4)",
        "in [-1, +1], not binarized\ndropout 0.2 in training",
        "reads 2 x 1 x 64 = 128 numbers\ndropout 0.5 in training\n4,096 weights",
        "linear\n(1x1 bconv)",
    ):
        assert line in found


def test_linear_is_the_identity_on_a_block():
    found = texts(drawn([0, "linear", 0, "3x3 maxpool", 1, "linear", 1, "3x3 bconv"]))
    assert "linear\n(1x1 bconv)" in found and "linear\n(identity)" in found
    # Block 1 has 16 channels of linear and the one of the image; block 2 these 17 and 16 more.
    assert "cell 1\n14 x 14 x 33" in found


def test_a_cell_that_no_other_reads_is_left_out():
    found = texts(drawn([-1, "3x3 bconv", -1, "linear"]))
    assert "cell 2\nleft out" in found and "no later cell reads it" in found and "cell 3\n4 x 4 x 64" in found
    model = build_child([-1, "3x3 bconv", -1, "linear"], 3, [16, 24, 32], [32, 10])
    assert {layer.name[:5] for layer in model.layers if layer.name.startswith("cell")} == {"cell1", "cell3"}


@pytest.mark.parametrize(
    "cell, input_shape, changes",
    [
        ([0, "3x3 sep-bconv", 0, "3x3 sep-bconv"], (28, 28, 1), {}),
        (CONNECTED, (28, 28, 1), {}),
        ([0, "linear", -1, "linear", -2, "linear", -3, "linear"], (28, 28, 1), {}),
        (
            [*CONNECTED, -4, "linear", -5, "7x7 sep-bconv", -3, "3x3 avgpool", 4, "3x3 bconv"],
            (256, 256, 4),
            {
                **{"NUM_CELLS": 8, "NUM_CELL_FILTERS": [512] * 8, "DENSE_LAYERS": [1024, 512, 100]},
                "DROPOUT": (True, 0.25, 0.5),
            },
        ),
    ],
)
def test_no_texts_overlap_or_leave_their_boxes(cell, input_shape, changes):
    figure = drawn(cell, input_shape, **changes)
    figure.draw_without_rendering()
    words = [text for text in figure.findobj(Text) if text.get_text()]
    extents = [text.get_window_extent() for text in words]
    for (text, one), (_, other) in itertools.combinations(zip(words, extents), 2):
        assert not one.overlaps(other), text
    boxes = [box.get_window_extent() for box in figure.findobj(FancyBboxPatch)]
    for text, (x0, y0, x1, y1) in zip(words, (extent.extents for extent in extents)):
        assert x0 >= 0 and x1 <= figure.bbox.width and y0 >= 0 and y1 <= figure.bbox.height, text
        for box in boxes:
            inside = box.x0 <= x0 and x1 <= box.x1 and box.y0 <= y0 and y1 <= box.y1
            assert inside or not box.overlaps(text.get_window_extent()), text

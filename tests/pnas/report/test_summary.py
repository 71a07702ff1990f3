"""The layers of a network, counted by hand."""

import io
import re
import sys

from pnas.model import build_child
from pnas.report.summary import print_summary, summarize


def network():
    return build_child([0, "3x3 bconv", 0, "3x3 maxpool"], 1, [2], [10], input_shape=(8, 8, 1))


def test_each_layer_has_its_weights_macs_and_memory():
    layers = {name: row for name, *row in map(dict.values, summarize(network()))}
    assert layers["cell1_block1_left_3x3_bconv"] == ["4 x 4 x 2", 18, 0, 18 * 16, 18 * 4, 18 / 8]
    # 2 filters and the pooled image, each with gamma, beta, mean and variance, or with a threshold and a bit.
    assert layers["cell1_norm"] == ["4 x 4 x 3", 0, 4 * 3, 0, 4 * 3 * 4, 33 * 3 / 8]
    assert layers["dense1"] == ["10", 480, 0, 480, 480 * 4, 480 / 8]
    assert layers["dense1_norm"] == ["10", 0, 40, 0, 40 * 4, 128 * 10 / 8]  # a scale and an offset in float64
    assert sum(row[1] for row in layers.values()) == 498


def test_the_last_row_has_the_totals(capsys):
    print_summary(network())
    lines = capsys.readouterr().out.splitlines()
    total = next(line for line in lines if "total" in line)
    assert lines[-1].startswith("MACs: multiply-accumulates for one image. ") and "2 bit operations" in lines[-1]
    # 498 weights and 4 * 13 numbers as float32; 498 + 99 + 1,280 bits.
    numbers = [number for number in total.replace("│", " ").split() if number[0].isdigit()]
    assert numbers == ["498", "52", f"{18 * 16 + 480}", f"{4 * (498 + 52):,}", "235"]


def test_no_line_is_broken_in_a_file(monkeypatch, capsys):
    print_summary(network())
    monkeypatch.setenv("COLUMNS", "40")
    plain = capsys.readouterr().out
    monkeypatch.setenv("FORCE_COLOR", "1")
    print_summary(network())
    assert re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out) == plain
    assert "cell1_block1_left_3x3_bconv    │ 4 x 4 x 2" in plain


def test_a_network_whose_name_is_not_utf_8_is_shown(monkeypatch):
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, "utf-8"))
    model = network()
    model.name = "caf\udce9"
    print_summary(model)
    sys.stdout.flush()
    assert b"caf?" in buffer.getvalue()

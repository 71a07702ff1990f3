"""What a search keeps and shows of a block size."""

import csv

import pytest

from pnas.child import Child
from pnas.encoder import StateSpace
from pnas.journal.journal import Journal
from pnas.report.console import Progress
from pnas.report.recorder import Recorder

SPACE = StateSpace(2, ["linear", "3x3 bconv"])


def test_the_surrogate_is_judged_against_the_rewards(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    journal = Journal("trial", {"DATASET": "digits"}, True, SPACE)
    cell = [0, "linear", 0, "linear"] * 2
    predicted, rewards = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95], [0.4, 0.6, 0.8, 0.7, 0.9, 0.95]
    children = [Child(n, cell, p, 0, r) for n, (p, r) in enumerate(zip(predicted, rewards), start=4)]
    Recorder(journal, None, Progress(K=6, B=2, workers=1)).on_size_end(2, children)
    with open(tmp_path / "logs" / "trial" / "surrogate.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    # Errors: 0.1, 0, 0.1, 0.1, 0, 0. Ranks 1 2 3 4 5 6 against 1 2 4 3 5 6: 1 - 6 * 2 / (6 * 35).
    assert row["blocks"] == "2" and float(row["mean_absolute_error"]) == pytest.approx(0.05)
    assert float(row["spearman"]) == pytest.approx(1 - 12 / 210)
    assert "Predicted before training: Spearman 0.94" in capsys.readouterr().out

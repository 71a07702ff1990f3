"""The command `python -m pnas.report`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from searches import child, store_of

from pnas.report import figures
from pnas.report.__main__ import main
from pnas.store.architecture import ArchitectureJournal

ROOT = Path(__file__).parents[3]
MEASURES = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "sign_flips", "seconds")
ARCHITECTURE, REWARDS = (
    [f"logs/tiny/report/{sheet}.{ending}" for ending in ("png", "svg")] for sheet in ("architecture", "rewards")
)


def report(monkeypatch, capsys, *arguments):
    """The lines that the command prints."""
    monkeypatch.setattr(sys, "argv", ["pnas.report", *arguments])
    main()
    return capsys.readouterr().out.splitlines()


def retrain():
    journal = ArchitectureJournal(Path("logs", "tiny"))
    journal.start(0, {})
    journal.write_epoch(1, dict.fromkeys(MEASURES, 0.5))
    journal.close()


def test_the_command_draws_a_search_and_a_retraining(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "SHEETS", {"rewards": figures.SHEETS["rewards"]})
    retrain()
    assert report(monkeypatch, capsys, "tiny") == ARCHITECTURE
    store_of([child(1, 0.5), child(2, 0.6)], "tiny").close()
    assert report(monkeypatch, capsys, "tiny") == ARCHITECTURE + REWARDS
    assert all((tmp_path / path).stat().st_size > 1000 for path in ARCHITECTURE + REWARDS)


def test_the_command_compares_searches(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "other"):
        store_of([child(1, 0.5), child(2, 0.6)], name, SEED=0).close()
    lines = report(monkeypatch, capsys, "tiny", "other", "tiny")
    assert lines[-1] == "logs/compare/searches.csv"
    assert len([line for line in lines if "winner mean" in line and line.count("0.6000") == 2]) == 1
    assert not (tmp_path / "logs" / "tiny" / "report").exists()


@pytest.mark.parametrize("name", ["tiny", "../tiny", ""])
def test_the_command_says_in_one_line_what_is_missing(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        report(monkeypatch, capsys, name)
    assert str(end.value).startswith(f"pnas.report: there is no experiment {name!r}")
    assert "\n" not in str(end.value) and not [*tmp_path.iterdir()]


def test_a_retraining_outside_logs_is_not_drawn(tmp_path, monkeypatch, capsys):
    (tmp_path / "inner" / "logs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    retrain()
    monkeypatch.chdir(tmp_path / "inner")
    with pytest.raises(SystemExit, match="there is no experiment"):
        report(monkeypatch, capsys, "../../logs/tiny")


@pytest.mark.parametrize("name", ["module://matplotlib_inline.backend_inline", "nonsense"])  # the one of notebooks
def test_the_report_starts_with_any_mplbackend(name):
    environment = {**os.environ, "MPLBACKEND": name, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pnas.report", "--help"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert result.stderr == "" and result.stdout.startswith("usage: python -m pnas.report")


def test_the_report_imports_no_deep_learning_framework():
    code = "import sys, pnas.report.__main__; print({'keras', 'tensorflow', 'jax'} & sys.modules.keys())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (result.stdout, result.stderr) == ("set()\n", "")

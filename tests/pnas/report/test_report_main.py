"""The command `python -m pnas.report`."""

import os
import subprocess
import sys
from pathlib import Path

from messages import without_foreign_warnings
from report_tables import child, write_table

ROOT = Path(__file__).parents[3]


def run(folder, *arguments):
    command = [sys.executable, "-m", "pnas.report", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def test_the_command_prints_what_it_wrote(tmp_path):
    write_table(tmp_path, [child(1, 0.5), child(2, 0.6, 2, 0.5), child(3, 0.7, 2, 0.6)])
    result = run(tmp_path, "tiny")
    assert (result.returncode, without_foreign_warnings(result.stderr)) == (0, "")
    assert all((tmp_path / path).stat().st_size > 1000 for path in result.stdout.splitlines())
    assert len(result.stdout.splitlines()) == 10


def test_the_command_says_in_one_line_what_is_missing(tmp_path):
    result = run(tmp_path, "tiny")
    assert result.returncode == 1 and result.stdout == ""
    missing = os.path.join("logs", "tiny", "children.csv")
    message = f"pnas.report: there is no experiment 'tiny': {missing} does not exist\n"
    assert without_foreign_warnings(result.stderr) == message


def test_the_report_imports_no_deep_learning_framework(tmp_path):
    code = "import sys, pnas.report; print([name for name in ('keras', 'tensorflow', 'jax') if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert result.stdout == "[]\n"

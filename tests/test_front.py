"""A whole search for the best cell at every cost, in two rounds, also after a kill in the second one."""

import csv
import os
import shlex
import signal
import subprocess
import sys

import pytest
import tiny_search

from pnas.store.store import Store

FRONT = ["--PARETO", "macs", "--K_", "8", "--ROUNDS", "2", "--FINALISTS", "1", "--FINAL_SEEDS", "1"]
FRONT += ["--operators", "['3x3 bconv','linear']"]  # three cells of one block, six of two


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Folder in which the search has run to its end, and its output."""
    folder = tmp_path_factory.mktemp("front")
    return folder, tiny_search.run(folder, *FRONT)


def rows(folder):
    with (folder / "logs" / "pnas" / "front.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_front_rises_in_cost_and_mean_reward(searched):
    folder, output = searched
    front = rows(folder)
    assert 0 < len(front) <= 6  # finalists
    for cheaper, better in zip(front, front[1:]):
        assert int(cheaper["macs"]) < int(better["macs"]) and float(cheaper["mean"]) < float(better["mean"])
    trainings = Store.open("pnas", folder / "logs").trainings(int(front[-1]["number"]))
    mean = sum(child.reward for child in trainings) / 2
    assert float(front[-1]["mean"]) == pytest.approx(mean) and front[-1]["trainings"] == "2"
    assert f"Best: mean reward {mean:.4f}" in output and "cheapest first" in output
    assert "2 blocks a cell, round 2 of 2: 2 children" in output


def test_the_networks_of_the_front_are_kept(searched):
    weights = searched[0] / "weights" / "pnas"
    names = [f"{row['macs']}_macs_child_{int(row['number']):04d}.keras" for row in rows(searched[0])]
    assert sorted(path.name for path in (weights / "front").iterdir()) == sorted(names)
    assert (weights / "front" / names[-1]).read_bytes() == (weights / "best.keras").read_bytes()


def test_a_cell_of_the_front_is_retrained_by_its_command(searched):
    row = rows(searched[0])[0]
    command = [sys.executable, *shlex.split(row["retrain"])[1:], "--NUM_EPOCHS", "1"]
    result = subprocess.run(command, cwd=searched[0], capture_output=True, text=True, timeout=600, check=False)
    assert result.returncode == 0, result.stderr
    assert f"Training {row['architecture']}" in result.stdout and "Test accuracy" in result.stdout
    assert (searched[0] / "logs" / f"pnas_child_{row['number']}" / "architecture.json").exists()


def test_a_search_killed_in_its_second_round_ends_with_the_same_front(searched, tmp_path):
    process = tiny_search.start(tmp_path, *FRONT)
    is_second = False
    for line in process.stdout:
        if is_second:  # a child of the second round has been trained
            os.killpg(process.pid, signal.SIGKILL)
            break
        is_second = "round 2 of 2" in line
    process.communicate()
    assert "1 of them known" in tiny_search.run(tmp_path, *FRONT)
    assert rows(tmp_path) == rows(searched[0]) and tiny_search.results(tmp_path) == tiny_search.results(searched[0])

"""The whole experiment as a user runs it: `python train.py` in an empty folder, on the small digits."""

import csv
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from messages import without_foreign_warnings

from pnas.constants import RULES
from pnas.store.store import Store

ROOT = Path(__file__).parents[1]
SMALL = ["--DATASET", "digits", "--B", "2", "--K_", "2", "--MAX_EPOCHS", "1", "--TRAIN_SIZE", "300", "--NUM_CELLS", "2"]
SMALL += ["--NUM_CELL_FILTERS", "[4,4]", "--operators", "['3x3 bconv','linear']", "--RNN_TRAINING_EPOCHS", "2"]
SMALL += ["--NUM_PREDICTORS", "2", "--CONTROLLER_CELLS", "8", "--FINALISTS", "0"]


def run(folder, *arguments):
    command = [sys.executable, str(ROOT / "train.py"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


def rewards(folder, name="pnas"):
    with (folder / "logs" / name / "children.csv").open(newline="") as file:
        return {row["architecture"]: float(row["reward"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(folder in which the small search has run, its subprocess.CompletedProcess)."""
    folder = tmp_path_factory.mktemp("search")
    result = run(folder, *SMALL)
    assert result.returncode == 0, result.stderr
    return folder, result


def test_the_log_has_the_specified_form(searched):
    folder, _ = searched
    text = (folder / "architectures" / "pnas.txt").read_text()
    entry = (
        r"Sr\. No: 1\nReward: [01]\.\d{4}\nArchitecture: \[0, '3x3 bconv', 0, '3x3 bconv'\]\n"
        r'Representation String: "\[\[1\. 0\.\]\] \[\[1\. 0\.\]\] \[\[1\. 0\.\]\] \[\[1\. 0\.\]\]"\n\n'
    )
    # Two operators make three cells of one block; K_ = 2 more have two.
    assert (
        len(re.findall(r"^Sr\. No: \d+\nReward: .*\nArchitecture: .*\nRepresentation String: \".*\"\n\n", text, re.M))
        == 5
    )
    assert re.search(entry, text)
    assert "# DATASET = 'digits'" in text
    assert "# ---- 1 block a cell: 3 children ----" in text and "# ---- 2 blocks a cell: 2 children ----" in text


def test_the_table_holds_the_same_facts(searched):
    folder, _ = searched
    text = (folder / "architectures" / "pnas.txt").read_text()
    with (folder / "logs" / "pnas" / "children.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["number"]) for row in rows) == [1, 2, 3, 4, 5]
    for row in rows:
        assert (
            f"Sr. No: {row['number']}\nReward: {float(row['reward']):.4f}\nArchitecture: {row['architecture']}\n"
            in text
        )
        assert row["dataset"] == "digits"
        assert (row["predicted"] == "nan") == (row["blocks"] == "1")


def test_the_console_shows_a_line_a_child_and_no_noise(searched):
    _, result = searched
    assert without_foreign_warnings(result.stderr) == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "1 block a cell: 3 children"
    line_of_a_child = (
        r" +\d/[32]  child \d +reward [01]\.\d{4}  rank [1-5] +\d+ s  .*\d:\d\d:\d\d left  (3x3 bconv|linear)[^\[]*"
    )
    assert sum(bool(re.fullmatch(line_of_a_child, line)) for line in lines) == 5


def test_event_files_report_and_best_network_are_written(searched):
    folder, _ = searched
    assert len(list(folder.glob("logs/pnas/children/000*/events*"))) == 5
    assert len(list(folder.glob("logs/pnas/surrogate/after_3_children/events*"))) == 1
    assert len(list(folder.glob("logs/pnas/surrogate/quality/events*"))) == 1
    assert len(list(folder.glob("logs/pnas/report/*"))) == 10
    assert (folder / "weights" / "pnas" / "best.keras").stat().st_size > 1000


def test_two_children_are_too_few_to_judge_the_surrogate(searched):
    folder, result = searched
    with (folder / "logs" / "pnas" / "surrogate.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["blocks"] == "2" and row["spearman"] == row["mean_absolute_error"] == "too few to judge"
    assert "Predicted before training: too few to judge\n" in result.stdout


def test_the_best_cell_of_the_log_is_retrained_and_resumed(searched):
    folder, _ = searched
    text = (folder / "architectures" / "pnas.txt").read_text()
    string = re.findall(r'--train_arc .*--REPRESENTATION_STRING "(.*)"', text)[-1]
    result = run(folder, *SMALL, "--train_arc", "--NUM_EPOCHS", "1", "--REPRESENTATION_STRING", string)
    assert result.returncode == 0, result.stderr
    (accuracy,) = re.findall(r"^Test accuracy: ([01]\.\d{4})$", result.stdout, re.M)
    assert f"Test accuracy as bits: {accuracy}" in result.stdout
    assert "\b" not in result.stdout  # no progress bar in a file
    assert (folder / "weights" / "pnas" / "network.npz").exists()
    result = run(
        folder, *SMALL, "--train_arc", "--NUM_EPOCHS", "2", "--REPRESENTATION_STRING", string, "--LOAD_SAVED", "True"
    )
    assert result.returncode == 0, result.stderr
    assert "Epoch 2/2" in result.stdout and "Epoch 1/2" not in result.stdout


def test_a_resumed_search_keeps_chosen_cells_and_numbers(searched, tmp_path):
    """Another processor or version might rank cells with close predictions in another order."""
    folder = tmp_path / "copy"
    shutil.copytree(searched[0], folder)
    path = folder / "logs" / "pnas" / "search.db"
    with sqlite3.connect(
        path
    ) as connection:  # one of two children of two blocks is lost, and they were in another order
        (choices,) = connection.execute("SELECT value FROM facts WHERE name = 'choices' AND number = 2").fetchone()
        (((first, second), predicted),) = json.loads(choices)
        connection.execute("DELETE FROM children WHERE cell = ?", [json.dumps(first)])
        connection.execute("UPDATE children SET number = 4 WHERE cell = ?", [json.dumps(second)])
        changed = json.dumps([[[second, first], predicted[::-1]]])
        connection.execute("UPDATE facts SET value = ? WHERE name = 'choices'", [changed])
    result = run(folder, *SMALL)
    assert result.returncode == 0, result.stderr
    with (folder / "logs" / "pnas" / "children.csv").open(newline="") as file:
        numbers = {row["architecture"]: row["number"] for row in csv.DictReader(file)}
    assert (numbers[str(second)], numbers[str(first)]) == ("4", "5")
    assert rewards(folder) == rewards(searched[0])


def test_a_second_run_trains_no_child_again_and_a_report_that_cannot_be_drawn_costs_no_result(searched, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(searched[0], folder)
    before = (folder / "logs" / "pnas" / "children.csv").read_bytes()
    shutil.rmtree(folder / "logs" / "pnas" / "report")
    (folder / "logs" / "pnas" / "report").write_text("a file")
    result = run(folder, *SMALL)
    assert result.returncode == 0
    assert "3 of them known" in result.stdout and "2 of them known" in result.stdout
    assert (folder / "logs" / "pnas" / "children.csv").read_bytes() == before
    assert re.search(r"^Best: reward .*\nCosts: .*\nRetrain it:  python .*\nLog: .*$", result.stdout, re.M)
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("train.py: the report cannot be drawn: ") and "logs/pnas/report" in warning


def test_rewards_of_other_settings_are_not_mixed(searched):
    folder, _ = searched
    result = run(folder, *SMALL, "--MAX_EPOCHS", "2")
    assert result.returncode == 1
    assert "MAX_EPOCHS was 1 and is 2" in result.stderr


def test_restore_controller_false_moves_earlier_files_aside(tmp_path):
    kept = tmp_path / "logs" / "pnas" / "children.csv"
    kept.parent.mkdir(parents=True)
    kept.write_text("what was there")
    result = run(tmp_path, *SMALL, "--B", "1", "--RESTORE_CONTROLLER", "False")
    assert result.returncode == 0, result.stderr
    assert [path.read_text() for path in tmp_path.glob("logs/pnas.*/children.csv")] == ["what was there"]
    assert len(rewards(tmp_path)) == 3


def test_help_explains_every_constant(tmp_path):
    result = run(tmp_path, "--help")
    assert result.returncode == 0, result.stderr
    usage, *groups = re.split(r"^([a-z ]+):\n", result.stdout, flags=re.M)
    assert groups[0::2] == ["options", "search", "network and data", "machine", "retraining"]
    for name in RULES:
        kind = "(BOOL|FLOAT|INT|LIST|TEXT|TUPLE)" + r"(\|[A-Za-z]+)?"
        assert re.search(rf"^  --{name} {kind}\s+[A-Z0-9'](.|\n(?!  --))*\(default:\s", result.stdout, re.M), name
    assert "--N_WORKERS INT|auto" in groups[7] and "--dry_run" in groups[3]
    assert "--train_arc" in groups[9] and "--train_arc" not in groups[3]


def test_the_summary_counts_a_networks_weights_and_draws_it(tmp_path):
    result = run(tmp_path, *SMALL, "--summary", "--REPRESENTATION_STRING", "[[1. 0.]] [[1. 0.]] [[1. 0.]] [[1. 0.]]")
    assert (result.returncode, result.stderr) == (0, "")
    drawn = [Path("logs", "pnas", "report", f"network.{ending}") for ending in ("png", "svg")]
    assert [path.relative_to(tmp_path) for path in sorted(tmp_path.rglob("*.*"))] == drawn
    assert result.stdout.endswith(f"\nDrawn:       {drawn[0]}, {drawn[1]}\n")
    # 3x3 weights of 1 and of 8 channels for 8 filters, then 7x7x8 inputs of 32 units, and 32 of 10.
    weights = 9 * 8 + 9 * 8 * 8 + 392 * 32 + 320
    assert f"{weights:,}" in next(line for line in result.stdout.splitlines() if "total" in line)


def test_a_dry_run_foresees_a_search_and_leaves_no_file(tmp_path):
    result = run(tmp_path, *SMALL, "--dry_run", "--DATASET", "mnist")
    assert (result.returncode, result.stderr, list(tmp_path.iterdir())) == (0, "", [])
    lines = result.stdout.splitlines()
    assert "  B = 2, not 3" in lines and "MNIST is not in data; a search downloads it" in lines
    assert "Trainings: 5 children, each of 1 epoch on 300 images" in lines
    assert [line.split(":")[0] for line in lines[-3:]] == ["Time", "Memory", "Disk"] and "about" in lines[-3]


def test_all_wrong_constants_are_named_at_once(tmp_path):
    result = run(tmp_path, "--B", "0", "--operators", "['4x4 bconv']", "--EXPERIMENT_NAME", "../elsewhere")
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert lines[0] == "train.py: B must be an integer of at least 1, got 0"
    assert len(lines) == 3 and "4x4 bconv" in lines[1] + lines[2] and "'../elsewhere'" in lines[1] + lines[2]
    assert list(tmp_path.iterdir()) == []


def test_a_search_on_jax_prints_only_its_own_lines(tmp_path, monkeypatch):
    pytest.importorskip("jax")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    result = run(tmp_path, *SMALL, "--B", "1", "--operators", "['3x3 bconv']", "--N_WORKERS", "1")
    assert (result.returncode, without_foreign_warnings(result.stderr)) == (0, "")
    ours = r"1 block a cell: 1 child|   1/1  child 1 .*||(Best|Costs|Retrain it|Log|Figures): .*"
    assert [line for line in result.stdout.splitlines() if not re.fullmatch(ours, line)] == []


@pytest.mark.skipif("MNIST_DIR" not in os.environ, reason="MNIST_DIR does not name a folder with MNIST's files")
def test_a_search_on_mnist(tmp_path):
    arguments = ["--DATA_DIR", os.environ["MNIST_DIR"], "--B", "1", "--operators", "['3x3 bconv']"]
    result = run(tmp_path, *arguments, "--MAX_EPOCHS", "2", "--TRAIN_SIZE", "5000")
    assert result.returncode == 0, result.stderr
    # An untrained network has an accuracy of 0.1. Without the multiplier, two epochs of all of MNIST reach 0.71.
    assert rewards(tmp_path)["[0, '3x3 bconv', 0, '3x3 bconv']"] > 0.75


def test_a_users_images_are_searched_retrained_and_run_as_bits(tmp_path):
    """Four classes of 9x7 pixels: the upper or lower half is red or blue."""
    draw = np.random.default_rng(0)
    classes = np.arange(340) % 4
    images = draw.integers(0, 100, (340, 9, 7, 3), np.uint8)
    for image, number in zip(images, classes):
        image[4 * (number // 2) : 4 * (number // 2) + 5, :, 2 * (number % 2)] += 150
    path = tmp_path / "half colours.npz"
    np.savez(path, x_train=images[:300], y_train=classes[:300], x_test=images[300:], y_test=classes[300:, np.newaxis])
    name = f"half_colours-{zlib.crc32(path.read_bytes()):08x}"
    own = [*SMALL, "--DATASET", str(path), "--B", "1", "--TRAIN_SIZE", "None", "--MAX_EPOCHS", "4", "--FINALISTS", "0"]
    own += ["--operators", "['3x3 bconv']"]

    result = run(tmp_path, *own)
    assert result.returncode == 1 and "DENSE_LAYERS must end with 4" in result.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]

    own += ["--DENSE_LAYERS", "[8,4]", "--USE_EXPANSION", "True"]
    result = run(tmp_path, *own)
    assert (result.returncode, without_foreign_warnings(result.stderr)) == (0, "")
    (reward,) = rewards(tmp_path).values()
    assert reward > 0.5  # an untrained network has an accuracy of 0.25
    text = (tmp_path / "architectures" / "pnas.txt").read_text()
    assert f"# DATASET = {name!r}" in text and "# DENSE_LAYERS = [8, 4]" in text
    assert Store.open("pnas", tmp_path / "logs").settings["DATASET"] == name

    string = re.findall(r'--train_arc .*--REPRESENTATION_STRING "(.*)"', text)[-1]
    result = run(tmp_path, *own, "--train_arc", "--NUM_EPOCHS", "4", "--REPRESENTATION_STRING", string)
    assert result.returncode == 0, result.stderr
    (accuracy,) = re.findall(r"^Test accuracy: ([01]\.\d{4})$", result.stdout, re.M)
    assert f"Test accuracy as bits: {accuracy}" in result.stdout
    kept = json.loads((tmp_path / "logs" / "pnas" / "architecture.json").read_text())
    assert (kept["architecture"], kept["representation_string"]) == ([0, "3x3 bconv", 0, "3x3 bconv"], string)
    assert (kept["epochs"], kept["dataset"]) == (4, name)
    assert f"{kept['test_accuracy']:.4f}" == f"{kept['test_accuracy_as_bits']:.4f}" == accuracy
    with (tmp_path / "logs" / "pnas" / "architecture.csv").open(newline="") as file:
        val_accuracies = [float(row["val_accuracy"]) for row in csv.DictReader(file)]
    assert kept["validation_accuracy"] == pytest.approx(max(val_accuracies))
    assert val_accuracies.index(max(val_accuracies)) == kept["best_epoch"] - 1
    command = [sys.executable, "-m", "binarized.bitwise", tmp_path / "weights" / "pnas" / "network.npz"]
    bits = subprocess.run([*command, "--images", path], cwd=ROOT, capture_output=True, text=True)
    assert f"test accuracy {accuracy}, " in bits.stdout and " of 40 images" in bits.stdout

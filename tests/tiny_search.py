"""The smallest search, run as a user runs it, for tests that kill it, stop it or run it elsewhere."""

import csv
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from pnas.store.store import Store

ROOT = Path(__file__).parents[1]
TINY = ["--DATASET", "digits", "--B", "2", "--K_", "2", "--MAX_EPOCHS", "1", "--TRAIN_SIZE", "100", "--NUM_CELLS", "1"]
TINY += ["--NUM_CELL_FILTERS", "[2]", "--DENSE_LAYERS", "[10]", "--operators", "['3x3 bconv','3x3 maxpool','linear']"]
TINY += ["--RNN_TRAINING_EPOCHS", "2", "--NUM_PREDICTORS", "2", "--CONTROLLER_CELLS", "4", "--FINALISTS", "0"]
CHILDREN = 8  # three operators make six cells of one block; K_ = 2 more have two


def start(folder, *arguments, **options):
    """Starts the tiny search in a folder, in a new process group; its output is a pipe."""
    return subprocess.Popen(
        [sys.executable, "-u", str(ROOT / "train.py"), *TINY, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def processes_below(pid):
    """dict, pid -> command line of the child processes of `pid`."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in children}


def workers_of(pid):
    """List of the pids of the workers of a search."""
    return [child for child, command in processes_below(pid).items() if "popen_loky" in command]


def run(folder, *arguments, **options):
    """Runs the tiny search to its end and returns its output."""
    process = start(folder, *arguments, **options)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def results(folder):
    """dict, architecture -> (number, predicted, reward, error), the texts of children.csv."""
    with Path(folder, "logs", "pnas", "children.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["architecture"] for row in rows}) == len(rows)
    return {row["architecture"]: (row["number"], row["predicted"], row["reward"], row["error"]) for row in rows}


def announced(lines):
    """dict, (number, repeat) of a child -> its reward as printed, without those that failed."""
    shown, repeat = {}, 0
    for line in lines:
        if begun := re.search(r"further seed (\d+) of", line):
            repeat = int(begun[1])
        elif child := re.search(r"child (\d+) +reward (\d\.\d+)", line):
            shown[int(child[1]), repeat] = child[2]
    return shown


def kill_at_random_moments(folder, kills, seed, *arguments):
    """Runs the tiny search in a folder repeatedly, and kills it and its workers each time.

    Every second kill comes within seconds of the start (imports, locks, files), the others shortly after the next
    child was printed (writing, training, the surrogate). After each kill, the store and the log must contain every
    child that was ever printed. A search that ends before it is killed is followed by a new one.

    Args:
        folder: an empty folder.
        kills: number of kills.
        seed: random seed of the moments.
        arguments: of the searches, beside TINY.
    Returns:
        (list of the folders of searches, the last one unfinished; list of str, the moment of each kill)
    """
    moments, folders, struck, shown = random.Random(seed), [], [], {}
    is_over = True
    while len(struck) < kills:
        if is_over:
            folders.append(folder / f"search{len(folders) + 1}")
            folders[-1].mkdir()
            shown, is_over = {}, False
        process = start(folders[-1], *arguments)
        lines = []
        if len(struck) % 2:
            for line in process.stdout:
                lines.append(line)
                if announced([line]):
                    break
            time.sleep(moments.uniform(0, 1))
        else:
            time.sleep(moments.uniform(0, 6))
        is_over = process.poll() is not None
        if not is_over:
            os.killpg(process.pid, signal.SIGKILL)
        lines += process.communicate()[0].splitlines()
        if is_over:
            assert process.returncode == 0, "\n".join(lines)
        else:
            struck.append(f"{len(shown)} trainings known, {len(lines)} lines into the run")
        shown.update(announced(lines))
        check_kept(folders[-1], shown)
    return folders, struck


def check_kept(folder, shown):
    """Checks that the store and the log contain every child that was printed, with its reward.

    A child is printed when the store has it and the log has its entry. The log has no entries of repeats.
    """
    text = folder / "architectures" / "pnas.txt"
    entries = re.findall(r"^Sr\. No: (\d+)\nReward: (\d\.\d+)\n", text.read_text() if text.exists() else "", re.M)
    if shown:
        store = Store.open("pnas", folder / "logs")
        for (number, repeat), reward in shown.items():
            (kept,) = [child for child in store.children(repeat=repeat) if child.number == number]
            assert f"{kept.reward:.4f}" == reward and store.history(number, repeat)
            assert repeat or (str(number), reward) in entries
        store.close()
    assert len(dict(entries)) == len(entries)

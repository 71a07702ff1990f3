"""A search as small as can be, run as a user runs it, for the tests that do something to it."""

import csv
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from pnas.journal.children import read_table

ROOT = Path(__file__).parents[1]
TINY = ["--DATASET", "digits", "--B", "2", "--K_", "2", "--MAX_EPOCHS", "1", "--TRAIN_SIZE", "100", "--NUM_CELLS", "1"]
TINY += ["--NUM_CELL_FILTERS", "[2]", "--DENSE_LAYERS", "[10]", "--operators", "['3x3 bconv','3x3 maxpool','linear']"]
TINY += ["--RNN_TRAINING_EPOCHS", "2", "--NUM_PREDICTORS", "2", "--CONTROLLER_CELLS", "4", "--FINALISTS", "0"]
CHILDREN = 8  # three operators make six cells of one block; K_ = 2 more have two


def start(folder, *arguments, **options):
    """The tiny search in a folder, as a process group of its own, its output a pipe of lines."""
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
    """The command line of every process that `pid` has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in children}


def workers_of(pid):
    """The pids of a search's workers on this machine."""
    return [child for child, command in processes_below(pid).items() if "popen_loky" in command]


def run(folder, *arguments, **options):
    """What the tiny search prints when it runs to its end."""
    process = start(folder, *arguments, **options)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    return output


def results(folder):
    """dict, architecture -> (number, predicted, reward, error) of children.csv, each text as it stands there."""
    with open(os.path.join(folder, "logs", "pnas", "children.csv"), newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["architecture"] for row in rows}) == len(rows)
    return {row["architecture"]: (row["number"], row["predicted"], row["reward"], row["error"]) for row in rows}


def deadly(start, child, deadly_numbers, *arrays):
    """Stands in for `pnas.training.workers.train_in_worker`: some children kill their worker."""
    if child.number in deadly_numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return child._replace(reward=0.5)


def announced(lines):
    """dict, number of a child -> its reward as it was shown; fails where a child failed."""
    shown = [re.search(r"child (\d+) +reward (\d\.\d+)", line) for line in lines]
    return {match[1]: match[2] for match in shown if match}


def kill_at_random_moments(folder, kills, seed):
    """Runs the tiny search in a folder again and again, and kills it and its workers each time.

    Every second time that is during the first seconds (imports, locks, repairs), else shortly after the next child was
    announced (writing, training, the surrogate). After each kill, all that had ever been announced must be in the log
    and in the table. A run that comes to its end is followed by one that begins anew.

    Args:
        folder: an empty one.
        kills: how many.
        seed: of the moments.
    Returns:
        (list of the folders of searches, the last one not at its end; list of str, where each kill struck)
    """
    moments, folders, struck, shown = random.Random(seed), [], [], {}
    is_over = True
    while len(struck) < kills:
        if is_over:
            folders.append(folder / f"search{len(folders) + 1}")
            folders[-1].mkdir()
            shown, is_over = {}, False
        process = start(folders[-1])
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
            struck.append(f"{len(shown)} children known, {len(lines)} lines into the run")
        shown.update(announced(lines))
        check_kept(folders[-1], shown)
    return folders, struck


def check_kept(folder, shown):
    """Both files parse and hold every child that was announced, with its reward."""
    table, text = folder / "logs" / "pnas" / "children.csv", folder / "architectures" / "pnas.txt"
    kept = {child.number: child for child in read_table(table)[1]} if table.exists() else {}
    entries = re.findall(r"^Sr\. No: (\d+)\nReward: (\d\.\d+)\n", text.read_text() if text.exists() else "", re.M)
    for number, reward in shown.items():
        assert f"{kept[int(number)].reward:.4f}" == reward
        assert (number, reward) in entries
    assert len(dict(entries)) == len(entries)

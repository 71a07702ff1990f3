"""A search survives kills and dead workers, and refuses full disks and a second run."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny_search

from pnas.store.database import Database


def test_ten_kills_lose_no_child_and_change_no_reward(tmp_path, uninterrupted):
    folders, struck = tiny_search.kill_at_random_moments(tmp_path, kills=10, seed=0)
    assert len(struck) == 10
    tiny_search.run(folders[-1])
    for folder in folders:
        assert tiny_search.results(folder) == tiny_search.results(uninterrupted)
        assert not list(folder.rglob("*.tmp"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_a_killed_worker_changes_no_reward(tmp_path, uninterrupted):
    process = tiny_search.start(tmp_path)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if len(tiny_search.announced(lines)) == 1 and tiny_search.announced([line]):
            os.kill(tiny_search.workers_of(process.pid)[0], signal.SIGKILL)
    assert process.wait() == 0, "".join(lines)
    assert tiny_search.results(tmp_path) == tiny_search.results(uninterrupted)


STOPPED = "Stopped. logs/pnas keeps every child reported above; the same command resumes there.\n"


def signalled(folder, state, number):
    """Runs the tiny search in a folder and sends a signal to the search alone, in one of three states.

    The search has two operators, so three cells of one block, and one worker. Its temporary files are in the subfolder
    `temporary`.

    Args:
        folder: an empty folder.
        state: 'importing', 'training' or 'fitting', what is done when the signal comes.
        number: of the signal.
    Returns:
        (exit code, output, pid of the search, pids of its workers), after all writers to the output have ended.
    """
    (folder / "temporary").mkdir(exist_ok=True)
    environment = {**os.environ, "TMPDIR": str(folder / "temporary")}
    small = ["--N_WORKERS", "1", "--operators", "['3x3 maxpool','linear']", "--RNN_TRAINING_EPOCHS", "3000"]
    process = tiny_search.start(folder, *small, env=environment)
    lines, workers = [], []
    if state == "importing":
        while not workers:
            time.sleep(0.05)
            workers = tiny_search.workers_of(process.pid)
    else:
        for line in process.stdout:
            lines.append(line)
            if "1/3" in line and state == "training" or "3/3" in line:
                break
        workers = tiny_search.workers_of(process.pid)
    if state == "fitting":
        time.sleep(3)  # 3000 epochs take longer
    os.kill(process.pid, number)
    output = process.communicate(timeout=120)[0]
    return process.returncode, "".join(lines) + output, process.pid, workers


def is_running(pid):
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def check_ended(pid, workers):
    """Checks that the worker has ended and that the search has left no semaphore."""
    deadline = time.monotonic() + 60
    while any(map(is_running, workers)) or list(Path("/dev/shm").glob(f"sem.loky-{pid}-*")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(workers) == 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_a_terminated_search_leaves_only_its_results(tmp_path):
    for state in ("importing", "training", "fitting"):
        code, output, pid, workers = signalled(tmp_path, state, signal.SIGTERM)
        assert code == 128 + signal.SIGTERM, output
        assert output.endswith("\n" + STOPPED)
        assert not any(word in output for word in ("Traceback", "Warning", "leaked", "failed")), output
        check_ended(pid, workers)
        assert state == "training" or not list((tmp_path / "temporary").iterdir())  # a network may be being saved
        Database(tmp_path / "logs" / "pnas" / "search.db", "").close()  # nobody holds it


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_the_workers_of_a_killed_search_end(tmp_path):
    for state in ("importing", "training", "fitting"):
        code, output, pid, workers = signalled(tmp_path, state, signal.SIGKILL)
        assert code == -signal.SIGKILL, output
        check_ended(pid, workers)


def test_a_terminated_training_can_be_resumed(tmp_path):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    one_row = "[[1. 0.]] [[1. 0. 0.]]"
    arguments = ["--train_arc", "--NUM_EPOCHS", "1000", "--REPRESENTATION_STRING", f"{one_row} {one_row}"]
    process = tiny_search.start(tmp_path, *arguments, env={**os.environ, "TMPDIR": str(temporary)})
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Epoch 3/1000"):
            break
    os.kill(process.pid, signal.SIGTERM)
    output = "".join(lines) + process.communicate(timeout=120)[0]
    assert process.returncode == 128 + signal.SIGTERM, output
    assert output.endswith(
        "\nStopped. weights/pnas has the best and the last whole epoch; --LOAD_SAVED True resumes there.\n"
    )
    assert "Traceback" not in output and not list(temporary.iterdir())
    assert (tmp_path / "weights" / "pnas" / "architecture_last.keras").exists()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_seeds_that_are_trained_side_by_side_are_killed_and_resumed(tmp_path):
    one_row = "[[1. 0.]] [[1. 0. 0.]]"
    arguments = ["--train_arc", "--TRAIN_SEEDS", "2", "--N_WORKERS", "2"]
    arguments += ["--REPRESENTATION_STRING", f"{one_row} {one_row}"]
    process = tiny_search.start(tmp_path, *arguments, "--NUM_EPOCHS", "1000")
    begun = set()
    for line in process.stdout:
        begun.add(line[:6])
        if {"seed 1", "seed 2"} <= begun:
            break
    workers = tiny_search.workers_of(process.pid)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)  # until all workers have ended, too
    assert len(workers) == 2 and not any(map(is_running, workers))
    output = tiny_search.run(tmp_path, *arguments, "--NUM_EPOCHS", "2", "--LOAD_SAVED", "True")
    assert all(line.startswith("seed ") for line in output.splitlines()[1:3])
    assert "seed 1  " in output and "seed 2  " in output and "epoch 1/" not in output
    result = json.loads((tmp_path / "logs" / "pnas" / "architecture.json").read_text())
    assert [each["seed"] for each in result["trainings"]] == [1, 2] and "Mean of 2 seeds: " in output


def test_a_second_run_is_refused_while_the_first_is_alive(tmp_path):
    hold = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); from pnas.store.store import Store\n"
        "held = Store('pnas', {}); print('held', flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", hold, str(tiny_search.ROOT)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        process = tiny_search.start(tmp_path)
        output, _ = process.communicate()
        assert process.returncode == 1
        assert output.startswith(
            f"train.py: another run has this EXPERIMENT_NAME: process {holder.pid} on {os.uname().nodename}"
        )
        holder.kill()
    Database(tmp_path / "logs" / "pnas" / "search.db", "").close()


def limited_to(size):
    """Function for `preexec_fn`: no file of the process grows beyond `size` bytes, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_full_disk_is_named_before_any_training(tmp_path):
    process = tiny_search.start(tmp_path, preexec_fn=limited_to(2**20))
    output, _ = process.communicate()
    assert process.returncode == 1
    assert output == "train.py: the folder architectures does not take 16 MiB: File too large\n"

"""What a search survives: kills, dead workers, children that fail, full disks, a second run, and files that are damaged."""

import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import tiny_search

from pnas.journal.children import Child
from pnas.journal.files import append, check_writable, lock, write_atomically
from pnas.training import child as training
from pnas.training import workers


def test_ten_kills_lose_no_child_that_was_announced_and_change_no_reward(tmp_path, uninterrupted):
    folders, struck = tiny_search.kill_at_random_moments(tmp_path, kills=10, seed=0)
    assert len(struck) == 10
    tiny_search.run(folders[-1])
    for folder in folders:
        assert tiny_search.results(folder) == tiny_search.results(uninterrupted)
        assert not list(folder.rglob("*.tmp"))


def processes_below(pid):
    """The command line of every process that `pid` has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_text() for child in children}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_a_search_goes_on_when_a_worker_is_killed(tmp_path, uninterrupted):
    process = tiny_search.start(tmp_path)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if len(tiny_search.announced(lines)) == 1 and tiny_search.announced([line]):
            worker = next(pid for pid, command in processes_below(process.pid).items() if "popen_loky" in command)
            os.kill(worker, signal.SIGKILL)
    assert process.wait() == 0, "".join(lines)
    assert tiny_search.results(tmp_path) == tiny_search.results(uninterrupted)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_child_that_kills_its_worker_again_and_again_is_found_and_no_other_is_blamed(count, monkeypatch):
    monkeypatch.setattr(workers, "train_in_worker", tiny_search.deadly)
    pool = workers.Workers("loky", None, count, "tensorflow", 1)
    children = [Child(number, [0, "linear", 0, "linear"], 0.5, seed=1) for number in range(1, 8)]
    trained = {child.number: child for child in pool.train(children, {3, 7}, arrays=())}
    assert {number: child.reward for number, child in trained.items()} == {
        1: 0.5,
        2: 0.5,
        3: 0,
        4: 0.5,
        5: 0.5,
        6: 0.5,
        7: 0,
    }
    assert all(("its worker died" in child.error) == (number in (3, 7)) for number, child in trained.items())
    assert "SIGKILL" in trained[3].error


def trained_with(monkeypatch, train):
    monkeypatch.setattr(training, "_train_once", train)
    return training.train_child(Child(1, [0, "linear", 0, "linear"], 0.5, seed=1), {}, {}, 1)


def test_a_child_that_fails_once_is_trained_again(monkeypatch):
    outcomes = [MemoryError("no room"), None]

    def train(child, *arguments):
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome
        return child._replace(reward=0.75)

    child = trained_with(monkeypatch, train)
    assert (child.reward, child.error) == (0.75, "")


@pytest.mark.parametrize(
    "error, reason",
    [
        (MemoryError("no room"), "MemoryError: no room"),
        (FloatingPointError("the loss diverged: [nan]"), "FloatingPointError: the loss diverged: [nan]"),
        (RuntimeError("two\nlines"), "RuntimeError: two"),
        (RuntimeError("bell \a, nul \0, half \ud800"), "RuntimeError: bell  , nul  , half  "),
    ],
)
def test_a_child_that_fails_twice_gets_reward_0_and_a_reason_of_one_line(error, reason, monkeypatch):
    def train(*arguments):
        raise error

    child = trained_with(monkeypatch, train)
    assert (child.reward, child.error) == (0, reason)


def test_a_reason_of_a_megabyte_fits_into_a_row(monkeypatch):
    def train(*arguments):
        raise RuntimeError("x" * 10**6)

    assert len(trained_with(monkeypatch, train).error) == 500


def test_a_full_disk_is_no_fault_of_the_child(monkeypatch):
    def train(*arguments):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        trained_with(monkeypatch, train)


def test_a_child_whose_loss_is_not_a_number_has_failed():
    nothing = np.ones((20, 8, 8, 1), np.float32), np.full((20, 2), np.nan, np.float32)
    network = {"num_cells": 1, "filters": [2], "dense_layers": [2], "input_shape": (8, 8, 1)}
    child = Child(1, [0, "3x3 bconv", 0, "3x3 bconv"], 0.5, seed=1)
    child = training.train_child(
        child, network, {"batch_size": 10, "learning_rate": (0.01, 0.01)}, 1, *nothing, *nothing
    )
    assert child.reward == 0 and "FloatingPointError: the loss diverged" in child.error


def test_one_process_never_trains_two_children_at_once():
    with workers._training, pytest.raises(ValueError, match="two children at the same time"):
        workers.train_in_worker({"keras_backend": "tensorflow", "threads": 1}, None)


def test_a_second_run_is_refused_with_the_holder_and_a_dead_one_is_not_waited_for(tmp_path):
    hold = "import sys, time; sys.path.insert(0, sys.argv[1]); from pnas.journal.files import lock; held = lock('logs/pnas.lock')"
    command = [sys.executable, "-c", f"{hold}; print('held', flush=True); time.sleep(600)", str(tiny_search.ROOT)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        process = tiny_search.start(tmp_path)
        output, _ = process.communicate()
        assert process.returncode == 1
        assert output.startswith(
            f"train.py: another run has this EXPERIMENT_NAME: process {holder.pid} on {os.uname().nodename}"
        )
        holder.kill()
    lock(tmp_path / "logs" / "pnas.lock").close()


def test_of_many_that_want_a_lock_at_once_one_gets_it(tmp_path):
    ready, held = threading.Barrier(8), []

    def want():
        ready.wait()
        try:
            held.append(lock(tmp_path / "logs" / "pnas.lock"))
        except ValueError:
            pass

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1


def limited_to(size):
    """For a process about to start: no file of it may grow beyond `size` bytes, as if the disk were full there."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_folder_that_takes_nothing_is_named_before_any_training(tmp_path):
    process = tiny_search.start(tmp_path, preexec_fn=limited_to(2**20))
    output, _ = process.communicate()
    assert process.returncode == 1
    assert output == "train.py: the folder architectures does not take 16 MiB: File too large\n"


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "weights").write_text("")
    with pytest.raises(OSError, match="the folder .*weights/pnas does not take 16 MiB: Not a directory"):
        check_writable(tmp_path / "weights" / "pnas")


@pytest.mark.parametrize(
    "write", [lambda path: append(path, "x" * 9000), lambda path: write_atomically(path, b"x" * 9000)]
)
def test_a_disk_that_fills_up_in_the_middle_leaves_what_was_there(write, tmp_path):
    path = tmp_path / "file"
    path.write_text("kept\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large: .*file"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "kept\n"
    assert os.listdir(tmp_path) == ["file"]

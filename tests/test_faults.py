"""What a search survives: kills, dead workers, full disks and a second run."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_search

from pnas.journal.files import lock


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


def limited_to(size):
    """For a process about to start: no file of it may grow beyond `size` bytes, as if the disk were full there."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_a_folder_that_takes_nothing_is_named_before_any_training(tmp_path):
    process = tiny_search.start(tmp_path, preexec_fn=limited_to(2**20))
    output, _ = process.communicate()
    assert process.returncode == 1
    assert output == "train.py: the folder architectures does not take 16 MiB: File too large\n"

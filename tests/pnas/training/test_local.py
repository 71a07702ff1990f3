"""Worker processes on this machine: their number, one copy of the images, and cleaning up."""

import concurrent.futures
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_search

from pnas.training import local


@pytest.fixture(autouse=True)
def stopped():
    """No process outlives a test."""
    yield
    local.stop()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_one_worker_is_one_process_beside_the_search():
    results = set(local.LocalPool(1, 1).map(os.getpid, [()] * 4, 1, ()))
    assert len(results) == 1 and results == set(tiny_search.workers_of(os.getpid())) != {os.getpid()}


def seen(first, second):
    """What a worker gets: the sum of two arrays, where they come from, and whether it could write into them."""
    paths = [str(getattr(array, "filename", "a copy")) for array in (first, second)]
    return (first + second).tolist(), paths, first.flags.writeable or second.flags.writeable


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="files in memory are Linux's")
def test_workers_map_one_copy_of_the_arrays():
    arrays = np.arange(4.0).reshape(2, 2), np.ones(2)
    pool = local.LocalPool(2, 1)
    results = [result for _ in range(2) for result in pool.map(seen, [()] * 3, 2, arrays)]
    sums, (paths, *others), writeable = zip(*results)
    assert sums == ([[1, 2], [3, 4]],) * 6 and len(set(paths)) == 2 and not any(writeable)
    assert all(each == paths and Path(each[0]).parent == Path(f"/proc/{os.getpid()}/fd") for each in others)
    files = [os.open(path, os.O_RDONLY) for path in paths]
    assert [os.fstat(file).st_nlink for file in files] == [0, 0]  # nothing is left when the search has ended
    for file in files:
        os.close(file)
    del pool
    assert not any(map(os.path.exists, paths))


def test_workers_get_other_arrays_after_the_first():
    pool = local.LocalPool(1, 1)
    for number in (1, 2, 3):
        assert list(pool.map(np.sum, [()], 1, (np.full(4, number),))) == [4 * number]


def test_where_no_files_are_in_memory_workers_get_copies(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    ((sums, paths, _),) = local.LocalPool(1, 1).map(seen, [()], 1, (np.arange(2.0), np.ones(2)))
    assert sums == [1, 2] and paths == ["a copy"] * 2


def test_a_death_is_reported_after_earlier_results():
    results = local.LocalPool(1, 1).map(eval, [("1 + 1",), ("__import__('os').abort()",)], 1, ())
    assert next(results) == 2
    with pytest.raises(concurrent.futures.BrokenExecutor):
        next(results)


def test_no_result_is_lost_where_no_task_can_be_handed_out_any_more(monkeypatch):
    class Executor:
        """Is done at once, and dies when it gets a third task."""

        left = 2

        def submit(self, *arguments):
            if not self.left:
                raise local.LocalPool.deaths("killed")
            self.left -= 1
            future = concurrent.futures.Future()
            future.set_result(self.left)
            return future

    pool, executor, results = local.LocalPool(2, 1), Executor(), []
    monkeypatch.setattr(pool, "_start", lambda: executor)
    with pytest.raises(local.LocalPool.deaths, match="killed"):
        results.extend(pool.map(eval, [("1",)] * 3, 2, ()))
    assert sorted(results) == [0, 1]


def test_no_executor_is_started_where_semaphores_have_no_room(monkeypatch):
    """Neither when the workers start, nor when they are stopped."""
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=4096))
    monkeypatch.setattr(local.loky, "get_reusable_executor", None)
    with pytest.raises(OSError, match="^the folder /dev/shm needs 256 KiB for the semaphores .* and has 4 KiB$"):
        next(local.LocalPool(1, 1).map(os.getpid, [()], 1, ()))
    local.stop()


def test_a_process_with_workers_ends_without_warnings():
    code = """import os, sys; sys.path.insert(0, sys.argv[1])
from pnas.training import local
print(*local.LocalPool(1, 1).map(os.getppid, [()], 1, ()), os.getpid())
if len(sys.argv) > 2:
    local.stop()"""
    for arguments in ([], ["stop"]):
        command = [sys.executable, "-W", "error", "-c", code, str(tiny_search.ROOT), *arguments]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.stderr == "" and result.returncode == 0 and len(set(result.stdout.split())) == 1

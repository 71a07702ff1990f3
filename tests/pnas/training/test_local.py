"""Worker processes on this machine: their number, one copy of the images, and cleaning up."""

import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import tiny_search

from pnas.training import local


@pytest.fixture(autouse=True)
def shared(tmp_path, monkeypatch):
    """The folder in which images are shared."""
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path / "shared"))
    yield tmp_path / "shared"
    local.stop()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds workers in /proc")
def test_one_worker_is_one_process_beside_the_search():
    results = set(local.LocalPool(1, 1).map(os.getpid, [()] * 4, 1, ()))
    assert len(results) == 1 and results == set(tiny_search.workers_of(os.getpid())) != {os.getpid()}


def test_arrays_reach_workers_through_one_file_each(shared):
    arrays = np.arange(12.0).reshape(3, 4), np.ones(4)
    pool = local.LocalPool(2, 1)
    for _ in range(2):
        results = [result.tolist() for result in pool.map(np.dot, [()] * 3, 2, arrays)]
        assert results == [[6, 22, 38]] * 3  # 0 + 1 + 2 + 3, 4 + 5 + 6 + 7, 8 + 9 + 10 + 11
    assert len(list(shared.glob("pnas_*/*.npy"))) == 2
    local.stop()
    assert not list(shared.iterdir())


def test_a_death_is_reported_after_earlier_results():
    results = local.LocalPool(1, 1).map(eval, [("1 + 1",), ("__import__('os').abort()",)], 1, ())
    assert next(results) == 2
    with pytest.raises(concurrent.futures.BrokenExecutor):
        next(results)


def test_temporary_files_of_workers_are_in_the_searchs_folder(shared):
    (place,) = local.LocalPool(1, 1).map(tempfile.gettempdir, [()], 1, ())
    assert Path(place).parent == shared


def test_a_folder_without_room_is_named_with_its_space(shared, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: namedtuple("Usage", "free")(2**21))
    reason = f"the folder {shared} needs 26 MiB for the training images and has 2 MiB. .*JOBLIB_TEMP_FOLDER"
    with pytest.raises(OSError, match=reason):  # 10 MiB of images and 16 MiB of room
        local.make_folder(10 * 2**20)
    assert not list(shared.iterdir())


def test_temporary_files_replace_small_shared_memory(tmp_path, monkeypatch):
    monkeypatch.delenv("JOBLIB_TEMP_FOLDER")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    free = {local.SHARED_MEMORY: 2**26, str(tmp_path): 2**40}  # 64 MiB, as in a container
    monkeypatch.setattr(shutil, "disk_usage", lambda place: namedtuple("Usage", "free")(free[place]))
    assert Path(local.make_folder(2**28)).parent == tmp_path


def test_only_folders_of_dead_searches_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = tmp_path / f"pnas_{ended.pid}_abcd_123"
    others = [
        tmp_path / f"pnas_{os.getpid()}_abcd_123",
        tmp_path / f"joblib_memmapping_folder_{ended.pid}_abcd",
        tmp_path / f"pnas_{ended.pid}",
        tmp_path / "pnas_results",
    ]
    for folder in (dead, *others):
        folder.mkdir()
        (folder / "0.npy").write_text("")
    local.remove_left_behind(str(tmp_path))
    assert not dead.exists() and all((folder / "0.npy").exists() for folder in others)

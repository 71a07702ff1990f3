"""Worker processes on this machine: their number, one copy of the images, and cleaning up."""

import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_search

from pnas.training import local


def usage(free):
    return SimpleNamespace(free=free)


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
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(2**21))
    reason = f"the folder {shared} needs 26 MiB for the training images and has 2 MiB. .*JOBLIB_TEMP_FOLDER"
    with pytest.raises(OSError, match=reason):  # 10 MiB of images and 16 MiB of room
        local.make_folder(10 * 2**20)
    assert not list(shared.iterdir())


def test_temporary_files_replace_small_shared_memory(tmp_path, monkeypatch):
    monkeypatch.delenv("JOBLIB_TEMP_FOLDER")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    free = {local.SHARED_MEMORY: 2**26, str(tmp_path): 2**40}  # 64 MiB, as in a container
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(free[place]))
    assert Path(local.make_folder(2**28)).parent == tmp_path


def test_no_executor_is_started_where_semaphores_have_no_room(monkeypatch):
    """Neither when the workers start, nor when they are stopped."""
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(4096 if place == local.SHARED_MEMORY else 2**40))
    monkeypatch.setattr(local.loky, "get_reusable_executor", None)
    with pytest.raises(OSError, match="^the folder /dev/shm needs 256 KiB for the semaphores .* and has 4 KiB$"):
        next(local.LocalPool(1, 1).map(os.getpid, [()], 1, ()))
    local.stop()


HOLD = """import sys; sys.path.insert(0, sys.argv[1])
from pnas.training.local import make_folder
print(make_folder(0), flush=True)
sys.stdin.read()"""


def holding():
    """A process that holds the lock of its folder."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tiny_search.ROOT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_folders_of_dead_searches_are_removed_whatever_their_pid(shared):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    with holding() as living, holding() as dead:
        # In another container the same search has another PID, here one that does not exist.
        elsewhere = shared / f"pnas_{ended.pid}_elsewher"
        Path(living.stdout.readline().strip()).rename(elsewhere)
        # And the PID of a search that was killed may be that of another process by now.
        left = Path(dead.stdout.readline().strip())
        dead.kill()
        dead.wait()
        left = left.rename(shared / f"pnas_{os.getpid()}_leftover")
        semaphores = [shared / "sem.loky-1-ours", shared / "sem.loky-1-gone", shared / f"sem.loky-{os.getpid()}-others"]
        (left / "semaphores").write_text(f"{semaphores[0]}\n{semaphores[1]}")
        (left / "worker").mkdir()
        others = [shared / name for name in ("pnas_results", f"pnas_{ended.pid}", f"joblib_{ended.pid}_abcdefgh")]
        for folder in (left, *others):
            folder.mkdir(exist_ok=True)
            (folder / "lock").touch()
        for path in (semaphores[0], semaphores[2]):
            path.touch()
        local.remove_left_behind(str(shared))
        assert sorted(shared.iterdir()) == sorted([elsewhere, *others, semaphores[2]])
        living.stdin.close()


def test_a_folder_is_seen_by_others_when_it_is_locked(shared, monkeypatch):
    def flock(file, operation):
        assert [path.name[:6] for path in shared.iterdir()] == [".pnas_"]
        fcntl_flock(file, operation)
        local.remove_left_behind(str(shared))

    fcntl_flock = local.fcntl.flock
    with monkeypatch.context() as patched:
        patched.setattr(local.fcntl, "flock", flock)
        folder = Path(local.make_folder(0))
    local.remove_left_behind(str(shared))
    assert list(shared.iterdir()) == [folder] and re.fullmatch(rf"pnas_{os.getpid()}_\w{{8}}", folder.name)


def test_searches_that_start_at_once_remove_what_one_left(shared):
    for number in range(30):
        (shared / f"pnas_1_{number:08}").mkdir(parents=True)
        (shared / f"pnas_1_{number:08}" / "lock").touch()
    searches = [holding() for _ in range(4)]
    folders = [Path(search.stdout.readline().strip()) for search in searches]
    assert sorted(shared.iterdir()) == sorted(folders) and len(set(folders)) == 4
    for search in searches:
        search.communicate()
        assert search.returncode == 0
    assert not list(shared.iterdir())


@pytest.mark.parametrize("step", ["lstat", "open", "flock", "read_text", "unlink"])
def test_no_start_fails_because_another_has_just_removed_something(step, shared, monkeypatch):
    folder = shared / "pnas_1_abcdefgh"
    folder.mkdir(parents=True)
    (folder / "lock").touch()
    (folder / "semaphores").write_text(str(shared / "sem"))
    owner = local.fcntl if step == "flock" else Path
    original = getattr(owner, step)

    def late(subject, *arguments, **options):
        if folder.exists() and (step == "flock" or subject.is_relative_to(folder) or step == "unlink"):
            monkeypatch.setattr(owner, step, original)
            shutil.rmtree(folder)
        return original(subject, *arguments, **options)

    monkeypatch.setattr(owner, step, late)
    local.remove_left_behind(str(shared))
    assert getattr(owner, step) is original and not list(shared.iterdir())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads /proc")
def test_a_search_notes_its_own_semaphores_alone(shared):
    other = Path(local.SHARED_MEMORY, f"sem.loky-{os.getpid()}-other")  # as of a process in another container
    other.write_bytes(bytes(32))
    try:
        pool = local.LocalPool(1, 1)
        list(pool.map(os.getpid, [()], 1, ()))
        (noted,) = shared.glob("pnas_*/semaphores")
        names = set(noted.read_text().splitlines())
        assert len(names) > 1 and all(name.startswith(f"/dev/shm/sem.loky-{os.getpid()}-") for name in names)
        assert str(other) not in names and all(Path(name).exists() for name in names)
    finally:
        other.unlink()


def test_a_process_with_workers_ends_without_warnings(shared):
    code = """import os, sys; sys.path.insert(0, sys.argv[1])
from pnas.training import local
print(*local.LocalPool(1, 1).map(os.getppid, [()], 1, ()), os.getpid())
if len(sys.argv) > 2:
    local.stop()"""
    for arguments in ([], ["stop"]):
        command = [sys.executable, "-W", "error", "-c", code, str(tiny_search.ROOT), *arguments]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.stderr == "" and result.returncode == 0 and len(set(result.stdout.split())) == 1
        assert not list(shared.iterdir())

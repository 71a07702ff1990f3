"""Training in processes on this machine. They share the images, and they end when the search ends, however it ends.

Importing this module does not import Keras.
"""

import atexit
import concurrent.futures
import contextlib
import fcntl
import functools
import itertools
import os
import re
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from joblib.externals import loky

from pnas.store.atomic import ROOM
from pnas.training.stopping import SIGNALS, postponed

SHARED_MEMORY = "/dev/shm"
PREFIX = "pnas"  # of the folder that holds a search's images: pnas_PID_RANDOM
LOCK = "lock"  # file in this folder that its search keeps locked
SEMAPHORES = "semaphores"  # file in this folder that names those which the search has made in shared memory
SEMAPHORE_ROOM = 2**18  # bytes in shared memory; each of some ten semaphores takes a page
POLL = 1  # seconds between two looks of a worker at whether the search still runs

_folders = {}  # made by this process -> their locks, open files
_executor = None


class LocalPool:
    """Processes on this machine, started with the first task.

    Args:
        count: number of processes.
        threads: threads of the numerical libraries in each.
    Attributes:
        deaths: the exception that announces the death of a process.
        is_lost: whether no process can be started any more.
    """

    deaths = concurrent.futures.BrokenExecutor
    is_lost = False

    def __init__(self, count: int, threads: int):
        self.count = count
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.environment = {name: os.environ.get(name, str(threads)) for name in names}
        self.shared = None, []  # arrays, and the files that hold them

    def map(self, function: Callable, tasks: list[tuple], count: int, arrays: tuple) -> Iterator:
        """Calls a function in the processes and yields the results as they come.

        Args:
            function: function of the arguments of a task, followed by the arrays.
            tasks: list of tuples of arguments.
            count: number of tasks given to the processes at the same time.
            arrays: numpy arrays, which the processes read from shared memory.
        Yields:
            What the function returns.
        Raises:
            OSError: there is no room for the arrays or for semaphores.
            An exception of the function, or `deaths`.
        """
        folder, paths = self._share(arrays)
        executor = self._start(folder)
        waiting = iter(tasks)
        running = set()

        def submit(number):
            with postponed():  # a process whose start is interrupted would be unknown to the executor
                for task in itertools.islice(waiting, number):
                    running.add(executor.submit(_call, function, task, paths))

        submit(count)
        _note_semaphores(folder)
        while running:
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            running -= done
            for future in sorted(done, key=lambda future: future.exception() is not None):  # results first
                result, death = future.result(), None
                try:
                    submit(1)
                except self.deaths as error:
                    death = error
                yield result
                if death:
                    raise death

    def _share(self, arrays):
        if self.shared[0] is not arrays:
            folder = make_folder(sum(array.nbytes for array in arrays))
            paths = [Path(folder, f"{number}.npy") for number in range(len(arrays))]
            try:
                for path, array in zip(paths, arrays):
                    np.save(path, array)
            except OSError as error:
                raise OSError(f"the folder {folder} cannot hold the training images: {error}") from None
            self.shared = arrays, (folder, paths)
        return self.shared[1]

    def _start(self, folder):
        global _executor
        free = shutil.disk_usage(SHARED_MEMORY).free if Path(SHARED_MEMORY).exists() else SEMAPHORE_ROOM
        if free < SEMAPHORE_ROOM:
            raise OSError(
                f"the folder {SHARED_MEMORY} needs {SEMAPHORE_ROOM >> 10} KiB for the semaphores of worker processes "
                f"and has {free >> 10} KiB"
            )
        _executor = loky.get_reusable_executor(
            max_workers=self.count,
            timeout=None,
            initializer=_start_worker,
            initargs=(os.getpid(), folder),
            env=self.environment,
        )
        return _executor


def _note_semaphores(folder):
    """Writes down which semaphores go with a folder.

    Their names begin with the PID, but another container may have a process of the same PID.
    """
    with contextlib.suppress(FileNotFoundError):  # only Linux has this list of what a process has mapped
        mapped = re.findall(rf"(\d+) +{SHARED_MEMORY}/sem\.", Path("/proc/self/maps").read_text())
        named = Path(SHARED_MEMORY).glob(f"sem.loky-{os.getpid()}-*")
        ours = [str(path) for path in named if str(path.stat().st_ino) in mapped]
        Path(folder, SEMAPHORES).write_text("\n".join(ours))


def make_folder(size: int) -> str:
    """Makes a folder with room for `size` bytes, in shared memory if possible. `stop` removes it.

    It is made in the folder that JOBLIB_TEMP_FOLDER names, or else in shared memory, or else in the folder for
    temporary files. The folders that killed searches have left there are removed first.

    Raises:
        OSError: there is no room.
    """
    places = [os.environ.get("JOBLIB_TEMP_FOLDER")]
    if not places[0]:
        places = [place for place in (SHARED_MEMORY, tempfile.gettempdir()) if os.access(place, os.W_OK)]
    needed = size + ROOM
    for place in places:
        try:
            Path(place).mkdir(parents=True, exist_ok=True)
            remove_left_behind(place)
            free = shutil.disk_usage(place).free
            if free >= needed:
                return _make_locked_folder(place)
        except OSError as error:
            raise OSError(f"the folder {place} cannot hold the training images: {error.strerror}") from None
    raise OSError(
        f"the folder {place} needs {-(-needed >> 20)} MiB for the training images and has {free >> 20} MiB. Make room "
        "there, or set JOBLIB_TEMP_FOLDER to a folder that has it"
    )


def _make_locked_folder(place):
    """A folder gets its name when its lock is held, so that no other search takes it for one left behind."""
    new = Path(tempfile.mkdtemp(prefix=f".{PREFIX}_", dir=place))
    lock = (new / LOCK).open("w")
    with contextlib.suppress(OSError):  # a file system without locks; nobody removes the folder then
        fcntl.flock(lock, fcntl.LOCK_EX)
    folder = str(new.rename(new.with_name(f"{PREFIX}_{os.getpid()}_{new.name[-8:]}")))
    _folders[folder] = lock
    return folder


def remove_left_behind(place: str):
    """Removes the folders and semaphores that killed searches of this user have left.

    The living hold a lock, which the kernel releases at their death, however they die. Their PID says nothing: they may
    run in another container or on another machine.
    """
    for folder in Path(place).iterdir():
        # An OSError means that it is in use, or that another search has just removed it.
        with contextlib.suppress(OSError):
            if re.fullmatch(rf"{PREFIX}_\d+_\w{{8}}", folder.name) and folder.lstat().st_uid == os.getuid():
                _remove_if_unlocked(folder)


def _remove_if_unlocked(folder):
    with (folder / LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if (folder / SEMAPHORES).exists():
            for semaphore in (folder / SEMAPHORES).read_text().splitlines():
                Path(semaphore).unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def stop():
    """Ends the processes of this search at once and removes what it keeps in shared memory."""
    global _executor
    if _executor:
        _executor.shutdown(kill_workers=True)
        _executor = None
    remove_folders()


def remove_folders():
    """Removes the folders of `make_folder`."""
    while _folders:
        folder, lock = _folders.popitem()
        shutil.rmtree(folder, ignore_errors=True)
        lock.close()


atexit.register(remove_folders)


def _start_worker(search, folder):
    """Prepares a worker process.

    Args:
        search: PID of the search.
        folder: for temporary files.
    """
    for number in SIGNALS:
        # They reach every process of a terminal or a job. The search then ends its workers.
        signal.signal(number, signal.SIG_IGN)
    tempfile.tempdir = folder
    threading.Thread(target=_end_with, args=(search,), daemon=True).start()


def _end_with(search):
    while os.getppid() == search:
        time.sleep(POLL)
    os._exit(1)  # also in the middle of a training step, or of writing into a pipe that nobody reads


def _call(function, task, paths):
    return function(*task, *map(_mapped, paths))


@functools.cache
def _mapped(path):
    return np.load(path, mmap_mode="r")

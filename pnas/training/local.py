"""Training in processes on this machine. They share the images, and they end when the search ends, however it ends.

Importing this module does not import Keras.
"""

import atexit
import concurrent.futures
import functools
import glob
import itertools
import os
import re
import shutil
import signal
import tempfile
import threading
import time

import numpy as np
from joblib.externals import loky

from pnas.journal.files import ROOM
from pnas.training.stopping import postponed

SHARED_MEMORY = "/dev/shm"
PREFIX = "pnas"  # of the folder that holds a search's images: pnas_PID_RANDOM
POLL = 1  # seconds between two looks of a worker at whether the search still runs

_folders = []  # made by this process


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

    def map(self, function, tasks: list[tuple], count: int, arrays: tuple):
        """Calls a function in the processes and yields the results as they come.

        Args:
            function: function of the arguments of a task, followed by the arrays.
            tasks: list of tuples of arguments.
            count: number of tasks given to the processes at the same time.
            arrays: numpy arrays, which the processes read from shared memory.
        Yields:
            What the function returns.
        Raises:
            OSError: there is no room for the arrays.
            An exception of the function, or `deaths`.
        """
        folder, paths = self._share(arrays)
        executor = loky.get_reusable_executor(
            max_workers=self.count,
            timeout=None,
            initializer=_start_worker,
            initargs=(os.getpid(), folder),
            env=self.environment,
        )
        waiting = iter(tasks)
        running = set()

        def submit(number):
            with postponed():  # a process whose start is interrupted would be unknown to the executor
                for task in itertools.islice(waiting, number):
                    running.add(executor.submit(_call, function, task, paths))

        submit(count)
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
            paths = [os.path.join(folder, f"{number}.npy") for number in range(len(arrays))]
            try:
                for path, array in zip(paths, arrays):
                    np.save(path, array)
            except OSError as error:
                raise OSError(f"the folder {folder} cannot hold the training images: {error}") from None
            self.shared = arrays, (folder, paths)
        return self.shared[1]


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
            os.makedirs(place, exist_ok=True)
            remove_left_behind(place)
            free = shutil.disk_usage(place).free
            if free >= needed:
                _folders.append(tempfile.mkdtemp(prefix=f"{PREFIX}_{os.getpid()}_", dir=place))
                return _folders[-1]
        except OSError as error:
            raise OSError(f"the folder {place} cannot hold the training images: {error.strerror}") from None
    raise OSError(
        f"the folder {place} needs {-(-needed >> 20)} MiB for the training images and has {free >> 20} MiB. Make room "
        "there, or set JOBLIB_TEMP_FOLDER to a folder that has it"
    )


def remove_left_behind(place: str):
    """Removes the folders and semaphores that killed searches of this user have left."""
    for folder in glob.glob(os.path.join(glob.escape(place), f"{PREFIX}_*")):
        match = re.fullmatch(rf"{PREFIX}_(\d+)_\w{{8}}", os.path.basename(folder))
        if match and os.stat(folder).st_uid == os.getuid() and not _is_alive(int(match[1])):
            shutil.rmtree(folder, ignore_errors=True)
            for semaphore in glob.glob(f"{SHARED_MEMORY}/sem.loky-{match[1]}-*"):
                os.remove(semaphore)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        pass
    return True


def stop():
    """Ends the processes of this search at once and removes what it keeps in shared memory."""
    if _folders:
        loky.get_reusable_executor(reuse=True).shutdown(kill_workers=True)
    remove_folders()


def remove_folders():
    """Removes the folders of `make_folder`."""
    while _folders:
        shutil.rmtree(_folders.pop(), ignore_errors=True)


atexit.register(remove_folders)


def _start_worker(search, folder):
    """Prepares a worker process.

    Args:
        search: PID of the search.
        folder: for temporary files.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
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

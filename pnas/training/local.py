"""Training in processes on this machine. They share the images, and they end when the search ends, however it ends.

Importing this module does not import Keras.
"""

import concurrent.futures
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from joblib.externals import loky

from pnas.training.stopping import LIMIT, SIGNALS, Overdue, postponed

SHARED_MEMORY = "/dev/shm"
SEMAPHORE_ROOM = 2**18  # bytes in shared memory; each of some ten semaphores takes a page
POLL = 1  # seconds between two looks of a worker at whether the search still runs

_executor = None


class LocalPool:
    """Processes on this machine, started with the first task.

    Args:
        count: number of processes.
        threads: threads of the numerical libraries in each.
        limit: seconds after which a task is ended with its process, or None.
    Attributes:
        deaths: the exception that announces the death of a process.
        is_lost: whether no process can be started any more.
    """

    deaths = concurrent.futures.BrokenExecutor
    is_lost = False

    def __init__(self, count: int, threads: int, limit: float | None = None):
        self.count, self.limit = count, limit
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.environment = {name: os.environ.get(name, str(threads)) for name in names}
        self.shared = None, []  # arrays, and what the processes get of them
        self.closers = []  # functions that free the memory that they share

    def map(self, function: Callable, tasks: list[tuple], count: int, arrays: tuple) -> Iterator:
        """Calls a function in the processes and yields the results as they come.

        A task that takes too long ends all processes. It is begun once more, without others beside it; they follow.

        Args:
            function: function of the arguments of a task, followed by the arrays.
            tasks: list of tuples of arguments.
            count: number of tasks given to the processes at the same time.
            arrays: numpy arrays, which the processes read from shared memory under Linux, and get as copies elsewhere.
        Yields:
            What the function returns, or Overdue.
        Raises:
            OSError: there is no room for semaphores.
            An exception of the function, or `deaths`.
        """
        if self.shared[0] is not arrays:
            while self.closers:
                self.closers.pop()()
            self.shared = arrays, [self._share(array) for array in arrays]
        left, late = dict(enumerate(tasks)), {}
        while left:
            now = {index: left[index] for index in late} or left.copy()
            with (
                tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
                if self.limit
                else contextlib.nullcontext() as folder
            ):
                try:
                    for index, result in self._map(function, now, count, folder):
                        late.pop(index, None)
                        del left[index]
                        yield result
                except self.deaths:
                    ended = _ended(folder)
                    if not ended:
                        raise
                    for index, traceback in ended.items():
                        if index in late:
                            del late[index]
                            yield Overdue(left.pop(index), traceback)
                        else:
                            late[index] = traceback

    def _map(self, function, tasks, count, folder):
        """Yields the index and the result of each of a dict of tasks. Tracebacks of those ended are in `folder`."""
        executor = self._start()
        waiting, running = iter(tasks.items()), {}

        def submit(number):
            with postponed():  # a process whose start is interrupted would be unknown to the executor
                for index, task in itertools.islice(waiting, number):
                    arguments = function, task, self.shared[1], self.limit, folder and Path(folder, str(index))
                    running[executor.submit(_call, *arguments)] = index

        submit(count)
        death = None
        while running:
            done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in sorted(done, key=lambda future: future.exception() is not None):  # results first
                index, result = running.pop(future), future.result()
                try:
                    submit(1)
                except self.deaths as error:
                    death = error  # raised after the results that have come
                yield index, result
            if death:
                raise death

    def _share(self, array):
        """The path of a file that holds an array in memory, or the array where there are no such files.

        The file has no name in a folder, so nothing is left of it when the search has ended, however it ended.
        """
        if not hasattr(os, "memfd_create"):
            return array
        descriptor = os.memfd_create("pnas")
        self.closers.append(weakref.finalize(self, os.close, descriptor))
        with open(descriptor, "wb", closefd=False) as file:
            np.save(file, array)
        return f"/proc/{os.getpid()}/fd/{descriptor}"

    def _start(self):
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
            initargs=(os.getpid(),),
            env=self.environment,
        )
        return _executor


def stop():
    """Ends the processes of this search at once."""
    global _executor
    if _executor:
        _executor.shutdown(kill_workers=True)
        _executor = None


def _start_worker(search):
    """Prepares a worker process of the search with this PID."""
    for number in SIGNALS:
        # They reach every process of a terminal or a job. The search then ends its workers.
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(search,), daemon=True).start()


def _end_with(search):
    while os.getppid() == search:
        time.sleep(POLL)
    os._exit(1)  # also in the middle of a training step, or of writing into a pipe that nobody reads


def _call(function, task, shared, limit, path):
    arrays = (np.load(each, mmap_mode="r") if isinstance(each, str) else each for each in shared)
    LIMIT.set((limit, path))
    return function(*task, *arrays)


def _ended(folder):
    """dict, index of each task that was ended -> traceback."""
    paths = Path(folder).iterdir() if folder else ()
    texts = {int(path.name): path.read_text(errors="replace") for path in paths}
    return {index: text for index, text in texts.items() if text}

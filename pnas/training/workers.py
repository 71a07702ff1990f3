"""Training children in several processes, on this machine or on a cluster, even if one of them dies.

Importing this module does not import Keras: a new process first learns from it how many threads the backend gets.
"""

import collections
import gc
import os
import sys
import threading
import time
from collections.abc import Iterator

import joblib
import numpy as np

from pnas import UsageError
from pnas.child import Child
from pnas.constants import CHECKSUM, Settings, checksums
from pnas.training.stopping import Overdue, ended_when_late

# Children trained side by side on one GPU. They are small, and much of their time is tracing and compiling, each on a
# core. A GPU of 80 GiB had room for 16; 4 also fit on smaller ones.
CHILDREN_PER_GPU = 4
MAX_FAILED = 10  # children that fail one after another before the search stops
UNUSED = ("matplotlib", "sklearn")  # Keras imports them where they are installed, but no child needs them


class Workers:
    """Processes that train children side by side.

    Args:
        settings: PARALLEL_BACKEND is 'loky' for processes on this machine, 'dask' or 'ray' for those of the cluster at
            SCHEDULER; without an address, Ray starts on this machine. Each process has THREADS_PER_CHILD threads.
            N_WORKERS = 'auto' is one process for so many cores, on a GPU at most CHILDREN_PER_GPU, and on a cluster all
            workers.
    Attributes:
        count: children trained at the same time.
        is_elastic: whether workers may join during the search, so that the cluster gets all children at once.
    Raises:
        UsageError: a Ray cluster has only one CPU.
        OSError: the cluster cannot be reached.
    """

    def __init__(self, settings: Settings):
        from pnas.backend import has_gpu, keras  # not above, see there

        threads, is_auto = settings.THREADS_PER_CHILD, settings.N_WORKERS == "auto"
        self.start = {"keras_backend": keras.backend.backend(), "threads": threads}
        self.code = checksums(settings.operators)
        self.is_elastic = is_auto and settings.PARALLEL_BACKEND != "loky"
        self.pool, limit = None, settings.MAX_CHILD_MINUTES and 60 * settings.MAX_CHILD_MINUTES
        if settings.PARALLEL_BACKEND == "loky":
            from pnas.training.local import LocalPool

            room = max(1, joblib.cpu_count() // threads)
            room = min(room, CHILDREN_PER_GPU) if has_gpu() else room
            self.pool = LocalPool(room if is_auto else settings.N_WORKERS, threads, limit)
        elif settings.PARALLEL_BACKEND == "dask":
            from pnas.training.dask import DaskCluster

            self.pool = DaskCluster(settings.SCHEDULER, limit)
            room = self.pool.room()
        else:
            import ray
            from ray.util.joblib import register_ray

            ray.init(address=settings.SCHEDULER, ignore_reinit_error=True, log_to_driver=False)
            register_ray()
            room = int(ray.cluster_resources()["CPU"])
            if room == 1:
                raise UsageError("PARALLEL_BACKEND: a Ray cluster of one CPU trains nothing in workers; use 'loky'")
            self.ray = {"backend": "ray", "n_jobs": room}  # arguments of joblib.parallel_config
        self.limit = limit
        self.deaths = self.pool.deaths if self.pool else ray.exceptions.RayError
        self.count = room if is_auto else settings.N_WORKERS

    def train(
        self,
        children: list[Child],
        settings: Settings,
        stop: tuple[int, float] | None = None,
        *,
        arrays: tuple[np.ndarray, ...],
    ) -> Iterator[Child]:
        """Trains children and yields each as soon as it is done.

        When a process dies, the children in training are trained again in two groups, and so on, until the child that
        causes the deaths is alone. A child that has caused two deaths alone counts as failed, and one that has taken
        longer than MAX_CHILD_MINUTES twice, each time ended with its process.

        Args:
            children: untrained, with their seeds.
            settings, stop, arrays: those of `pnas.training.child.train_child`.
        Yields:
            Child.
        Raises:
            UsageError: MAX_FAILED children have failed one after another. They have been yielded. Or a worker of the
                cluster cannot import this package or has another version of it, has started Keras otherwise, or got two
                children at the same time.
            OSError: the cluster was lost, or a disk or the shared memory is full.
        """
        failed = 0
        for child in self._train_in_groups(children, settings, stop, arrays=arrays):
            failed = failed + 1 if child.error else 0
            yield child
            if failed == MAX_FAILED:
                raise UsageError(
                    f"{failed} children failed one after another, the last one with: {child.error}. Remove the cause; "
                    "the same command trains them again"
                )

    def _train_in_groups(self, children, *arguments, arrays):
        groups = [children] if children else []
        deaths = collections.Counter()
        while groups:
            waiting = {(child.number, child.repeat): child for child in groups.pop(0)}
            count = len(waiting) if self.is_elastic else self.count
            begun = time.monotonic()
            try:
                for child in self._train(list(waiting.values()), count, *arguments, arrays=arrays):
                    del waiting[child.number, child.repeat]
                    yield child
            except self.deaths as death:
                if self.pool and self.pool.is_lost:
                    raise OSError(f"the cluster was lost: {death}") from None
                rest = list(waiting.values())
                suspects, rest = rest[:count], rest[count:]
                if len(suspects) == 1:
                    child = suspects[0]
                    deaths[child.number, child.repeat] += 1
                    if not rest and deaths[child.number, child.repeat] > 1:
                        is_late = self.limit is not None and time.monotonic() - begun >= self.limit
                        yield self._too_late(child) if is_late else child.failed(f"its worker died: {death}")
                        continue
                half = (len(suspects) + 1) // 2
                groups = [group for group in (suspects[:half], suspects[half:], rest) if group] + groups

    def _train(self, children, count, *arguments, arrays):
        tasks = [(self.start, self.code, child, *arguments) for child in children]
        if self.pool:
            for result in self.pool.map(train_in_worker, tasks, count, arrays):
                yield self._too_late(result.task[2], result.traceback) if isinstance(result, Overdue) else result
            return
        with joblib.parallel_config(**self.ray), joblib.Parallel(pre_dispatch=count, batch_size=1) as parallel:
            for first in range(0, len(tasks), count):  # Ray's joblib backend returns the results of a call all at once
                calls = [joblib.delayed(train_in_worker)(*task, *arrays) for task in tasks[first : first + count]]
                yield from parallel(calls)

    def _too_late(self, child, traceback=""):
        or_died = " (or its worker died)" * (not traceback)
        return child.failed(f"took longer than MAX_CHILD_MINUTES = {self.limit / 60:g} twice{or_died}", traceback)


_started = {}  # the settings with which this process has started its Keras backend
_training = threading.Lock()


def start_backend(threads: int, keras_backend: str) -> None:
    """Imports Keras and what trains children, unless this process has imported Keras already.

    Args:
        threads: threads of the backend.
        keras_backend: its name.
    """
    if "keras" in sys.modules:
        return
    os.environ.update(KERAS_BACKEND=keras_backend)
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(threads), TF_NUM_INTEROP_THREADS=str(threads))
    hidden = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # so that importing them is an ImportError
    import pnas.backend  # noqa: F401

    for name in hidden:
        del sys.modules[name]
    import pnas.training.child  # noqa: F401
    from pnas.model import OPERATIONS

    checksums(OPERATIONS)  # remembers the code that was imported
    _started.update(keras_backend=keras_backend, threads=threads)
    gc.freeze()  # what was imported stays, so garbage collection need not look at it again and again


def train_in_worker(start: dict, code: dict[str, str], child: Child, *arguments) -> Child:
    """Trains one child in a worker process. The first child also starts the Keras backend, outside its limit of time.

    Args:
        start: dict of keras_backend and threads.
        code: `pnas.constants.checksums` of the process that wants the child trained.
        child, arguments: those of `pnas.training.child.train_child`.
    Returns:
        Child.
    Raises:
        UsageError: the process is training another child, has started its Keras backend with other settings, or has
            another recipe or other operators.
    """
    if not _training.acquire(blocking=False):
        raise UsageError(
            "a worker got two children at the same time; start the workers of a Dask cluster with --nthreads 1"
        )
    try:
        start_backend(**start)
        if _started != start:
            raise UsageError(
                f"a worker of the cluster has started Keras with {_started or 'settings of its own'}, but this search "
                f"needs {start}. Restart the workers"
            )
        from pnas.model import OPERATIONS
        from pnas.training.child import train_child

        own = checksums(OPERATIONS)
        others = [name.removeprefix(CHECKSUM) for name, value in code.items() if own.get(name) != value]
        if others:
            raise UsageError(
                f"a worker has another version of {', '.join(others)} than this process. Give both the same files and "
                "restart them"
            )
        with ended_when_late():
            return train_child(child, *arguments)
    finally:
        _training.release()

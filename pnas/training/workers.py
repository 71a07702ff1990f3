"""Distributing children over processes, on this machine or on a cluster, and going on when one of these dies.

This module imports neither Keras nor anything that does: a new process loads it to learn how many threads the backend
    gets,
before it imports the backend.
"""

import collections
import concurrent.futures
import importlib.util
import os
import signal
import sys
import threading
import warnings

import joblib

# A search that stops need not be told that its children stop as well.
warnings.filterwarnings("ignore", r"\d+ tasks which were still being processed", UserWarning, "joblib")

PACKAGES = {"dask": "distributed", "ray": "ray"}  # what each PARALLEL_BACKEND needs beyond joblib
PIP_NAMES = {"dask": "dask[distributed]", "ray": "ray"}


def missing_package(backend: str) -> str | None:
    """The pip command that a PARALLEL_BACKEND needs first, or None if its package is installed."""
    package = PACKAGES.get(backend)
    if package and importlib.util.find_spec(package) is None:
        return f'pip install "{PIP_NAMES[backend]}"'


class Workers:
    """Processes that train children side by side.

    Args:
        backend: 'loky' for processes on this machine, 'dask' or 'ray' for those of a cluster.
        scheduler: address of the cluster. Ray needs none: it then starts on this machine.
        count: children trained at the same time. On a cluster 'auto' uses all workers.
        keras_backend: name of the Keras backend.
        threads: threads that it gets in each process.
    Attributes:
        count: children trained at the same time.
        is_elastic: whether workers may join during the search, so that all children are handed to the cluster at once.
    Raises:
        ValueError: a worker of the cluster cannot import this package, or would train several children in one process.
        OSError: the cluster cannot be reached.
    """

    def __init__(self, backend: str, scheduler: str | None, count: int | str, keras_backend: str, threads: int):
        self.start = {"keras_backend": keras_backend, "threads": threads}
        self.is_elastic = count == "auto"
        self.cluster = None
        self.deaths = concurrent.futures.BrokenExecutor  # how the death of a process is announced
        self.joblib_backend = {"backend": backend}  # arguments of joblib.parallel_config
        self.returns_one_by_one = backend != "ray"  # Ray's joblib backend returns the results of a call all at once
        room = None
        if backend == "loky":
            # One pool serves the whole search, so its workers are idle while a surrogate is fitted. Those of a search
            # that was killed must not stay forever. There are at least two, because joblib would train a single job in
            # the process of the search, which has to outlive its children.
            self.joblib_backend.update(
                n_jobs=max(2, count), idle_worker_timeout=600, initializer=_ignore_keyboard_interrupt
            )
        elif backend == "dask":
            from pnas.training.dask import DaskCluster

            self.cluster = DaskCluster(scheduler)
            self.deaths, room = self.cluster.deaths, self.cluster.room()
        elif backend == "ray":
            import ray
            from ray.util.joblib import register_ray

            self.deaths = ray.exceptions.RayError
            ray.init(address=scheduler, ignore_reinit_error=True, log_to_driver=False)
            register_ray()
            room = self.joblib_backend["n_jobs"] = int(ray.cluster_resources()["CPU"])
            if room == 1:
                raise ValueError("PARALLEL_BACKEND: a Ray cluster of one CPU trains nothing in workers; use 'loky'")
        self.count = room if self.is_elastic else count

    def train(self, children: list, *arguments, arrays: tuple):
        """Trains children and yields each as soon as it is done.

        When a process dies, the children in training are trained again in two groups, and so on, until one that dies
        alone is known to be the cause. Dying alone for the second time, it counts as failed.

        Args:
            children: list of Child.
            arguments, arrays: those of `pnas.training.child.train_child`.
        Yields:
            Child.
        """
        groups = [children] if children else []
        deaths = collections.Counter()
        while groups:
            waiting = {child.number: child for child in groups.pop(0)}
            count = len(waiting) if self.is_elastic else self.count
            try:
                for child in self._train(list(waiting.values()), count, *arguments, arrays=arrays):
                    del waiting[child.number]
                    yield child
            except self.deaths as death:
                if self.cluster and self.cluster.is_lost:
                    raise OSError(f"the cluster was lost: {death}") from None
                rest = list(waiting.values())
                suspects, rest = rest[:count], rest[count:]
                deaths.update(child.number for child in suspects)
                if len(suspects) == 1 and not rest and deaths[suspects[0].number] > 1:
                    yield suspects[0].failed(f"its worker died: {death}")
                    continue
                half = (len(suspects) + 1) // 2
                groups = [group for group in (suspects[:half], suspects[half:], rest) if group] + groups

    def _train(self, children, count, *arguments, arrays):
        if self.cluster:
            tasks = [(self.start, child, *arguments) for child in children]
            yield from self.cluster.map(train_in_worker, tasks, count, arrays)
            return
        with joblib.parallel_config(**self.joblib_backend):
            parallel = joblib.Parallel(
                pre_dispatch=count,
                batch_size=1,
                return_as="generator_unordered" if self.returns_one_by_one else "list",
            )
        train = joblib.delayed(train_in_worker)
        tasks = [train(self.start, child, *arguments, *arrays) for child in children]
        if self.returns_one_by_one:
            yield from parallel(tasks)
        else:
            with parallel:
                for first in range(0, len(tasks), count):
                    yield from parallel(tasks[first : first + count])


def _ignore_keyboard_interrupt():
    """Ctrl-C reaches every process of a terminal. The process of the search then ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


_started = {}  # how the Keras backend of this process was started
_training = threading.Lock()


def train_in_worker(start: dict, child, *arguments):
    """Trains one child in a worker process. The first child also starts the Keras backend.

    Args:
        start: dict of keras_backend and threads.
        child, arguments: those of `pnas.training.child.train_child`.
    Returns:
        Child.
    Raises:
        ValueError: the process is already training another child, or its Keras backend was started with other settings.
    """
    if not _training.acquire(blocking=False):
        raise ValueError("a worker got two children at the same time; start the workers of a cluster with --nthreads 1")
    try:
        if not _started and "keras" not in sys.modules:
            threads = str(start["threads"])
            os.environ.update(KERAS_BACKEND=start["keras_backend"])
            os.environ.update(TF_NUM_INTRAOP_THREADS=threads, TF_NUM_INTEROP_THREADS=threads)
            _started.update(start)
        if _started != start:
            raise ValueError(
                f"a worker of the cluster has started Keras with {_started or 'settings of its own'}, but this search needs "
                f"{start}: restart its workers"
            )
        from pnas.training.child import train_child

        return train_child(child, *arguments)
    finally:
        _training.release()

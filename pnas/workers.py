"""Distributing children over processes, on this machine or on a cluster, and going on when one of these dies.

This module imports neither Keras nor what imports it: a process that has just been started loads it to learn, before its
backend starts, how many threads that may have.
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

# A search that stops need not be told that its children stop, too.
warnings.filterwarnings("ignore", r"\d+ tasks which were still being processed", UserWarning, "joblib")

PACKAGES = {"dask": "distributed", "ray": "ray"}  # what the backends of joblib need beyond joblib
PIP_NAMES = {"dask": "dask[distributed]", "ray": "ray"}


def missing_package(backend):
    """The pip command that a backend of joblib needs first, or None if it is there."""
    package = PACKAGES.get(backend)
    if package and importlib.util.find_spec(package) is None:
        return f'pip install "{PIP_NAMES[backend]}"'


class Workers:
    """Processes that train children side by side.

    Args:
        backend: 'loky' for processes on this machine, 'dask' or 'ray' for those of a cluster; all three are joblib's.
        scheduler: address of the cluster. Ray needs none: it then starts on this machine.
        count: children trained at the same time; 'auto' on a cluster for as many as it has room for.
        keras_backend: name of the Keras backend.
        threads: threads that it gets in each process.
    Attributes:
        count: children trained at the same time.
    Raises:
        ValueError: a worker of the cluster cannot import this package, or would train several children in one process.
        OSError: the cluster cannot be reached.
    """

    def __init__(self, backend, scheduler, count, keras_backend, threads):
        self.start = {"keras_backend": keras_backend, "threads": threads}
        self.backend = {"backend": backend}  # arguments of joblib.parallel_config
        self.grows = count == "auto"  # all children are handed to the cluster, also for workers that join it later
        self.deaths = concurrent.futures.BrokenExecutor  # what a process that dies is announced by
        self.client = None
        self.streams = backend != "ray"  # from Ray's joblib backend the results of a call come all at once
        if backend == "loky":
            # One pool serves the whole search, so its workers wait while a surrogate is fitted; those of a search that was
            # killed must not wait forever. There are at least two, because joblib would train a single job in the process of
            # the search, which must outlive its children.
            self.backend.update(n_jobs=max(2, count), idle_worker_timeout=600, initializer=_ignore_interrupts)
        elif backend == "dask":
            import distributed

            # The second is of workers that took the only copies of the images with them.
            self.deaths = distributed.KilledWorker, distributed.client.FutureCancelledError
            self.client = distributed.Client(scheduler, timeout=20, set_as_default=False)
            self._check_cluster()
        elif backend == "ray":
            import ray
            from ray.util.joblib import register_ray

            self.deaths = ray.exceptions.RayError
            ray.init(address=scheduler, ignore_reinit_error=True, log_to_driver=False)
            register_ray()
            self.backend.update(n_jobs=int(ray.cluster_resources()["CPU"]))
            if self._room() == 1:
                raise ValueError("PARALLEL_BACKEND: a Ray cluster of one CPU trains nothing in workers; use 'loky'")
        self.count = self._room() if self.grows else count

    def _room(self):
        return self.backend["n_jobs"] if self.client is None else sum(self.client.nthreads().values())

    def _check_cluster(self):
        try:
            self.client.wait_for_workers(1, timeout=60)
        except TimeoutError:
            raise OSError(f"PARALLEL_BACKEND: the cluster at {self.client.scheduler.address} has no worker") from None

        def missing():  # a function within a function travels whole: without pnas, one of this module could not be found
            return next((name for name in ("pnas", "keras") if importlib.util.find_spec(name) is None), None)

        # A worker that does not answer is leaving, which Dask notices by itself.
        found = self.client.run(missing, on_error="ignore")
        without = {worker: package for worker, package in found.items() if package}
        if without:
            worker, package = next(iter(without.items()))
            raise ValueError(
                f"PARALLEL_BACKEND: {len(without)} workers of the cluster lack a package: {worker} cannot import {package}. "
                "Install what requirements.txt names, and start the workers with the folder of train.py in PYTHONPATH"
            )
        several = [name for name, threads in self.client.nthreads().items() if threads != 1]
        if several:
            raise ValueError(
                f"PARALLEL_BACKEND: {len(several)} workers of the cluster would train several children in one process, such as "
                f"{several[0]}. Start them with --nthreads 1, and as many as there are cores with --nworkers"
            )

    def train(self, children, *arguments, arrays):
        """Trains children and yields each as soon as it is done.

        When a process dies, those that were being trained are trained again in two groups, and so on until one that dies
        alone is known to be the cause. It is given up when that is not its first death.

        Args:
            children: list of Child.
            arguments, arrays: those of `pnas.manager.train_child`.
        Yields:
            Child.
        """
        groups = [children] if children else []
        deaths = collections.Counter()
        while groups:
            waiting = {child.number: child for child in groups.pop(0)}
            count = len(waiting) if self.grows else self.count
            try:
                for child in self._train(list(waiting.values()), count, *arguments, arrays=arrays):
                    del waiting[child.number]
                    yield child
            except self.deaths as death:
                if self.client and self.client.status != "running":
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
        backend = self.backend
        if self.client:
            from pnas.dask_backend import Backend

            self._check_cluster()
            backend = {"backend": Backend(client=self.client, scatter=list(arrays))}
        with joblib.parallel_config(**backend):
            parallel = joblib.Parallel(
                pre_dispatch=count, batch_size=1, return_as="generator_unordered" if self.streams else "list"
            )
        train = joblib.delayed(train_in_worker)
        tasks = [train(self.start, child, *arguments, *arrays) for child in children]
        if self.streams:
            yield from parallel(tasks)
        else:
            with parallel:
                for first in range(0, len(tasks), count):
                    yield from parallel(tasks[first : first + count])


def _ignore_interrupts():
    """Ctrl-C reaches every process of a terminal; the one of the search then ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


_started = {}  # how the Keras backend of this process was started
_training = threading.Lock()


def train_in_worker(start, child, *arguments):
    """Trains one child in a worker process, whose Keras backend it starts if it is the first.

    Args:
        start: dict of keras_backend and threads.
        child, arguments: those of `pnas.manager.train_child`.
    Returns:
        Child.
    Raises:
        ValueError: the process trains another child already, or its Keras backend was started otherwise.
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
                f"a worker of the cluster has started Keras with {_started or 'settings of its own'}, this search needs "
                f"{start}: start its workers anew"
            )
        from pnas.manager import train_child

        return train_child(child, *arguments)
    finally:
        _training.release()

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

import joblib

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
        count: children trained at the same time, or None for as many as a cluster has room for.
    Raises:
        ValueError: a worker of the cluster would train several children in one process.
        OSError: the cluster cannot be reached.
    """

    def __init__(self, backend, scheduler, count, keras_backend, threads):
        self.start = {"keras_backend": keras_backend, "threads": threads}
        self.count = None if count == "auto" else count
        self.backend = {"backend": backend}  # arguments of joblib.parallel_config
        self.deaths = concurrent.futures.BrokenExecutor
        self.client = None
        if backend == "loky":
            # One pool serves the whole search, so its workers must not leave while a surrogate is fitted. There are at least
            # two, because joblib would train a single job in the process of the search, which must outlive its children.
            self.backend.update(n_jobs=max(2, count), idle_worker_timeout=86400, initializer=_ignore_interrupts)
        elif backend == "dask":
            import distributed

            self.deaths = distributed.KilledWorker
            self.client = distributed.Client(scheduler, timeout=20, set_as_default=False)
            self._check_cluster()
            self.backend.update(client=self.client)
        elif backend == "ray":
            import ray
            from ray.util.joblib import register_ray

            self.deaths = ray.exceptions.RayError
            ray.init(address=scheduler, ignore_reinit_error=True, log_to_driver=False)
            register_ray()
            self.backend.update(n_jobs=int(ray.cluster_resources()["CPU"]))

    def _check_cluster(self):
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
        groups = [children]
        deaths = collections.Counter()
        while groups:
            waiting = {child.number: child for child in groups.pop(0)}
            count = self.count or max(1, len(waiting))
            try:
                for child in self._train(list(waiting.values()), count, *arguments, arrays=arrays):
                    del waiting[child.number]
                    yield child
            except self.deaths as death:
                rest = list(waiting.values())
                suspects, rest = rest[:count], rest[count:]
                deaths.update(child.number for child in suspects)
                if len(suspects) == 1 and not rest and deaths[suspects[0].number] > 1:
                    yield suspects[0].failed(f"its worker died: {death}")
                    continue
                half = (len(suspects) + 1) // 2
                groups = [group for group in (suspects[:half], suspects[half:], rest) if group] + groups

    def _train(self, children, count, *arguments, arrays):
        if self.client:
            self._check_cluster()
            self.backend.update(scatter=list(arrays))  # sent once to every worker, not once a child
        with joblib.parallel_config(**self.backend):
            parallel = joblib.Parallel(pre_dispatch=count, batch_size=1, return_as="generator_unordered")
        task = joblib.delayed(train_in_worker)
        return parallel(task(self.start, child, *arguments, *arrays) for child in children)


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

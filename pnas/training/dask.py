"""Training on the workers of a Dask cluster. Needs the package `distributed`."""

import pickle
from collections.abc import Callable, Iterator

import distributed

from pnas import UsageError

TIMEOUT = 20  # seconds to reach the scheduler


class DaskCluster:
    """A Dask cluster whose workers can import this project. The scheduler need not.

    Args:
        scheduler: its address, such as 'tcp://host:8786'.
    Attributes:
        deaths: exceptions that announce the death of a worker: several workers died while they ran a task, or the
            only worker with a copy of the images died.
    Raises:
        OSError: the cluster cannot be reached, or has no worker.
    """

    deaths = distributed.KilledWorker, distributed.client.FutureCancelledError

    def __init__(self, scheduler: str):
        self.client = distributed.Client(scheduler, timeout=TIMEOUT, set_as_default=False)
        self._wait_for_workers()

    @property
    def is_lost(self) -> bool:
        """Whether the connection to the scheduler is gone."""
        return self.client.status != "running"

    def room(self) -> int:
        """Number of tasks that the cluster runs at the same time."""
        return sum(self.client.nthreads().values())

    def map(self, function: Callable, tasks: list[tuple], count: int, arrays: tuple) -> Iterator:
        """Calls a function on the workers and yields the results as they come.

        Functions, arguments and results are sent as bytes. The scheduler unpickles what it passes on, and it may lack
        the modules of this project.

        Args:
            function: function of the arguments of a task, followed by the arrays. Importable on the workers.
            tasks: list of tuples of arguments.
            count: number of tasks handed to the cluster at the same time.
            arrays: numpy arrays, sent to each worker once.
        Yields:
            What the function returns.
        Raises:
            UsageError: a worker cannot import this package.
            An exception of the function, or one of `deaths`.
        """
        self._wait_for_workers()

        def call(content, *arrays):  # nested, so that it is sent by value
            function, arguments = pickle.loads(content)
            return pickle.dumps(function(*arguments, *arrays))

        shared = self.client.scatter(list(arrays), broadcast=True)
        waiting = [pickle.dumps((function, task)) for task in reversed(tasks)]
        running, done = set(), distributed.as_completed(loop=self.client.loop)

        def submit():
            future = self.client.submit(call, waiting.pop(), *shared, pure=False)
            running.add(future)
            done.add(future)

        try:
            while waiting and len(running) < count:
                submit()
            for future in done:
                running.remove(future)
                try:
                    result = future.result()
                except ModuleNotFoundError as error:
                    raise UsageError(
                        f"PARALLEL_BACKEND: a worker of the cluster cannot import {error.name}. Install what "
                        "requirements.txt names, and start the workers with the folder of train.py in PYTHONPATH"
                    ) from None
                if waiting:
                    submit()
                yield pickle.loads(result)
        finally:
            self.client.cancel(list(running))

    def _wait_for_workers(self):
        try:
            self.client.wait_for_workers(1, timeout=60)
        except TimeoutError:
            raise OSError(f"PARALLEL_BACKEND: the cluster at {self.client.scheduler.address} has no worker") from None

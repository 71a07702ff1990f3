"""Training on the workers of a Dask cluster. Needs the package `distributed`."""

import pickle
import time
import uuid
import zlib
from collections.abc import Callable, Iterator

import distributed

from pnas import UsageError

TIMEOUT = 20  # seconds to reach the scheduler
LATE = 0.9  # share of the limit after which a task that is begun again was too late: clocks of machines differ


class DaskCluster:
    """A Dask cluster whose workers can import this project. The scheduler need not.

    Args:
        scheduler: its address, such as 'tcp://host:8786'.
        limit: seconds after which a task is ended with its worker, or None.
    Attributes:
        deaths: exceptions that announce the death of a worker: several workers died while they ran a task, or the
            only worker with a copy of the images died.
    Raises:
        OSError: the cluster cannot be reached, or has no worker.
    """

    deaths = distributed.KilledWorker, distributed.client.FutureCancelledError

    def __init__(self, scheduler: str, limit: float | None = None):
        self.limit, self.name = limit, f"pnas-{uuid.uuid4().hex}"
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
        """Calls a function on the workers and yields the results as they come, as `pnas.training.local.LocalPool.map`.

        Functions, arguments and results are sent as bytes. The scheduler unpickles what it passes on, and it may lack
        the modules of this project. With a limit, the scheduler keeps when a task was begun, for the next worker.

        Args:
            function, tasks, count, arrays: see there. The arrays are sent to each worker once.
        Raises:
            UsageError: a worker cannot import this package.
        """
        self._wait_for_workers()
        limit = self.limit

        def call(content, name, *arrays):  # nested, so that it is sent by value
            function, arguments = pickle.loads(content)
            if limit is None:
                return pickle.dumps(function(*arguments, *arrays))
            from pnas.training.stopping import LIMIT, Overdue

            client, now = distributed.get_client(), time.time()
            begun = client.get_metadata(name, [])  # when workers have begun this task
            if sum(now - start >= LATE * limit for start in begun) >= 2:
                return pickle.dumps(Overdue(arguments, ""))
            client.set_metadata(name, [*begun, now])
            LIMIT.set((limit, None))
            return pickle.dumps(function(*arguments, *arrays))

        shared = self.client.scatter(list(arrays), broadcast=True)
        names = [[self.name, f"{zlib.crc32(repr(task).encode()):x}"] for task in tasks]
        waiting = [(pickle.dumps((function, task)), name) for task, name in zip(tasks, names)][::-1]
        running, done = {}, distributed.as_completed(loop=self.client.loop)

        def submit():
            content, name = waiting.pop()
            future = self.client.submit(call, content, name, *shared, pure=False)
            running[future] = name
            done.add(future)

        try:
            while waiting and len(running) < count:
                submit()
            for future in done:
                del running[future]
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
            if limit and not self.is_lost:
                for name in running.values():  # a task that was cancelled early was not late
                    begun = self.client.get_metadata(name, [])
                    late = [start for start in begun if time.time() - start >= LATE * limit]
                    self.client.set_metadata(name, late)

    def _wait_for_workers(self):
        try:
            self.client.wait_for_workers(1, timeout=60)
        except TimeoutError:
            raise OSError(f"PARALLEL_BACKEND: the cluster at {self.client.scheduler.address} has no worker") from None

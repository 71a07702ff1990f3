"""joblib's backend for Dask, but for what goes wrong on a cluster; needs the package `distributed`."""

from joblib._dask import DaskDistributedBackend


class Backend(DaskDistributedBackend):
    """Hands tasks to a Dask cluster, and reports also those that the cluster itself has given up.

    joblib's backend tells of what a task returned or raised. It says nothing of a task whose workers died again and again
    (distributed.KilledWorker), and whoever waits for it waits forever.

    Args:
        client: distributed.Client.
        scatter: list of arrays that are sent once to every worker, not once a task.
    """

    def submit(self, func, callback=None):
        def report(done):
            if done.exception() is not None:
                callback(done.exception())

        future = super().submit(func, callback)
        future.add_done_callback(report)
        return future

    def retrieve_result_callback(self, out):
        if isinstance(out, BaseException):
            raise out
        return super().retrieve_result_callback(out)

    def effective_n_jobs(self, n_jobs):
        # Where there is room for one task only, joblib would run it in the process of the search.
        return max(2, super().effective_n_jobs(n_jobs))

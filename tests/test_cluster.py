"""A search on a Dask cluster."""

import time

import pytest
import tiny_search

distributed = pytest.importorskip("distributed")


def test_a_killed_cluster_worker_changes_no_reward(cluster, uninterrupted, tmp_path):
    machines = cluster()
    process = tiny_search.start(tmp_path, "--PARALLEL_BACKEND", "dask", "--SCHEDULER", machines.address)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.lstrip().startswith("1/6"):  # the next children are being trained
            machines.kill(1)
    assert process.wait() == 0, "".join(lines)
    assert tiny_search.results(tmp_path) == tiny_search.results(uninterrupted)


def test_a_search_that_is_killed_leaves_no_task_on_the_cluster(cluster, tmp_path):
    machines = cluster()
    process = tiny_search.start(tmp_path, "--PARALLEL_BACKEND", "dask", "--SCHEDULER", machines.address)
    for line in process.stdout:
        if line.lstrip().startswith("1/6"):
            break
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    with distributed.Client(machines.address, set_as_default=False) as client:

        def tasks():
            return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

        while tasks() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert tasks() == 0

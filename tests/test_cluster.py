"""A search on a Dask cluster."""

import shlex
import socket
import time

import pytest
import tiny_search
from dask_cluster import readme_commands

distributed = pytest.importorskip("distributed")


def test_the_commands_of_readme_search_on_a_cluster(cluster, uninterrupted, tmp_path):
    """Word for word, but for the host, the path, and two workers in place of eight."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 8786)) == 0:
            pytest.skip("another scheduler has port 8786")
    cluster.start(machines=1, cores=2, place="")
    python, script, *arguments = shlex.split(readme_commands()[2].replace("tcp://host:8786", cluster.address))
    assert (python, script) == ("python", "train.py")
    tiny_search.run(tmp_path, *arguments, "--B", "1")
    one_block = {cell: facts for cell, facts in tiny_search.results(uninterrupted).items() if facts[1] == "nan"}
    assert tiny_search.results(tmp_path) == one_block and len(one_block) == 6


def test_a_killed_cluster_worker_changes_no_reward(cluster, uninterrupted, tmp_path):
    cluster.start()
    process = tiny_search.start(tmp_path, "--PARALLEL_BACKEND", "dask", "--SCHEDULER", cluster.address)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.lstrip().startswith("1/6"):  # the next children are being trained
            cluster.kill(1)
    assert process.wait() == 0, "".join(lines)
    assert tiny_search.results(tmp_path) == tiny_search.results(uninterrupted)


def test_a_search_that_is_killed_leaves_no_task_on_the_cluster(cluster, tmp_path):
    cluster.start()
    process = tiny_search.start(tmp_path, "--PARALLEL_BACKEND", "dask", "--SCHEDULER", cluster.address)
    for line in process.stdout:
        if line.lstrip().startswith("1/6"):
            break
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    with distributed.Client(cluster.address, set_as_default=False) as client:

        def tasks():
            return client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))

        while tasks() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert tasks() == 0

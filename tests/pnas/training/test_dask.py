"""Training on the workers of a Dask cluster."""

import os

import numpy as np
import pytest
import tiny_search

from pnas.child import Child
from pnas.training import workers

pytest.importorskip("distributed")


def test_a_child_that_kills_every_worker_fails_alone(cluster, monkeypatch):
    """Here Dask gives a child up after one death, by default after four. Both workers take the images with them."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    monkeypatch.setattr(workers, "train_in_worker", tiny_search.deadly)
    cluster.start(path=f"{tiny_search.ROOT}{os.pathsep}{tiny_search.ROOT / 'tests'}")  # where tiny_search is
    pool = workers.Workers("dask", cluster.address, "auto", "tensorflow", 1)
    children = [Child(number, [0, "linear", 0, "linear"], 0.5, seed=1) for number in range(1, 6)]
    trained = {child.number: child for child in pool.train(children, {3}, arrays=(np.zeros(10_000),))}
    assert {number: child.reward for number, child in trained.items()} == {1: 0.5, 2: 0.5, 3: 0, 4: 0.5, 5: 0.5}
    assert "its worker died" in trained[3].error


def test_workers_with_two_threads_are_refused(cluster):
    cluster.start(threads=2)
    with pytest.raises(ValueError, match="2 workers .* one process.*--nthreads 1"):
        workers.Workers("dask", cluster.address, "auto", "tensorflow", 1)


def test_workers_without_the_project_are_refused(cluster, tmp_path):
    cluster.start(path=tmp_path)
    with pytest.raises(ValueError, match="2 workers .* cannot import pnas.*PYTHONPATH"):
        workers.Workers("dask", cluster.address, "auto", "tensorflow", 1)


def test_an_unreachable_cluster_is_named():
    with pytest.raises(OSError, match="tcp://127.0.0.1:9"):
        workers.Workers("dask", "tcp://127.0.0.1:9", "auto", "tensorflow", 1)

"""Training on the workers of a Dask cluster."""

import os

import numpy as np
import pytest
import tiny_search

from pnas.journal.children import Child
from pnas.training import workers

pytest.importorskip("distributed")


def test_a_child_that_kills_its_workers_again_and_again_has_failed_and_no_other_is_blamed(cluster, monkeypatch):
    """Dask gives a child up after one death here (four by default); the images have died with both workers by then."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    # Where the workers find tiny_search.deadly.
    monkeypatch.setenv("PYTHONPATH", str(tiny_search.ROOT / "tests"), prepend=os.pathsep)
    monkeypatch.setattr(workers, "train_in_worker", tiny_search.deadly)
    pool = workers.Workers("dask", cluster().address, "auto", "tensorflow", 1)
    children = [Child(number, [0, "linear", 0, "linear"], 0.5, seed=1) for number in range(1, 6)]
    trained = {child.number: child for child in pool.train(children, {3}, arrays=(np.zeros(10_000),))}
    assert {number: child.reward for number, child in trained.items()} == {1: 0.5, 2: 0.5, 3: 0, 4: 0.5, 5: 0.5}
    assert "its worker died" in trained[3].error


def test_workers_that_would_train_two_children_in_one_process_are_refused(cluster):
    with pytest.raises(ValueError, match="2 workers .* one process.*--nthreads 1"):
        workers.Workers("dask", cluster(threads=2).address, "auto", "tensorflow", 1)


def test_workers_that_cannot_import_the_project_are_refused(cluster, tmp_path):
    with pytest.raises(ValueError, match="2 workers .* cannot import pnas.*PYTHONPATH"):
        workers.Workers("dask", cluster(path=tmp_path).address, "auto", "tensorflow", 1)


def test_a_cluster_that_is_not_there_is_named():
    with pytest.raises(OSError, match="tcp://127.0.0.1:9"):
        workers.Workers("dask", "tcp://127.0.0.1:9", "auto", "tensorflow", 1)

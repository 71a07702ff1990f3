"""Training on the workers of a Dask cluster."""

import os

import numpy as np
import pytest
from dask_cluster import ROOT
from deadly import deadly
from tiny_training import settings_of

from pnas import UsageError
from pnas.child import Child
from pnas.training import workers

pytest.importorskip("distributed")
from pnas.training import dask  # noqa: E402  (it needs that package)


def workers_of(address):
    return workers.Workers(settings_of(N_WORKERS="auto", PARALLEL_BACKEND="dask", SCHEDULER=address))


def test_a_child_that_kills_every_worker_fails_alone(cluster, monkeypatch):
    """Here Dask gives a child up after one death, by default after four. Both workers take the images with them."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "0")
    monkeypatch.setattr(workers, "train_in_worker", deadly)
    cluster.start(path=f"{ROOT}{os.pathsep}{ROOT / 'tests'}")  # where deadly is
    pool = workers_of(cluster.address)
    children = [Child(number, [0, "linear", 0, "linear"], 0.5, seed=1) for number in range(1, 6)]
    trained = {child.number: child for child in pool.train(children, {3}, arrays=(np.zeros(10_000),))}
    assert {number: child.reward for number, child in trained.items()} == {1: 0.5, 2: 0.5, 3: 0, 4: 0.5, 5: 0.5}
    assert "its worker died" in trained[3].error


def test_workers_without_the_project_are_refused(cluster, tmp_path):
    cluster.start(machines=1, path=tmp_path)
    with pytest.raises(UsageError, match="a worker .* cannot import pnas.*PYTHONPATH"):
        list(workers_of(cluster.address).train([Child(1, [], 0.5)], None, arrays=(np.zeros(1),)))


def test_an_unreachable_cluster_is_named(monkeypatch):
    monkeypatch.setattr(dask, "TIMEOUT", 1)
    with pytest.raises(OSError, match="tcp://127.0.0.1:9"):
        workers_of("tcp://127.0.0.1:9")

"""Training on the workers of a Dask cluster."""

import os

import numpy as np
import pytest
from dask_cluster import ROOT
from deadly import deadly, hanging
from tiny_training import settings_of

from pnas import UsageError
from pnas.child import Child
from pnas.training import workers

pytest.importorskip("distributed")
from pnas.training import dask  # noqa: E402  (it needs that package)


def workers_of(address, **changes):
    return workers.Workers(settings_of(N_WORKERS="auto", PARALLEL_BACKEND="dask", SCHEDULER=address, **changes))


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


@pytest.mark.parametrize("machines", [1, 2])
def test_a_child_that_hangs_twice_fails_alone(machines, cluster, monkeypatch, tmp_path):
    """The only worker of a cluster takes the images with it."""
    monkeypatch.setattr(workers, "train_in_worker", hanging)
    cluster.start(machines, path=f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
    pool = workers_of(cluster.address, MAX_CHILD_MINUTES=0.02)
    begun = tmp_path / "begun"
    begun.mkdir()
    children = [Child(number, [0, "linear", 0, "linear"], 0.5, seed=1) for number in range(1, 5)]
    trained = {child.number: child for child in pool.train(children, {2: 9}, begun, arrays=(np.zeros(10_000),))}
    assert {number: child.reward for number, child in trained.items()} == {1: 0.5, 2: 0, 3: 0.5, 4: 0.5}
    assert trained[2].error == "took longer than MAX_CHILD_MINUTES = 0.02 twice (or its worker died)"
    assert len(list(begun.glob("2 *"))) == 2


def test_workers_without_the_project_are_refused(cluster, tmp_path):
    cluster.start(machines=1, path=tmp_path)
    with pytest.raises(UsageError, match="a worker .* cannot import pnas.*PYTHONPATH"):
        list(workers_of(cluster.address).train([Child(1, [], 0.5)], None, arrays=(np.zeros(1),)))


def test_an_unreachable_cluster_is_named(monkeypatch):
    monkeypatch.setattr(dask, "TIMEOUT", 1)
    with pytest.raises(OSError, match="tcp://127.0.0.1:9"):
        workers_of("tcp://127.0.0.1:9")

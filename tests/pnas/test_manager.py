"""The number of children that are trained side by side."""

import pytest
from tiny_training import manager_of

from pnas import manager


@pytest.mark.parametrize("has_gpu, cores, count", [(False, 6, 3), (False, 1, 1), (True, 32, 4), (True, 2, 1)])
def test_auto_workers_follow_cores_and_gpu(has_gpu, cores, count, monkeypatch):
    monkeypatch.setattr(manager, "has_gpu", lambda: has_gpu)
    monkeypatch.setattr(manager.joblib, "cpu_count", lambda: cores)
    monkeypatch.setattr(manager, "Workers", lambda backend, scheduler, count, keras_backend, threads: count)
    assert manager_of(threads_per_child=2).workers == count

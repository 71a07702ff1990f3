"""How fast a child trains, from few steps of it."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_training import CELL, settings_of, trained_child

from pnas.training import speed
from pnas.training.speed import Images, measure_speeds, scaled
from pnas.training.stopping import Overdue

ROOT = Path(__file__).parents[3]
TINY = Images(50, 30, (8, 8, 1))


def workers_of(count):
    """Workers that train in this process, and note what they were given."""

    def run(function, tasks, room, arrays):
        pool.tasks = len(tasks), room
        return [function(*task, *arrays) for task in tasks]

    pool = SimpleNamespace(map=run)
    return SimpleNamespace(count=count, start={"threads": 1, "keras_backend": "tensorflow"}, pool=pool)


def test_the_parts_of_an_epoch_grow_with_their_batches():
    # 10 batches and 10 of re-estimation; then 21, the last one not full, and 20; then 430, and 50 at most.
    measured = Images(1280, 500, (8, 8, 1))
    assert scaled((1, 2, 4), 128, measured, Images(2561, 500, (8, 8, 1))) == pytest.approx(2.1 + 2 * 2 + 4)
    assert scaled((1, 2, 4), 128, measured, Images(55000, 5000, (8, 8, 1))) == pytest.approx(43 + 10 + 40)


def test_a_measured_child_is_as_large_as_a_trained_one(monkeypatch):
    monkeypatch.setattr(speed, "SECONDS", 0)
    workers = workers_of(1)
    (measured,) = measure_speeds([CELL], settings_of(), TINY, workers)
    assert measured.network == pytest.approx(len(trained_child().network), rel=0.01)
    assert workers.pool.tasks == (1, 1) and measured.seconds > 0 and measured.memory > 50e6  # TensorFlow alone


def test_as_many_are_measured_side_by_side_as_in_a_search(monkeypatch):
    results = {(1, 0): (3, 30, 7), (1, 1): (5, 50, 7), (2, 0): (4, 40, 7), (2, 1): (9, 90, 7)}
    seconds = iter([results[1, 0], results[1, 1], results[2, 0], results[2, 1]])
    monkeypatch.setattr(speed, "_measure_in_worker", lambda start, number, *_: (number, speed.Speed(*next(seconds))))
    workers = workers_of(5)
    assert measure_speeds([CELL, CELL], settings_of(), TINY, workers) == [(3.5, 35, 7), (7, 70, 7)]
    assert workers.pool.tasks == (4, 5)


def test_a_measurement_that_takes_too_long_is_an_error():
    workers = workers_of(1)
    workers.pool.map = lambda function, tasks, room, arrays: [Overdue(tasks[0], "")]
    with pytest.raises(TimeoutError, match="MAX_CHILD_MINUTES"):
        measure_speeds([CELL], settings_of(), TINY, workers)


def test_a_worker_learns_its_threads_before_it_imports_keras():
    code = "import sys, pnas.training.speed; print({'keras', 'tensorflow', 'jax'} & sys.modules.keys())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (result.stdout, result.stderr) == ("set()\n", "")

"""Worker processes, and children that kill them or fail."""

import concurrent.futures
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deadly import deadly, hanging
from tiny_training import CELL, settings_of

from pnas import UsageError, backend
from pnas.child import Child
from pnas.training import workers

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("has_gpu, cores, count", [(False, 6, 3), (False, 1, 1), (True, 32, 4), (True, 2, 1)])
def test_auto_workers_follow_cores_and_gpu(has_gpu, cores, count, monkeypatch):
    monkeypatch.setattr(backend, "has_gpu", lambda: has_gpu)
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: cores)
    some = workers.Workers(settings_of(N_WORKERS="auto", THREADS_PER_CHILD=2))
    assert some.count == some.pool.count == count and not some.is_elastic
    assert workers.Workers(settings_of(N_WORKERS=7, THREADS_PER_CHILD=2)).count == 7


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_child_that_kills_its_worker_fails_alone(count, monkeypatch):
    monkeypatch.setattr(workers, "train_in_worker", deadly)
    pool = workers.Workers(settings_of(N_WORKERS=count))
    children = [Child(number, [0, "linear", 0, "linear"], 0.5, seed=1) for number in range(1, 8)]
    trained = {child.number: child for child in pool.train(children, {3, 7}, arrays=())}
    assert {number: child.reward for number, child in trained.items()} == {
        1: 0.5,
        2: 0.5,
        3: 0,
        4: 0.5,
        5: 0.5,
        6: 0.5,
        7: 0,
    }
    assert all(("its worker died" in child.error) == (number in (3, 7)) for number, child in trained.items())
    assert "SIGKILL" in trained[3].error


def test_a_child_that_hangs_twice_fails_alone_with_its_traceback(monkeypatch, tmp_path):
    monkeypatch.setattr(workers, "train_in_worker", hanging)
    pool = workers.Workers(settings_of(N_WORKERS=2, MAX_CHILD_MINUTES=0.02))
    children = [Child(number, CELL, 0.5, seed=1) for number in range(1, 6)]
    trained = {child.number: child for child in pool.train(children, {1: 9, 3: 1, 4: 9}, tmp_path, arrays=())}
    assert {number: child.reward for number, child in trained.items()} == {1: 0, 2: 0.5, 3: 0.5, 4: 0, 5: 0.5}
    for failed in (trained[1], trained[4]):
        assert failed.error == "took longer than MAX_CHILD_MINUTES = 0.02 twice"
        assert failed.traceback.startswith("Timeout (0:00:01.2") and "deadly.py" in failed.traceback
        # Once more where the other one was late first, and both were ended.
        assert len(list(tmp_path.glob(f"{failed.number} *"))) in (2, 3)


class Pool:
    """Replaces the processes. The children with the numbers in `failing` fail."""

    deaths = concurrent.futures.BrokenExecutor

    def __init__(self, failing):
        self.failing = failing

    def map(self, function, tasks, count, arrays):
        for _, _, child, *_ in tasks:
            yield child.failed("ValueError: no such operator") if child.number in self.failing else child


def numbers_trained(failing):
    pool = workers.Workers(settings_of())
    pool.pool = Pool(failing)
    numbers, error = [], None
    try:
        for child in pool.train([Child(n, CELL, 0.5, seed=1) for n in range(1, 31)], None, arrays=()):
            numbers.append(child.number)
    except UsageError as raised:
        error = str(raised)
    return numbers, error


def test_ten_failed_children_in_a_row_stop_the_search():
    numbers, error = numbers_trained(range(4, 31))
    assert numbers == [*range(1, 14)]
    assert error.startswith("10 children failed one after another, the last one with: ValueError: no such operator")


def test_trainings_of_one_child_are_all_done_where_a_worker_dies():
    pool = workers.Workers(settings_of(N_WORKERS=1))
    pool.pool = Dying({0})
    children = [Child(number, CELL, 0.5, repeat=repeat) for number in (1, 2) for repeat in (0, 1)]
    trained = [(child.number, child.repeat) for child in pool.train(children, None, arrays=())]
    assert trained == [(1, 0), (1, 1), (2, 0), (2, 1)]


def test_failed_children_between_others_stop_nothing():
    numbers, error = numbers_trained({*range(1, 10), *range(11, 20), *range(21, 30)})
    assert numbers == [*range(1, 31)] and error is None


class Dying(Pool):
    """A death comes before the first result of the calls with these numbers, from 0."""

    def __init__(self, calls, is_lost=False):
        super().__init__(())
        self.calls, self.call, self.is_lost = calls, -1, is_lost

    def map(self, *arguments):
        self.call += 1
        if self.call in self.calls:
            raise concurrent.futures.BrokenExecutor("killed")
        yield from super().map(*arguments)


@pytest.mark.parametrize("deaths, error", [({0}, ""), ({0, 1}, "its worker died: killed")])
def test_a_child_whose_worker_dies_once_is_trained_again(deaths, error):
    pool = workers.Workers(settings_of())
    pool.pool = Dying(deaths)
    assert [child.error for child in pool.train([Child(1, CELL, 0.5)], None, arrays=())] == [error]


def test_a_death_beside_another_child_does_not_count():
    pool = workers.Workers(settings_of(N_WORKERS=2))
    pool.pool = Dying({0, 2})  # of both together, then, after the first child alone, of the second one alone
    children = [Child(1, CELL, 0.5), Child(2, CELL, 0.5)]
    assert [child.error for child in pool.train(children, None, arrays=())] == ["", ""]


def test_a_lost_cluster_ends_the_search():
    pool = workers.Workers(settings_of())
    pool.pool = Dying({0}, is_lost=True)
    with pytest.raises(OSError, match="^the cluster was lost: killed$"):
        next(pool.train([Child(1, CELL, 0.5)], None, arrays=()))


def test_a_process_that_started_keras_otherwise_is_refused():
    start = {"keras_backend": "tensorflow", "threads": 1}
    for started, words in (({}, "settings of its own"), ({**start, "threads": 2}, "'threads': 2")):
        with pytest.MonkeyPatch.context() as patched, pytest.raises(UsageError, match=words):
            patched.setattr(workers, "_started", started)
            workers.train_in_worker(start, {}, None)
    assert not workers._training.locked()


def test_a_process_refuses_a_second_child():
    with workers._training, pytest.raises(UsageError, match="two children at the same time"):
        workers.train_in_worker({"keras_backend": "tensorflow", "threads": 1}, {}, None)


NOTEBOOK = """
import sys
class Cell:
    write = flush = lambda self, *text: None
    isatty = lambda self: False
output, sys.stdout = sys.stdout, Cell()
assert not hasattr(sys.modules["__main__"], "__file__")
from tiny_training import CELL, manager_of
from pnas.child import Child
from pnas.encoder import Encoder, StateSpace
manager = manager_of()
(child,) = manager.train_children([Child(1, CELL, 0.5)])
encoder = Encoder(StateSpace(1, ["3x3 bconv", "linear"]), 4, 1, 0, 1, 0)
encoder.fit([CELL], [child.reward])
print([child.error, child.parameters, len(encoder.predict([CELL])), manager.workers.count], file=output)
"""


def test_a_notebook_trains_children_whatever_keras_json_says(tmp_path):
    """Its main module is no file and its output no stream."""
    settings = {"image_data_format": "channels_first", "floatx": "float16", "backend": "tensorflow", "epsilon": 1e-7}
    (tmp_path / "keras.json").write_text(json.dumps(settings))
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "PYTHONPATH": path}
    result = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, env=environment)
    # 3x3 and 1x1 weights of one channel for two filters each, 4x4x4 inputs of ten units, and two normalizations: four
    # numbers for each of 4 and 10 channels, and a counter of batches.
    parameters = 9 * 2 + 2 + 64 * 10 + 4 * (4 + 10) + 2
    assert (result.stdout, result.stderr) == (f"{['', parameters, 1, 1]}\n", "")


def test_a_worker_starts_without_packages_that_only_keras_asks_for():
    code = """import gc, sys
from pnas.training.workers import start_backend
start_backend(threads=1, keras_backend="tensorflow")
assert "pnas.training.child" in sys.modules and not sys.modules.keys() & {"matplotlib", "sklearn"}
assert gc.get_freeze_count() > 10**5
import matplotlib, sklearn  # an operator may need them"""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr

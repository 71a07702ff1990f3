"""A search on a Dask cluster: a scheduler and two workers, each a process with a working directory of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tiny_search
from test_train import constants_of_train

from pnas.constants import check
from pnas.journal.children import Child
from pnas.training import workers

pytest.importorskip("distributed")


class Cluster:
    """A scheduler and two workers, which can import the project, if `path` is its folder, but do not stand there."""

    def __init__(self, folder, threads=1, path=tiny_search.ROOT):
        self.folder, self.processes, self.path = folder, [], path
        self.contact = folder / "scheduler.json"
        self.start("scheduler", "--port", "0", "--host", "127.0.0.1")
        for name in ("worker1", "worker2"):
            self.start("worker", "--nthreads", str(threads), "--name", name, "--local-directory", str(folder / name))

    def start(self, kind, *arguments):
        folder = self.folder / f"place{len(self.processes)}"
        folder.mkdir()
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", str(self.contact)]
        with open(folder / "log", "w") as log:
            self.processes.append(
                subprocess.Popen(
                    [*command, "--no-dashboard", *arguments],
                    cwd=folder,
                    env={
                        **os.environ,
                        "PYTHONPATH": os.pathsep.join([str(self.path), os.environ.get("PYTHONPATH", "")]),
                    },
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )

    @property
    def address(self):
        """The scheduler's, as soon as both workers have come."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.2)
            logs = [(self.folder / f"place{number}" / "log").read_text() for number in (1, 2)]
            if self.contact.exists() and all("Registered to" in log for log in logs):
                return json.loads(self.contact.read_text())["address"]
        raise TimeoutError("no cluster")

    def kill(self, number):
        os.killpg(self.processes[number].pid, signal.SIGKILL)
        self.processes[number].wait()


@pytest.fixture
def cluster(tmp_path):
    """Function (arguments of Cluster) -> a running Cluster, which ends with the test."""
    clusters = []

    def started(**arguments):
        clusters.append(Cluster(tmp_path / "cluster", **arguments))
        return clusters[-1]

    (tmp_path / "cluster").mkdir()
    yield started
    for each in clusters:
        for number in range(len(each.processes)):
            if each.processes[number].poll() is None:
                each.kill(number)


def test_a_worker_that_is_killed_in_the_middle_changes_nothing(cluster, uninterrupted, tmp_path):
    machines = cluster()
    process = tiny_search.start(tmp_path, "--PARALLEL_BACKEND", "dask", "--SCHEDULER", machines.address)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.lstrip().startswith("1/6"):  # the first child is done, the next ones are being trained
            machines.kill(1)
    assert process.wait() == 0, "".join(lines)
    assert tiny_search.results(tmp_path) == tiny_search.results(uninterrupted)


def test_a_child_that_kills_its_workers_again_and_again_has_failed_and_no_other_is_blamed(cluster, monkeypatch):
    """Dask gives a child up after one death here, after four by default; the images have died with both workers by then."""
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


@pytest.mark.parametrize(
    "backend, command", [("dask", 'pip install "dask[distributed]"'), ("ray", 'pip install "ray"')]
)
def test_a_missing_package_is_named_with_its_command(backend, command, monkeypatch):
    monkeypatch.setitem(workers.PACKAGES, backend, "there_is_no_such_package")
    constants = {**constants_of_train(), "PARALLEL_BACKEND": backend, "SCHEDULER": "tcp://host:8786"}
    (fault,) = check(constants, train_arc=False)
    assert "PARALLEL_BACKEND" in fault and command in fault

"""A Dask cluster: a scheduler and two workers, each a process with a working directory of its own."""

import json
import os
import signal
import subprocess
import sys
import time

import tiny_search


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

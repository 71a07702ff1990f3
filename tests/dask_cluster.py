"""A Dask cluster of a scheduler and two workers, each a process in its own working directory."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import tiny_search


class Cluster:
    """A scheduler and two workers. Only the workers can import modules from `path`."""

    def __init__(self, folder, threads=1, path=tiny_search.ROOT):
        self.folder, self.processes = folder, []
        self.contact = folder / "scheduler.json"
        others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        others = [each for each in others if each and Path(each).resolve() != tiny_search.ROOT.resolve()]
        self.start("scheduler", others, "--port", "0", "--host", "127.0.0.1")
        for name in ("worker1", "worker2"):
            place = ["--name", name, "--local-directory", str(folder / name)]
            self.start("worker", [str(path), *others], "--nthreads", str(threads), *place)

    def start(self, kind, paths, *arguments):
        """Starts a scheduler or worker in a new folder, with `paths` in PYTHONPATH."""
        folder = self.folder / f"place{len(self.processes)}"
        folder.mkdir()
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--scheduler-file", str(self.contact)]
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(
                [*command, "--no-dashboard", *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)

    @property
    def address(self):
        """Address of the scheduler, as soon as both workers are registered."""
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

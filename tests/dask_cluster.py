"""A Dask cluster that is started with the commands of README, each in its own working directory."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCAL = "--host 127.0.0.1 --port 0 --no-dashboard"  # hides a scheduler from other machines and from other schedulers


def readme_commands():
    """README's commands that start a scheduler, the workers of a machine, and a search."""
    text = (ROOT / "README.md").read_text()
    (scheduler,) = re.findall(r"\*\*Cluster\.\*\*\s+Start\s+`(.*?)`", text)
    ((worker, search),) = re.findall(r"^    (PYTHONPATH=.*)\n    (python train\.py .*dask.*)$", text, re.M)
    return scheduler, worker, search


class Cluster:
    """A scheduler, and machines with workers. Only the workers can import modules of this project.

    Args:
        folder: a new folder.
    Attributes:
        address: of the scheduler.
        processes: list of the scheduler's process and one for each machine.
    """

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        folder.mkdir()

    def start(self, machines=2, cores=1, threads=1, path=ROOT, place=LOCAL):
        """Starts the cluster and waits for its workers.

        Args:
            machines, cores, threads: number of machines, of workers on each, and of threads of a worker.
            path: PYTHONPATH of the workers.
            place: options that are added to README's command of the scheduler.
        """
        scheduler, worker, _ = readme_commands()
        self._run(f"{scheduler} {place}")
        self.address = self._wait_for(r"Scheduler at: +(\S+)", 1)
        for old, new in (
            ("/path/to/this/project", path),
            ("tcp://host:8786", self.address),
            ("--nthreads 1", f"--nthreads {threads}"),
            ("--nworkers 8", f"--nworkers {cores}"),
        ):
            assert old in worker
            worker = worker.replace(old, str(new))
        for _ in range(machines):
            self._run(worker)
        self._wait_for("(Registered to:)", machines * cores)

    def _run(self, command):
        """Runs a command in a new folder and a new process group, without PYTHONPATH in its environment."""
        folder = self.folder / f"place{len(self.processes)}"
        folder.mkdir()
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(
                command,
                shell=True,
                cwd=folder,
                env={**environment, "TMPDIR": str(folder)},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.processes.append(process)

    def _wait_for(self, pattern, count):
        """The first match of a pattern in the logs, as soon as there are so many."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            log = "".join((self.folder / f"place{n}" / "log").read_text() for n in range(len(self.processes)))
            found = re.findall(pattern, log)
            if len(found) >= count:
                return found[0]
            if any(process.poll() is not None for process in self.processes):
                break
            time.sleep(0.2)
        raise RuntimeError(f"no cluster: {log}")

    def kill(self, number):
        """Kills a process of `processes` and its workers."""
        os.killpg(self.processes[number].pid, signal.SIGKILL)
        self.processes[number].wait()

    def stop(self):
        for number, process in enumerate(self.processes):
            if process.poll() is None:
                self.kill(number)

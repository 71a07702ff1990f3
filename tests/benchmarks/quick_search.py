"""How long small searches take, from the command to the report, and what takes how long in them.

    quick   README's quick run: 5 children and 2 finalists, 2 epochs on 5,000 images
    small   26 children of one and two blocks, 4 epochs on 3,000 images

With --AGAINST, the searches of an older checkout run in turn with those of this one, ROUNDS times, in processes of
their own. Printed are wall and CPU seconds of all processes of a search, and medians of the ratios of each round, this
checkout to the older one. The rewards must be the same.

One more run of each search times its parts (timed_search.py). It prints the CPU seconds of each part in all processes,
how long XLA says that it has compiled, and the wall seconds in which workers wait.

    python tests/benchmarks/quick_search.py --DATA_DIR data [--AGAINST PATH] [--ROUNDS 3] [--SEARCHES quick,small]
"""

import argparse
import collections
import csv
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SEARCHES = {
    "quick": shlex.split(
        "--B 2 --K_ 2 --TRAIN_SIZE 5000 --MAX_EPOCHS 2 --FINALISTS 2 --FINAL_SEEDS 1 "
        "--operators \"['3x3 bconv', '3x3 sep-bconv']\""
    ),
    "small": shlex.split("--B 2 --K_ 16 --TRAIN_SIZE 3000 --MAX_EPOCHS 4 --FINALISTS 0 --STOP_EARLY False"),
}


LOG_COMPILING = {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "device_compilation_profiler=1"}


def run_search(command, arguments, data, **options):
    """Runs a search in an empty folder.

    Args:
        command: what precedes the constants of train.py.
        arguments: list of str, the constants.
        data: folder with MNIST.
        options: of subprocess.Popen.
    Returns:
        Array of wall and CPU seconds of all its processes; dict, architecture -> reward as written.
    """
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *command, "--DATA_DIR", data, *arguments],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            **options,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"the search ended with exit code {process.returncode}")
        with Path(folder, "logs", "pnas", "children.csv").open(newline="") as file:
            rewards = {row["architecture"]: row["reward"] for row in csv.DictReader(file)}
    return np.array([wall, usage.ru_utime + usage.ru_stime]), rewards


def compare(roots, arguments, data, rounds):
    """Prints the seconds of the search of each checkout, this one first, and their ratios."""
    seconds, first_rewards = [], None
    for _ in range(rounds):
        results = [run_search([root / "train.py"], arguments, data) for root in roots]
        for _, rewards in results:
            first_rewards = first_rewards or rewards
            assert rewards == first_rewards, "the rewards differ"
        seconds.append([result[0] for result in results])
        print("   ".join(f"{wall:6.1f} s wall, {cpu:6.1f} s CPU" for wall, cpu in seconds[-1]), flush=True)
    wall, cpu = np.median(seconds, axis=0)[0]
    print(f"{len(first_rewards)} children: {wall:.1f} s wall, {cpu:.1f} s CPU (medians)")
    if len(roots) > 1:
        wall, cpu = np.median([ours / others for ours, others in seconds], axis=0)
        print(f"ratio to {roots[1]}: {wall:.3f} wall, {cpu:.3f} CPU (medians); the same rewards")


def split(arguments, data):
    """Prints how long the parts of a search take."""
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as log:
        command = ["-c", "import timed_search; timed_search.run()", folder, str(ROOT / "train.py")]
        environment = {**os.environ, **LOG_COMPILING, "PYTHONPATH": path}
        (wall, cpu), _ = run_search(command, arguments, data, env=environment, stderr=log)
        log.seek(0)
        compiled = [int(time) / 1e6 for time in re.findall(r"Compiled .* times, compile time: (\d+) us", log.read())]
        parts = collections.defaultdict(lambda: np.zeros(2))
        files = list(Path(folder).glob("*.jsonl"))
        for file in files:
            for line in file.read_text().splitlines():
                part, *seconds = json.loads(line)
                parts[part] += seconds
    _, children = parts.pop("children")
    _, training = parts.pop("training")
    workers = len(files) - 1
    for part, (seconds, _) in sorted(parts.items(), key=lambda item: -item[1][0]):
        print(f"{seconds:8.1f} s CPU   {part}")
    print(f"{cpu - sum(seconds for seconds, _ in parts.values()):8.1f} s CPU   everything else")
    print(f"{sum(compiled):8.1f} s wall  compiling {len(compiled)} functions by XLA, in all workers")
    print(f"{workers * wall - children:8.1f} s wall  in which the {workers} workers have no child", end=", ")
    print(f"{workers * training - children:.1f} s of it beside others that have one; {wall:.1f} s in all")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--DATA_DIR", default="data", help="folder with MNIST")
    parser.add_argument("--AGAINST", type=Path, help="another checkout")
    parser.add_argument("--ROUNDS", type=int, default=3)
    parser.add_argument("--SEARCHES", default=",".join(SEARCHES))
    options = parser.parse_args()
    data = str(Path(options.DATA_DIR).resolve())
    roots = [ROOT, options.AGAINST.resolve()] if options.AGAINST else [ROOT]
    print(f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}")
    for name in options.SEARCHES.split(","):
        print(f"\n{name}: {' '.join(SEARCHES[name])}")
        compare(roots, SEARCHES[name], data, options.ROUNDS)
        split(SEARCHES[name], data)


if __name__ == "__main__":
    main()

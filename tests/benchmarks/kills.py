"""A hundred kills (SIGKILL, workers included) of small searches at seeded random moments, and what was lost: nothing.

Each kill is as in `tests/tiny_search.py`: every second one within seconds of the start, the others shortly after a
child was announced, also among the finalists. After each, the store must have every training that had been announced,
and the log every child. A search that comes to its end is compared with one that was never killed: same cells, same
predictions, same rewards, same front, same winner. One more search is killed in each phase, with all files but the
database and the networks deleted in between. It stops at the first difference.

    python tests/benchmarks/kills.py [--KILLS 100] [--SEED 0]
"""

import argparse
import collections
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]
import tiny_search  # noqa: E402

from pnas.store.store import Store  # noqa: E402

FINAL = "--PARETO", "macs", "--ROUNDS", "2", "--K_", "8", "--FINALISTS", "1", "--FINAL_SEEDS", "2"


def outcome(folder):
    """What must be the same, whenever a search was killed."""
    front = (folder / "logs" / "pnas" / "front.csv").read_text()
    return tiny_search.results(folder), front, Store.open("pnas", folder / "logs").ranking()


def kill_in_each_phase(folder):
    """Runs a search that is killed in each round and among the finalists, and loses its derived files."""
    for phase in ("^1 block", "round 1 of 2", "round 2 of 2", "^Finalists", "^Costs"):
        process, begun = tiny_search.start(folder, *FINAL), False
        for line in process.stdout:
            begun = begun or re.search(phase, line)
            if begun and tiny_search.announced([line]):
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        for path in (folder / "architectures", *(folder / "logs" / "pnas").iterdir()):
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.name.startswith("search.db"):
                path.unlink()
    tiny_search.run(folder, *FINAL)
    log = (folder / "architectures" / "pnas.txt").read_text()
    assert log.count("Sr. No: ") == len(tiny_search.results(folder))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--KILLS", type=int, default=100)
    parser.add_argument("--SEED", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "uninterrupted"
        whole.mkdir()
        tiny_search.run(whole, *FINAL)
        children = len(tiny_search.results(whole))
        folders, struck = tiny_search.kill_at_random_moments(Path(folder), options.KILLS, options.SEED, *FINAL)
        tiny_search.run(folders[-1], *FINAL)
        folders.append(Path(folder) / "phases")
        folders[-1].mkdir()
        kill_in_each_phase(folders[-1])
        for each in folders:
            assert outcome(each) == outcome(whole), each
        leftovers = sum(len(list(each.rglob("*.tmp"))) for each in folders)
    print(
        f"{len(struck)} kills of {len(folders)} searches of {children} children in "
        f"{time.monotonic() - start:.0f} s: no reported child was lost, rewards and winner are those of a search that "
        f"was not killed, {leftovers} temporary files are left"
    )
    for known, count in sorted(collections.Counter(struck).items()):
        print(f"{count:4} kills with {known}")


if __name__ == "__main__":
    main()

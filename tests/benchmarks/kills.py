"""A hundred kills (SIGKILL, workers included) of small searches at seeded random moments, and what was lost: nothing.

Each kill is as in `tests/tiny_search.py`: every second one within seconds of the start, the others shortly after a
child was announced. After each, every child that had been announced must be in the log and the table, and both must
parse. A search that comes to its end is compared with one that was never killed: same cells, same predictions, same
rewards. It stops at the first difference.

    python tests/benchmarks/kills.py [--KILLS 100] [--SEED 0]
"""

import argparse
import collections
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]
import tiny_search  # noqa: E402


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--KILLS", type=int, default=100)
    parser.add_argument("--SEED", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "uninterrupted"
        whole.mkdir()
        tiny_search.run(whole)
        folders, struck = tiny_search.kill_at_random_moments(Path(folder), options.KILLS, options.SEED)
        tiny_search.run(folders[-1])
        for each in folders:
            assert tiny_search.results(each) == tiny_search.results(whole), each
        leftovers = sum(len(list(each.rglob("*.tmp"))) for each in folders)
    print(
        f"{len(struck)} kills of {len(folders)} searches of {tiny_search.CHILDREN} children in "
        f"{time.monotonic() - start:.0f} s: no reported child was lost, all rewards are those of a search that was not "
        f"killed, {leftovers} temporary files are left"
    )
    for known, count in sorted(collections.Counter(struck).items()):
        print(f"{count:4} kills with {known}")


if __name__ == "__main__":
    main()

"""How many children an hour a search trains on this machine, and how much memory each of its workers takes.

Three cells of train.py's operators, each as many times as there are workers, so that none is idle at the end, are
trained in turn by

    search  so many WORKERS, on a CPU as many as there are cores, a thread each: what `N_WORKERS = 'auto'` does
    one     one worker with all threads
    stock   a loop of `fit` with all threads over the same networks of stock Keras layers (stock.py)

on random images, as many as MNIST has, for one epoch (a search has 20 and so spends less of its time on tracing). Each
has processes of its own, which wait for the others; what a first child needs once (imports, mostly) is not in the
figures. Printed are children an hour, medians over ROUNDS, and in how many times less time the search is done, the
median of the ratios of each round.

Memory is that of a worker while it trains three children, one of each cell, on as many images as MNIST has and on a
tenth of them: its peak proportional set size (PSS: pages that processes share count in part for each), and how many
bytes of the images it keeps in pages that it shares with others; of the workers, the largest. Read from /proc, so on
Linux only.

    python tests/benchmarks/throughput.py [--IMAGES 55000] [--EPOCHS 1] [--ROUNDS 3] [--WORKERS 2]
"""

import argparse
import collections
import multiprocessing
import os
import platform
import re
import sys
import threading
import time
from multiprocessing.util import Finalize
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]
from cells import CELLS, DENSE_LAYERS, FILTERS  # noqa: E402
from train_constants import settings_of_train  # noqa: E402
from turns import random_images, take_turns  # noqa: E402

from pnas.child import Child  # noqa: E402

CORES = os.cpu_count()
VARIANTS = ("search", "one", "stock")
TRAINED = [CELLS[number] for number in (0, 1, 4)]  # of train.py's default operators
BATCH, MNIST_IMAGES, VALIDATION_IMAGES = 128, 55000, 5000

Data = collections.namedtuple("Data", "name x_train y_train x_val y_val")


def random_data(images):
    return Data("random", *random_images(images), *random_images(VALIDATION_IMAGES))


def manager_of(images, workers, threads, epochs):
    """A Manager, made in a process whose own backend has so many threads too."""
    from joblib.externals.loky import get_reusable_executor

    from pnas.manager import Manager

    # A process of multiprocessing waits for its children when it ends, and these for work, so they are sent home first.
    Finalize(None, lambda: get_reusable_executor(reuse=True).shutdown(kill_workers=True), exitpriority=1)
    settings = settings_of_train(MAX_EPOCHS=epochs, N_WORKERS=workers, THREADS_PER_CHILD=threads)
    return Manager(random_data(images), settings)


def train(manager, cells):
    """Wall seconds in which a manager trains cells."""
    start = time.perf_counter()
    for child in manager.train_children([Child(number, cell, 0.5) for number, cell in enumerate(cells)]):
        if child.error:
            raise RuntimeError(child.error)
    return time.perf_counter() - start


def train_stock(cells, images, epochs):
    """Wall seconds in which a plain loop of `fit` trains the same networks of stock layers."""
    import keras
    from stock import stock_child

    data = random_data(images)
    start = time.perf_counter()
    for cell in cells:
        keras.utils.clear_session()
        model = stock_child(cell, FILTERS, DENSE_LAYERS)
        model.fit(data.x_train, data.y_train, BATCH, epochs, verbose=0, validation_data=(data.x_val, data.y_val))
    return time.perf_counter() - start


def prepare(variant, images, epochs, workers):
    """Nothing to say, and a function that measures the seconds in which the cells are trained."""
    cells = [cell for cell in TRAINED for _ in range(workers)]
    threads = 1 if variant == "search" else CORES
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(threads), TF_NUM_INTEROP_THREADS=str(threads))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if variant == "stock":
        train_stock(CELLS[:1], BATCH, 1)
        return None, lambda: train_stock(cells, images, epochs)
    count = workers if variant == "search" else 1
    manager = manager_of(images, count, threads, epochs)
    train(manager, CELLS[:1] * 2 * count)
    return None, lambda: train(manager, cells)


def memory_of(pid):
    """(PSS, bytes of it in the files through which images are shared) of a process."""
    total = mapped = 0
    is_shared = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_shared = "memfd:pnas" in line
        elif line.startswith("Pss:"):
            total += int(line.split()[1]) * 1024
        elif line.startswith("Rss:") and is_shared:
            mapped += int(line.split()[1]) * 1024
    return total, mapped


def measure_memory(images, workers, pipe):
    """Sends (peak PSS, peak bytes of shared pages, bytes of the data) of a worker, the largest of all workers."""
    os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")
    manager = manager_of(images, workers, 1, epochs=1)
    peaks = collections.defaultdict(lambda: (0, 0))
    is_over = threading.Event()

    def watch():
        me = os.getpid()
        while not is_over.wait(0.5):
            for pid in Path(f"/proc/{me}/task/{me}/children").read_text().split():
                try:
                    if "popen_loky" in Path(f"/proc/{pid}/cmdline").read_text():
                        peaks[pid] = tuple(map(max, peaks[pid], memory_of(pid)))
                except OSError:
                    pass  # it has ended

    watcher = threading.Thread(target=watch)
    watcher.start()
    train(manager, [cell for cell in TRAINED for _ in range(workers)])
    is_over.set()
    watcher.join()
    pipe.send((*np.max(list(peaks.values()), axis=0), sum(array.nbytes for array in manager.arrays)))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("IMAGES", MNIST_IMAGES), ("EPOCHS", 1), ("ROUNDS", 3), ("WORKERS", CORES)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    count = len(TRAINED) * options.WORKERS
    print(
        f"{platform.machine()}, {CORES} cores, {options.WORKERS} workers; "
        f"{count} children, {options.IMAGES} images, {options.EPOCHS} epoch(s)"
    )
    turns = take_turns(prepare, VARIANTS, options.ROUNDS, options.IMAGES, options.EPOCHS, options.WORKERS)
    next(turns)  # all are ready
    seconds = collections.defaultdict(list)
    for times in turns:
        for variant, value in times.items():
            seconds[variant].append(value)
        print(*(f"{variant} {value:.0f} s" for variant, value in times.items()), sep="   ", flush=True)
    for variant in VARIANTS:
        hourly = 3600 * count / np.median(seconds[variant])
        ratio = np.median(np.divide(seconds[variant], seconds["search"]))
        print(f"{variant:7} {hourly:7.0f} children an hour   the search takes {ratio:.2f} times less")

    context = multiprocessing.get_context("spawn")
    for images in (MNIST_IMAGES // 10, MNIST_IMAGES):
        pipe, other = context.Pipe()
        process = context.Process(target=measure_memory, args=(images, options.WORKERS, other))
        process.start()
        pss, shared, data = np.array(pipe.recv()) / 2**20
        process.join()
        print(
            f"a worker at {images:6} images: {pss:.0f} MiB PSS; {shared:.0f} of {data:.0f} MiB of data in shared pages"
        )


if __name__ == "__main__":
    main()

"""A search with a stop-watch: `train.py` as it is, in this process, but its parts write down how long they took.

    python -c "import timed_search; timed_search.run()" FOLDER TRAIN.PY [--CONSTANT VALUE ...]

Each process appends lines (part, CPU seconds, wall seconds) to a file of FOLDER. In a training, everything that the
first epoch takes longer than the mean of the others counts as tracing and compiling.
"""

import json
import os
import runpy
import sys
import time
from pathlib import Path

PARTS = "pnas_benchmark_parts"  # environment variable with the folder


def clock():
    return time.process_time(), time.perf_counter()


def write(part, start, end=None):
    """Appends a part that began at `start`, a `clock()`."""
    seconds = [after - before for before, after in zip(start, end or clock())]
    with Path(os.environ[PARTS], f"{os.getpid()}.jsonl").open("a") as file:
        file.write(json.dumps([part, *seconds]) + "\n")


def time_function(owner, name, part):
    """Makes a function write down how long it takes."""
    function = getattr(owner, name)

    def timed(*arguments, **options):
        start = clock()
        try:
            return function(*arguments, **options)
        finally:
            write(part, start)

    setattr(owner, name, timed)


class Epochs:
    """Sums what is timed in each epoch of a training."""

    def __init__(self):
        self.seconds = []  # of every epoch: dict, part -> [CPU, wall]

    def add(self, part, start):
        sums = self.seconds[-1].setdefault(part, [0, 0])
        for index, (before, after) in enumerate(zip(start, clock())):
            sums[index] += after - before

    def write(self):
        first, *others = self.seconds
        for part in first:
            mean = [sum(epoch[part][index] for epoch in others) / max(1, len(others)) for index in (0, 1)]
            write(part, (0, 0), [second * len(self.seconds) for second in mean])
            write("tracing, compiling", mean, first[part])


def watch_training(child):
    """Times the parts of every training in this process, a worker; `child` is the module pnas.training.child."""
    import keras

    fit = child.fit_child
    recalibrate = child.recalibrate
    epochs = None

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            epochs.seconds.append({})

        def on_train_batch_begin(self, batch, logs=None):
            self.start = clock()

        def on_train_batch_end(self, batch, logs=None):
            epochs.add("training steps", self.start)

        def on_test_batch_begin(self, batch, logs=None):
            self.start = clock()

        def on_test_batch_end(self, batch, logs=None):
            epochs.add("validation", self.start)

    def timed_recalibrate(*arguments):
        start = clock()
        recalibrate(*arguments)
        epochs.add("re-estimation", start)

    def timed_fit(model, batches, validation, others, **options):
        nonlocal epochs
        epochs = Epochs()
        history = fit(model, batches, validation, [*others, Watch()], **options)
        epochs.write()
        return history

    child.recalibrate, child.fit_child = timed_recalibrate, timed_fit
    time_function(child, "build_with_seed", "building")
    time_function(child, "file_content", "saving")


_watched = []  # whether this process is a worker whose trainings are timed


def train_in_worker(start, *arguments):
    """Replaces `pnas.training.workers.train_in_worker`."""
    from pnas.training import workers

    if not _watched:
        workers.start_backend(**start)
        import pnas.training.child

        watch_training(pnas.training.child)
        write("start of a worker", (0, 0), (time.process_time(), 0))
        _watched.append(True)
    begin = clock()
    child = workers.train_in_worker(start, *arguments)
    write("children", begin)
    return child


def run():
    """Runs `train.py` with the arguments after FOLDER."""
    folder, script, *arguments = sys.argv[1:]
    os.environ[PARTS] = folder
    sys.path[:0] = [str(Path(script).parent)]
    sys.argv = [script, *arguments]

    from pnas.training import workers

    began = clock()
    train, is_started = workers.Workers.train, False

    def timed_train(*positional, **options):
        nonlocal is_started
        if not is_started:  # everything is imported by now
            is_started = True
            write("start of the search", began)
            from pnas.encoder import Encoder
            from pnas.store.files import Files
            from pnas.store.store import Store

            time_function(Encoder, "fit", "surrogate")
            time_function(Encoder, "rank", "surrogate")
            time_function(Store, "add", "keeping results")
            time_function(Files, "on_child_end", "keeping results")
            time_function(sys.modules["__main__"], "write_report", "report")
        start = clock()
        yield from train(*positional, **options)
        write("training", start)

    workers.Workers.train, workers.train_in_worker = timed_train, train_in_worker
    runpy.run_path(script, run_name="__main__")

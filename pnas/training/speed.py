"""How fast networks train here, from a few training steps of each; for a forecast of a search.

Importing this module does not import Keras.
"""

import collections
import re
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pnas.constants import Settings
from pnas.training.stopping import Overdue
from pnas.training.workers import Workers, start_backend

STEPS = 10  # training steps in an epoch of a measurement, at most
SECONDS = 5  # for the epochs after the first, which is traced; one is always measured
MOST_EPOCHS = 10


class Images(NamedTuple):
    """What a measurement needs to know of a data set: numbers of images and their (height, width, channels)."""

    training: int
    validation: int
    shape: tuple[int, int, int]


class Speed(NamedTuple):
    """What training one child takes: seconds of all, bytes of memory of its process, bytes of its saved network."""

    seconds: float
    memory: int
    network: int


def measure_speeds(cells: list[list], settings: Settings, images: Images, workers: Workers) -> list[Speed]:
    """Measures how fast children train, with as many side by side as in a search.

    Args:
        cells: their cells.
        settings: those of the search.
        images: those of the search. The measurement makes random ones of the same shape.
        workers: not on Ray, whose workers are not measured.
    Returns:
        A Speed for each cell; of several measurements of one, the medians.
    Raises:
        An exception of the training, or the death of a worker.
    """
    from pnas.training.child import VALIDATION_BATCH

    count, classes = min(STEPS * settings.BATCHSIZE, images.training), settings.DENSE_LAYERS[-1]
    count = max(VALIDATION_BATCH, count)
    x = 2 * np.random.default_rng(0).random((count, *images.shape), np.float32) - 1
    y = 2 * np.eye(classes, dtype=np.float32)[np.arange(count) % classes] - 1
    different = len(cells)
    cells = cells * max(1, workers.count // different)
    tasks = [(workers.start, number, cell, settings, images) for number, cell in enumerate(cells)]
    speeds = collections.defaultdict(list)
    for result in workers.pool.map(_measure_in_worker, tasks, workers.count, (x, y)):
        if isinstance(result, Overdue):
            raise TimeoutError("a measurement took longer than MAX_CHILD_MINUTES twice, or its worker died")
        number, speed = result
        speeds[number % different].append(speed)
    return [Speed(*map(statistics.median, zip(*speeds[number]))) for number in range(different)]


def _measure_in_worker(start, number, cell, settings, images, x, y):
    start_backend(**start)
    from pnas.training.child import release_networks

    with release_networks():
        return number, _measure(cell, settings, images, x, y)


def _measure(cell, settings, images, x, y):
    """The Speed of a cell, from a training of few steps in this process."""
    import keras

    from pnas.store.atomic import file_content
    from pnas.training.batches import Batches
    from pnas.training.callbacks import EpochTimes
    from pnas.training.child import VALIDATION_BATCH, build_with_seed, compile_child, fit_child

    start = time.perf_counter()
    model = build_with_seed(cell, settings, images.shape, settings.SEED)
    batches = Batches(x, y, settings.BATCHSIZE)
    compile_child(model, batches, MOST_EPOCHS, settings.LEARNING_RATE)
    times, validation = EpochTimes(SECONDS), (x[:VALIDATION_BATCH], y[:VALIDATION_BATCH])
    fit_child(model, batches, validation, [times], epochs=MOST_EPOCHS, verbose=0)
    network = len(file_content(keras.Model(model.inputs, model.outputs)))  # without the optimizer

    others = times.parts[1:]
    setup = time.perf_counter() - start - sum(map(sum, others))
    parts = tuple(map(statistics.median, zip(*others)))
    epoch = scaled(parts, batches.batch_size, Images(len(x), VALIDATION_BATCH, images.shape), images)
    return Speed(setup + settings.MAX_EPOCHS * epoch, _memory(), network)


def scaled(parts: tuple[float, float, float], batch_size: int, measured: Images, images: Images) -> float:
    """The seconds of an epoch on other numbers of images.

    Args:
        parts: seconds of the training steps, the re-estimation of batch-norm statistics and the validation of an epoch.
        batch_size: of training steps.
        measured, images: what they were measured with, and those of the other epoch.
    """
    here, there = ((*_batches(each.training, batch_size), each.validation) for each in (measured, images))
    return sum(seconds * most / least for seconds, most, least in zip(parts, there, here))


def _batches(training, size):
    """Batches of an epoch: those of training, and those of re-estimation as in `pnas.training.child.fit_child`."""
    from pnas.training.child import CALIBRATION_BATCHES

    return -(-training // size), min(CALIBRATION_BATCHES, max(1, training // size))


def _memory():
    """Bytes of this process in memory, of what it shares with others its part; elsewhere than on Linux, at the peak."""
    try:
        return 1024 * int(re.search(r"^Pss:\s*(\d+) kB", Path("/proc/self/smaps_rollup").read_text(), re.M)[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

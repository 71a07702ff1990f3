"""Training one architecture with several seeds, side by side where cores allow.

Importing this module does not import Keras: a new process first learns from it how many threads the backend gets.
"""

import dataclasses

import joblib
import numpy as np

from pnas.constants import Settings
from pnas.store.architecture import ArchitectureJournal
from pnas.store.atomic import set_aside
from pnas.store.paths import Paths, saved_networks
from pnas.training.local import LocalPool, stop
from pnas.training.workers import start_backend


def train_seeds(
    cell: list, settings: Settings, arrays: tuple[np.ndarray, ...], paths: Paths, journal: ArchitectureJournal
) -> None:
    """Trains a cell with TRAIN_SEEDS seeds on the same images, each as it would be trained alone.

    One process for each core trains them, or so many as N_WORKERS says, with an equal share of the cores as threads
    (another number of threads changes rounding). On one core, and on a GPU, they are trained one after the other in
    this process.

    Args:
        cell: the cell.
        settings: those of `pnas.training.architecture.train_architecture`. With LOAD_SAVED, the seeds that have been
            saved are resumed, and the others begin.
        arrays: x_train, y_train, x_val, y_val.
        paths: of the experiment. A new training moves the folders of earlier seeds aside.
        journal: that of the first seed. Holding it, this process keeps other runs out.
    Raises:
        UsageError: see `train_architecture`.
        OSError: a folder cannot be written, or a process has died.
    """
    repeats = range(settings.TRAIN_SEEDS)
    if not settings.LOAD_SAVED:
        set_aside(*paths.seeds())
    saved = [saved_networks(paths.of_seed(repeat)[0])[1].exists() for repeat in repeats]
    # If nothing was saved, LOAD_SAVED stays, and is refused.
    resumes = [settings.LOAD_SAVED and (is_saved or not any(saved)) for is_saved in saved]
    tasks = [(cell, dataclasses.replace(settings, LOAD_SAVED=resumes[repeat]), paths, repeat) for repeat in repeats]
    count = side_by_side(settings)
    if count == 1:
        for task in tasks:
            _train(*task, None if task[-1] else journal, arrays)
        return
    import keras

    start = {"threads": max(1, joblib.cpu_count() // count), "keras_backend": keras.backend.backend()}
    pool = LocalPool(count, start["threads"])
    try:
        for _ in pool.map(_train_in_worker, [(start, *task) for task in tasks], count, arrays):
            pass
    except pool.deaths as death:
        fewer = f"If it lacked memory, train fewer than {count} at a time: N_WORKERS = {count - 1}"
        reason = " ".join(str(death).split())
        raise OSError(f"the process of a seed died ({reason:.300}). LOAD_SAVED = True resumes. {fewer}") from None
    finally:
        stop()  # before this process prints anything else


def side_by_side(settings: Settings) -> int:
    """The number of seeds that are trained at the same time."""
    from pnas.backend import has_gpu  # not above, see there

    room = settings.N_WORKERS
    if room == "auto":
        room = 1 if has_gpu() else joblib.cpu_count()
    return min(settings.TRAIN_SEEDS, room)


def _train_in_worker(start, cell, settings, paths, repeat, *arrays):
    start_backend(**start)
    _train(cell, settings, paths, repeat, None, arrays)


def _train(cell, settings, paths, repeat, journal, arrays):
    """Trains a seed. Without a journal it opens one of its own."""
    from pnas.training.architecture import train_architecture
    from pnas.training.child import release_networks

    weights, logs = paths.of_seed(repeat)
    own = journal or ArchitectureJournal(logs, is_locked=True)
    try:
        with release_networks():
            train_architecture(cell, settings, arrays, weights, own, repeat)
    finally:
        if not journal:
            own.close()

"""Keras callbacks: what is measured and saved while a network is trained."""

import math
import time
from pathlib import Path

import keras
import numpy as np

from pnas.model import binary_kernels
from pnas.store.atomic import file_content, write_atomically


class EpochTimes(keras.callbacks.Callback):
    """Measures the parts of every epoch, and ends the training after a while. `fit_child` calls it after `recalibrate`.

    Args:
        limit: seconds that the epochs after the first may take. One of them is always trained.
    Attributes:
        parts: of every epoch (seconds of training steps, of the re-estimation of batch-norm statistics, of validation).
    """

    def __init__(self, limit: float = math.inf):
        super().__init__()
        self.limit = limit

    def on_train_begin(self, logs=None):
        self.parts = []

    def on_epoch_begin(self, epoch, logs=None):
        self.marks = [time.perf_counter()]

    def on_train_batch_end(self, batch, logs=None):
        self.trained = time.perf_counter()

    def on_test_begin(self, logs=None):
        self.marks += [self.trained, time.perf_counter()]

    def on_test_end(self, logs=None):
        self.parts.append(np.diff([*self.marks, time.perf_counter()]).tolist())
        if sum(map(sum, self.parts[1:])) > self.limit:
            self.model.stop_training = True


class SignFlips(keras.callbacks.Callback):
    """Adds `sign_flips`, the share in [0, 1] of binary weights whose sign an epoch changed, to its logs."""

    def on_train_begin(self, logs=None):
        self.signs = self._signs()

    def on_epoch_end(self, epoch, logs=None):
        before, self.signs = self.signs, self._signs()
        logs["sign_flips"] = float(np.mean(self.signs != before))

    def _signs(self):
        kernels = binary_kernels(self.model)
        return np.concatenate([keras.ops.convert_to_numpy(kernel.binary()).ravel() > 0 for _, kernel in kernels])


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras's progress bar. It never counts beyond the last step, also where several steps are run as one execution."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(min(batch, self.target - 1), logs)


class SaveNetworks(keras.callbacks.Callback):
    """Saves the network after every epoch, and the best one. A file is never left half-written.

    Args:
        best_path: of the network with the highest validation accuracy.
        last_path: of the network after the last epoch.
        best_accuracy: validation accuracy of the network at `best_path`, -1 if there is none.
    """

    def __init__(self, best_path: Path, last_path: Path, best_accuracy: float):
        super().__init__()
        self.best_path, self.last_path, self.best_accuracy = best_path, last_path, best_accuracy

    def on_epoch_end(self, epoch, logs=None):
        content = file_content(self.model)
        if logs["val_accuracy"] > self.best_accuracy:
            self.best_accuracy = logs["val_accuracy"]
            write_atomically(self.best_path, content)
        write_atomically(self.last_path, content)

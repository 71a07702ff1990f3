"""Training, evaluating and distributing children."""

from pnas.backend import released  # isort: skip  (first, also in the processes that train_child is loaded in)
import errno
import functools
import json
import os
import time
import zlib

import joblib
import keras
import numpy as np

from pnas.callbacks import EpochTimes, Keeper, LearningRateLog, Recalibration, SignFlips, file_content
from pnas.children import Child
from pnas.files import check_settings, set_aside, write_atomically
from pnas.model import build_child, count_binary_weights, count_macs
from pnas.optimizer import decaying_adam
from pnas.workers import Workers

# Children side by side on a GPU: they are small, and much of their time is tracing and compiling, on a core each. 16 had room on
# a GPU of 80 GiB when the rewards of tests/data/mnist_cells.csv were measured; 4 are for smaller ones, too.
CHILDREN_PER_GPU = 4
CALIBRATION_BATCHES = 50  # training batches over which the moments of the normalizations are estimated
STEPS_PER_EXECUTION = 10  # training steps that TensorFlow does before it hands back to Keras
VALIDATION_BATCH = 500  # images; a size that divides the validation set spares the backend a second shape


class Manager:
    """Builds children, trains them and returns their rewards.

    Args:
        data: has name, x_train, y_train, x_val, y_val: images (n, height, width, channels) in [-1, +1], labels ±1 one-hot
            (n, classes).
        num_cells, filters, dense_layers, dropout: the network, as in `pnas.model.build_child`.
        batch_size: images a training step.
        learning_rate: (first, last) step size of Adam, decaying exponentially from step to step.
        seed: int; every child's own seed is made of it and of the cell, so that it does not matter when, where and after
            what a child is trained.
        n_workers: processes that train children side by side. 'auto' is one per `threads_per_child` cores, on a GPU
            CHILDREN_PER_GPU at most, and on a cluster as many as it has room for.
        threads_per_child: threads that TensorFlow gets in each of them; JAX takes what it finds.
        parallel_backend, scheduler: where they are, see `pnas.workers.Workers`.
    """

    def __init__(
        self,
        data,
        num_cells,
        filters,
        dense_layers,
        dropout,
        batch_size=128,
        learning_rate=(1e-2, 1e-5),
        seed=0,
        n_workers="auto",
        threads_per_child=1,
        parallel_backend="loky",
        scheduler=None,
    ):
        self.arrays = data.x_train, data.y_train, data.x_val, data.y_val
        self.network = {
            "num_cells": num_cells,
            "filters": filters,
            "dense_layers": dense_layers,
            "dropout": dropout,
            "input_shape": data.x_train.shape[1:],
            "prefix": data.name,  # marks every file that a network is kept in
        }
        self.training = {"batch_size": batch_size, "learning_rate": learning_rate}
        self.seed = seed
        if n_workers == "auto" and parallel_backend == "loky":
            n_workers = max(1, joblib.cpu_count() // threads_per_child)
            if _has_gpu():
                n_workers = min(n_workers, CHILDREN_PER_GPU)
        self._workers = parallel_backend, scheduler, n_workers, keras.backend.backend(), threads_per_child

    @functools.cached_property
    def workers(self):
        """pnas.workers.Workers, started when the first children are trained."""
        return Workers(*self._workers)

    def child_seed(self, cell):
        """Seed of the cell's initial weights and batches, a function of the search's seed and of the cell alone."""
        return zlib.crc32(repr((self.seed, cell)).encode())

    def train_children(self, children, epochs):
        """Trains children and yields each as soon as it is done, with its reward.

        Args:
            children: list of (number, cell, predicted reward).
            epochs: training epochs of each.
        Yields:
            Child. The reward is the accuracy on the validation images, in [0, 1], after the best epoch.
        """
        untrained = [Child(number, cell, predicted, self.child_seed(cell)) for number, cell, predicted in children]
        return self.workers.train(untrained, self.network, self.training, epochs, arrays=self.arrays)

    def train_architecture(self, cell, epochs, folder, load_saved=False):
        """Trains one cell to convergence, keeping the best and the last state of the network at the end of every epoch.

        Args:
            cell: the cell.
            epochs: epochs in all, those of earlier runs included.
            folder: where `architecture_best.keras` and `architecture_last.keras` (with the optimizer's state) are kept.
            load_saved: whether to go on from these files; otherwise they are moved aside.
        Returns:
            The best network, a keras.Model.
        Raises:
            ValueError: nothing was saved, or it is another architecture's, or of a training on other images, in other batches
                or with other dropout.
        """
        x_train, y_train, x_val, y_val = self.arrays
        batch_size = self.training["batch_size"]
        best_path = os.path.join(folder, "architecture_best.keras")
        last_path = os.path.join(folder, "architecture_last.keras")
        settings_path = os.path.join(folder, "architecture.json")
        batches = Batches(x_train, y_train, batch_size, self.child_seed(cell))
        settings = {
            "number of training images": len(x_train),
            "their checksum": zlib.crc32(np.ascontiguousarray(x_train)),
            "BATCHSIZE": batch_size,
            "DROPOUT": list(self.network["dropout"]),
            "SEED": self.seed,
        }
        keras.utils.set_random_seed(self.child_seed(cell))
        model = build_child(cell, **self.network)
        trained_epochs, best_accuracy, moments = 0, -1.0, []
        if load_saved:
            if os.path.exists(settings_path):
                check_settings(settings_path, settings, "or set LOAD_SAVED = False")
            model, best = (_load_training(path, model) for path in (last_path, best_path))
            trained_epochs = int(model.optimizer.iterations) // len(batches)
            best_accuracy = best.evaluate(x_val, y_val, VALIDATION_BATCH, verbose=0, return_dict=True)["accuracy"]
            moments = model.optimizer.variables
        else:
            set_aside(best_path, last_path, settings_path)
            os.makedirs(folder, exist_ok=True)
            write_atomically(settings_path, json.dumps(settings).encode())
        compile_child(model, epochs * len(batches), self.training["learning_rate"])
        for variable, kept in zip(model.optimizer.variables, moments):
            variable.assign(kept)
        keeper = Keeper(best_path, last_path, best_accuracy)
        _fit(model, batches, (x_val, y_val), [keeper], epochs=epochs, initial_epoch=trained_epochs)
        return load_network(best_path)


def _has_gpu():
    try:
        return bool(keras.distribution.list_devices("gpu"))
    except RuntimeError:  # JAX's way to say that there is none
        return False


def load_network(path):
    """The network of a .keras file.

    Raises:
        ValueError: there is no such file, or it is damaged.
    """
    try:
        return keras.models.load_model(path)  # in Keras's safe mode: no code of the file is run
    except Exception as error:  # keras, zipfile and h5py each have their own
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{path} cannot be loaded as a network: {reason}") from None


def _load_training(path, model):
    """The network of a .keras file, which must be one of the same architecture as `model`, with its optimizer.

    Raises:
        ValueError: it is not, or there is no such file, or it is damaged.
    """
    saved = load_network(path)
    parts = [[network.name, *((weight.path, weight.shape) for weight in network.weights)] for network in (saved, model)]
    if parts[0] != parts[1] or getattr(saved, "optimizer", None) is None:
        raise ValueError(
            f"LOAD_SAVED: {path} holds {saved.name}, one of other filters or dense layers, or one without its optimizer, not "
            f"{model.name} in training. Set REPRESENTATION_STRING and the network's constants back, or LOAD_SAVED = False"
        )
    return saved


def train_child(child, network, training, epochs, *arrays):
    """Builds and trains one child, twice if it fails; returns it with what came out.

    Args:
        child: Child, of which number, cell, predicted and seed are known.
        network: arguments of `build_child`.
        training: dict of batch_size and learning_rate.
        epochs: int.
        arrays: x_train, y_train, x_val, y_val.
    Returns:
        Child; if it failed both times, with reward 0 and the reason in `error`.
    Raises:
        OSError: there is no room left on the disk, or it cannot be written, of which the child is not the cause.
    """
    for _ in range(2):
        try:
            with released():
                return _train_child(child, network, training, epochs, *arrays)
        except Exception as error:  # whatever else it is, the search goes on
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
    return child.failed(reason)


def _train_child(child, network, training, epochs, x_train, y_train, x_val, y_val):
    start = time.perf_counter()
    keras.utils.set_random_seed(child.seed)
    model = build_child(child.cell, **network)
    batches = Batches(x_train, y_train, training["batch_size"], child.seed)
    compile_child(model, epochs * len(batches), training["learning_rate"])
    # With so much patience it never stops; it keeps the best epoch.
    best = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=epochs, restore_best_weights=True)
    times = EpochTimes()
    callbacks = [times, SignFlips(), best]
    history = _fit(model, batches, (x_val, y_val), callbacks, epochs=epochs, verbose=0).history
    if not np.all(np.isfinite(history["loss"])):
        raise FloatingPointError(f"the loss diverged: {history['loss']}")
    network_alone = keras.Model(model.inputs, model.outputs, name=model.name)  # without the optimizer's state
    return child._replace(
        reward=max(history["val_accuracy"]),
        seconds=time.perf_counter() - start,
        stepping=times.stepping(),
        parameters=model.count_params(),
        binary_weights=count_binary_weights(model),
        macs=count_macs(model),
        history=history,
        network=file_content(network_alone),
    )


def _fit(model, batches, validation, callbacks, **options):
    """`model.fit` as every training here needs it; `callbacks` come behind its own, `options` are those of `fit`."""
    size, count = batches.batch_size, len(batches.images)
    seen = size * min(CALIBRATION_BATCHES, max(1, count // size))  # whole batches
    rows = np.random.default_rng(batches.seed).permutation(count)[:seen]  # of all images, which may be sorted
    return model.fit(
        batches.for_fit(),
        shuffle=False,
        validation_data=Batches(*validation, VALIDATION_BATCH).for_fit(),
        callbacks=[
            keras.callbacks.LambdaCallback(on_epoch_begin=batches.shuffle),
            Recalibration(Batches(batches.images[rows], batches.labels[rows], size).for_fit()),
            LearningRateLog(),
            *callbacks,
        ],
        **options,
    )


class Batches(keras.utils.PyDataset):
    """Images and their labels in batches; those of training in another order in every epoch.

    Keras would copy arrays into memory of the backend; of these, which processes on one machine share, each batch is read when
    its turn comes. The order depends on seed and epoch alone, so a training that goes on sees what it would have seen.
    `fit` takes `for_fit()` with shuffle=False, and `shuffle` as a callback: backends differ in how often they call the
    `on_epoch_begin` of their data.

    Args:
        images, labels: arrays with as many rows.
        batch_size: rows in a batch; the last one of an epoch has what is left.
        seed: int, for `shuffle`.
    """

    def __init__(self, images, labels, batch_size, seed=0):
        super().__init__()
        self.images, self.labels, self.batch_size, self.seed = images, labels, batch_size, seed
        self.order = np.arange(len(images))

    def shuffle(self, epoch, logs=None):
        """Draws the order of an epoch, a number counted from 0."""
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.images))

    def for_fit(self):
        """What `fit` takes: itself, or under TensorFlow a tf.data.Dataset of the batches.

        Keras would make such a one, too, but tuned while it runs. The thread that tunes is mostly asleep when an epoch ends, and
        the next epoch waits until it wakes up, which can be half of an epoch later.
        """
        if keras.backend.backend() != "tensorflow":
            return self
        import tensorflow as tf

        signature = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in (self.images, self.labels))
        dataset = tf.data.Dataset.from_generator(
            lambda: map(self.__getitem__, range(len(self))), output_signature=signature
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.apply(tf.data.experimental.assert_cardinality(len(self))).prefetch(2).with_options(options)

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, number):
        rows = self.order[number * self.batch_size :][: self.batch_size]
        return self.images[rows], self.labels[rows]


def compile_child(model, steps, learning_rate):
    """Squared hinge and Adam, its learning rate decaying from the first of two numbers to the second in so many steps."""
    model.compile(
        decaying_adam(*learning_rate, steps),
        loss="squared_hinge",
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        # Between two steps Keras is busy for a millisecond, a tenth of a small child's step.
        steps_per_execution=STEPS_PER_EXECUTION if keras.backend.backend() == "tensorflow" else 1,
        # TensorFlow's own convolutions are faster on a CPU than XLA's, most of all the depthwise one.
        jit_compile=keras.backend.backend() != "tensorflow" or _has_gpu(),
    )
    model.optimizer.build(model.trainable_variables)  # else the first step makes its variables, and is traced twice

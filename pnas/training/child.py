"""Training one child."""

from pnas.backend import has_gpu  # isort: skip  (first, also in a worker process)
import contextlib
import errno
import re
import time
import traceback
import zlib
from collections.abc import Iterator

import keras
import numpy as np

from binarized.normalization import recalibrate
from binarized.seeds import layer_seeds
from pnas import UsageError
from pnas.child import Child, as_fraction
from pnas.constants import Settings
from pnas.model import build_child, count_binary_weights, count_macs
from pnas.store.atomic import file_content
from pnas.training.batches import Batches
from pnas.training.callbacks import SignFlips
from pnas.training.private_names import python_functions, registered_gradients
from pnas.training.recipe import recipe

CALIBRATION_BATCHES = 50  # training batches over which batch-norm statistics are re-estimated
STEPS_PER_EXECUTION = 10  # training steps that TensorFlow runs before it returns to Keras
HOPELESS = (ArithmeticError, AttributeError, LookupError, NameError, TypeError, ValueError)  # a second try fails, too
VALIDATION_BATCH = 500  # images; a divisor of the validation set, so that only one shape is traced
UNINFORMATIVE = re.compile(  # lines of TensorFlow's and Keras's exceptions that do not say what is wrong
    r"\s*($|File |\[\[|Graph execution error:|Detected at |Exception encountered |<stack traces|\d+ root error)"
)


def child_seed(seed: int, cell: list, repeat: int = 0) -> int:
    """Seed of a cell's initial weights and batches, a function of the search's seed and the cell alone.

    So the reward does not depend on when, where or after which other child a child is trained. A cell that is trained
    again has another seed for each `repeat`, counted from 1.
    """
    return zlib.crc32(repr((seed, cell, repeat) if repeat else (seed, cell)).encode())


def train_child(child: Child, settings: Settings, stop: tuple[int, float] | None, *arrays: np.ndarray) -> Child:
    """Builds and trains one child. If it fails, for example without enough memory, it is trained once more.

    With the same seed the same loss diverges again, and a wrong operator fails again, so these get no second try.

    Args:
        child: untrained, with its seed.
        settings: those of the network and its training.
        stop: (epoch, least validation accuracy by then) of a child that may be stopped early.
        arrays: x_train, y_train, x_val, y_val.
    Returns:
        The child with its results. If it failed, its reward is 0, and `error` and `traceback` give the reason.
    Raises:
        OSError: the disk is full or cannot be written, which is not the child's fault.
        UsageError: see `compile_child`.
    """
    for _ in range(2):
        try:
            with release_networks():
                return _train_once(child, settings, stop, *arrays)
        except Exception as error:  # the search goes on without this child
            is_full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
            if is_full or isinstance(error, UsageError):
                raise
            failed = child.failed(f"{type(error).__name__}: {informative_line(str(error))}", traceback.format_exc())
            if isinstance(error, HOPELESS):
                break
    return failed


@contextlib.contextmanager
def release_networks() -> Iterator[None]:
    """Releases, at its end, the memory of all networks that were built inside it. They cannot be used afterwards.

    Under TensorFlow `keras.utils.clear_session` is not enough. Every custom gradient stays registered under a unique
    name. And functions compiled at module level keep the graph that was the default one when they were traced, and with
    it the Python functions through which data sets read their batches. Without this, a worker would keep every network
    that it has trained, and map the images into its memory once more for each.
    """
    gradients, functions = {}, []
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gradients, functions = registered_gradients(), python_functions(tf.compat.v1.get_default_graph())
    names, count = set(gradients), len(functions)
    try:
        yield
    finally:
        for name in set(gradients) - names:
            if name.startswith("CustomGradient-"):
                del gradients[name]
        del functions[count:]
        keras.utils.clear_session()  # last, because it also collects garbage


def informative_line(message: str) -> str:
    """The first line of an exception's message that says what is wrong."""
    lines = re.sub(r"\x1b\[\d*m", "", message).splitlines() or [""]
    return next((line.strip() for line in lines if not UNINFORMATIVE.match(line)), lines[0])


def _train_once(child, settings, stop, x_train, y_train, x_val, y_val):
    start = time.perf_counter()
    epochs = settings.MAX_EPOCHS
    model = build_with_seed(child.cell, settings, x_train.shape[1:], child.seed)
    batches = Batches(x_train, y_train, settings.BATCHSIZE, child.seed)
    compile_child(model, batches, epochs, settings.LEARNING_RATE)
    # Patience for all epochs: it never stops the training, it restores the weights of the best epoch.
    best = keras.callbacks.EarlyStopping("val_accuracy", mode="max", patience=epochs, restore_best_weights=True)

    def stop_if_behind(epoch, logs):
        if stop and epoch + 1 == stop[0] and best.best < stop[1]:
            model.stop_training = True

    behind = keras.callbacks.LambdaCallback(on_epoch_end=stop_if_behind)
    callbacks = [keras.callbacks.TerminateOnNaN(), SignFlips(), best, behind]
    history = fit_child(model, batches, (x_val, y_val), callbacks, epochs=epochs, verbose=0).history
    if not np.all(np.isfinite(history["loss"])):
        raise FloatingPointError(f"the loss diverged: {history['loss']}")
    return child._replace(
        reward=as_fraction(max(history["val_accuracy"])),
        seconds=time.perf_counter() - start,
        parameters=model.count_params(),
        binary_weights=count_binary_weights(model),
        macs=count_macs(model),
        epochs=len(history["loss"]),
        history=history,
        network=file_content(keras.Model(model.inputs, model.outputs, name=model.name)),  # without the optimizer
    )


def build_with_seed(cell: list, settings: Settings, input_shape: tuple[int, int, int], seed: int) -> keras.Model:
    """`build_child` with initial weights and dropout masks drawn from `seed`, named after DATASET and the cell."""
    keras.utils.set_random_seed(seed)  # for operators with stock Keras layers
    with layer_seeds(seed):
        return build_child(
            cell,
            num_cells=settings.NUM_CELLS,
            filters=settings.NUM_CELL_FILTERS,
            dense_layers=settings.DENSE_LAYERS,
            dropout=settings.DROPOUT,
            input_shape=input_shape,
            prefix=settings.DATASET,
        )


def compile_child(model: keras.Model, batches: Batches, epochs: int, learning_rate: tuple[float, float]) -> None:
    """Compiles a child by `pnas.training.recipe`, with its accuracy, and has its batches augmented.

    Args:
        model: network of `build_child`.
        batches: those of the training images.
        epochs: training epochs in total.
        learning_rate: (initial, final).
    Raises:
        UsageError: a network with the optimizer or loss of the recipe could be saved, but not loaded.
    """
    parts = recipe(epochs * len(batches), learning_rate)
    batches.augment = parts.pop("augment", None)
    model.compile(
        **parts,
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        # Keras spends a millisecond between two executions, a tenth of a small child's step.
        steps_per_execution=STEPS_PER_EXECUTION if keras.backend.backend() == "tensorflow" else 1,
        # On a CPU, TensorFlow's own convolutions are faster than XLA's, above all the depthwise one.
        jit_compile=keras.backend.backend() != "tensorflow" or has_gpu(),
    )
    try:
        keras.saving.deserialize_keras_object(model.get_compile_config())
    except (TypeError, ValueError) as error:
        reason = informative_line(str(error))
        raise UsageError(f"pnas/training/recipe.py: its optimizer or loss cannot be loaded again: {reason}") from None
    # Otherwise the first step creates its variables and is traced twice.
    model.optimizer.build(model.trainable_variables)


def fit_child(
    model: keras.Model,
    batches: Batches,
    validation: tuple[np.ndarray, np.ndarray],
    callbacks: list[keras.callbacks.Callback],
    **options,
) -> keras.callbacks.History:
    """`model.fit` with re-estimated batch-norm statistics before every validation.

    Args:
        model: compiled child.
        batches: those of the training images.
        validation: (images, labels).
        callbacks: further callbacks, called after those of this function.
        options: other arguments of `fit`.
    """

    def add_learning_rate(epoch, logs):
        logs["learning_rate"] = float(model.optimizer.learning_rate)

    size, count = batches.batch_size, len(batches.images)
    seen = size * min(CALIBRATION_BATCHES, max(1, count // size))  # whole batches
    rows = np.random.default_rng(batches.seed).permutation(count)[:seen]  # the images may be sorted
    calibration = Batches(batches.images[rows], batches.labels[rows], size).for_fit()
    return model.fit(
        batches.for_fit(),
        shuffle=False,
        validation_data=Batches(*validation, VALIDATION_BATCH).for_fit(),
        callbacks=[
            keras.callbacks.LambdaCallback(
                on_epoch_begin=batches.shuffle,
                on_epoch_end=add_learning_rate,
                on_test_begin=lambda logs: recalibrate(model, calibration),
            ),
            *callbacks,
        ],
        **options,
    )

"""Training one architecture to convergence, in a way that can be interrupted and resumed."""

import sys
import tempfile
import zlib
from pathlib import Path

import keras
import numpy as np

from pnas import UsageError
from pnas.constants import Settings, changes, checksums
from pnas.store.atomic import check_writable, set_aside
from pnas.training.batches import Batches
from pnas.training.callbacks import EpochTimes, ProgressBar, SaveNetworks, SignFlips
from pnas.training.child import VALIDATION_BATCH, build_with_seed, child_seed, compile_child, fit_child


def train_architecture(
    cell: list, settings: Settings, arrays: tuple[np.ndarray, ...], folder: str | Path, journal=None
) -> keras.Model:
    """Trains one cell and saves the best and the last state of the network after every epoch.

    A resumed training ends with the weights that it would have without the interruption.

    Args:
        cell: the cell.
        settings: the network, and its training for NUM_EPOCHS in total. With LOAD_SAVED it is resumed.
        arrays: x_train, y_train, x_val, y_val.
        folder: where `architecture_best.keras` and `architecture_last.keras` (with the optimizer) are saved. A new
            training moves earlier ones aside.
        journal: pnas.store.architecture.ArchitectureJournal, which keeps the learning curve and what the training was
            made with, or None.
    Returns:
        The best network by validation accuracy.
    Raises:
        UsageError: nothing was saved, or another architecture, or one that was trained on other images, in other
            batches or with other dropout.
        OSError: the folder or the one for temporary files cannot be written, or is full.
    """
    x_train, y_train, *validation = arrays
    best_path, last_path = (Path(folder, f"architecture_{name}.keras") for name in ("best", "last"))
    if settings.LOAD_SAVED and not last_path.exists():
        raise UsageError(
            f"LOAD_SAVED: no training of this EXPERIMENT_NAME has been saved, {last_path} does not exist. "
            "Set EXPERIMENT_NAME to that of the training, or set LOAD_SAVED = False"
        )
    check_writable(folder, tempfile.gettempdir())  # networks are written there before they are in `folder`
    for unfinished in Path(folder).glob("architecture_*.tmp"):  # by runs that were killed
        unfinished.unlink()
    batches = Batches(x_train, y_train, settings.BATCHSIZE, child_seed(settings.SEED, cell))
    model = build_with_seed(cell, settings, x_train.shape[1:], batches.seed)
    made_with = {
        "number of training images": len(x_train),
        "their checksum": zlib.crc32(np.ascontiguousarray(x_train)),
        "BATCHSIZE": settings.BATCHSIZE,
        "DROPOUT": list(settings.DROPOUT),
        "SEED": settings.SEED,
        **checksums(cell[1::2]),
    }
    trained_epochs, best_accuracy, optimizer_state = 0, -1.0, []
    if settings.LOAD_SAVED:
        _check_same(made_with, journal, folder)
        model, best = (_load_training(path, model) for path in (last_path, best_path))
        trained_epochs = int(model.optimizer.iterations) // len(batches)
        best_accuracy = best.evaluate(*validation, VALIDATION_BATCH, verbose=0, return_dict=True)["accuracy"]
        optimizer_state = model.optimizer.variables
        if trained_epochs < settings.NUM_EPOCHS:
            print(f"Resuming after epoch {trained_epochs} of {settings.NUM_EPOCHS}")
        else:
            trained = f"{trained_epochs} epochs have been trained: no further epoch is trained"
            print(f"NUM_EPOCHS is {settings.NUM_EPOCHS} and {trained}")
    else:
        set_aside(best_path, last_path)
    compile_child(model, batches, settings.NUM_EPOCHS, settings.LEARNING_RATE)
    for variable, saved in zip(model.optimizer.variables, optimizer_state):
        variable.assign(saved)
    times = EpochTimes()
    callbacks = [times, SignFlips()]
    if journal:
        journal.start(trained_epochs, made_with)
        callbacks.append(
            keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs: journal.write_epoch(epoch + 1, {**logs, "seconds": times.seconds[-1]})
            )
        )
    fit_child(
        model,
        batches,
        validation,
        # The network comes after its row: the row of an epoch that was not saved is dropped when the training resumes.
        [*callbacks, SaveNetworks(best_path, last_path, best_accuracy), ProgressBar()],
        verbose=1 if sys.stdout.isatty() else 2,  # a progress bar would fill a log file: there it is a line per epoch
        epochs=settings.NUM_EPOCHS,
        initial_epoch=trained_epochs,
    )
    return load_network(best_path)


def _check_same(made_with, journal, folder):
    """Refuses to resume a training that was made with something else, as far as a journal has kept it."""
    kept = journal.settings() if journal else None
    differences = ", ".join(changes(kept, made_with).values()) if kept else ""
    if differences:
        raise UsageError(
            f"LOAD_SAVED: the training in {folder} was made with other settings: {differences}. Set them back, or set "
            "LOAD_SAVED = False"
        )


def measure(network: keras.Model, packed, data) -> dict[str, float]:
    """Accuracies of a trained network in Keras and as bits.

    A packed network reads 8-bit pixels. Where the test images are not on that grid, both are measured on the rounded
    images too, so that a difference between them is not one of the images.

    Args:
        network: as Keras has it.
        packed: binarized.bitwise.network.Network, the same network.
        data: has x_val, y_val, x_test, y_test as in `pnas.training.data.check_data`.
    Returns:
        validation_accuracy, test_accuracy, test_accuracy_as_bits and, only where the test images are not 8-bit
        pixels, test_accuracy_rounded: that of Keras on the rounded images.
    """

    def accuracy(images, labels):
        return network.evaluate(images, labels, verbose=0, return_dict=True)["accuracy"]

    pixels = np.rint((data.x_test + 1) * 127.5).astype(np.uint8)
    rounded = pixels.astype(np.float32) / np.float32(127.5) - 1
    classes = packed.predict(pixels)
    accuracies = {
        "validation_accuracy": accuracy(data.x_val, data.y_val),
        "test_accuracy": accuracy(data.x_test, data.y_test),
        "test_accuracy_as_bits": float(np.mean(classes == data.y_test.argmax(axis=1))),
    }
    if not np.allclose(rounded, data.x_test, rtol=0, atol=1e-5):
        accuracies["test_accuracy_rounded"] = accuracy(rounded, data.y_test)
    return accuracies


def load_network(path: str | Path) -> keras.Model:
    """Loads the network of a .keras file in Keras's safe mode, which runs no code of the file.

    Raises:
        UsageError: there is no such file, or it is damaged.
    """
    try:
        return keras.models.load_model(path)
    except Exception as error:  # keras, zipfile and h5py have their own exceptions
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UsageError(f"{path} cannot be loaded as a network: {reason}") from None


def _load_training(path, model):
    """Loads a network with its optimizer from a .keras file.

    Args:
        path: of the file.
        model: keras.Model of the architecture that is expected.
    Raises:
        UsageError: the file is missing or damaged, or holds another architecture, or no optimizer.
    """
    saved = load_network(path)
    parts = [[network.name, *((weight.path, weight.shape) for weight in network.weights)] for network in (saved, model)]
    if parts[0] != parts[1] or getattr(saved, "optimizer", None) is None:
        raise UsageError(
            f"LOAD_SAVED: {path} holds {saved.name}, one of other filters or dense layers, or one without its "
            f"optimizer, not {model.name} in training. Set REPRESENTATION_STRING and the network's constants back, or "
            "set LOAD_SAVED = False"
        )
    return saved

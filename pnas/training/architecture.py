"""Training one architecture to convergence, in a way that can be interrupted and resumed."""

import json
import os
import sys
import tempfile
import zlib

import keras
import numpy as np

from pnas.journal.files import check_settings, check_writable, remove_unfinished, set_aside, write_atomically
from pnas.training.batches import Batches
from pnas.training.callbacks import EpochTimes, ProgressBar, SaveNetworks, SignFlips
from pnas.training.child import VALIDATION_BATCH, build_with_seed, child_seed, compile_child, fit_child


def train_architecture(cell, network, training, epochs, seed, arrays, folder, load_saved=False, journal=None):
    """Trains one cell and saves the best and the last state of the network after every epoch.

    A resumed training ends with the weights that it would have without the interruption.

    Args:
        cell: list, the cell.
        network: dict, arguments of `pnas.model.build_child`.
        training: dict of batch_size and learning_rate.
        epochs: int, epochs in total, including those of earlier runs.
        seed: int, SEED of train.py.
        arrays: x_train, y_train, x_val, y_val.
        folder: where `architecture_best.keras`, `architecture_last.keras` (with the optimizer) and
            `architecture_settings.json` are saved.
        load_saved: whether to resume from these files. Otherwise they are moved aside.
        journal: pnas.journal.architecture.ArchitectureJournal, which keeps the learning curve, or None.
    Returns:
        keras.Model, the best network by validation accuracy.
    Raises:
        ValueError: nothing was saved, or another architecture, or one that was trained on other images, in other
            batches or with other dropout.
        OSError: the folder or the one for temporary files cannot be written, or is full.
    """
    x_train, y_train, x_val, y_val = arrays
    best_path = os.path.join(folder, "architecture_best.keras")
    last_path = os.path.join(folder, "architecture_last.keras")
    settings_path = os.path.join(folder, "architecture_settings.json")
    if load_saved and not os.path.exists(last_path):
        raise ValueError(
            f"LOAD_SAVED: no training of this EXPERIMENT_NAME has been saved, {last_path} does not exist. "
            "Set EXPERIMENT_NAME to that of the training, or set LOAD_SAVED = False"
        )
    remove_unfinished(best_path, last_path, settings_path)
    check_writable(folder, tempfile.gettempdir())  # networks are written there before they are in `folder`
    batches = Batches(x_train, y_train, training["batch_size"], child_seed(seed, cell))
    settings = {
        "number of training images": len(x_train),
        "their checksum": zlib.crc32(np.ascontiguousarray(x_train)),
        "BATCHSIZE": training["batch_size"],
        "DROPOUT": list(network["dropout"]),
        "SEED": seed,
    }
    model = build_with_seed(cell, network, batches.seed)
    trained_epochs, best_accuracy, optimizer_state = 0, -1.0, []
    if load_saved:
        if os.path.exists(settings_path):
            check_settings(settings_path, settings, "or set LOAD_SAVED = False")
        model, best = (_load_training(path, model) for path in (last_path, best_path))
        trained_epochs = int(model.optimizer.iterations) // len(batches)
        best_accuracy = best.evaluate(x_val, y_val, VALIDATION_BATCH, verbose=0, return_dict=True)["accuracy"]
        optimizer_state = model.optimizer.variables
        if trained_epochs < epochs:
            print(f"Resuming after epoch {trained_epochs} of {epochs}")
        else:
            print(f"NUM_EPOCHS is {epochs} and {trained_epochs} epochs have been trained: no further epoch is trained")
    else:
        set_aside(best_path, last_path, settings_path)
        write_atomically(settings_path, json.dumps(settings).encode())
    compile_child(model, epochs * len(batches), training["learning_rate"])
    for variable, saved in zip(model.optimizer.variables, optimizer_state):
        variable.assign(saved)
    times = EpochTimes()
    callbacks = [times, SignFlips()]
    if journal:
        journal.start(trained_epochs)
        write = lambda epoch, logs: journal.write_epoch(epoch + 1, {**logs, "seconds": times.seconds[-1]})
        callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=write))
    # The network comes after its row: the row of an epoch that was not saved is dropped when the training is resumed.
    callbacks += [SaveNetworks(best_path, last_path, best_accuracy), ProgressBar()]
    verbose = 1 if sys.stdout.isatty() else 2  # a progress bar would fill a log file: there it is a line per epoch
    fit_child(model, batches, (x_val, y_val), callbacks, verbose=verbose, epochs=epochs, initial_epoch=trained_epochs)
    return load_network(best_path)


def measure(network, packed, data):
    """Accuracies of a trained network in Keras and as bits.

    A packed network reads 8-bit pixels. Where the test images are not on that grid, both are measured on the rounded
    images too, so that a difference between them is not one of the images.

    Args:
        network: keras.Model.
        packed: binarized.bitwise.network.Network, the same network.
        data: has x_val, y_val, x_test, y_test as in `pnas.training.data.check_data`.
    Returns:
        dict of validation_accuracy, test_accuracy, test_accuracy_as_bits and, only where the test images are not 8-bit
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


def load_network(path):
    """Loads the network of a .keras file in Keras's safe mode, which runs no code of the file.

    Raises:
        ValueError: there is no such file, or it is damaged.
    """
    try:
        return keras.models.load_model(path)
    except Exception as error:  # keras, zipfile and h5py have their own exceptions
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ValueError(f"{path} cannot be loaded as a network: {reason}") from None


def _load_training(path, model):
    """Loads a network with its optimizer from a .keras file.

    Args:
        path: of the file.
        model: keras.Model of the architecture that is expected.
    Raises:
        ValueError: the file is missing or damaged, or holds another architecture, or no optimizer.
    """
    saved = load_network(path)
    parts = [[network.name, *((weight.path, weight.shape) for weight in network.weights)] for network in (saved, model)]
    if parts[0] != parts[1] or getattr(saved, "optimizer", None) is None:
        raise ValueError(
            f"LOAD_SAVED: {path} holds {saved.name}, one of other filters or dense layers, or one without its "
            f"optimizer, not {model.name} in training. Set REPRESENTATION_STRING and the network's constants back, or "
            "set LOAD_SAVED = False"
        )
    return saved

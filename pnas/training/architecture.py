"""Training one architecture to convergence, in a way that can be interrupted and resumed."""

import statistics
import sys
import tempfile
import warnings
import zlib
from pathlib import Path
from typing import Any

import keras
import numpy as np

from binarized.bitwise.network import Network
from binarized.bitwise.packing import pack
from pnas import UsageError
from pnas.constants import Settings, changes, checksums
from pnas.store.architecture import read_curve, summary_of
from pnas.store.atomic import check_writable, set_aside, write_atomically
from pnas.store.paths import Paths, saved_networks
from pnas.training.batches import Batches
from pnas.training.callbacks import EpochTimes, ProgressBar, SaveNetworks, SignFlips
from pnas.training.child import VALIDATION_BATCH, build_with_seed, child_seed, compile_child, fit_child


def train_architecture(
    cell: list, settings: Settings, arrays: tuple[np.ndarray, ...], folder: str | Path, journal, repeat: int = 0
) -> keras.Model:
    """Trains one cell and saves the best and the last state of the network after every epoch.

    A resumed training ends with the weights that it would have without the interruption.

    Args:
        cell: the cell.
        settings: the network, and its training for NUM_EPOCHS in total. With LOAD_SAVED it is resumed. If there are
            several TRAIN_SEEDS, each line on the console names the seed.
        arrays: x_train, y_train, x_val, y_val.
        folder: where `architecture_best.keras` and `architecture_last.keras` (with the optimizer) are saved. A new
            training moves earlier ones aside.
        journal: ArchitectureJournal, which keeps the learning curve and what the training was made with.
        repeat: 0, or 1, 2, ... for further seeds.
    Returns:
        The best network by validation accuracy.
    Raises:
        UsageError: nothing was saved, or another architecture, or one that was trained on other images, in other
            batches or with other dropout.
        OSError: the folder or the one for temporary files cannot be written, or is full.
    """
    x_train, y_train, *validation = arrays
    best_path, last_path = saved_networks(folder)
    if settings.LOAD_SAVED and not last_path.exists():
        raise UsageError(
            f"LOAD_SAVED: no training of this EXPERIMENT_NAME has been saved, {last_path} does not exist. "
            "Set EXPERIMENT_NAME to that of the training, or set LOAD_SAVED = False"
        )
    check_writable(folder, tempfile.gettempdir())  # networks are written there before they are in `folder`
    for path in (best_path, last_path):
        for unfinished in path.parent.glob(f"{path.name}.*.tmp"):  # by runs that were killed
            unfinished.unlink()
    batches = Batches(x_train, y_train, settings.BATCHSIZE, child_seed(settings.SEED, cell, repeat))
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
    seed = f"seed {repeat + 1}  " * (settings.TRAIN_SEEDS > 1)
    if settings.LOAD_SAVED:
        _check_same(made_with, journal, folder)
        model, best = (_load_training(path, model) for path in (last_path, best_path))
        trained_epochs = int(model.optimizer.iterations) // len(batches)
        best_accuracy = best.evaluate(*validation, VALIDATION_BATCH, verbose=0, return_dict=True)["accuracy"]
        optimizer_state = model.optimizer.variables
        if trained_epochs < settings.NUM_EPOCHS:
            print(f"{seed}Resuming after epoch {trained_epochs} of {settings.NUM_EPOCHS}", flush=True)
        else:
            trained = f"{trained_epochs} epochs have been trained: no further epoch is trained"
            print(f"{seed}NUM_EPOCHS is {settings.NUM_EPOCHS} and {trained}", flush=True)
    else:
        set_aside(best_path, last_path, Path(folder, "network.npz"))
    compile_child(model, batches, settings.NUM_EPOCHS, settings.LEARNING_RATE)
    for variable, saved in zip(model.optimizer.variables, optimizer_state):
        variable.assign(saved)
    times = EpochTimes()

    def print_epoch(epoch, logs):
        measures = "  ".join(f"{name} {logs[name]:.4f}" for name in ("loss", "accuracy", "val_accuracy"))
        count = f"epoch {epoch + 1}/{settings.NUM_EPOCHS}"
        print(f"{seed}{count}  {sum(times.parts[-1]):.0f} s  {measures}", flush=True)

    journal.start(trained_epochs, made_with)
    callbacks = [
        times,
        SignFlips(),
        # The network comes after its row: the row of an epoch that was not saved is dropped when the training resumes.
        keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: journal.write_epoch(epoch + 1, {**logs, "seconds": sum(times.parts[-1])})
        ),
        SaveNetworks(best_path, last_path, best_accuracy),
        keras.callbacks.LambdaCallback(on_epoch_end=print_epoch) if seed else ProgressBar(),
    ]
    fit_child(
        model,
        batches,
        validation,
        callbacks,
        # A progress bar would fill a log file: there it is a line per epoch.
        verbose=0 if seed else 1 if sys.stdout.isatty() else 2,
        epochs=settings.NUM_EPOCHS,
        initial_epoch=trained_epochs,
    )
    return load_network(best_path)


def _check_same(made_with, journal, folder):
    """Refuses to resume a training that was made with something else, as far as a journal has kept it."""
    differences = ", ".join(changes(journal.get("settings") or made_with, made_with).values())
    if differences:
        raise UsageError(
            f"LOAD_SAVED: the training in {folder} was made with other settings: {differences}. Set them back, or set "
            "LOAD_SAVED = False"
        )


def keep_best(cell: list, settings: Settings, data, paths: Paths) -> tuple[dict[str, Any], Network | None]:
    """Measures the best network of every seed, and puts that of the best seed into weights/NAME.

    The best seed has the highest validation accuracy; of equal ones it is the first. The networks of the others are
    kept in folders below weights/NAME. Each folder also gets the network as bits, `network.npz`. After a kill all this
    can be done again.

    Args:
        cell: the cell.
        settings: those of its training.
        data: has `name`, and what `measure` needs. Each network looks at the test images once.
        paths: of the experiment.
    Returns:
        The result, in JSON types, and the packed network. The result has epochs, accuracies and sizes of the best seed.
        If there are several, `trainings` has those of all, and `mean` and `standard_deviation` their accuracies. A
        network with a layer that cannot be packed has a warning instead: None, and no accuracy and size as bits.
    """
    networks, trainings, accuracies = [], [], []
    for repeat in range(settings.TRAIN_SEEDS):
        folder, logs = paths.of_seed(repeat)
        path = saved_networks(folder)[0]
        network = load_network(path)
        networks.append((path.read_bytes(), _packed(network)))
        trainings.append(summary_of(read_curve(logs)))
        accuracies.append(measure(network, networks[-1][1], data))
    best = max(range(len(networks)), key=lambda repeat: (accuracies[repeat]["validation_accuracy"], -repeat))
    for repeat in sorted(range(len(networks)), key=lambda repeat: repeat == best):  # the best one last
        folder = paths.weights if repeat == best else paths.weights / f"seed_{repeat + 1}"
        content, packed = networks[repeat]
        folder.mkdir(exist_ok=True)
        write_atomically(folder / path.name, content)
        set_aside(folder / "network.npz")
        if packed:
            packed.save(folder / "network.npz")

    result = {
        **trainings[best],
        "architecture": cell,
        "representation_string": settings.REPRESENTATION_STRING,
        "dataset": data.name,
        **accuracies[best],
    }
    if packed:
        result |= {"bytes_as_float32": packed.float_bytes, "bytes_as_bits": packed.packed_bytes}
    if len(networks) > 1:
        result["seed"] = best + 1
        pairs = enumerate(zip(trainings, accuracies), start=1)
        result["trainings"] = [{"seed": seed, **training, **measured} for seed, (training, measured) in pairs]
        names = [name for name in accuracies[0] if all(name in each for each in accuracies)]  # not all may be packed
        for name, function in {"mean": statistics.mean, "standard_deviation": statistics.stdev}.items():
            result[name] = {which: function([each[which] for each in accuracies]) for which in names}
    return result, packed


def _packed(network):
    """The network as bits, or None with a warning."""
    try:
        return pack(network)
    except ValueError as error:
        warnings.warn(f"the network is not packed into bits: {error}", stacklevel=3)
        return None


def measure(network: keras.Model, packed: Network | None, data) -> dict[str, float]:
    """Accuracies of a trained network in Keras and as bits.

    Args:
        network: as Keras has it.
        packed: the same network, which reads 8-bit pixels, or None.
        data: has x_val, y_val, x_test, y_test as in `pnas.training.data.check_data`.
    Returns:
        validation_accuracy, test_accuracy and, of a packed network, test_accuracy_as_bits.
    """

    def accuracy(images, labels):
        return network.evaluate(images, labels, verbose=0, return_dict=True)["accuracy"]

    accuracies = {
        "validation_accuracy": accuracy(data.x_val, data.y_val),
        "test_accuracy": accuracy(data.x_test, data.y_test),
    }
    if packed:
        classes = packed.predict(np.rint((data.x_test + 1) * 127.5).astype(np.uint8))
        accuracies["test_accuracy_as_bits"] = float(np.mean(classes == data.y_test.argmax(axis=1)))
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

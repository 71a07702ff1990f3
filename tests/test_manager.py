"""How images are batched, how many children are trained side by side, and what a training that goes on starts from."""

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from pnas import manager
from pnas.journal.children import Child
from pnas.manager import Manager
from pnas.training import architecture
from pnas.training import child as training
from pnas.training.backend import keras
from pnas.training.batches import Batches
from pnas.training.callbacks import SaveNetworks

CELL = [0, "3x3 bconv", 0, "linear"]


def images(count, seed=0):
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, (count, 8, 8, 1)).astype("float32")
    return x, np.where(np.eye(10)[random.integers(0, 10, count)], 1, -1).astype("float32")


def manager_of(count=50, other=0, seed=0, batch_size=16, filters=(2,), dropout=(False, 0, 0), **others):
    x_train, y_train = images(count, seed=other)
    x_val, y_val = images(30, seed=1)
    data = SimpleNamespace(name="noise", x_train=x_train, y_train=y_train, x_val=x_val, y_val=y_val)
    return Manager(data, 1, list(filters), [10], dropout, batch_size, seed=seed, **others)


# -------------------------------------------------------------------------------------------------------------- batches


def epoch_of(batches, epoch):
    batches.shuffle(epoch)
    seen = [batches[number] for number in range(len(batches))]
    return [row for rows, _ in seen for row in rows], [label for _, labels in seen for label in labels]


def test_an_epoch_shows_each_image_once_with_its_label_and_the_next_one_in_another_order():
    batches = Batches(np.arange(10), 100 + np.arange(10), batch_size=4, seed=0)
    assert [len(batches[number][0]) for number in range(len(batches))] == [4, 4, 2]
    first, labels = epoch_of(batches, 0)
    second, _ = epoch_of(batches, 1)
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    assert [100 + row for row in first] == labels


def test_the_order_depends_on_seed_and_epoch_alone():
    one, same, other = (Batches(np.arange(50), np.arange(50), batch_size=8, seed=seed) for seed in (7, 7, 8))
    epoch_of(one, 0)
    assert epoch_of(one, 2) == epoch_of(same, 2) != epoch_of(other, 2)


def test_a_child_is_trained_on_every_batch_of_every_epoch_in_its_order(monkeypatch):
    asked = []

    class Watched(Batches):
        def shuffle(self, epoch, logs=None):
            super().shuffle(epoch)
            asked.append([])

        def __getitem__(self, number):
            if asked and self.seed == 1:  # the training; Keras may look at some batches before its first epoch
                asked[-1].append(number)
            return super().__getitem__(number)

    monkeypatch.setattr(training, "Batches", Watched)
    x, y = images(50)
    network = {"num_cells": 1, "filters": [2], "dense_layers": [10], "input_shape": (8, 8, 1)}
    child = Child(1, CELL, 0.5, seed=1)
    child = training.train_child(child, network, {"batch_size": 16, "learning_rate": (0.01, 0.01)}, 3, x, y, x, y)
    assert not child.error and asked == [[0, 1, 2, 3]] * 3


def test_moments_are_estimated_on_images_of_all_classes_though_the_images_are_sorted(monkeypatch):
    asked = []

    class Watched(Batches):
        def __init__(self, images, labels, *others):
            super().__init__(images, labels, *others)
            asked.append(labels.argmax(axis=1))

    monkeypatch.setattr(training, "Batches", Watched)
    monkeypatch.setattr(training, "CALIBRATION_BATCHES", 2)
    x, y = images(200)
    y = -np.ones_like(y)
    y[np.arange(200), np.arange(200) // 100] = 1
    network = {"num_cells": 1, "filters": [2], "dense_layers": [10], "input_shape": (8, 8, 1)}
    child = Child(1, CELL, 0.5, seed=1)
    child = training.train_child(child, network, {"batch_size": 16, "learning_rate": (0.01, 0.01)}, 1, x, y, x, y)
    (calibration,) = [labels for labels in asked if len(labels) < 200]
    assert not child.error and len(calibration) == 2 * 16 and set(calibration) == {0, 1}


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="it is TensorFlow that keeps them")
def test_a_worker_keeps_nothing_of_the_children_it_has_trained():
    # filters enough for normalization to be compiled
    network = {"num_cells": 1, "filters": [48], "dense_layers": [10], "input_shape": (8, 8, 1)}
    read = []

    def variables_left(number):
        x, y = images(50)
        child = Child(number, CELL, 0.5, seed=number)
        child = training.train_child(child, network, {"batch_size": 16, "learning_rate": (0.01, 0.01)}, 1, x, y, x, y)
        assert not child.error
        read.append(weakref.ref(x))
        del x
        gc.collect()
        return sum(isinstance(thing, keras.Variable) for thing in gc.get_objects())

    assert variables_left(1) == variables_left(2) == variables_left(3)
    assert all(reference() is None for reference in read)  # else a worker would map them once more for each child


# -------------------------------------------------------------------------------------------------------- side by side


@pytest.mark.parametrize("has_gpu, cores, count", [(False, 6, 3), (False, 1, 1), (True, 32, 4), (True, 2, 1)])
def test_as_many_children_as_cores_allow_and_on_a_gpu_a_few(has_gpu, cores, count, monkeypatch):
    monkeypatch.setattr(manager, "has_gpu", lambda: has_gpu)
    monkeypatch.setattr(manager.joblib, "cpu_count", lambda: cores)
    monkeypatch.setattr(manager, "Workers", lambda backend, scheduler, count, keras_backend, threads: count)
    assert manager_of(threads_per_child=2).workers == count


# ------------------------------------------------------------------------------------------------------------- going on


def train(folder, load_saved=False, epochs=3, cell=CELL, **constants):
    return manager_of(**constants).train_architecture(cell, epochs, str(folder), load_saved)


def killed_after(epoch, monkeypatch):
    """From here on a training dies when it has kept its epoch of this number."""

    class Killed(SaveNetworks):
        def on_epoch_end(self, number, logs=None):
            super().on_epoch_end(number, logs)
            if number == epoch - 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(architecture, "SaveNetworks", Killed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a whole training."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


def test_a_training_that_was_stopped_goes_on_to_the_weights_of_one_that_was_not(trained, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        killed_after(2, patched)
        train(tmp_path)
    train(tmp_path, load_saved=True)
    whole, resumed = (
        architecture.load_network(str(folder / "architecture_last.keras")) for folder in (trained, tmp_path)
    )
    assert int(resumed.optimizer.iterations) == 3 * 4  # 50 images make 4 batches of 16
    for expected, weight in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(weight, expected, atol=1e-6)


@pytest.mark.parametrize(
    "constants, difference",
    [
        ({"count": 34}, "number of training images was 50 and is 34"),
        ({"other": 5}, "their checksum was"),
        ({"batch_size": 8}, "BATCHSIZE was 16 and is 8"),
        ({"dropout": (True, 0, 0)}, r"DROPOUT was \[False, 0, 0\] and is \[True, 0, 0\]"),
        ({"seed": 1}, "SEED was 0 and is 1"),
        ({"filters": [3]}, "one of other filters"),
        ({"cell": [0, "linear", 0, "linear"]}, "not noise_0_linear_0_linear in training"),
    ],
)
def test_it_does_not_go_on_with_what_is_of_another_training(trained, constants, difference):
    before = (trained / "architecture_last.keras").read_bytes()
    with pytest.raises(ValueError, match=difference):
        train(trained, load_saved=True, epochs=4, **constants)
    assert (trained / "architecture_last.keras").read_bytes() == before


def test_it_does_not_go_on_from_a_network_without_its_optimizer(trained, tmp_path):
    network = architecture.load_network(str(trained / "architecture_best.keras"))
    for name in ("architecture_best.keras", "architecture_last.keras"):
        keras.Model(network.inputs, network.outputs, name=network.name).save(tmp_path / name)
    with pytest.raises(ValueError, match="without its optimizer"):
        train(tmp_path, load_saved=True)


def test_it_does_not_go_on_from_nothing(tmp_path):
    with pytest.raises(ValueError, match="architecture_last.keras cannot be loaded as a network"):
        train(tmp_path, load_saved=True)

"""Training one child: the batches it sees, and what becomes of one that fails."""

import numpy as np
import pytest
from tiny_training import CELL, images

from pnas.journal.children import Child
from pnas.training import child as training
from pnas.training.batches import Batches


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


def trained_with(monkeypatch, train):
    monkeypatch.setattr(training, "_train_once", train)
    return training.train_child(Child(1, [0, "linear", 0, "linear"], 0.5, seed=1), {}, {}, 1)


def test_a_child_that_fails_once_is_trained_again(monkeypatch):
    outcomes = [MemoryError("no room"), None]

    def train(child, *arguments):
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome
        return child._replace(reward=0.75)

    child = trained_with(monkeypatch, train)
    assert (child.reward, child.error) == (0.75, "")


@pytest.mark.parametrize(
    "error, reason",
    [
        (MemoryError("no room"), "MemoryError: no room"),
        (FloatingPointError("the loss diverged: [nan]"), "FloatingPointError: the loss diverged: [nan]"),
        (RuntimeError("two\nlines"), "RuntimeError: two"),
        (RuntimeError("bell \a, nul \0, half \ud800"), "RuntimeError: bell  , nul  , half  "),
    ],
)
def test_a_child_that_fails_twice_gets_reward_0_and_a_reason_of_one_line(error, reason, monkeypatch):
    def train(*arguments):
        raise error

    child = trained_with(monkeypatch, train)
    assert (child.reward, child.error) == (0, reason)


def test_a_reason_of_a_megabyte_fits_into_a_row(monkeypatch):
    def train(*arguments):
        raise RuntimeError("x" * 10**6)

    assert len(trained_with(monkeypatch, train).error) == 500


def test_a_full_disk_is_no_fault_of_the_child(monkeypatch):
    def train(*arguments):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        trained_with(monkeypatch, train)


def test_a_child_whose_loss_is_not_a_number_has_failed():
    nothing = np.ones((20, 8, 8, 1), np.float32), np.full((20, 2), np.nan, np.float32)
    network = {"num_cells": 1, "filters": [2], "dense_layers": [2], "input_shape": (8, 8, 1)}
    child = Child(1, [0, "3x3 bconv", 0, "3x3 bconv"], 0.5, seed=1)
    child = training.train_child(
        child, network, {"batch_size": 10, "learning_rate": (0.01, 0.01)}, 1, *nothing, *nothing
    )
    assert child.reward == 0 and "FloatingPointError: the loss diverged" in child.error


def test_a_child_that_diverges_ends_with_its_first_epoch_and_is_not_trained_again(monkeypatch):
    epochs = []

    def watched(*arguments, **options):
        history = fit_child(*arguments, **options)
        epochs.append(len(history.history["loss"]))
        return history

    fit_child = training.fit_child
    monkeypatch.setattr(training, "fit_child", watched)
    nothing = np.ones((20, 8, 8, 1), np.float32), np.full((20, 2), np.nan, np.float32)
    network = {"num_cells": 1, "filters": [2], "dense_layers": [2], "input_shape": (8, 8, 1)}
    training.train_child(
        Child(1, CELL, 0.5, seed=1), network, {"batch_size": 10, "learning_rate": (0.01, 0.01)}, 5, *nothing, *nothing
    )
    assert epochs == [1]


@pytest.mark.parametrize(
    "error, tries", [(MemoryError, 2), (RuntimeError, 2), (ValueError, 1), (TypeError, 1), (KeyError, 1)]
)
def test_only_a_failure_that_may_pass_gets_a_second_try(error, tries, monkeypatch):
    tried = []

    def train(*arguments):
        tried.append(1)
        raise error("reason")

    assert trained_with(monkeypatch, train).error and len(tried) == tries

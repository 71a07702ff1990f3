"""The smallest training: its settings, a cell, and random images and labels."""

from types import SimpleNamespace

import numpy as np
from train_constants import settings_of_train

from pnas.child import Child
from pnas.manager import Manager

CELL = [0, "3x3 bconv", 0, "linear"]
TINY = {
    "B": 2,
    "K_": 2,
    "operators": ["3x3 bconv", "3x3 maxpool", "linear"],
    "CONTROLLER_CELLS": 4,
    "RNN_TRAINING_EPOCHS": 2,
    "NUM_PREDICTORS": 2,
    "FINALISTS": 0,
    "DATASET": "noise",
    "MAX_EPOCHS": 1,
    "BATCHSIZE": 16,
    "LEARNING_RATE": (0.01, 0.01),
    "NUM_CELLS": 1,
    "NUM_CELL_FILTERS": [2],
    "DENSE_LAYERS": [10],
    "N_WORKERS": 1,
    "NUM_EPOCHS": 3,
}


def settings_of(**changes):
    """Settings of a network of two filters that is trained for one epoch, with changes."""
    return settings_of_train(**{**TINY, **changes})


def images(count, seed=0):
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, (count, 8, 8, 1)).astype("float32")
    return x, np.where(np.eye(10)[random.permutation(count) % 10], 1, -1).astype("float32")


def manager_of(count=50, other=0, **changes):
    """A Manager of `count` training images, drawn with the seed `other`, and 30 others."""
    x_train, y_train = images(count, seed=other)
    x_val, y_val = images(30, seed=1)
    data = SimpleNamespace(name="noise", x_train=x_train, y_train=y_train, x_val=x_val, y_val=y_val)
    return Manager(data, settings_of(**changes))


def trained_child(cell=CELL, arrays=None, stop=None, seed=1, **changes):
    """A child that was trained in this process, on 50 images that also validate it unless `arrays` are given."""
    from pnas.training.child import train_child

    arrays = arrays or images(50) * 2
    return train_child(Child(1, cell, 0.5, seed=seed), settings_of(**changes), stop, *arrays)

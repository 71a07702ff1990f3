"""The smallest training: its settings, a cell, and random images and labels."""

from types import SimpleNamespace

import numpy as np

from pnas.child import Child
from pnas.constants import Settings
from pnas.manager import Manager

CELL = [0, "3x3 bconv", 0, "linear"]


def settings_of(**changes):
    """Settings of a network of two filters that is trained for one epoch, with changes."""
    constants = {
        "B": 2,
        "K_": 2,
        "operators": ["3x3 bconv", "3x3 maxpool", "linear"],
        "INPUT_LOOKBACK_DEPTH": 0,
        "INPUT_LOOKFORWARD_DEPTH": 0,
        "MAX_MACS": None,
        "MAX_BINARY_WEIGHTS": None,
        "REGULARIZATION": 0,
        "CONTROLLER_CELLS": 4,
        "RNN_TRAINING_EPOCHS": 2,
        "NUM_PREDICTORS": 2,
        "STOP_EARLY": False,
        "FINALISTS": 0,
        "FINAL_SEEDS": 1,
        "REWARD_NOISE": 0.003,
        "RESTORE_CONTROLLER": True,
        "EXPERIMENT_NAME": "pnas",
        "SEED": 0,
        "DATASET": "noise",
        "DATA_DIR": "data",
        "TRAIN_SIZE": None,
        "USE_EXPANSION": False,
        "DROPOUT": (False, 0, 0),
        "MAX_EPOCHS": 1,
        "BATCHSIZE": 16,
        "LEARNING_RATE": (0.01, 0.01),
        "NUM_CELLS": 1,
        "NUM_CELL_FILTERS": [2],
        "DENSE_LAYERS": [10],
        "N_WORKERS": 1,
        "THREADS_PER_CHILD": 1,
        "PARALLEL_BACKEND": "loky",
        "SCHEDULER": None,
        "NUM_EPOCHS": 3,
        "REPRESENTATION_STRING": "[[1. 0. 0.]] [[1. 0. 0.]] [[1. 0. 0.]] [[1. 0. 0.]]",
        "LOAD_SAVED": False,
    }
    return Settings(**{**constants, **changes})


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

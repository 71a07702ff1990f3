"""The smallest training: a cell, and random images and labels."""

from types import SimpleNamespace

import numpy as np

from pnas.manager import Manager

CELL = [0, "3x3 bconv", 0, "linear"]


def images(count, seed=0):
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, (count, 8, 8, 1)).astype("float32")
    return x, np.where(np.eye(10)[random.permutation(count) % 10], 1, -1).astype("float32")


def manager_of(count=50, other=0, seed=0, batch_size=16, filters=(2,), dropout=(False, 0, 0), **others):
    x_train, y_train = images(count, seed=other)
    x_val, y_val = images(30, seed=1)
    data = SimpleNamespace(name="noise", x_train=x_train, y_train=y_train, x_val=x_val, y_val=y_val)
    return Manager(data, 1, list(filters), [10], dropout, batch_size, seed=seed, **others)

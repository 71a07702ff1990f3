"""Training, evaluating and distributing children."""

import dataclasses
import functools
from collections.abc import Iterator

from pnas.child import Child
from pnas.constants import Settings
from pnas.training.child import child_seed
from pnas.training.data import check_data
from pnas.training.workers import Workers


class Manager:
    """Builds children, trains them side by side and returns their rewards.

    Args:
        data: has name, x_train, y_train, x_val, y_val: images float32 (n, height, width, channels) in [-1, +1] and
            one-hot labels ±1 (n, classes). See `pnas.training.data.check_data`, which checks them.
        settings: the network, its training, and where children are trained.
    Raises:
        UsageError: the data is malformed, or does not match DENSE_LAYERS.
    """

    def __init__(self, data, settings: Settings):
        self.arrays = check_data(data, settings.DENSE_LAYERS)
        self.settings = dataclasses.replace(settings, DATASET=data.name)  # it marks every file of a network

    @functools.cached_property
    def workers(self) -> Workers:
        """The processes, started when the first children are trained."""
        return Workers(self.settings)

    def train_children(self, children: list[Child], stop: tuple[int, float] | None = None) -> Iterator[Child]:
        """Trains children and yields each as soon as it is done.

        Args:
            children: list of Child, untrained. Each gets a seed that is made of SEED, its cell and its `repeat`.
            stop: (epoch, accuracy) to stop children whose best validation accuracy is below it after that epoch.
        Yields:
            Child. The reward is the accuracy on the validation images, in [0, 1], after the best epoch.
        """
        seed = self.settings.SEED
        seeded = [child._replace(seed=child_seed(seed, child.cell, child.repeat)) for child in children]
        return self.workers.train(seeded, self.settings, stop, arrays=self.arrays)

"""Training, evaluating and distributing children."""

from pnas.training.backend import has_gpu, keras  # isort: skip  (first: it imports Keras without its messages)
import functools
from collections.abc import Iterator

import joblib

from pnas.encoder import Cell
from pnas.journal.architecture import ArchitectureJournal
from pnas.journal.children import Child
from pnas.training.architecture import train_architecture
from pnas.training.child import child_seed
from pnas.training.data import check_data
from pnas.training.workers import Workers

# Children trained side by side on one GPU. They are small, and much of their time is tracing and compiling, each on a
# core. A GPU of 80 GiB had room for 16; 4 also fit on smaller ones.
CHILDREN_PER_GPU = 4


class Manager:
    """Builds children, trains them and returns their rewards.

    Args:
        data: has name, x_train, y_train, x_val, y_val: images float32 (n, height, width, channels) in [-1, +1] and
            one-hot labels ±1 (n, classes). See `pnas.training.data.check_data`, which checks them.
        num_cells, filters, dense_layers, dropout: the network, see `pnas.model.build_child`.
        batch_size: images in a training step.
        learning_rate: (initial, final) learning rate of Adam, decaying exponentially from step to step.
        seed: int. Each child has its own seed, made of this one and its cell.
        n_workers: processes that train children side by side. 'auto' is one per `threads_per_child` cores, on a GPU at
            most CHILDREN_PER_GPU, and on a cluster all workers.
        threads_per_child: TensorFlow's threads in each process. JAX ignores it.
        parallel_backend, scheduler: where the processes run, see `pnas.training.workers.Workers`.
    Raises:
        ValueError: the data is malformed, or does not match dense_layers.
    """

    def __init__(
        self,
        data,
        num_cells: int,
        filters: list[int],
        dense_layers: list[int],
        dropout: tuple[bool, float, float],
        batch_size: int = 128,
        learning_rate: tuple[float, float] = (1e-2, 1e-5),
        seed: int = 0,
        n_workers: int | str = "auto",
        threads_per_child: int = 1,
        parallel_backend: str = "loky",
        scheduler: str | None = None,
    ):
        self.arrays = check_data(data, dense_layers)
        self.network = {
            "num_cells": num_cells,
            "filters": filters,
            "dense_layers": dense_layers,
            "dropout": dropout,
            "input_shape": self.arrays[0].shape[1:],
            "prefix": data.name,  # marks every file in which a network is saved
        }
        self.training = {"batch_size": batch_size, "learning_rate": learning_rate}
        self.seed = seed
        if n_workers == "auto" and parallel_backend == "loky":
            n_workers = max(1, joblib.cpu_count() // threads_per_child)
            if has_gpu():
                n_workers = min(n_workers, CHILDREN_PER_GPU)
        self._workers = parallel_backend, scheduler, n_workers, keras.backend.backend(), threads_per_child

    @functools.cached_property
    def workers(self) -> Workers:
        """The processes, started when the first children are trained."""
        return Workers(*self._workers)

    def train_children(
        self,
        children: list[tuple[int, Cell, float]],
        epochs: int,
        repeat: int = 0,
        stop: tuple[int, float] | None = None,
    ) -> Iterator[Child]:
        """Trains children and yields each as soon as it is done.

        Args:
            children: list of (number, cell, predicted reward).
            epochs: training epochs of each.
            repeat: 0, or 1, 2, ... to train cells again with other seeds.
            stop: (epoch, accuracy) to stop children whose best validation accuracy is below it after that epoch.
        Yields:
            Child. The reward is the accuracy on the validation images, in [0, 1], after the best epoch.
        """
        untrained = [
            Child(number, cell, predicted, child_seed(self.seed, cell, repeat)) for number, cell, predicted in children
        ]
        training = {**self.training, "stop": stop}
        return self.workers.train(untrained, self.network, training, epochs, arrays=self.arrays)

    def train_architecture(
        self,
        cell: Cell,
        epochs: int,
        folder: str,
        load_saved: bool = False,
        journal: ArchitectureJournal | None = None,
    ) -> keras.Model:
        """Trains one cell to convergence; see `pnas.training.architecture.train_architecture`.

        Returns:
            The best network by validation accuracy.
        Raises:
            ValueError: the saved training cannot be resumed.
        """
        return train_architecture(
            *(cell, self.network, self.training, epochs, self.seed, self.arrays, folder, load_saved, journal)
        )

"""Images in batches."""

import keras
import numpy as np


class Batches(keras.utils.PyDataset):
    """Images and labels in batches, for training in a new order every epoch.

    Keras would copy the arrays into the backend's memory. Here each batch is read from arrays that the processes of a
    machine share. The order depends on `seed` and the epoch alone, so a training that is resumed sees the same batches.
    Pass `for_fit()` to `fit` with shuffle=False, and `shuffle` as a callback: backends differ in how often they call
    the `on_epoch_begin` of their data.

    Args:
        images, labels: arrays with the same number of rows.
        batch_size: rows in a batch. The last batch of an epoch has the rest.
        seed: for `shuffle`, and for `augment`.
    Attributes:
        augment: None, or a function (images, labels, random) that returns the images and labels of a batch changed.
            `random` is a numpy.random.Generator, whose seed depends on `seed`, the epoch and the batch alone.
    """

    augment = None

    def __init__(self, images: np.ndarray, labels: np.ndarray, batch_size: int, seed: int = 0):
        super().__init__()
        self.images, self.labels, self.batch_size, self.seed = images, labels, batch_size, seed
        self.order, self.epoch = np.arange(len(images)), 0

    def shuffle(self, epoch: int, logs: dict | None = None):
        """Draws the order of an epoch, counted from 0."""
        self.order, self.epoch = np.random.default_rng([self.seed, epoch]).permutation(len(self.images)), epoch

    def for_fit(self):
        """What `fit` takes: under TensorFlow a tf.data.Dataset of the batches, otherwise this object.

        Keras would make a dataset itself, but one that is tuned while it runs. The tuning thread is mostly asleep when
        an epoch ends, and the next epoch would wait for it, up to half an epoch.
        """
        if keras.backend.backend() != "tensorflow":
            return self
        import tensorflow as tf

        signature = tuple(tf.TensorSpec((None, *array.shape[1:]), array.dtype) for array in (self.images, self.labels))
        dataset = tf.data.Dataset.from_generator(
            lambda: map(self.__getitem__, range(len(self))), output_signature=signature
        )
        options = tf.data.Options()
        options.autotune.enabled = False
        return dataset.apply(tf.data.experimental.assert_cardinality(len(self))).prefetch(2).with_options(options)

    def __len__(self):
        return -(-len(self.images) // self.batch_size)

    def __getitem__(self, number):
        rows = self.order[number * self.batch_size :][: self.batch_size]
        images, labels = self.images[rows], self.labels[rows]
        if self.augment is None:
            return images, labels
        # A final 0 would not count: the first batch would get the numbers of the epoch's order.
        return self.augment(images, labels, np.random.default_rng([self.seed, self.epoch, number + 1]))

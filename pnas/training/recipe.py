"""The recipe: by what optimizer, loss, learning rates and augmentation every network is trained. Edit it here.

A search does not resume with another recipe, and workers on a cluster need the same file. Other functions and constants
of yours may stand in this file, too. A loss that Keras does not have is decorated with
`@keras.saving.register_keras_serializable()`, so that networks can be loaded.
"""

from typing import Any

import keras

from pnas.training.optimizer import fast_adam


def recipe(steps: int, learning_rate: tuple[float, float]) -> dict[str, Any]:
    """How a network is trained: arguments of `keras.Model.compile`, and how batches are augmented.

    Args:
        steps: number of training steps in total.
        learning_rate: LEARNING_RATE of train.py, (initial, final).
    Returns:
        optimizer, loss (labels are -1 and +1), and augment: None, or a function (images, labels, random) of the arrays
        of a training batch, which it returns changed. `random` is a numpy.random.Generator with a seed for each batch.
    """
    initial, final = learning_rate
    schedule = keras.optimizers.schedules.ExponentialDecay(initial, steps, final / initial)
    return {"optimizer": fast_adam(schedule), "loss": "squared_hinge", "augment": None}

"""The optimizer that trains children: Adam with a decaying step size, and its fast step under TensorFlow."""

import functools

import keras
from keras import ops


def decaying_adam(first, last, steps):
    """Adam whose step size decays exponentially from `first` to `last` in so many steps.

    Under TensorFlow each variable is moved by one kernel that TensorFlow has for Adam, where Keras strings together about 25
    operations: they make up a quarter of what is traced before a child's first step, and a few milliseconds of every step.
    The arithmetic is the same, and so is what is saved: a Keras Adam.

    Source: Kingma and Ba 2015, arXiv:1412.6980.
    """
    schedule = keras.optimizers.schedules.ExponentialDecay(first, steps, last / first)
    optimizer = keras.optimizers.Adam(schedule)
    if keras.backend.backend() == "tensorflow":
        optimizer._backend_update_step = functools.partial(_fused_steps, optimizer)
    return optimizer


def _fused_steps(adam, gradients, variables, learning_rate):
    """Stands in for the loop of `keras.optimizers.Adam` over its variables, on one device."""
    import tensorflow as tf

    step = ops.cast(adam.iterations + 1, "float32")
    powers = {"beta1_power": adam.beta_1**step, "beta2_power": adam.beta_2**step}
    numbers = {"lr": learning_rate, "beta1": adam.beta_1, "beta2": adam.beta_2, "epsilon": adam.epsilon}
    for gradient, variable in zip(gradients, variables):
        index = adam._get_variable_index(variable)
        moments = {"m": adam._momentums[index].value.handle, "v": adam._velocities[index].value.handle}
        tf.raw_ops.ResourceApplyAdam(var=variable.value.handle, grad=gradient, **moments, **powers, **numbers)

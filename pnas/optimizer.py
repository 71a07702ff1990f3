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
        optimizer.update_step = functools.partial(_fused_step, optimizer)
    return optimizer


def _fused_step(adam, gradient, variable, learning_rate):
    """Stands in for `keras.optimizers.Adam.update_step`."""
    import tensorflow as tf

    index = adam._get_variable_index(variable)
    step = ops.cast(adam.iterations + 1, "float32")
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=adam._momentums[index].value.handle,
        v=adam._velocities[index].value.handle,
        beta1_power=adam.beta_1**step,
        beta2_power=adam.beta_2**step,
        lr=learning_rate,
        beta1=adam.beta_1,
        beta2=adam.beta_2,
        epsilon=adam.epsilon,
        grad=gradient,
    )

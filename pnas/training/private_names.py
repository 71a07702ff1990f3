"""Private names of other packages, all in one place.

Each function returns what a private name holds. Where the installed version does not have it, that is None or empty,
with one warning. The caller then takes the public way, which gives the same numbers, more slowly or with more memory.
"""

import functools
import importlib
import warnings


@functools.cache
def _warn(package, name, consequence):
    version = importlib.import_module(package).__version__  # tensorflow's distribution may be tensorflow-cpu
    warnings.warn(f"{package} {version} has no {name} as expected here: {consequence}", RuntimeWarning, stacklevel=3)


def registered_gradients() -> dict:
    """TensorFlow's dict of the gradients that graphs refer to by name, or an empty one."""
    try:
        from tensorflow.python.framework.ops import gradient_registry

        registry = gradient_registry._registry
        if isinstance(registry, dict):
            return registry
    except (ImportError, AttributeError):
        pass
    _warn("tensorflow", "gradient_registry._registry", "a worker keeps some 10 MB of every child that it has trained")
    return {}


def python_functions(graph) -> list:
    """The list of the Python functions that a TensorFlow graph keeps alive, or an empty one."""
    if _graphs_list_python_functions():
        if not hasattr(graph, "_py_funcs_used_in_graph"):
            graph._py_funcs_used_in_graph = []
        return graph._py_funcs_used_in_graph
    _warn(
        "tensorflow", "Graph._py_funcs_used_in_graph", "a worker maps the images into its memory again for every child"
    )
    return []


@functools.cache
def _graphs_list_python_functions():
    import tensorflow as tf

    with tf.Graph().as_default() as graph:  # the attribute appears with the first function
        tf.numpy_function(lambda: 0.0, [], tf.float64)
    return isinstance(getattr(graph, "_py_funcs_used_in_graph", None), list)


def adam_moments(adam, variable) -> tuple | None:
    """(first, second) moment of one variable of a built `keras.optimizers.Adam`, or None."""
    try:
        index = adam._get_variable_index(variable)
        moments = adam._momentums[index], adam._velocities[index]
        if all(tuple(moment.shape) == tuple(variable.shape) for moment in moments):
            return moments
    except (AttributeError, TypeError, LookupError):
        pass
    _warn(
        "keras", "Adam._momentums and _velocities", "children are trained by Keras's own step of Adam, which is slower"
    )
    return None

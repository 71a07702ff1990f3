"""Imports Keras and its backend in silence; import this first.

The number of threads is read then, too: TF_NUM_INTRAOP_THREADS and TF_NUM_INTEROP_THREADS in the environment.
"""

import contextlib
import importlib.util
import logging
import os
import random  # noqa: F401  (so that there is one to copy)
import sys


@contextlib.contextmanager
def _quiet_stderr():
    """Sends what libraries write to standard error to nowhere; Python's own errors are raised all the same."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def _own_random():
    """Gives what is imported meanwhile a copy of Python's module `random`.

    Keras draws the seeds of a model's layers from that module. In a Dask worker other threads draw from it at any time, also
    between two layers, and a child would start from other weights than its seed says.
    """
    shared = sys.modules["random"]
    spec = importlib.util.find_spec("random")
    sys.modules["random"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["random"])
    try:
        yield
    finally:
        sys.modules["random"] = shared


# TensorFlow greets with a page of notes about processors and GPUs that it does not find, in every process that imports it.
# Later it warns of retracing, which every child is bound to do.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each process takes as much of a GPU's memory as it needs, not all of it, so that several fit.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# oneDNN's convolutions are the faster ones also on processors for which TensorFlow does not choose them by itself.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
with _quiet_stderr(), _own_random():
    import keras

    keras.ops.zeros(())  # the rest of the notes comes with the first tensor

if keras.backend.backend() == "tensorflow":
    from tensorflow.python.framework.ops import get_default_graph, gradient_registry

    _gradients = gradient_registry._registry  # a name that has changed is noticed here, and not by every child


@contextlib.contextmanager
def released():
    """Releases, when it ends, what the backend keeps of the networks that were built within; they work no longer then.

    `keras.utils.clear_session` does not suffice under TensorFlow. Every custom gradient of a graph is registered by a name of its
    own, for good. And compiled functions of a module keep the graph that was the default one when they were traced, which
    keeps the Python functions that data sets call for their batches. A worker would keep every network that it has trained, and
    map the images into its memory once more for each.
    """
    on_tensorflow = keras.backend.backend() == "tensorflow"
    if on_tensorflow:
        graph, gradients = get_default_graph(), set(_gradients)
        functions = len(getattr(graph, "_py_funcs_used_in_graph", []))
    try:
        yield
    finally:
        if on_tensorflow:
            for name in set(_gradients) - gradients:
                if name.startswith("CustomGradient-"):
                    del _gradients[name]
            del getattr(graph, "_py_funcs_used_in_graph", [])[functions:]
        keras.utils.clear_session()  # last, as it collects garbage

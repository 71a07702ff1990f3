"""Imports Keras and its backend in silence; import this first.

The number of threads is read then, too: TF_NUM_INTRAOP_THREADS and TF_NUM_INTEROP_THREADS in the environment.
"""

import contextlib
import logging
import os


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


# TensorFlow greets with a page of notes about processors and GPUs that it does not find, in every process that imports it.
# Later it warns of retracing, which every child is bound to do.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each process takes as much of a GPU's memory as it needs, not all of it, so that several fit.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
with _quiet_stderr():
    import keras

    keras.ops.zeros(())  # the rest of the notes comes with the first tensor

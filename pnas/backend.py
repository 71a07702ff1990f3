"""Imports Keras and its backend without their start-up messages, for float32 and channels last. Import it first.

The backend reads its number of threads when it is imported: TF_NUM_INTRAOP_THREADS and TF_NUM_INTEROP_THREADS in the
environment.
"""

import contextlib
import logging
import os
import sys


def _open_closed_streams():
    """Opens the null device in place of the standard streams that are closed, as standard error is by `2>&-`.

    Otherwise the next file that is opened would get the number of such a stream, and everybody's messages.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(descriptor, True)
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def _import_matplotlib():
    """Imports Matplotlib, as Keras does where it is installed, also if MPLBACKEND names what this Python lacks.

    A notebook leaves such a name to the programs that it starts, and Matplotlib could not be imported.
    """
    if "matplotlib" in sys.modules:
        return
    name = os.environ.pop("MPLBACKEND", None)
    with contextlib.suppress(ImportError, ValueError):
        import matplotlib

        if name:
            matplotlib.rcParams["backend"] = name
    if name is not None:
        os.environ["MPLBACKEND"] = name


@contextlib.contextmanager
def _quiet_stderr():
    """Discards what libraries write to standard error. Python exceptions are raised as usual."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


# TensorFlow prints a page about processors and GPUs in every process that imports it, and later warns about retracing,
# which is normal here: every child is another network.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Allocate GPU memory as needed instead of all at once, so that several processes share a GPU.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
# oneDNN's convolutions are faster, also on processors for which TensorFlow does not select them by default.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
logging.getLogger("tensorflow").setLevel(logging.ERROR)
_open_closed_streams()
_import_matplotlib()
with _quiet_stderr():
    import keras

    # A user's keras.json may say otherwise, and then another network would be trained, or none.
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.ops.zeros(())  # the remaining messages come with the first tensor
    if keras.backend.backend() != "tensorflow":
        with contextlib.suppress(ImportError):
            import tensorflow  # noqa: F401  (otherwise Keras imports it when it saves the first network)


def has_gpu() -> bool:
    """Whether Keras's backend sees a GPU."""
    try:
        return bool(keras.distribution.list_devices("gpu"))
    except RuntimeError:  # raised by JAX if there is none
        return False

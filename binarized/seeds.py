"""Seeds of the initial weights and dropout masks of layers that were given none."""

import contextlib
import contextvars
import random

_source = contextvars.ContextVar("source of layer seeds", default=None)


@contextlib.contextmanager
def layer_seeds(seed):
    """Makes the binarized layers that are built within, in this thread, draw their seeds from `seed`.

    Keras takes such seeds from Python's global `random`, which `keras.utils.set_random_seed` seeds. In a process with
    other threads, such as a Dask worker, these draw from it as well, and the layers get other seeds. Here they get the
    same ones as after `keras.utils.set_random_seed(seed)` in a process without other threads.

    Args:
        seed: int.
    """
    token = _source.set(random.Random(seed))
    try:
        yield
    finally:
        _source.reset(token)


def next_seed():
    """The next seed within `layer_seeds`, elsewhere None, which leaves the choice to Keras."""
    source = _source.get()
    return None if source is None else source.randint(1, 10**9)

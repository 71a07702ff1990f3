"""Seeds for initial weights and dropout masks of layers without a seed of their own."""

import contextlib
import contextvars
import random
from collections.abc import Iterator

_source = contextvars.ContextVar("source of layer seeds", default=None)


@contextlib.contextmanager
def layer_seeds(seed: int) -> Iterator[None]:
    """Context manager: binarized layers that this thread builds inside it draw their seeds from `seed`.

    Keras draws such seeds from Python's global `random`, which `keras.utils.set_random_seed` seeds. Other threads of
    the process, as in a Dask worker, draw from it too, and the layers would get other seeds. Inside this context the
    layers get the seeds that they would get after `keras.utils.set_random_seed(seed)` in a process with one thread.

    Args:
        seed: int.
    """
    token = _source.set(random.Random(seed))
    try:
        yield
    finally:
        _source.reset(token)


def next_seed() -> int | None:
    """The next seed inside `layer_seeds`; elsewhere None, so that Keras draws one."""
    source = _source.get()
    return None if source is None else source.randint(1, 10**9)

"""Children that an earlier experiment has trained: they are taken from there.

A reward depends on the cell, the seed, the data and the settings of the training alone, so it is the one that another
training would give.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator

from pnas import UsageError
from pnas.child import Child
from pnas.constants import CHOICES, Settings
from pnas.store.store import Store, differences
from pnas.training.child import child_seed


def open_earlier(settings: Settings) -> list[Store]:
    """The experiments of REUSE, which are only read.

    Args:
        settings: those of the search, with the name of its data.
    Raises:
        UsageError: there is no such experiment, it is damaged, or its children were trained with other settings; one
            line names what differs. Another version of a package is a warning.
        OSError: it cannot be read.
    """
    names = [settings.REUSE] if isinstance(settings.REUSE, str) else settings.REUSE or []
    stores, given = [], _without_choices(settings.deciding())
    for name in names:
        try:
            store = Store.open(name)
        except UsageError as error:
            raise UsageError(f"REUSE: {error}") from None
        changes, versions = differences(_without_choices(store.settings), given)
        if changes:
            raise UsageError(
                f"REUSE: {name!r} was trained with other settings: {', '.join(changes):.2000}. Set them back to reuse "
                "its children, or leave it out of REUSE"
            )
        if versions:
            slightly = "The same seed may give slightly different rewards"
            warnings.warn(f"REUSE: {name!r}: {', '.join(versions)}. {slightly}", stacklevel=2)
        stores.append(store)
    return stores


def _without_choices(settings):
    return {name: value for name, value in settings.items() if name not in CHOICES}


def train_or_reuse(
    train: Callable[..., Iterable[Child]],
    earlier: list[Store],
    settings: Settings,
    children: list[Child],
    stop: tuple[int, float] | None = None,
) -> Iterator[Child]:
    """Takes from earlier experiments the children that were trained there, and trains the others.

    A child is taken if it was trained for as many epochs as it would be now, and if its network is still there.

    Args:
        train: function of a list of children and of `stop`. Yields each of them trained, in any order.
        earlier: of `open_earlier`. The first one that has a child gives it.
        settings: those of the search.
        children: untrained.
        stop: (epoch, accuracy) to stop children whose best validation accuracy is below it after that epoch, or None.
    Yields:
        Child. First those that are reused, with their learning curves and networks.
    """
    rest = []
    for child in children:
        reused = next(filter(None, (_find(child, store, settings, stop) for store in earlier)), None)
        if reused:
            yield reused
        else:
            rest.append(child)
    yield from train(rest, stop=stop)


def _find(child, store, settings, stop):
    """The child as an experiment has trained it, or None."""
    found = store.training(child.cell, child_seed(settings.SEED, child.cell, child.repeat))
    if not found:
        return None
    curve, network = found.history.get("val_accuracy", []), store.paths.network(found.number, found.repeat)
    is_stopped = stop and max(curve[: stop[0]], default=0) < stop[1]
    if len(curve) != (stop[0] if is_stopped else settings.MAX_EPOCHS) or not network.exists():
        return None
    place = {"number": child.number, "repeat": child.repeat, "predicted": child.predicted}
    found = found._replace(**place, network=network.read_bytes(), reused=store.name)
    return found if store.is_in_place else None  # else the network may be one of the search that moved it

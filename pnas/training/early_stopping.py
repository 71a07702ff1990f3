"""Children that are stopped early because others of their size are much better after as many epochs.

The rule was chosen by `tests/benchmarks/early_stopping.py`, with the measurements in tests/benchmarks/README.md.

Source: the median rule of Golovin et al. 2017, doi:10.1145/3097983.3098043, where a child is compared with all that
were trained before it.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pnas.child import Child
from pnas.store.store import Store

PIONEERS = 1 / 8  # share of the children of a block size, the best-ranked of its first round, trained to the end
EPOCHS = 1 / 4  # share of the epochs after which the others are compared with them
QUANTILE = 0.5  # of the pioneers' accuracies: the median; children below it are stopped


def count_pioneers(children: int, share: float = PIONEERS) -> int:
    """How many of a block size's children are trained to the end in any case: at least two."""
    return max(2, round(share * children))


def least_share(children: int) -> float:
    """The share of the epochs of so many children of a block size that are trained if all are stopped that may be."""
    pioneers = min(children, count_pioneers(children))
    return (pioneers + EPOCHS * (children - pioneers)) / children


def train_with_stops(
    train: Callable[..., Iterable[Child]], store: Store, epochs: int, rounds: list[int], children: list[Child]
) -> Iterator[Child]:
    """Trains children of a block size: first the pioneers, of its first round, then others, which may be stopped early.

    As all pioneers are trained before the others begin, the results depend neither on the number of workers nor on the
    order in which children end. A stopped child keeps the reward that it had by then, its best validation accuracy.
    Children of one block are all trained to the end.

    Args:
        train: function of a list of children and, for children that may be stopped, of `stop`: (epoch, least validation
            accuracy by then). Yields each of them trained, in any order.
        store: has the choices of this size, and the children that have been trained.
        epochs: training epochs of a child that is not stopped.
        rounds: the largest number of children of each round.
        children: the children to train, of one round. The cells of a choice begin with the highest predicted reward.
    Yields:
        Child.
    """
    if not children or children[0].blocks == 1:
        yield from train(children)
        return
    blocks = children[0].blocks
    known = [child for child in store.children(blocks) if not child.error]
    first_round, _ = store.choices(blocks)[0]
    all_rounds = sum(rounds) if len(first_round) == rounds[0] else len(first_round)
    pioneers = first_round[: count_pioneers(all_rounds)]
    epoch = max(1, round(EPOCHS * epochs))
    curves = [store.history(child.number)["val_accuracy"] for child in known if child.cell in pioneers]
    for child in train([child for child in children if child.cell in pioneers]):
        if not child.error:
            curves.append(child.history["val_accuracy"])
        yield child
    stop = (epoch, float(np.quantile([max(curve[:epoch]) for curve in curves], QUANTILE))) if curves else None
    yield from train([child for child in children if child.cell not in pioneers], stop=stop)

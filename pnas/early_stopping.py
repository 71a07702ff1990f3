"""Children that are stopped early because others of their size are much better after as many epochs.

The rule was chosen by `tests/benchmarks/early_stopping.py`, with the measurements in tests/benchmarks/README.md.

Source: a rung of successive halving, Jamieson & Talwalkar 2016, arXiv:1502.07943; that a child is compared with others
trained before it is the median rule of Golovin et al. 2017, doi:10.1145/3097983.3098043.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from pnas.encoder import Cell
from pnas.journal.children import Child

PIONEERS = 1 / 8  # share of the children of a block size, those of the highest predicted reward, trained to the end
EPOCHS = 1 / 4  # share of the epochs after which the others are compared with them
QUANTILE = 0.75  # of the pioneers' accuracies; who is below is stopped


def count_pioneers(children: int, share: float = PIONEERS) -> int:
    """How many of a block size's children are trained to the end in any case: at least two."""
    return max(2, round(share * children))


def train_with_stops(
    train: Callable[[list[tuple[int, Cell, float]], tuple[int, float] | None], Iterable[Child]],
    new: list[tuple[int, Cell, float]],
    known: list[Child],
    epochs: int,
    learning_curve: Callable[[int], list[float]],
) -> Iterator[Child]:
    """Trains the children of a block size: first the pioneers, then the others, which may be stopped early.

    As all pioneers are trained before the others begin, the results depend neither on the number of workers nor on the
    order in which children end. A stopped child keeps the reward that it had by then, its best validation accuracy.

    Args:
        train: function of a list of (number, cell, predicted reward) and, for children that may be stopped, of (epoch,
            least validation accuracy by then). Yields a Child for each entry of the list, in any order.
        new: the children to train. Numbers follow the predicted reward, highest first.
        known: the children of this size that an earlier run has trained.
        epochs: training epochs of a child that is not stopped.
        learning_curve: function of a known child's number that returns its validation accuracy after each epoch.
    Yields:
        Child.
    """
    numbers = sorted([number for number, _, _ in new] + [child.number for child in known])
    pioneers = numbers[: count_pioneers(len(numbers))]
    epoch = max(1, round(EPOCHS * epochs))
    curves = [learning_curve(child.number) for child in known if child.number in pioneers]
    for child in train([entry for entry in new if entry[0] in pioneers], None):
        if not child.error:
            curves.append(child.history["val_accuracy"])
        yield child
    accuracies = np.float32([max(curve[:epoch]) for curve in curves])  # an event file keeps as many digits
    stop = (epoch, float(np.quantile(accuracies, QUANTILE))) if curves else None
    yield from train([entry for entry in new if entry[0] not in pioneers], stop)

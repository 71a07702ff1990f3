"""The progressive search.

Source: Liu et al. 2018, arXiv:1712.00559, section 4, algorithm 1.
"""

import math
from collections.abc import Callable, Iterable

from pnas.encoder import Cell, StateSpace
from pnas.journal.children import Child


class SearchCallback:
    """What a search keeps and shows. Nothing here; subclasses override what they need."""

    def known_child(self, cell: Cell) -> Child | None:
        """The child of a cell that an earlier run has trained, or None."""

    def known_choice(self, blocks: int) -> tuple[list[Cell], list[float]] | None:
        """The cells of a block size that an earlier run chose, with their predicted rewards, or None."""

    def on_size_begin(self, blocks: int, children: int):
        """Called before the children of a block size, so many, are trained."""

    def on_child_end(self, child: Child):
        """Called after each child that was trained."""

    def on_size_end(self, blocks: int, children: list[Child]):
        """Called after all children of a block size, given in the order of their numbers."""

    def on_fit_end(self, blocks: int, losses: list[float]):
        """Called after the surrogate was fitted to all children of up to `blocks` blocks."""

    def on_choice(self, blocks: int, cells: list[Cell], predicted: list[float]):
        """Called when the cells of the next block size have been chosen."""


def progressive_search(
    state_space: StateSpace,
    surrogate,
    train: Callable[[int, list[tuple[int, Cell, float]], list[Child]], Iterable[Child]],
    K: int,
    callback: SearchCallback = SearchCallback(),
    fits: Callable[[Cell], bool] = lambda cell: True,
) -> list[Child]:
    """Trains all cells of one block, then, for every larger size, the K expansions that the surrogate ranks highest.

    Args:
        state_space: StateSpace of the cells.
        surrogate: has `fit(cells, rewards)`, which returns losses, and `rank(cells, K)`, which returns the K cells of
            the highest predicted reward and these rewards, best first; such as `pnas.encoder.Encoder`.
        train: function of the block size, a list of (number, cell, predicted reward) and the children of this size that
            are known already. Yields a Child for each entry of the list, in any order. Numbers count from 1; the
            predicted reward of one-block cells is NaN.
        K: number of children for each block size after the first.
        callback: SearchCallback.
        fits: function that says whether a cell may be trained, such as that of `pnas.costs.budget`. Other cells are
            never ranked, trained or expanded. A search ends at the first block size of which no cell fits.
    Returns:
        All children, in the order of their numbers.
    """
    trained = []
    cells = list(filter(fits, state_space.initial_children()))
    predicted = [math.nan] * len(cells)
    for blocks in range(1, state_space.B + 1):
        numbers = range(len(trained) + 1, len(trained) + len(cells) + 1)
        known = [child for child in map(callback.known_child, cells) if child]
        new = [entry for entry in zip(numbers, cells, predicted) if not callback.known_child(entry[1])]
        callback.on_size_begin(blocks, len(cells))
        children = list(known)
        for child in train(blocks, new, known):
            callback.on_child_end(child)
            children.append(child)
        children.sort(key=lambda child: child.number)  # they end in any order
        trained += children
        callback.on_size_end(blocks, children)
        if blocks == state_space.B or not cells:
            break
        losses = surrogate.fit([child.cell for child in trained], [child.reward for child in trained])
        callback.on_fit_end(blocks, losses)
        choice = callback.known_choice(blocks + 1)
        if choice is None:
            best, rewards = surrogate.rank(list(filter(fits, state_space.expand(cells))), K)
            choice = best, [float(reward) for reward in rewards]
            callback.on_choice(blocks + 1, *choice)
        cells, predicted = choice
    return trained

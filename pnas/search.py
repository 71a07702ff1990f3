"""The progressive search.

Source: Liu et al. 2018, arXiv:1712.00559, section 4, algorithm 1.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pnas.encoder import Cell, StateSpace
from pnas.journal.children import Child


class Finalist(NamedTuple):
    """A cell that was trained several times: its first training, and those with further seeds."""

    child: Child
    repeats: list[Child]

    @property
    def rewards(self) -> list[float]:
        """The rewards of all trainings that did not fail."""
        return [child.reward for child in (self.child, *self.repeats) if not child.error]

    @property
    def mean(self) -> float:
        return float(np.mean(self.rewards))

    @property
    def standard_deviation(self) -> float:
        """Over the trainings, NaN if there is only one."""
        return float(np.std(self.rewards, ddof=1)) if len(self.rewards) > 1 else math.nan


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

    def known_finalists(self) -> list[int] | None:
        """The numbers of the finalists that an earlier run chose, or None."""

    def on_finalists_chosen(self, numbers: list[int]):
        """Called when the finalists have been chosen."""

    def known_repeats(self, seed: int) -> list[Child]:
        """The finalists that an earlier run has trained with a further seed, counted from 1."""
        return []

    def on_repeat_end(self, seed: int, child: Child):
        """Called after each finalist that was trained with a further seed."""


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


def shrunk_rewards(predicted: Sequence[float], rewards: Sequence[float], noise: float) -> np.ndarray:
    """Rewards moved towards the surrogate's fit of them, the further the more of the difference is noise.

    p + w (r - p), where p is the fit, r the reward and w = s² / (s² + noise²). s² is the variance of r - p less
    noise², not below 0: what the surrogate misses of the cells themselves. The highest of many noisy rewards is too
    high; a shrunk reward is the mean of what is known of the cell.

    Args:
        predicted: the surrogate's predictions for these cells, after it was fitted to their rewards.
        rewards: one reward a cell, in the same unit.
        noise: standard deviation of a reward from one training to the next, at least 0; 0 leaves all rewards as they
            are.
    Returns:
        Float array, one a cell.
    Source: the posterior mean of a normal prior, with its variance estimated from the data; Efron & Morris 1973,
        doi:10.1080/01621459.1973.10481350.
    """
    predicted, rewards = np.asarray(predicted, float), np.asarray(rewards, float)
    differences = rewards - predicted
    weight = 1 - noise**2 / max(np.var(differences), noise**2) if noise else 1
    return predicted + weight * differences


def _candidates(children):
    """The children that may be finalists: those that did not fail and were not stopped early."""
    most = max((child.epochs for child in children), default=0)
    return [child for child in children if not child.error and not 0 < child.epochs < most]


def finalists(children: list[Child], surrogate, noise: float, count: int) -> list[Child]:
    """The children that are worth another training: those of the highest shrunk rewards.

    Fits the surrogate once more, to all children that have a reward.

    Args:
        children: all children of a search, in the order of their numbers. Those that failed or were stopped early
            are left out.
        surrogate: has `fit(cells, rewards)` and `predict(cells)`, such as `pnas.encoder.Encoder`.
        noise: see `shrunk_rewards`.
        count: how many; fewer if there are no more children.
    Returns:
        List of Child, highest shrunk reward first; of equal ones the lower number first.
    """
    trained = [child for child in children if not child.error]
    if not trained:
        return []
    cells, rewards = [child.cell for child in trained], [child.reward for child in trained]
    surrogate.fit(cells, rewards)
    shrunk = shrunk_rewards(surrogate.predict(cells), rewards, noise)
    candidates = {child.number for child in _candidates(trained)}
    ranked = [trained[i] for i in np.argsort(-shrunk, kind="stable")]
    return [child for child in ranked if child.number in candidates][:count]


def train_finalists(
    children: list[Child],
    surrogate,
    noise: float,
    count: int,
    seeds: int,
    train: Callable[[int, list[Child], list[tuple[int, Cell, float]]], Iterable[Child]],
    callback: SearchCallback = SearchCallback(),
) -> list[Finalist]:
    """Chooses the winner of a search by more than one noisy reward: trains the best cells again with further seeds.

    Args:
        children: all children of the search, in the order of their numbers. At least one did not fail.
        surrogate, noise: see `finalists`.
        count: number of finalists. With 0 the child of the highest reward wins as it is.
        seeds: number of further seeds.
        train: function of a further seed (counted from 1), the finalists, and a list of (number, cell, predicted
            reward) of those that are not known yet. Yields a Child for each entry of the list, in any order, under the
            same number.
        callback: SearchCallback.
    Returns:
        List of Finalist, the winner first: the highest mean reward, of equal ones the lower number.
    """
    if not count:
        return [Finalist(max(children, key=lambda child: (not child.error, child.reward, -child.number)), [])]
    numbers = callback.known_finalists()
    if numbers is None or len(numbers) != min(count, len(_candidates(children))):
        numbers = [child.number for child in finalists(children, surrogate, noise, count)]
        callback.on_finalists_chosen(numbers)
    chosen = [child for child in children if child.number in numbers]
    repeats = {child.number: [] for child in chosen}
    for seed in range(1, seeds + 1):
        known = {child.number: child for child in callback.known_repeats(seed)}
        new = [(child.number, child.cell, child.predicted) for child in chosen if child.number not in known]
        for child in train(seed, chosen, new):
            callback.on_repeat_end(seed, child)
            known[child.number] = child
        for number in repeats:
            repeats[number].append(known[number])
    ranked = [Finalist(child, repeats[child.number]) for child in chosen]
    return sorted(ranked, key=lambda finalist: (-finalist.mean, finalist.child.number))

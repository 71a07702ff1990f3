"""The progressive search.

Source: Liu et al. 2018, arXiv:1712.00559, section 4, algorithm 1.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pnas.child import Child
from pnas.encoder import Cell, StateSpace
from pnas.store.store import Store


class Finalist(NamedTuple):
    """A cell that was trained several times: its first training, and those with further seeds."""

    child: Child
    repeats: list[Child]

    @property
    def trainings(self) -> list[Child]:
        """All trainings that did not fail, the first one first."""
        return [child for child in (self.child, *self.repeats) if not child.error]

    @property
    def mean(self) -> float:
        return float(np.mean([child.reward for child in self.trainings]))

    @property
    def standard_deviation(self) -> float:
        """Over the trainings, NaN if there is only one."""
        rewards = [child.reward for child in self.trainings]
        return float(np.std(rewards, ddof=1)) if len(rewards) > 1 else math.nan


class Callback:
    """What is told of a search. It decides nothing. Subclasses override what they need.

    The store has kept children, choices and finalists by then; fits and measures of the surrogate are kept by `Files`.
    """

    def on_size_begin(self, blocks: int, new: list[Child], known: list[Child], later: list[int]):
        """Called before the children of a block size are trained.

        Args:
            blocks: the size.
            new: the children to train, in the order in which they are handed out.
            known: those that an earlier run has trained.
            later: the largest numbers of children of the following sizes.
        """

    def on_child_end(self, child: Child):
        """Called after each training of a child; `child.repeat` tells the further trainings of finalists."""

    def on_size_end(self, blocks: int, children: list[Child]):
        """Called after all children of a block size, given in the order of their numbers."""

    def on_fit_end(self, blocks: int, losses: list[float]):
        """Called after the surrogate was fitted to all children of up to `blocks` blocks."""

    def on_choice(self, blocks: int, cells: list[Cell]):
        """Called when the cells of the next block size have been chosen; there may be none."""

    def on_repeat_begin(self, repeat: int, finalists: list[Child], new: list[Child]):
        """Called before finalists are trained with a further seed, counted from 1; `new` are those to train."""

    def on_search_end(self, finalists: list[Finalist]):
        """Called with the finalists, the winner first."""


def progressive_search(
    state_space: StateSpace,
    surrogate,
    train: Callable[[list[Child]], Iterable[Child]],
    K: int,
    store: Store | None = None,
    callbacks: Sequence[Callback] = (),
    fits: Callable[[Cell], bool] | None = None,
) -> list[Child]:
    """Trains all cells of one block, then, for every larger size, the K expansions that the surrogate ranks highest.

    Children that fail are neither expanded nor shown to the surrogate.

    Args:
        state_space: StateSpace of the cells.
        surrogate: has `fit(cells, rewards)`, which returns losses, and `rank(cells, K)`, which returns the K cells of
            the highest predicted reward and these rewards, best first; such as `pnas.encoder.Encoder`.
        train: function of a list of untrained children that yields each of them trained, in any order. Their numbers
            count from 1; the predicted reward of one-block cells is NaN.
        K: number of children for each block size after the first.
        store: keeps every child and choice; what an earlier run has kept there is not trained again. None keeps them in
            memory.
        callbacks: told what happens.
        fits: function that says whether a cell may be trained, such as that of `pnas.costs.budget`; None admits all.
            Other cells are never ranked, trained or expanded. A search ends at the first block size of which no cell
            fits.
    Returns:
        All children, in the order of their numbers.
    """
    store = store or Store()
    trained = []
    cells = list(filter(fits, state_space.initial_children()))
    predicted = [math.nan] * len(cells)
    for blocks in range(1, state_space.B + 1):
        known, new = [], []
        for number, (cell, prediction) in enumerate(zip(cells, predicted), start=len(trained) + 1):
            child = store.child(cell)
            (known if child else new).append(child or Child(number, cell, prediction))
        later = _later_sizes(state_space, cells, K, fits)
        _tell(callbacks, "on_size_begin", blocks, new, known, later)
        children = known + list(_kept(train(new), store, callbacks))
        children.sort(key=lambda child: child.number)  # they end in any order
        trained += children
        _tell(callbacks, "on_size_end", blocks, children)
        parents = [child.cell for child in children if not child.error]
        if blocks == state_space.B or not parents:
            break
        rewarded = [child for child in trained if not child.error]
        losses = surrogate.fit([child.cell for child in rewarded], [child.reward for child in rewarded])
        _tell(callbacks, "on_fit_end", blocks, losses)
        # Once children of a choice are trained, it stays: a surrogate that is fitted again, for example on another
        # processor or to a child that had failed, may rank close cells in another order.
        choice = store.choice(blocks + 1)
        if choice is None or not store.children(blocks + 1):
            best, rewards = surrogate.rank(list(filter(fits, state_space.expand(parents))), K)
            choice = best, [float(reward) for reward in rewards]
            store.add_choice(blocks + 1, *choice)
        cells, predicted = choice
        _tell(callbacks, "on_choice", blocks + 1, cells)
        if not cells:
            break
    return trained


def _later_sizes(state_space, cells, K, fits):
    """The largest numbers of children of the block sizes after that of `cells`."""
    numbers, children = [], len(cells)
    for blocks in range(len(cells[0]) // 4 + 1, state_space.B + 1):
        if numbers or fits is None:
            children = state_space.most_expansions(children, blocks)
        else:
            children = sum(map(fits, state_space.expand(cells)))
        children = min(K, children)
        numbers.append(children)
    return numbers


def _kept(results, store, callbacks):
    """Yields children as they come, each after it was kept."""
    for child in results:
        store.add(child)
        _tell(callbacks, "on_child_end", child)
        yield child


def _tell(callbacks, event, *facts):
    for callback in callbacks:
        getattr(callback, event)(*facts)


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
    train: Callable[[list[Child]], Iterable[Child]],
    noise: float,
    count: int,
    repeats: int,
    store: Store | None = None,
    callbacks: Sequence[Callback] = (),
) -> list[Finalist]:
    """Chooses the winner of a search by more than one noisy reward: trains the best cells again with further seeds.

    Args:
        children: all children of the search, in the order of their numbers. At least one did not fail.
        surrogate, noise: see `finalists`.
        train: function of a list of untrained children that yields each of them trained, in any order.
        count: number of finalists. With 0, or where there is only one candidate, the child of the highest reward wins
            as it is.
        repeats: number of further trainings of each finalist.
        store, callbacks: see `progressive_search`.
    Returns:
        List of Finalist, the winner first: the highest mean reward, of equal ones the lower number.
    """
    store = store or Store()
    count = min(count, len(_candidates(children)))
    if count < 2:
        ranked = [Finalist(max(children, key=lambda child: (not child.error, child.reward, -child.number)), [])]
    else:
        numbers = store.finalists()
        if len(numbers) != count:
            numbers = [child.number for child in finalists(children, surrogate, noise, count)]
            store.keep_finalists(numbers)
        chosen = [child for child in children if child.number in numbers]
        trainings = {child.number: [] for child in chosen}
        for repeat in range(1, repeats + 1):
            known = {child.number: child for child in store.children(repeat=repeat) if not child.error}
            new = [
                Child(child.number, child.cell, child.predicted, repeat=repeat)
                for child in chosen
                if child.number not in known
            ]
            _tell(callbacks, "on_repeat_begin", repeat, chosen, new)
            known |= {child.number: child for child in _kept(train(new), store, callbacks)}
            for number, trained in trainings.items():
                trained.append(known[number])
        ranked = [Finalist(child, trainings[child.number]) for child in chosen]
        ranked.sort(key=lambda finalist: (-finalist.mean, finalist.child.number))
    store.keep_winner(ranked[0].child.number)
    _tell(callbacks, "on_search_end", ranked)
    return ranked

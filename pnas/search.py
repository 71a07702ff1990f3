"""The progressive search, for the highest reward or for the highest at every cost.

Source: Liu et al. 2018, arXiv:1712.00559, section 4, algorithm 1.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from pnas.child import Child, pareto_front, rounds_of
from pnas.costs import choose_for_all_costs
from pnas.encoder import Cell, StateSpace
from pnas.store.store import Store


class Finalist(NamedTuple):
    """A cell that was trained several times: its first training, and all that did not fail, the first one first."""

    child: Child
    trainings: list[Child]

    @property
    def mean(self) -> float:
        return float(np.mean([child.reward for child in self.trainings]))

    @property
    def standard_deviation(self) -> float:
        """Over the trainings, NaN if there is only one."""
        rewards = [child.reward for child in self.trainings]
        return float(np.std(rewards, ddof=1)) if len(rewards) > 1 else math.nan


class Callback:
    """What is told of a search. It decides nothing. A callback has those of these methods that it needs.

    The store has kept children, choices and finalists by then; fits and measures of the surrogate are kept by `Files`.
    """

    def on_round_begin(
        self, blocks: int, round: tuple[int, int], new: list[Child], known: list[Child], later: list[tuple[int, int]]
    ):
        """Called before children of a block size are trained.

        Args:
            blocks: the size.
            round: number of the round, from 1, and how many rounds this size has at most.
            new: the children to train in this round, in the order in which they are handed out.
            known: those of this round that an earlier run has trained.
            later: (blocks, largest number of children) of each of the following rounds and sizes.
        """

    def on_child_end(self, child: Child):
        """Called after each training of a child; `child.repeat` tells the further trainings of finalists."""

    def on_size_end(self, blocks: int, children: list[Child]):
        """Called after all children of a block size, given in the order of their numbers."""

    def on_fit_end(self, children: int, losses: list[float]):
        """Called after the surrogate was fitted to so many children, all that have a reward."""

    def on_choice(self, blocks: int, cells: list[Cell]):
        """Called when the cells of a round have been chosen. There is none if no cell of this size fits."""

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
    rounds: int = 1,
    cost: Callable[[Cell], int] | None = None,
) -> list[Child]:
    """Trains all cells of one block, then K cells of every larger size, which the surrogate chooses.

    They are expansions of the children of the size before. Children that fail are neither expanded nor shown to the
    surrogate.

    Args:
        state_space: StateSpace of the cells.
        surrogate: has `fit(cells, rewards)`, which returns losses, and `predict(cells)` or, with `cost`,
            `predict_with_deviation(cells)`. Such as `pnas.encoder.Encoder`.
        train: function of a list of untrained children that yields each of them trained, in any order. Their numbers
            count from 1; the predicted reward of one-block cells is NaN.
        K: number of children for each block size after the first.
        store: keeps every child and choice; what an earlier run has kept there is not trained again. None keeps them in
            memory.
        callbacks: told what happens.
        fits: function that says whether a cell may be trained, such as that of `pnas.costs.budget`; None admits all.
            Other cells are never ranked, trained or expanded. A search ends at the first block size of which no cell
            fits.
        rounds: the K children of a size are chosen in so many rounds, see `pnas.child.rounds_of`. Between them the
            surrogate is fitted to everything trained so far. 1 is the paper's.
        cost: function of a cell. Cells are then chosen for the highest reward at every cost, see
            `pnas.costs.choose_for_all_costs`; None chooses them for the highest reward.
    Returns:
        All children, in the order of their numbers.
    """
    store = store or Store()
    trained = []

    def choose(blocks, number, quota):
        """The cells of a round and their predicted rewards; none where no cell is left."""
        rewarded = [child for child in trained if not child.error]
        # Once children of a choice are trained, it stays: a surrogate that is fitted again, for example on another
        # processor or to a child that had failed, may rank close cells in another order.
        choices, tried = store.choices(blocks)[:number], store.children()
        is_kept = len(choices) == number and any(child.cell in choices[-1][0] for child in tried)
        if not is_kept:
            if any(child.blocks > blocks for child in tried):  # whose numbers new children would get
                return [], []
            known = {tuple(child.cell) for child in trained if child.blocks == blocks}
            parents = [child.cell for child in rewarded if child.blocks == blocks - 1]
            candidates = list(filter(fits, state_space.expand(parents)))
            if known:
                candidates = [cell for cell in candidates if tuple(state_space.canonical(cell)) not in known]
                if not candidates:
                    return [], []
        losses = surrogate.fit([child.cell for child in rewarded], [child.reward for child in rewarded])
        _tell(callbacks, "on_fit_end", len(rewarded), losses)
        if not is_kept:
            choices[number - 1 :] = [_choose(state_space, surrogate, candidates, quota, rewarded, cost)]
            store.keep_choices(blocks, choices)
        _tell(callbacks, "on_choice", blocks, choices[-1][0])
        return choices[-1]

    quotas = rounds_of(K, rounds)
    for blocks in range(1, state_space.B + 1):
        of_size, of_rounds = [], quotas if blocks > 1 else [math.inf]
        for number, quota in enumerate(of_rounds, start=1):
            if blocks == 1:
                cells = list(filter(fits, state_space.initial_children()))
                predicted = [math.nan] * len(cells)
            else:
                cells, predicted = choose(blocks, number, quota)
            if not cells:
                break
            known, new = [], []
            for place, (cell, prediction) in enumerate(zip(cells, predicted), start=len(trained) + 1):
                child = store.child(cell)
                (known if child else new).append(child or Child(place, cell, prediction))
            to_come = of_rounds[number:] if len(cells) == quota else []  # else no cell of this size is left
            later = [(blocks, left) for left in to_come]
            later += _later_sizes(state_space, [*of_size, *known, *new], sum(to_come), K, fits)
            _tell(callbacks, "on_round_begin", blocks, (number, len(of_rounds)), new, known, later)
            children = known + _keep(train(new), store, callbacks)
            children.sort(key=lambda child: child.number)  # they end in any order
            of_size += children
            trained += children
        if of_size:
            _tell(callbacks, "on_size_end", blocks, of_size)
        if all(child.error for child in of_size):
            break
    return trained


def _choose(state_space, surrogate, cells, K, trained, cost):
    """The chosen ones of these cells, in canonical form, and their predicted rewards, as lists."""
    if not cells:
        return [], []
    if cost is None:
        predicted = surrogate.predict(cells)
        chosen = np.argsort(-predicted, kind="stable")[:K]
    else:
        predicted, deviations = surrogate.predict_with_deviation(cells)
        known = [(cost(child.cell), child.reward) for child in trained]
        chosen = choose_for_all_costs(list(map(cost, cells)), predicted + deviations, known, K)
    return [state_space.canonical(cells[i]) for i in chosen], [float(predicted[i]) for i in chosen]


def _later_sizes(state_space, children, to_come, K, fits):
    """(blocks, largest number of children) of each block size after that of some children and others to come."""
    first = children[0].blocks + 1
    if to_come or fits is None or first > state_space.B:
        numbers = state_space.most_children(len(children) + to_come, first, K)
    else:
        number = min(K, sum(map(fits, state_space.expand([child.cell for child in children]))))
        numbers = [number, *state_space.most_children(number, first + 1, K)]
    return list(enumerate(numbers, start=first))


def _keep(results, store, callbacks):
    """Keeps each child as it comes, and returns them all."""
    children = []
    for child in results:
        store.add(child)
        _tell(callbacks, "on_child_end", child)
        children.append(child)
    return children


def _tell(callbacks, event, *facts):
    for callback in callbacks:
        getattr(callback, event, lambda *_: None)(*facts)


def shrunk_rewards(predicted: Sequence[float], rewards: Sequence[float], noise: float) -> np.ndarray:
    """Rewards moved towards the surrogate's fit of them, the further the more of the difference is noise.

    p + w (r - p), where p is the fit, r the reward and w = s² / (s² + noise²). s² is the variance of (r - p) / (1 - p)
    less noise², not below 0: what the surrogate misses of the cells themselves. The highest of many noisy rewards is
    too high; a shrunk reward is the mean of what is known of the cell.

    Args:
        predicted: the surrogate's predictions for these cells, after it was fitted to their rewards, below 1.
        rewards: one reward a cell, in the same unit.
        noise: standard deviation of a reward from one training to the next, as a share of 1 - reward, at least 0; 0
            leaves all rewards as they are.
    Returns:
        Float array, one a cell.
    Source: the posterior mean of a normal prior, with its variance estimated from the data; Efron & Morris 1973,
        doi:10.1080/01621459.1973.10481350.
    """
    predicted, rewards = np.asarray(predicted, float), np.asarray(rewards, float)
    differences = rewards - predicted
    shares = differences / np.maximum(1 - predicted, 1e-6)
    weight = 1 - noise**2 / max(np.var(shares), noise**2) if noise else 1
    return predicted + weight * differences


def _candidates(children):
    """The children that may be finalists: those that did not fail and were not stopped early."""
    most = max(child.epochs for child in children)
    return [child for child in children if not child.error and not child.was_stopped(most)]


def finalists(children: list[Child], surrogate, noise: float, count: int, cost: str | None = None) -> list[Child]:
    """The children that are worth another training: those of the highest shrunk rewards.

    Fits the surrogate once more, to all children that have a reward.

    Args:
        children: all children of a search, in the order of their numbers. Those that failed or were stopped early
            are left out. At least one did not fail.
        surrogate: has `fit(cells, rewards)` and `predict(cells)`, such as `pnas.encoder.Encoder`.
        noise: see `shrunk_rewards`.
        count: how many; fewer if there are no more children.
        cost: name of a child's cost, for the finalists of a front: those of the Pareto front by shrunk rewards and this
            cost. Of a longer one they are evenly spread, from its end, the highest shrunk reward, to its beginning.
    Returns:
        List of Child, highest shrunk reward first, of equal ones the lower number first; those of a front cheapest
        first.
    """
    trained = [child for child in children if not child.error]
    cells, rewards = [child.cell for child in trained], [child.reward for child in trained]
    surrogate.fit(cells, rewards)
    shrunk = shrunk_rewards(surrogate.predict(cells), rewards, noise)
    shrunk = {child.number: reward for child, reward in zip(trained, shrunk)}
    candidates = _candidates(trained)
    if cost is None:
        return sorted(candidates, key=lambda child: -shrunk[child.number])[:count]
    front = pareto_front(candidates, cost, lambda child: shrunk[child.number])
    places = np.linspace(len(front) - 1, 0, min(count, len(front))).round().astype(int)
    return [front[place] for place in places[::-1]]


def train_finalists(
    children: list[Child],
    surrogate,
    train: Callable[[list[Child]], Iterable[Child]],
    noise: float,
    count: int,
    repeats: int,
    store: Store | None = None,
    callbacks: Sequence[Callback] = (),
    cost: str | None = None,
) -> list[Finalist]:
    """Chooses the winner of a search by more than one noisy reward: trains the best cells again with further seeds.

    Args:
        children: all children of the search, in the order of their numbers. At least one did not fail.
        surrogate, noise, cost: see `finalists`.
        train: function of a list of untrained children that yields each of them trained, in any order.
        count: number of finalists, at most. With 0, or without `cost` where there is only one candidate, the child of
            the highest reward wins as it is, and with `cost` the front of the rewards stays.
        repeats: number of further trainings of each finalist. If the store has more of them, these count, too.
        store, callbacks: see `progressive_search`.
    Returns:
        List of Finalist, the winner first: the highest mean reward, of equal ones the lower number.
    """
    store = store or Store()
    candidates = _candidates(children)
    count = min(count, len(candidates))
    best = finalists(children, surrogate, noise, count, cost)  # fits the surrogate, also where they have been chosen
    if count < (1 if cost else 2):
        repeats = 0
        if cost:
            chosen = pareto_front(candidates, cost)
        else:
            chosen = [max(candidates, key=lambda child: (child.reward, -child.number))]
    else:
        chosen_from = {"candidates": [child.number for child in candidates], "noise": noise}
        numbers = store.finalists(count, chosen_from)
        if not numbers:
            numbers = [child.number for child in best]
            store.keep_finalists(count, numbers, chosen_from)
        chosen = [child for child in children if child.number in numbers]
    for repeat in range(1, repeats + 1):
        known = {child.number for child in store.children(repeat=repeat) if not child.error}
        new = [
            Child(child.number, child.cell, child.predicted, repeat=repeat)
            for child in chosen
            if child.number not in known
        ]
        _tell(callbacks, "on_repeat_begin", repeat, chosen, new)
        _keep(train(new), store, callbacks)
    ranked = [
        Finalist(child, [child, *(again for again in store.trainings(child.number) if again.repeat)])
        for child in chosen
    ]
    ranked.sort(key=lambda finalist: (-finalist.mean, finalist.child.number))
    store.keep_ranking([finalist.child.number for finalist in ranked])
    _tell(callbacks, "on_search_end", ranked)
    return ranked


def front(ranked: list[Finalist], cost: str) -> list[Finalist]:
    """The finalists that no other one beats in mean reward and cost, cheapest first; see `pnas.child.pareto_front`."""
    finalist = {each.child.number: each for each in ranked}
    best = pareto_front([each.child for each in ranked], cost, lambda child: finalist[child.number].mean)
    return [finalist[child.number] for child in best]

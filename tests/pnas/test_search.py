"""Choosing the children that are trained again, by hand-made rewards and fits."""

import numpy as np
import pytest

from pnas.journal.children import Child
from pnas.search import SearchCallback, finalists, shrunk_rewards, train_finalists


class Constant:
    """A surrogate that predicts the same for every cell, and keeps what it was fitted to."""

    def __init__(self, predicted):
        self.predicted = predicted

    def fit(self, cells, rewards):
        self.fitted = cells, rewards

    def predict(self, cells):
        return np.full(len(cells), self.predicted)


def children(rewards, errors=()):
    return [
        Child(number, [0, f"op {number}", 0, "op"], np.nan, 0, reward, error="it failed" if number in errors else "")
        for number, reward in enumerate(rewards, start=1)
    ]


def test_a_reward_is_shrunk_by_the_share_of_noise_in_its_difference_from_the_fit():
    # r - p = ±0.02: variance 0.0004, of which noise² = 0.0001 is noise, so w = 0.0003 / 0.0004.
    shrunk = shrunk_rewards([0.9, 0.8], [0.92, 0.78], noise=0.01)
    assert shrunk == pytest.approx([0.9 + 0.75 * 0.02, 0.8 - 0.75 * 0.02])


def test_rewards_without_noise_are_not_shrunk():
    assert shrunk_rewards([0.9, 0.8], [0.92, 0.78], noise=0) == pytest.approx([0.92, 0.78])


def test_rewards_that_differ_from_the_fit_by_less_than_the_noise_become_the_fit():
    assert shrunk_rewards([0.9, 0.8], [0.905, 0.795], noise=0.01) == pytest.approx([0.9, 0.8])


def test_a_single_reward_becomes_its_fit():
    assert shrunk_rewards([0.9], [0.95], noise=0.01) == pytest.approx([0.9])


def test_finalists_are_the_children_of_the_highest_shrunk_rewards():
    surrogate = Constant(0.8)
    chosen = finalists(children([0.7, 0.9, 0.8, 0.85]), surrogate, noise=0.01, count=2)
    assert [child.number for child in chosen] == [2, 4]
    assert surrogate.fitted[1] == [0.7, 0.9, 0.8, 0.85]


def test_a_lucky_reward_of_a_cell_that_the_surrogate_doubts_is_no_finalist():
    class Doubting(Constant):
        def predict(self, cells):
            return np.array([0.90, 0.80, 0.89])

    # Differences 0, 0.11 and 0: their variance, 0.0027, is below noise², so only the fit counts.
    chosen = finalists(children([0.90, 0.91, 0.89]), Doubting(None), noise=0.06, count=2)
    assert [child.number for child in chosen] == [1, 3]


def test_of_equal_finalists_the_first_comes_first():
    chosen = finalists(children([0.8, 0.8, 0.8]), Constant(0.8), noise=0.01, count=2)
    assert [child.number for child in chosen] == [1, 2]


def test_a_child_that_failed_is_neither_learned_nor_a_finalist():
    surrogate = Constant(0.8)
    chosen = finalists(children([0.9, 0.0, 0.7], errors=[2]), surrogate, noise=0.01, count=5)
    assert [child.number for child in chosen] == [1, 3]
    assert surrogate.fitted[1] == [0.9, 0.7]


def test_a_search_in_which_all_children_failed_has_no_finalists():
    assert finalists(children([0.0, 0.0], errors=[1, 2]), Constant(0.8), noise=0.01, count=5) == []


# ------------------------------------------------------------------------------------------- finalists, trained again


class Watched(SearchCallback):
    """Keeps what is kept, as an earlier run may have done."""

    def __init__(self, numbers=None, repeats=None):
        self.numbers, self.repeats = numbers, repeats or {}

    def known_finalists(self):
        return self.numbers

    def on_finalists_chosen(self, numbers):
        self.numbers = numbers

    def known_repeats(self, seed):
        return list(self.repeats.get(seed, []))

    def on_repeat_end(self, seed, child):
        self.repeats.setdefault(seed, []).append(child)


def trained_again(rewards):
    """A function that trains: the reward of a child's number and a further seed is looked up; the last comes first."""

    def train(seed, chosen, new):
        for number, cell, predicted in reversed(new):
            reward = rewards[number][seed - 1]
            yield Child(number, cell, predicted, seed, reward or 0, error="" if reward else "it failed")

    return train


FIRST = [0.7, 0.9, 0.8, 0.85]
AGAIN = {2: (0.6, 0.6), 4: (0.9, 0.86)}  # means: (0.9 + 0.6 + 0.6) / 3 = 0.7 and (0.85 + 0.9 + 0.86) / 3 = 0.87


def test_the_winner_has_the_highest_mean_reward_not_the_highest_single_one():
    winner, second = train_finalists(children(FIRST), Constant(0.8), 0.01, 2, 2, trained_again(AGAIN))
    assert (winner.child.number, second.child.number) == (4, 2)
    assert winner.mean == pytest.approx(0.87) and second.mean == pytest.approx(0.7)
    # Squared deviations from 0.7: 0.04 + 0.01 + 0.01, divided by 2.
    assert second.standard_deviation == pytest.approx(0.03**0.5)


def test_a_training_that_failed_does_not_count_in_the_mean():
    again = {2: (None, 0.8), 4: (0.6, 0.6)}
    winner, _ = train_finalists(children(FIRST), Constant(0.8), 0.01, 2, 2, trained_again(again))
    assert winner.child.number == 2 and winner.mean == pytest.approx(0.85) and len(winner.repeats) == 2


def test_without_finalists_the_highest_reward_wins():
    (winner,) = train_finalists(children(FIRST, errors=[2]), Constant(0.8), 0.01, 0, 2, trained_again({}))
    assert winner.child.number == 4 and winner.repeats == [] and np.isnan(winner.standard_deviation)


def test_a_resumed_search_keeps_its_finalists_and_trains_the_missing_ones():
    kept = Child(1, [0, "op 1", 0, "op"], np.nan, 1, 0.75)
    callback, asked = Watched([1, 3], {1: [kept]}), []

    def train(seed, chosen, new):
        asked.append((seed, [child.number for child in chosen], [number for number, *_ in new]))
        return trained_again({1: (None, 0.8), 3: (0.7, 0.7)})(seed, chosen, new)

    winner, second = train_finalists(children(FIRST), Constant(0.8), 0.01, 2, 2, train, callback)
    assert asked == [(1, [1, 3], [3]), (2, [1, 3], [1, 3])]
    assert winner.child.number == 1 and winner.rewards == [0.7, 0.75, 0.8] and second.rewards == [0.8, 0.7, 0.7]
    assert [child.number for child in callback.repeats[1]] == [1, 3]


def test_another_number_of_finalists_is_chosen_anew():
    callback = Watched([1, 3])
    train_finalists(children(FIRST), Constant(0.8), 0.01, 1, 1, trained_again({2: (0.9,)}), callback)
    assert callback.numbers == [2]

"""Choosing the children that are trained again, by hand-made rewards and fits."""

import numpy as np
import pytest

from pnas.journal.children import Child
from pnas.search import finalists, shrunk_rewards


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

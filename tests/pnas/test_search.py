"""The progressive search and its finalists, with rewards and rankings made by hand."""

import numpy as np
import pytest

from pnas.child import Child
from pnas.encoder import StateSpace
from pnas.search import SearchCallback, finalists, progressive_search, shrunk_rewards, train_finalists

# -------------------------------------------------------------------------------------------------- progressive search

SPACE = StateSpace(3, ["a", "b"])
AA, AB, BB = ([0, left, 0, right] for left, right in ("aa", "ab", "bb"))


class MostOfA:
    """A surrogate that ranks by the number of a, and records its calls."""

    def __init__(self):
        self.fits, self.rankings = [], []

    def fit(self, cells, rewards):
        self.fits.append((cells, rewards))
        return [0.25]

    def rank(self, cells, K):
        self.rankings.append((len(cells), K))
        best = sorted(map(SPACE.canonical, cells), key=lambda cell: -cell.count("a"))[:K]
        return best, [cell.count("a") / len(cell) for cell in best]


class Events(SearchCallback):
    """Records its calls, and knows the children and choices of an earlier run."""

    def __init__(self, children=(), choices=None):
        self.children, self.choices, self.seen = children, choices or {}, []

    def known_child(self, cell):
        return next((child for child in self.children if child.cell == cell), None)

    def known_choice(self, blocks):
        return self.choices.get(blocks)

    def on_size_begin(self, blocks, children):
        self.seen.append(("size", blocks, children))

    def on_child_end(self, child):
        self.seen.append(("child", child.number))

    def on_size_end(self, blocks, children):
        self.seen.append(("size ends", blocks, [child.number for child in children]))

    def on_fit_end(self, blocks, losses):
        self.seen.append(("fit", blocks, losses))

    def on_choice(self, blocks, cells, predicted):
        self.seen.append(("choice", blocks, cells, predicted))


def searched(callback=SearchCallback(), K=2):
    """Searches. Child n gets reward n / 100, and the last one ends first.

    Returns:
        (all children, the surrogate, list of (block size, (number, cell) of the trained, numbers of the known))
    """
    surrogate, asked = MostOfA(), []

    def train(blocks, new, known):
        asked.append((blocks, [(number, cell) for number, cell, _ in new], [child.number for child in known]))
        for number, cell, predicted in reversed(new):
            yield Child(number, cell, predicted, 0, reward=number / 100)

    return progressive_search(SPACE, surrogate, train, K, callback), surrogate, asked


def test_the_best_k_expansions_of_each_size_are_trained():
    children, surrogate, asked = searched()
    assert [cell for _, cell in asked[0][1]] == [AA, AB, BB]
    # Three possible blocks: six flat cells of two blocks; the best two expand to five of three blocks.
    assert surrogate.rankings == [(6, 2), (5, 2)]
    assert [child.cell for child in children[3:]] == [AA + AA, AA + AB, AA + AA + AA, AA + AA + AB]


def test_children_are_numbered_in_the_order_of_their_ranks():
    children, _, asked = searched()
    assert [number for _, new, _ in asked for number, _ in new] == [1, 2, 3, 4, 5, 6, 7]
    assert [child.number for child in children] == [1, 2, 3, 4, 5, 6, 7]


def test_children_of_more_blocks_have_predicted_rewards():
    children, _, _ = searched()
    assert np.isnan([child.predicted for child in children[:3]]).all()
    assert [child.predicted for child in children[3:]] == [4 / 8, 3 / 8, 6 / 12, 5 / 12]


def test_the_surrogate_is_fitted_after_each_size_but_the_last():
    children, surrogate, _ = searched()
    expected = [
        ([child.cell for child in part], [child.reward for child in part]) for part in (children[:3], children[:5])
    ]
    assert surrogate.fits == expected


def test_callbacks_come_in_the_order_of_the_search():
    callback = Events()
    searched(callback, K=1)
    assert callback.seen == [
        ("size", 1, 3),
        *[("child", number) for number in (3, 2, 1)],
        ("size ends", 1, [1, 2, 3]),
        ("fit", 1, [0.25]),
        ("choice", 2, [AA + AA], [0.5]),
        ("size", 2, 1),
        ("child", 4),
        ("size ends", 2, [4]),
        ("fit", 2, [0.25]),
        ("choice", 3, [AA + AA + AA], [0.5]),
        ("size", 3, 1),
        ("child", 5),
        ("size ends", 3, [5]),
    ]


def test_known_children_are_not_trained_again():
    known = [Child(2, AB, np.nan, 0, reward=0.75), Child(4, AA + AA, 0.5, 0, reward=0.8)]
    callback = Events(known)
    children, surrogate, asked = searched(callback)
    assert [(new, known) for _, new, known in asked[:2]] == [([(1, AA), (3, BB)], [2]), ([(5, AA + AB)], [4])]
    assert ("child", 2) not in callback.seen and ("size ends", 1, [1, 2, 3]) in callback.seen
    assert [child.reward for child in children[:4]] == [0.01, 0.75, 0.03, 0.8]
    assert surrogate.fits[1][1] == [0.01, 0.75, 0.03, 0.8, 0.05]


def test_a_known_choice_is_trained_in_its_order():
    callback = Events(choices={2: ([BB + BB, AB + BB], [0.9, 0.7])})
    children, surrogate, asked = searched(callback)
    assert asked[1][1] == [(4, BB + BB), (5, AB + BB)]
    assert [child.predicted for child in children[3:5]] == [0.9, 0.7]
    assert len(surrogate.rankings) == 1 and not [event for event in callback.seen if event[:2] == ("choice", 2)]


# ------------------------------------------------------------------------------------------------------------ finalists


class Constant:
    """A surrogate that predicts the same for every cell, and records what it was fitted to."""

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


def test_a_reward_is_shrunk_by_its_share_of_noise():
    # r - p = ±0.02: variance 0.0004, of which noise² = 0.0001 is noise, so w = 0.0003 / 0.0004.
    shrunk = shrunk_rewards([0.9, 0.8], [0.92, 0.78], noise=0.01)
    assert shrunk == pytest.approx([0.9 + 0.75 * 0.02, 0.8 - 0.75 * 0.02])


def test_rewards_without_noise_are_not_shrunk():
    assert shrunk_rewards([0.9, 0.8], [0.92, 0.78], noise=0) == pytest.approx([0.92, 0.78])


def test_rewards_within_the_noise_become_the_fit():
    assert shrunk_rewards([0.9, 0.8], [0.905, 0.795], noise=0.01) == pytest.approx([0.9, 0.8])


def test_a_single_reward_becomes_its_fit():
    assert shrunk_rewards([0.9], [0.95], noise=0.01) == pytest.approx([0.9])


def test_finalists_are_the_children_of_the_highest_shrunk_rewards():
    surrogate = Constant(0.8)
    chosen = finalists(children([0.7, 0.9, 0.8, 0.85]), surrogate, noise=0.01, count=2)
    assert [child.number for child in chosen] == [2, 4]
    assert surrogate.fitted[1] == [0.7, 0.9, 0.8, 0.85]


def test_a_lucky_reward_is_no_finalist():
    class Doubting(Constant):
        def predict(self, cells):
            return np.array([0.90, 0.80, 0.89])

    # Differences 0, 0.11 and 0: their variance, 0.0027, is below noise², so only the fit counts.
    chosen = finalists(children([0.90, 0.91, 0.89]), Doubting(None), noise=0.06, count=2)
    assert [child.number for child in chosen] == [1, 3]


def test_of_equal_finalists_the_first_comes_first():
    chosen = finalists(children([0.8, 0.8, 0.8]), Constant(0.8), noise=0.01, count=2)
    assert [child.number for child in chosen] == [1, 2]


def test_a_failed_child_is_no_finalist_and_not_fitted():
    surrogate = Constant(0.8)
    chosen = finalists(children([0.9, 0.0, 0.7], errors=[2]), surrogate, noise=0.01, count=5)
    assert [child.number for child in chosen] == [1, 3]
    assert surrogate.fitted[1] == [0.9, 0.7]


def test_a_search_in_which_all_children_failed_has_no_finalists():
    assert finalists(children([0.0, 0.0], errors=[1, 2]), Constant(0.8), noise=0.01, count=5) == []


# ------------------------------------------------------------------------------------------- finalists, trained again


class Watched(SearchCallback):
    """Keeps finalists and their trainings, and knows those of an earlier run."""

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
    """A training function: looks up the reward of a number and a further seed; the last child ends first."""

    def train(seed, chosen, new):
        for number, cell, predicted in reversed(new):
            reward = rewards[number][seed - 1]
            yield Child(number, cell, predicted, seed, reward or 0, error="" if reward else "it failed")

    return train


FIRST = [0.7, 0.9, 0.8, 0.85]
AGAIN = {2: (0.6, 0.6), 4: (0.9, 0.86)}  # means: (0.9 + 0.6 + 0.6) / 3 = 0.7 and (0.85 + 0.9 + 0.86) / 3 = 0.87


def test_the_winner_has_the_highest_mean_reward():
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


def test_a_resumed_search_keeps_its_finalists():
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

"""The progressive search and its finalists, with rewards and rankings made by hand."""

import numpy as np
import pytest

from pnas.child import Child
from pnas.encoder import StateSpace
from pnas.search import Callback, finalists, front, progressive_search, shrunk_rewards, train_finalists
from pnas.store.store import Store

# -------------------------------------------------------------------------------------------------- progressive search

SPACE = StateSpace(3, ["a", "b"])
AA, AB, BB = ([0, left, 0, right] for left, right in ("aa", "ab", "bb"))


class MostOfA:
    """A surrogate that predicts the share of a, and records its calls."""

    def __init__(self):
        self.fits, self.rankings = [], []

    def fit(self, cells, rewards):
        self.fits.append((cells, rewards))
        return [0.25]

    def predict(self, cells):
        self.rankings.append(len(cells))
        return np.array([cell.count("a") / len(cell) for cell in cells])


class BestNeighbours(MostOfA):
    """A surrogate that predicts of a cell the mean reward of the fitted cells whose blocks are all in it."""

    def __init__(self, space=SPACE):
        super().__init__()
        self.space = space

    def predict(self, cells):
        self.rankings.append(len(cells))
        cells, (fitted, rewards) = [self.space.canonical(cell) for cell in cells], self.fits[-1]
        blocks = [{tuple(cell[at : at + 4]) for at in range(0, len(cell), 4)} for cell in (*fitted, *cells)]
        known = list(zip(blocks, rewards))
        return np.array([np.mean([r for part, r in known if part <= whole]) for whole in blocks[len(fitted) :]])


class Events(Callback):
    """Records what it is told, children by their numbers."""

    def __init__(self):
        self.seen = []

    def on_round_begin(self, blocks, round, new, known, later):
        self.seen.append(("round", blocks, *round, numbers(new), numbers(known), later))

    def on_child_end(self, child):
        self.seen.append(("child", child.number) + (child.repeat,) * bool(child.repeat))

    def on_size_end(self, blocks, children):
        self.seen.append(("size ends", blocks, numbers(children)))

    def on_fit_end(self, children, losses):
        self.seen.append(("fit", children, losses))

    def on_choice(self, blocks, cells):
        self.seen.append(("choice", blocks, cells))

    def on_repeat_begin(self, repeat, finalists, new):
        self.seen.append(("repeat", repeat, numbers(finalists), numbers(new)))

    def on_search_end(self, finalists):
        self.seen.append(("end", [finalist.child.number for finalist in finalists]))


def numbers(children):
    return [child.number for child in children]


def searched(store=None, K=2, space=SPACE, surrogate=None, failing=(), callbacks=(), reward=None, **options):
    """Searches. Child n gets reward n / 100, or that of its cell, and the last one ends first. Cells of `failing` fail.

    Returns:
        (all children, the surrogate, list of the children that were trained, a list for each round)
    """
    surrogate, asked = surrogate or MostOfA(), []

    def train(new):
        asked.append(new)
        for child in reversed(new):
            trained = child._replace(reward=reward(child.cell) if reward else child.number / 100)
            yield trained.failed("no memory") if child.cell in failing else trained

    return progressive_search(space, surrogate, train, K, store, callbacks, **options), surrogate, asked


def test_the_best_k_expansions_of_each_size_are_trained():
    children, surrogate, asked = searched()
    assert [child.cell for child in asked[0]] == [AA, AB, BB]
    # Three possible blocks: six flat cells of two blocks; the best two expand to five of three blocks.
    assert surrogate.rankings == [6, 5]
    assert [child.cell for child in children[3:]] == [AA + AA, AA + AB, AA + AA + AA, AA + AA + AB]


def test_of_equal_predictions_the_earlier_cell_comes_first():
    children, *_ = searched(surrogate=Constant(0.5), K=3)
    assert [child.cell for child in children[3:6]] == SPACE.expand([AA, AB, BB])[:3]


def test_cells_are_chosen_in_canonical_form():
    children, *_ = searched(fits=lambda cell: cell != AA, K=1)
    assert SPACE.expand([AB, BB])[0] == AB + AA and children[2].cell == AA + AB


def test_children_are_numbered_in_the_order_of_their_ranks():
    children, _, asked = searched()
    assert [child.number for new in asked for child in new] == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(children) == [1, 2, 3, 4, 5, 6, 7]


def test_a_failed_child_that_succeeds_later_changes_no_size_that_is_done():
    store = Store()
    before, _, _ = searched(store, K=12, rounds=2, failing=[BB])  # five cells of two blocks in round 1, none in round 2
    after, _, asked = searched(store, K=12, rounds=2)  # BB + BB could be one of round 2
    assert numbers(after) == numbers(before) and [child.cell for child in after] == [child.cell for child in before]
    assert [child.number for new in asked for child in new] == [3]


def test_no_round_is_to_come_when_no_cell_is_left():
    events = Events()
    searched(K=16, rounds=2, callbacks=[events])
    rounds = {event[1:3]: event[-1] for event in events.seen if event[0] == "round"}
    assert rounds[1, 1] == [(2, 6), (3, 10)] and rounds[2, 1] == [(3, 10)]  # all cells of two blocks are in round 1


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
    events = Events()
    searched(callbacks=[events], K=1)
    assert events.seen == [
        ("round", 1, 1, 1, [1, 2, 3], [], [(2, 1), (3, 1)]),
        *[("child", number) for number in (3, 2, 1)],
        ("size ends", 1, [1, 2, 3]),
        ("fit", 3, [0.25]),
        ("choice", 2, [AA + AA]),
        ("round", 2, 1, 1, [4], [], [(3, 1)]),
        ("child", 4),
        ("size ends", 2, [4]),
        ("fit", 4, [0.25]),
        ("choice", 3, [AA + AA + AA]),
        ("round", 3, 1, 1, [5], [], []),
        ("child", 5),
        ("size ends", 3, [5]),
    ]


def test_a_callback_is_told_of_a_child_that_is_kept():
    store = Store()

    class Kept(Callback):
        def on_child_end(self, child):
            assert store.child(child.cell).number == child.number

    assert len(searched(store, callbacks=[Kept()])[0]) == 7


def test_known_children_are_not_trained_again():
    store = Store()
    for known in (Child(2, AB, np.nan, reward=0.75), Child(4, AA + AA, 0.5, reward=0.8)):
        store.add(known)
    store.keep_choices(2, [([AA + AA, AA + AB], [0.5, 0.375])])
    events = Events()
    children, surrogate, asked = searched(store, callbacks=[events])
    assert [numbers(new) for new in asked] == [[1, 3], [5], [6, 7]]
    assert ("round", 1, 1, 1, [1, 3], [2], [(2, 2), (3, 2)]) in events.seen and (
        "size ends",
        1,
        [1, 2, 3],
    ) in events.seen
    assert ("child", 2) not in events.seen
    assert [child.reward for child in children[:4]] == [0.01, 0.75, 0.03, 0.8]
    assert surrogate.fits[1][1] == [0.01, 0.75, 0.03, 0.8, 0.05]


def test_a_resumed_search_trains_nothing_and_ends_the_same():
    store = Store()
    whole, *_ = searched(store)
    resumed, surrogate, asked = searched(store)
    assert asked == [[], [], []] and str(resumed) == str(whole) and surrogate.rankings == []


def test_a_choice_of_which_a_child_was_trained_stays_in_its_order():
    store = Store()
    store.keep_choices(2, [([BB + BB, AB + BB], [0.9, 0.7])])
    store.add(Child(4, BB + BB, 0.9, reward=0.04))
    children, surrogate, asked = searched(store)
    assert [(child.number, child.cell, child.predicted) for child in asked[1]] == [(5, AB + BB, 0.7)]
    assert len(surrogate.rankings) == 1


# --------------------------------------------------------------------------------------------------------------- rounds

WIDE = StateSpace(2, list("abcd"))  # 10 cells of one block, 55 of two


def in_rounds(store=None, K=8, rounds=2, **options):
    return searched(store, K, WIDE, BestNeighbours(WIDE), rounds=rounds, **options)


def test_the_children_of_a_size_are_chosen_in_rounds():
    children, surrogate, asked = in_rounds()
    assert [numbers(new) for new in asked] == [list(range(1, 11)), [11, 12, 13, 14], [15, 16, 17, 18]]
    assert surrogate.rankings == [55, 51]  # what was chosen before is not ranked again
    assert len({tuple(child.cell) for child in children}) == 18


def test_the_surrogate_is_fitted_to_everything_before_each_round():
    children, surrogate, _ = in_rounds(failing=[WIDE.initial_children()[2]])
    rewarded = [child for child in children if not child.error]
    assert [cells for cells, _ in surrogate.fits] == [[child.cell for child in rewarded[:n]] for n in (9, 13)]


@pytest.mark.parametrize(
    "K, rounds, expected", [(8, 1, [8]), (9, 2, [5, 4]), (16, 3, [6, 5, 5]), (8, 4, [4, 4]), (7, 2, [7]), (3, 9, [3])]
)
def test_a_round_has_at_least_four_children(K, rounds, expected):
    _, _, asked = in_rounds(K=K, rounds=rounds)
    assert [len(new) for new in asked[1:]] == expected


def test_there_is_no_further_round_when_all_cells_of_a_size_are_trained():
    _, surrogate, asked = in_rounds(K=120)
    assert [len(new) for new in asked] == [10, 55] and surrogate.rankings == [55] and len(surrogate.fits) == 1


def test_callbacks_are_told_of_rounds():
    events = Events()
    in_rounds(callbacks=[events])
    assert [event for event in events.seen if event[0] not in ("child", "choice")] == [
        ("round", 1, 1, 1, list(range(1, 11)), [], [(2, 8)]),
        ("size ends", 1, list(range(1, 11))),
        ("fit", 10, [0.25]),
        ("round", 2, 1, 2, [11, 12, 13, 14], [], [(2, 4)]),
        ("fit", 14, [0.25]),
        ("round", 2, 2, 2, [15, 16, 17, 18], [], []),
        ("size ends", 2, list(range(11, 19))),
    ]


@pytest.mark.parametrize("trained", [0, 7, 10, 12, 14, 16, 18])
def test_a_search_resumes_in_any_round(trained):
    whole, *_ = in_rounds()
    store = Store()

    class Stops(Callback):
        def on_child_end(self, child):
            if len(store.children()) == trained:
                raise InterruptedError

    if trained:
        with pytest.raises(InterruptedError):
            in_rounds(store, callbacks=[Stops()])
    resumed, _, asked = in_rounds(store)
    assert str(resumed) == str(whole) and sum(map(len, asked)) == 18 - trained


# -------------------------------------------------------------------------------------------- the best cell at any cost


class Sure(MostOfA):
    """A surrogate that predicts 0.1 for each a and 0.3 for each b, and is not sure of b."""

    state_space = SPACE

    def predict_with_deviation(self, cells):
        counts = np.array([(cell.count("a"), cell.count("b")) for cell in cells])
        return counts @ [0.01, 0.03], 0.001 * counts[:, 1]


def test_cells_are_chosen_for_every_cost():
    # An a costs 1 and a b costs 10. For the highest reward alone, those of most b would be chosen.
    children, surrogate, _ = searched(K=2, surrogate=Sure(), cost=lambda cell: cell.count("a") + 10 * cell.count("b"))
    assert AA + AA in [child.cell for child in children] and surrogate.rankings == []
    assert children[3].predicted == pytest.approx(
        0.01 * children[3].cell.count("a") + 0.03 * children[3].cell.count("b")
    )


def test_the_finalists_of_a_front_are_spread_evenly():
    # Child 3 is beaten by child 2. Of the six others three are the first, the third and the last.
    costs = [1, 2, 3, 4, 50, 60, 1000]
    given = children([0.1, 0.2, 0.15, 0.3, 0.5, 0.6, 0.7])
    given = [child._replace(macs=cost) for child, cost in zip(given, costs)]

    def chosen(count):
        return numbers(finalists(given, Constant(0.4), 0, count, "macs"))

    assert chosen(9) == chosen(6) == [1, 2, 4, 5, 6, 7]
    assert chosen(3) == [1, 4, 7] and chosen(2) == [1, 7] and chosen(1) == [7]


def test_a_front_is_of_mean_rewards_cheapest_first():
    given = [child._replace(macs=cost) for child, cost in zip(children(FIRST), (1, 2, 3, 4))]
    # Without noise the front is 1 and 2, as 3 and 4 cost more than 2. On average 1 is better: (0.7 + 0.8) / 2.
    store, again = Store(), trained_again({1: (0.8,), 2: (0.4,)})
    ranked = train_finalists(given, Constant(0.8), again, 0, 5, 1, store, cost="macs")
    assert [(each.child.number, each.mean) for each in ranked] == [(1, 0.75), (2, pytest.approx(0.65))]
    assert [each.child.number for each in front(ranked, "macs")] == [1]
    assert store.ranking()[0] == 1


def test_a_front_without_finalists_is_that_of_the_first_rewards():
    given = [child._replace(macs=cost) for child, cost in zip(children(FIRST), (1, 4, 3, 2))]
    ranked = train_finalists(given, Constant(0.8), trained_again({}), 0, 0, 1, cost="macs")
    assert [each.child.number for each in front(ranked, "macs")] == [1, 4, 2] and ranked[0].child.number == 2


# ------------------------------------------------------------------------------------------------------ failed children


def quality(cell):
    """A reward in which b is better than a, and the first half counts most."""
    return sum((cell[at + 1] == "b") * 0.2 + (cell[at + 3] == "b") * 0.05 for at in range(0, len(cell), 4)) / len(cell)


def test_a_failed_child_is_neither_fitted_nor_expanded():
    children, surrogate, asked = searched(failing=[AA])
    assert [cell for cell, _ in zip(*surrogate.fits[0])] == [AB, BB]
    assert surrogate.rankings[0] == 5  # of the six cells of two blocks, aa|aa extends aa alone
    assert [child.error for child in children[:3]] == ["no memory", "", ""]
    assert all(child.cell not in (AA + AA,) for child in children)
    assert 0.0 not in surrogate.fits[1][1]


def test_a_search_in_which_a_child_fails_chooses_as_one_that_never_had_its_cell():
    failing = [AA, AB + BB]
    with_failures, one, _ = searched(surrogate=BestNeighbours(), failing=failing, reward=quality, K=3)
    # The same cells, but none of these is ever admitted, and so there is room for another one of two blocks.
    without, other, _ = searched(surrogate=BestNeighbours(), fits=lambda cell: cell != AA, reward=quality, K=3)
    assert one.fits[0] == other.fits[0] and one.rankings[0] == other.rankings[0]
    assert [child.cell for child in with_failures[3:6]] == [child.cell for child in without[2:5]]
    assert all(child.cell not in failing for child in with_failures if not child.error)


def test_a_search_of_which_a_whole_size_fails_ends_there():
    children, surrogate, asked = searched(failing=[AA + AA, AA + AB])
    assert numbers(children) == [1, 2, 3, 4, 5] and len(asked) == 2 and len(surrogate.fits) == 1
    children, surrogate, asked = searched(failing=[AA, AB, BB])
    assert numbers(children) == [1, 2, 3] and surrogate.fits == []


def test_a_failed_child_that_succeeds_counts_in_the_next_choice():
    store = Store()
    searched(store, surrogate=BestNeighbours(), failing=[BB], reward=quality, space=StateSpace(2, ["a", "b"]))
    failed_choices = store.choices(2)

    def resumed(store):
        surrogate = BestNeighbours()
        searched(store, surrogate=surrogate, reward=quality)
        return surrogate

    # Nothing of the choice was trained: it is made again, with the child that succeeded now.
    untrained = Store()
    for child in store.children(1):
        untrained.add(child)
    untrained.keep_choices(2, failed_choices)
    surrogate = resumed(untrained)
    assert surrogate.fits[0][0] == [AA, AB, BB]
    assert untrained.choices(2)[0][0][0] == BB + BB and BB + BB not in failed_choices[0][0]
    # Children of the choice were trained: it stays. The next one is made with all rewards.
    surrogate = resumed(store)
    assert store.choices(2) == failed_choices and len(surrogate.rankings) == 1
    assert surrogate.fits[1][0][:3] == [AA, AB, BB]


def test_a_failed_child_keeps_its_number_when_it_is_trained_again():
    store = Store()
    searched(store, failing=[AB, AA + AB])
    children, _, asked = searched(store)
    assert [numbers(new) for new in asked] == [[2], [5], []]
    assert numbers(children) == [1, 2, 3, 4, 5, 6, 7] and not any(child.error for child in children)


# -------------------------------------------------------------------------------------------------------------- budgets


def test_cells_that_do_not_fit_are_neither_trained_nor_ranked():
    children, surrogate, _ = searched(fits=lambda cell: cell.count("a") < 3)
    assert [child.cell for child in children[:3]] == [AA, AB, BB]
    assert surrogate.rankings[0] == 4  # all of two blocks but aa|aa and aa|ab
    assert all(child.cell.count("a") < 3 for child in children)


def test_a_search_of_which_no_larger_cell_fits_ends_and_can_be_resumed():
    store = Store()
    for trained in ([1, 2, 3], []):
        events = Events()
        children, surrogate, asked = searched(store, callbacks=[events], fits=lambda cell: len(cell) == 4)
        assert [numbers(new) for new in asked] == [trained] and numbers(children) == [1, 2, 3]
        assert events.seen[0] == ("round", 1, 1, 1, trained, [] if trained else [1, 2, 3], [(2, 0), (3, 0)])
        assert events.seen[-1] == ("choice", 2, []) and store.choices(2) == [([], [])]


def test_cells_that_do_not_fit_are_not_counted_among_the_later_ones():
    events = Events()
    searched(callbacks=[events], K=9, fits=lambda cell: cell.count("a") < 3)
    # Of six cells of two blocks four fit; their expansions are counted before they are known: at most ten flat ones.
    assert events.seen[0][-1] == [(2, 4), (3, 9)]


# ------------------------------------------------------------------------------------------------------------ finalists


class Constant:
    """A surrogate that predicts the same for every cell, and records what it was fitted to."""

    fitted = None

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
    # (r - p) / (1 - p) = ±0.2: variance 0.04, of which noise² = 0.01 is noise, so w = 0.03 / 0.04.
    shrunk = shrunk_rewards([0.9, 0.8], [0.92, 0.76], noise=0.1)
    assert shrunk == pytest.approx([0.9 + 0.75 * 0.02, 0.8 - 0.75 * 0.04])


def test_rewards_without_noise_are_not_shrunk():
    assert shrunk_rewards([0.9, 0.8], [0.92, 0.78], noise=0) == pytest.approx([0.92, 0.78])


def test_rewards_within_the_noise_become_the_fit():
    assert shrunk_rewards([0.9, 0.8], [0.905, 0.795], noise=0.06) == pytest.approx([0.9, 0.8])


@pytest.mark.parametrize("reward", [0.87, 0.95, 0.99])
def test_noise_is_a_share_of_the_error_at_every_reward(reward):
    # Cells spread by 6 % of the error around the fit, beside noise of 4.5 %: w = 0.06² / (0.06² + 0.045²) = 0.64.
    spread = (0.06**2 + 0.045**2) ** 0.5 * (1 - reward)
    shrunk = shrunk_rewards([reward] * 2, [reward + spread, reward - spread], noise=0.045)
    assert shrunk - reward == pytest.approx([0.64 * spread, -0.64 * spread])


def test_a_fit_of_1_shrinks_nothing_else():
    assert np.isfinite(shrunk_rewards([1.0, 0.9], [0.95, 0.9], noise=0.045)).all()


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

    # Shares of the error 0, 0.55 and 0: their variance, 0.067, is below noise², so only the fit counts.
    chosen = finalists(children([0.90, 0.91, 0.89]), Doubting(None), noise=0.26, count=2)
    assert [child.number for child in chosen] == [1, 3]


def test_of_equal_finalists_the_first_comes_first():
    chosen = finalists(children([0.8, 0.8, 0.8]), Constant(0.8), noise=0.01, count=2)
    assert [child.number for child in chosen] == [1, 2]


def test_a_failed_child_is_no_finalist_and_not_fitted():
    surrogate = Constant(0.8)
    chosen = finalists(children([0.9, 0.0, 0.7], errors=[2]), surrogate, noise=0.01, count=5)
    assert [child.number for child in chosen] == [1, 3]
    assert surrogate.fitted[1] == [0.9, 0.7]


def test_a_stopped_child_is_no_finalist_but_is_fitted():
    surrogate = Constant(0.8)
    stopped, *others = [child._replace(epochs=4) for child in children([0.9, 0.7, 0.6])]
    chosen = finalists([stopped._replace(epochs=1), *others], surrogate, noise=0, count=2)
    assert [child.number for child in chosen] == [2, 3] and surrogate.fitted[1] == [0.9, 0.7, 0.6]


# -------------------------------------------------------------------------------------------- finalists, trained again


def trained_again(rewards):
    """A training function: looks up the reward of a number and a repeat, None if it fails. The last ends first."""

    def train(new):
        for child in reversed(new):
            reward = rewards[child.number][child.repeat - 1]
            yield child.failed("it failed") if reward is None else child._replace(reward=reward)

    return train


def of(*candidates, noise=0.01):
    """What finalists are chosen from."""
    return {"candidates": [*candidates], "noise": noise}


FIRST = [0.7, 0.9, 0.8, 0.85]
AGAIN = {2: (0.6, 0.6), 4: (0.9, 0.86)}  # means: (0.9 + 0.6 + 0.6) / 3 = 0.7 and (0.85 + 0.9 + 0.86) / 3 = 0.87


def rewards(finalist):
    return [child.reward for child in finalist.trainings]


def test_the_winner_has_the_highest_mean_reward():
    store, events = Store(), Events()
    winner, second = train_finalists(
        children(FIRST), Constant(0.8), trained_again(AGAIN), 0.01, 2, 2, store=store, callbacks=[events]
    )
    assert (winner.child.number, second.child.number) == (4, 2)
    assert winner.mean == pytest.approx(0.87) and second.mean == pytest.approx(0.7)
    # Squared deviations from 0.7: 0.04 + 0.01 + 0.01, divided by 2.
    assert second.standard_deviation == pytest.approx(0.03**0.5)
    assert store.finalists(2, of(1, 2, 3, 4)) == [2, 4] and store.ranking()[0] == 4
    assert events.seen == [
        *(("repeat", 1, [2, 4], [2, 4]), ("child", 4, 1), ("child", 2, 1)),
        *(("repeat", 2, [2, 4], [2, 4]), ("child", 4, 2), ("child", 2, 2)),
        ("end", [4, 2]),
    ]


def test_of_equal_means_the_lower_number_wins():
    again = {2: (0.5,), 4: (0.9,)}
    ranked = train_finalists(children([0.1, 0.9, 0.1, 0.5]), Constant(0.5), trained_again(again), 0, 2, 1)
    assert [(finalist.child.number, finalist.mean) for finalist in ranked] == [(2, 0.7), (4, 0.7)]


def test_a_training_that_failed_does_not_count_in_the_mean():
    again = {2: (None, 0.8), 4: (0.6, 0.6)}
    winner, _ = train_finalists(children(FIRST), Constant(0.8), trained_again(again), 0.01, 2, 2)
    assert winner.child.number == 2 and winner.mean == pytest.approx(0.85) and rewards(winner) == [0.9, 0.8]


def test_without_finalists_the_highest_reward_wins():
    surrogate, store = Constant(0.8), Store()
    (winner,) = train_finalists(children(FIRST, errors=[2]), surrogate, trained_again({}), 0.01, 0, 2, store)
    assert winner.child.number == 4 and rewards(winner) == [0.85] and np.isnan(winner.standard_deviation)
    assert surrogate.fitted[1] == [0.7, 0.8, 0.85] and store.ranking()[0] == 4


def test_without_finalists_the_lower_of_equal_numbers_wins():
    (winner,) = train_finalists(children([0.7, 0.9, 0.9]), Constant(0.8), trained_again({}), 0.01, 0, 2)
    assert winner.child.number == 2


def test_a_failed_child_loses_against_a_reward_of_0():
    (winner,) = train_finalists(children([0, 0], errors=[1]), Constant(0.8), trained_again({}), 0.01, 0, 2)
    assert winner.child.number == 2


def test_one_finalist_is_not_trained_again():
    events, surrogate = Events(), Constant(0.8)
    for count, errors in ((1, []), (5, [1, 3, 4])):
        (winner,) = train_finalists(
            children(FIRST, errors), surrogate, trained_again({}), 0.01, count, 2, callbacks=[events]
        )
        assert winner.child.number == 2 and rewards(winner) == [0.9]
    assert events.seen == [("end", [2])] * 2


def test_a_failed_child_is_not_trained_among_the_finalists():
    again = dict.fromkeys((1, 3, 4), (0.5,))
    ranked = train_finalists(children(FIRST, errors=[2]), Constant(0.8), trained_again(again), 0.01, 5, 1)
    assert sorted(finalist.child.number for finalist in ranked) == [1, 3, 4]


def test_a_resumed_search_keeps_its_finalists():
    store, events = Store(), Events()
    for child in children(FIRST):
        store.add(child)
    store.keep_finalists(2, [1, 3], of(1, 2, 3, 4))
    store.add(Child(1, [0, "op 1", 0, "op"], np.nan, reward=0.75, repeat=1))
    again = trained_again({1: (None, 0.8), 3: (0.7, 0.7)})
    winner, second = train_finalists(children(FIRST), Constant(0.8), again, 0.01, 2, 2, store, [events])
    begun = [event for event in events.seen if event[0] == "repeat"]
    assert begun == [("repeat", 1, [1, 3], [3]), ("repeat", 2, [1, 3], [1, 3])]
    assert winner.child.number == 1 and rewards(winner) == [0.7, 0.75, 0.8] and rewards(second) == [0.8, 0.7, 0.7]
    assert numbers(store.children(repeat=1)) == [1, 3] and store.ranking() == [1, 3]


def test_a_repeat_that_failed_is_trained_again_on_resuming():
    store, events = Store(), Events()
    train_finalists(children(FIRST), Constant(0.8), trained_again({2: (None,), 4: (0.9,)}), 0.01, 2, 1, store)
    ranked = train_finalists(children(FIRST), Constant(0.8), trained_again({2: (0.9,)}), 0.01, 2, 1, store, [events])
    assert events.seen[0] == ("repeat", 1, [2, 4], [2]) and rewards(ranked[0]) == [0.9, 0.9]


@pytest.mark.parametrize("count, chosen_from", [(3, of(1, 2, 3, 4)), (2, of(1, 3, 4)), (2, of(1, 2, 3, 4, noise=0.02))])
def test_finalists_are_chosen_anew_of_others(count, chosen_from):
    """Another number of them, a child that had failed before, or another noise."""
    store = Store()
    store.keep_finalists(count, [1, 3], chosen_from)
    again = dict.fromkeys((2, 4), (0.9,))
    train_finalists(children(FIRST), Constant(0.8), trained_again(again), 0.01, 2, 1, store)
    assert store.finalists(2, of(1, 2, 3, 4)) == [2, 4]


def test_repeats_of_an_earlier_run_count():
    store = Store()
    for child in children(FIRST):
        store.add(child)
    train_finalists(children(FIRST), Constant(0.8), trained_again(AGAIN), 0.01, 2, 2, store)
    winner, second = train_finalists(children(FIRST), Constant(0.8), trained_again({}), 0.01, 2, 1, store)
    assert rewards(winner) == [0.85, 0.9, 0.86] and store.ranking() == [4, 2]


def test_finalists_stay_where_there_are_fewer_candidates_than_wanted():
    surrogate, store = Constant(0.8), Store()
    again = trained_again({1: (0.9,), 2: (0.9,)})
    train_finalists(children([0.7, 0.9]), surrogate, again, 0.01, 5, 1, store)
    assert store.finalists(2, of(1, 2)) == [2, 1]
    surrogate.fitted = None
    train_finalists(children([0.7, 0.9]), surrogate, again, 0.01, 5, 1, store)
    assert store.finalists(2, of(1, 2)) == [2, 1]
    assert surrogate.fitted[1] == [0.7, 0.9]  # it is kept fitted to all, also by a resumed search

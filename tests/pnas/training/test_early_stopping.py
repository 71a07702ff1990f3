"""Children that are stopped early: which, by what, and that nothing but the rewards of others decides."""

import random

import pytest
import tiny_search

from pnas.child import Child
from pnas.store.store import Store
from pnas.training.early_stopping import count_pioneers, train_with_stops

# 24 children of two blocks, of which three are pioneers
NEW = [Child(number, [0, "linear", 0, f"{number}"] * 2, 0.5) for number in range(11, 35)]
CURVES = {11: [0.5, 0.6, 0.9, 0.8], 12: [0.4, 0.3, 0.9, 0.9], 13: [0.2, 0.9, 0.9, 0.9]}


class Training:
    """Trains children by looking up the pioneers' curves; remembers what it was asked for."""

    def __init__(self, failed=()):
        self.failed, self.asked = failed, []

    def __call__(self, children, stop=None):
        self.asked.append(([child.number for child in children], stop))
        for child in random.Random(0).sample(children, len(children)):  # they end in any order
            curve = CURVES.get(child.number, [0.1])
            trained = child._replace(reward=max(curve), history={"val_accuracy": curve})
            yield trained.failed("no memory") if child.number in self.failed else trained


def store_of(*rounds):
    """A store with these choices."""
    store = Store()
    store.keep_choices(2, [([child.cell for child in chosen], [0.5] * len(chosen)) for chosen in rounds])
    return store


def trained(training, children=NEW, store=None, epochs=4):
    store = store or store_of(children)
    return [child.number for child in train_with_stops(training, store, epochs, [24], children)]


def test_children_of_one_block_are_all_trained_to_the_end():
    training = Training()
    children = [child._replace(cell=child.cell[:4]) for child in NEW]
    assert sorted(trained(training, children)) == list(range(11, 35))
    assert training.asked == [(list(range(11, 35)), None)]


def test_a_size_without_new_children_trains_none():
    assert trained(Training(), []) == []


def test_the_first_eighth_is_trained_to_the_end_and_sets_the_limit_for_the_others():
    training = Training()
    assert sorted(trained(training)) == list(range(11, 35))
    # After one of four epochs they had 0.2, 0.4 and 0.5, whose median is 0.4.
    assert training.asked == [([11, 12, 13], None), (list(range(14, 35)), (1, pytest.approx(0.4)))]


def test_the_best_accuracy_so_far_counts():
    training = Training()
    trained(training, epochs=8)  # a quarter of which is two epochs: 0.6, 0.4 and 0.9
    assert training.asked[1][1] == (2, pytest.approx(0.6))


def test_accuracies_are_compared_after_one_epoch_where_a_quarter_is_less():
    training = Training()
    trained(training, epochs=1)
    assert training.asked[1][1] == (1, pytest.approx(0.4))


@pytest.mark.parametrize("children, pioneers", [(1, 2), (16, 2), (19, 2), (21, 3), (24, 3), (256, 32)])
def test_the_nearest_number_to_an_eighth_are_pioneers_but_at_least_two(children, pioneers):
    assert count_pioneers(children) == pioneers


def test_two_children_are_pioneers_where_there_are_few():
    training = Training()
    trained(training, NEW[:3])
    assert [numbers for numbers, _ in training.asked] == [[11, 12], [13]]


def resumed(known, failed=()):
    """What is asked for when the children of these numbers have been trained, or have failed."""
    store, training = store_of(NEW), Training()
    for child in Training(failed)([child for child in NEW if child.number in known]):
        store.add(child)
    trained(training, [child for child in NEW if child.number not in known or child.number in failed], store)
    return training.asked


def test_the_pioneers_of_the_first_round_set_the_limit_for_all_rounds():
    first, second, store, training = NEW[:16], NEW[16:], store_of(NEW[:16], NEW[16:]), Training()
    for new in (first, second):
        for child in train_with_stops(training, store, 4, [16, 8], new):
            store.add(child)
    # An eighth of all 24 are pioneers, and all of them are of the first round.
    limit = (1, pytest.approx(0.4))
    assert training.asked == [
        *(([11, 12, 13], None), (list(range(14, 27)), limit)),
        *(([], None), (list(range(27, 35)), limit)),
    ]


def test_a_resumed_search_sets_the_same_limit():
    whole = Training()
    trained(whole)
    first, second = resumed(known=(11, 13, 20))
    assert first == ([12], None) and second == (list({*range(14, 35)} - {20}), whole.asked[1][1])


def test_a_pioneer_that_had_failed_is_trained_again_as_one():
    whole = Training()
    trained(whole)
    assert resumed(known=(11, 12, 13), failed=(12,)) == [([12], None), whole.asked[1]]


def test_failed_pioneers_do_not_count_and_without_any_nobody_is_stopped():
    training = Training(failed=(11, 12))
    trained(training)
    assert training.asked[1][1] == (1, pytest.approx(0.2))
    training = Training(failed=(11, 12, 13))
    trained(training)
    assert training.asked[1][1] is None


def test_a_search_stops_the_same_children_with_any_number_of_workers(tmp_path):
    options = ["--STOP_EARLY", "True", "--MAX_EPOCHS", "4", "--K_", "6", "--operators", "['3x3 bconv','linear']"]
    searches = []
    for workers in ("1", "2"):
        folder = tmp_path / workers
        folder.mkdir()
        searches.append(tiny_search.start(folder, *options, "--N_WORKERS", workers))
    outputs = [search.communicate(timeout=600)[0] for search in searches]
    assert [search.returncode for search in searches] == [0, 0], outputs
    tables = [Store.open("pnas", tmp_path / workers / "logs").children() for workers in ("1", "2")]
    stopped = sum(child.epochs == 1 for child in tables[0])
    log = (folder / "architectures" / "pnas.txt").read_text()
    assert {child.epochs for child in tables[0][:5]} == {4}  # three of one block, two pioneers
    assert stopped > 0 and log.count("Stopped early: after 1 of 4 epochs\n") == stopped
    assert outputs[1].count("stopped after 1 epoch ") == stopped
    facts = [[(child.number, child.cell, child.reward, child.epochs) for child in table] for table in tables]
    assert facts[0] == facts[1]

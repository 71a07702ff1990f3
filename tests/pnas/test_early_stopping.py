"""Children that are stopped early: which, by what, and that nothing but the rewards of others decides."""

import random

import pytest
import tiny_search

from pnas.early_stopping import count_pioneers, train_with_stops
from pnas.journal.children import Child, read_table
from pnas.search import finalists

CELL = [0, "linear", 0, "linear"]
NEW = [(number, CELL, 0.5) for number in range(11, 35)]  # 24 children, of which three are pioneers
CURVES = {11: [0.5, 0.6, 0.9, 0.8], 12: [0.4, 0.3, 0.9, 0.9], 13: [0.2, 0.9, 0.9, 0.9]}


class Training:
    """Trains children by looking up the pioneers' curves; remembers what it was asked for."""

    def __init__(self, curves=CURVES, failed=()):
        self.curves, self.failed, self.asked = curves, failed, []

    def __call__(self, new, stop):
        self.asked.append(([number for number, _, _ in new], stop))
        for number, cell, predicted in random.Random(0).sample(new, len(new)):  # they end in any order
            child = Child(number, cell, predicted, 0, history={"val_accuracy": self.curves.get(number, [0.1])})
            yield child.failed("no memory") if number in self.failed else child


def trained(training, new=NEW, known=(), epochs=4, curve=CURVES.get):
    return [child.number for child in train_with_stops(training, new, list(known), epochs, curve)]


def test_the_first_eighth_is_trained_to_the_end_and_sets_the_limit_for_the_others():
    training = Training()
    assert sorted(trained(training)) == list(range(11, 35))
    # After one of four epochs they had 0.2, 0.4 and 0.5; three quarters of the way from 0.2 to 0.5 by rank is 0.45.
    assert training.asked == [([11, 12, 13], None), (list(range(14, 35)), (1, pytest.approx(0.45)))]


def test_the_best_accuracy_so_far_counts():
    training = Training()
    trained(training, epochs=8)  # a quarter of which is two epochs: 0.6, 0.4 and 0.9
    assert training.asked[1][1] == (2, pytest.approx(0.75))


def test_accuracies_are_compared_after_one_epoch_where_a_quarter_is_less():
    training = Training()
    trained(training, epochs=1)
    assert training.asked[1][1] == (1, pytest.approx(0.45))


@pytest.mark.parametrize("children, pioneers", [(1, 2), (16, 2), (19, 2), (21, 3), (24, 3), (256, 32)])
def test_the_nearest_number_to_an_eighth_are_pioneers_but_at_least_two(children, pioneers):
    assert count_pioneers(children) == pioneers


def test_two_children_are_pioneers_where_there_are_few():
    training = Training()
    trained(training, NEW[:3])
    assert [numbers for numbers, _ in training.asked] == [[11, 12], [13]]


def test_a_resumed_search_sets_the_same_limit():
    whole, resumed = Training(), Training()
    trained(whole)
    known = [Child(number, CELL, 0.5, 0) for number in (11, 13, 20)]
    trained(resumed, [entry for entry in NEW if entry[0] not in (11, 13, 20)], known)
    assert resumed.asked[0] == ([12], None) and resumed.asked[1][1] == whole.asked[1][1]


def test_failed_pioneers_do_not_count_and_without_any_nobody_is_stopped():
    training = Training(failed=(11, 12))
    trained(training)
    assert training.asked[1][1] == (1, pytest.approx(0.2))
    training = Training(failed=(11, 12, 13))
    trained(training)
    assert training.asked[1][1] is None


class Surrogate:
    def fit(self, cells, rewards):
        self.fitted = len(cells)

    def predict(self, cells):
        return [0.5] * len(cells)


def test_a_stopped_child_is_no_finalist_but_teaches_the_surrogate():
    surrogate = Surrogate()
    children = [Child(number, CELL, 0.5, 0, reward=0.9 - number / 10, epochs=4) for number in (1, 2, 3)]
    children[0] = children[0]._replace(epochs=1)
    assert [child.number for child in finalists(children, surrogate, 0, 2)] == [2, 3] and surrogate.fitted == 3


def test_a_search_stops_the_same_children_with_any_number_of_workers(tmp_path):
    options = ["--STOP_EARLY", "True", "--MAX_EPOCHS", "4", "--K_", "6", "--operators", "['3x3 bconv','linear']"]
    searches = []
    for workers in ("1", "2"):
        folder = tmp_path / workers
        folder.mkdir()
        searches.append(tiny_search.start(folder, *options, "--N_WORKERS", workers))
    outputs = [search.communicate(timeout=600)[0] for search in searches]
    assert [search.returncode for search in searches] == [0, 0], outputs
    tables = [read_table(tmp_path / workers / "logs" / "pnas" / "children.csv")[1] for workers in ("1", "2")]
    stopped = sum(child.epochs == 1 for child in tables[0])
    log = (folder / "architectures" / "pnas.txt").read_text()
    assert {child.epochs for child in tables[0][:5]} == {4}  # three of one block, two pioneers
    assert stopped > 0 and log.count("Stopped early: after 1 of 4 epochs\n") == stopped
    assert outputs[1].count("stopped after 1 epoch ") == stopped
    facts = [[(child.number, child.cell, child.reward, child.epochs) for child in table] for table in tables]
    assert facts[0] == facts[1]

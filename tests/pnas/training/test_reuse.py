"""Children of earlier experiments: which are taken, which are trained, and that a search ends as one without them."""

import dataclasses
import functools
import os
import shutil
import signal
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import tiny_search
from tiny_training import CELL, images, settings_of

from pnas import UsageError
from pnas.child import Child
from pnas.constants import CHOICES
from pnas.search import progressive_search, train_finalists
from pnas.store.store import Store
from pnas.training.child import child_seed, train_child
from pnas.training.early_stopping import train_with_stops
from pnas.training.reuse import open_earlier, train_or_reuse

OTHER = [0, "linear", 0, "linear"]
SETTINGS = settings_of(MAX_EPOCHS=4)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def trained(child, reward=0.5, curve=(0.25, 0.125, 0.5, 0.25), seed=0):
    """A child as a training of four epochs leaves it."""
    seed = child_seed(seed, child.cell, child.repeat)
    return child._replace(
        seed=seed, reward=reward, seconds=9.0, epochs=len(curve), history={"val_accuracy": list(curve)}, network=b"net"
    )


def experiment(name, *children, settings=SETTINGS):
    """Keeps an experiment."""
    store = Store(name, settings.deciding())
    for child in children:
        store.add(child)
    store.close()


class Training:
    """Trains children by a function of a child and `stop`; remembers what it was asked for."""

    def __init__(self, function=lambda child, stop: trained(child)):
        self.function, self.asked = function, []

    def __call__(self, children, stop=None):
        self.asked.append((children, stop))
        yield from (self.function(child, stop) for child in children)


def train(children, *names, stop=None):
    """(children, those that were not reused)"""
    training = Training()
    earlier = open_earlier(dataclasses.replace(SETTINGS, REUSE=list(names)))
    results = list(train_or_reuse(training, earlier, SETTINGS, children, stop))
    ((new, told),) = training.asked
    assert told == stop
    return results, new


# ------------------------------------------------------------------------------------------------------ which are taken


def test_a_child_is_taken_with_its_curves_and_network_under_its_new_number_and_prediction():
    experiment("quick", trained(Child(1, CELL, 0.5), reward=0.75))
    new = Child(9, CELL, 0.25)
    results, asked = train([Child(8, OTHER, 0.5), new], "quick")
    assert asked == [Child(8, OTHER, 0.5)]
    assert results == [trained(new, reward=0.75)._replace(reused="quick"), trained(Child(8, OTHER, 0.5))]


def test_the_further_trainings_of_a_finalist_are_taken_by_their_seeds():
    experiment("quick", trained(Child(1, CELL, 0.5)), trained(Child(1, CELL, 0.5, repeat=2), reward=0.75))
    again = [Child(5, CELL, 0.5, repeat=repeat) for repeat in (1, 2)]
    results, asked = train(again, "quick")
    assert asked == again[:1]
    assert [(child.repeat, child.reward, child.reused) for child in results] == [(2, 0.75, "quick"), (1, 0.5, "")]


def test_the_first_experiment_that_has_a_child_gives_it():
    experiment("one", trained(Child(1, OTHER, 0.5), reward=0.25))
    experiment("two", trained(Child(1, OTHER, 0.5), reward=0.5), trained(Child(2, CELL, 0.5), reward=0.75))
    results, asked = train([Child(1, CELL, 0.5), Child(2, OTHER, 0.5)], "one", "two")
    assert [(child.reward, child.reused) for child in results] == [(0.75, "two"), (0.25, "one")] and asked == []


UNUSABLE = {
    "failed": trained(Child(1, CELL, 0.5)).failed("MemoryError: no room"),
    "was stopped early": trained(Child(1, CELL, 0.5), curve=[0.5]),
    "has another seed": trained(Child(1, CELL, 0.5), seed=1),
    "has no network": trained(Child(1, CELL, 0.5))._replace(network=b""),
    "has its halves swapped": trained(Child(1, CELL[2:] + CELL[:2], 0.5)),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_child_is_trained_where_the_earlier_one(fault):
    experiment("quick", UNUSABLE[fault])
    assert train([Child(1, CELL, 0.5)], "quick")[1] == [Child(1, CELL, 0.5)]


def test_no_network_is_taken_of_an_experiment_that_was_started_over():
    experiment("quick", trained(Child(1, CELL, 0.5)))
    earlier = open_earlier(dataclasses.replace(SETTINGS, REUSE=["quick"]))
    again = Store("quick", SETTINGS.deciding(), restore=False)  # beside the search that reuses it
    again.add(trained(Child(1, OTHER, 0.5))._replace(network=b"another"))
    again.close()
    (result,) = train_or_reuse(Training(), earlier, SETTINGS, [Child(1, CELL, 0.5)])
    assert (result.network, result.reused) == (b"net", "")


@pytest.mark.parametrize("stop, is_taken", [((2, 0.25), True), ((2, 0.26), False), ((3, 0.5), True), (None, True)])
def test_a_child_that_would_have_been_stopped_early_is_trained(stop, is_taken):
    experiment("quick", trained(Child(1, CELL, 0.5)))  # its best accuracies are 0.25 after two epochs, 0.5 after three
    _, asked = train([Child(1, CELL, 0.5)], "quick", stop=stop)
    assert asked == ([] if is_taken else [Child(1, CELL, 0.5)])


@pytest.mark.parametrize("stop, is_taken", [((2, 0.26), True), ((2, 0.25), False), ((3, 0.5), False), (None, False)])
def test_a_child_that_was_stopped_early_is_taken_where_it_would_be_stopped_again(stop, is_taken):
    experiment("quick", trained(Child(1, CELL, 0.5), curve=[0.125, 0.25]))
    _, asked = train([Child(1, CELL, 0.5)], "quick", stop=stop)
    assert asked == ([] if is_taken else [Child(1, CELL, 0.5)])


# ------------------------------------------------------------------------------------------------ which experiments fit


@pytest.mark.parametrize(
    "change",
    [{"SEED": 1}, {"DATASET": "digits"}, {"MAX_EPOCHS": 9}, {"DROPOUT": (True, 0.1, 0.1)}, {"THREADS_PER_CHILD": 2}],
    ids=str,
)
def test_an_experiment_with_other_rewards_is_refused_in_one_line_that_names_the_difference(change):
    experiment("other", settings=dataclasses.replace(SETTINGS, **change, K_=99))
    ((name, value),) = change.items()
    value = list(value) if isinstance(value, tuple) else value
    with pytest.raises(UsageError, match="^REUSE: 'other' was trained with other settings: ") as error:
        open_earlier(dataclasses.replace(SETTINGS, REUSE="other"))
    assert f"{name} was {value!r} and is " in str(error.value) and str(error.value).count(" was ") == 2


def test_an_unknown_experiment_is_named():
    experiment("quick")
    with pytest.raises(UsageError, match="^REUSE: there is no experiment 'quack': logs/quack/search.db does not exist"):
        open_earlier(dataclasses.replace(SETTINGS, REUSE=["quick", "quack"]))


def test_another_version_of_keras_is_a_warning(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("keras.__version__", "3.0.1")
        experiment("old")
    with pytest.warns(
        UserWarning, match="^REUSE: 'old': keras version was '3.0.1' and is .* slightly different rewards"
    ):
        assert [store.name for store in open_earlier(dataclasses.replace(SETTINGS, REUSE="old"))] == ["old"]


def test_without_reuse_no_experiment_is_opened():
    assert open_earlier(SETTINGS) == []


def test_a_training_reads_no_constant_on_which_only_choices_depend():
    read = set()

    class Recorded:
        def __getattr__(self, name):
            read.add(name)
            return getattr(settings_of(), name)

    assert train_child(Child(1, CELL, 0.5, seed=1), Recorded(), None, *images(50) * 2).error == ""
    assert {"MAX_EPOCHS", "BATCHSIZE", "DROPOUT", "NUM_CELLS"} < read and not read & CHOICES
    assert not CHOICES & {"DATASET", "TRAIN_SIZE", "USE_EXPANSION", "SEED"}  # which choose the images
    assert {"B", "K_", "operators", "STOP_EARLY", "MAX_MACS", "NUM_PREDICTORS"} < CHOICES


# ---------------------------------------------------------------------------------------------------- the whole search


def noisy(child, stop):
    """A child whose curve is drawn with its seed, and ends where it is stopped."""
    curve = np.random.default_rng(trained(child).seed).random(4).tolist()
    if stop and max(curve[: stop[0]]) < stop[1]:
        curve = curve[: stop[0]]
    return trained(child, reward=max(curve), curve=curve)


class ByReward:
    """A surrogate that predicts the mean reward of the fitted cells that a cell contains."""

    def fit(self, cells, rewards):
        self.known = list(zip(cells, rewards))
        return [0.5]

    def predict(self, cells):
        known = self.known
        return np.array([np.mean([reward for part, reward in known if part == cell[: len(part)]]) for cell in cells])


def searched(name, **changes):
    """What a search keeps, and how many children it trains."""
    settings = dataclasses.replace(SETTINGS, EXPERIMENT_NAME=name, B=3, **changes)
    store, training, surrogate = Store(name, settings.deciding()), Training(noisy), ByReward()

    train = train_fully = functools.partial(train_or_reuse, training, open_earlier(settings), settings)
    if settings.STOP_EARLY:
        train = functools.partial(train_with_stops, train, store, settings.MAX_EPOCHS, settings.rounds)
    children = progressive_search(settings.state_space(), surrogate, train, settings.K_, store)
    train_finalists(children, surrogate, train_fully, 0.1, 3, 2, store)
    kept = [child._replace(reused="") for repeat in range(3) for child in store.children(repeat=repeat)]
    facts = str(kept), store.epochs(), store.choices(2), store.choices(3), store.get("finalists", 3), store.ranking()
    store.close()
    return facts, sum(len(children) for children, _ in training.asked)


@pytest.mark.parametrize("stop_early", [False, True])
def test_a_search_with_more_children_trains_only_what_is_new_and_ends_as_one_that_trains_all(stop_early):
    _, few = searched("quick", K_=4, STOP_EARLY=stop_early)
    whole, all_of_them = searched("whole", K_=9, STOP_EARLY=stop_early)
    assert few == 6 + 4 + 4 + 2 * 3 and all_of_them == 6 + 9 + 9 + 2 * 3
    with_reuse, new = searched("more", K_=9, STOP_EARLY=stop_early, REUSE="quick")
    assert with_reuse == whole and 0 < new <= all_of_them - 6 - 4  # at least those of one block and four more
    again, none = searched("chain", K_=9, STOP_EARLY=stop_early, REUSE=["more"])
    assert again == whole and none == 0


@pytest.mark.parametrize("stop_early", [False, True])
def test_searches_with_and_without_early_stopping_reuse_each_others_children(stop_early):
    searched("stopped", K_=4, STOP_EARLY=True)
    searched("whole", K_=4, STOP_EARLY=False)
    expected, all_of_them = searched("new", K_=9, STOP_EARLY=stop_early)
    with_reuse, new = searched("more", K_=9, STOP_EARLY=stop_early, REUSE=["stopped", "whole"])
    assert with_reuse == expected and new < all_of_them
    assert (min(child.epochs for child in Store.open("more").children()) == 1) == stop_early


def test_a_killed_search_that_reuses_children_resumes_and_ends_as_one_that_trained_all(uninterrupted, tmp_path):
    for folder in ("logs", "weights"):
        shutil.copytree(uninterrupted / folder / "pnas", tmp_path / folder / "quick")
    with sqlite3.connect(tmp_path / "logs" / "quick" / "search.db") as connection:
        connection.execute("DELETE FROM children WHERE number IN (3, 8)")
    process = tiny_search.start(tmp_path, "--REUSE", "quick")
    for line in process.stdout:
        if "child 2 " in line:
            assert " reused " in line
            break
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    lines = tiny_search.run(tmp_path, "--REUSE", "quick").splitlines()
    assert "of them known" in lines[0] and sum(" reused " in line for line in lines) < 6
    assert tiny_search.results(tmp_path) == tiny_search.results(uninterrupted)
    curves = [Path(folder, "logs/pnas/learning_curves.csv").read_bytes() for folder in (tmp_path, uninterrupted)]
    assert curves[0] == curves[1]
    reused = {child.number: child.reused for child in Store.open("pnas").children()}
    assert reused == {number: "" if number in (3, 8) else "quick" for number in range(1, 9)}
    for number in (1, 7):
        network = Path("weights/pnas/children", f"{number:04d}.keras").read_bytes()
        assert network == (uninterrupted / "weights/pnas/children" / f"{number:04d}.keras").read_bytes()

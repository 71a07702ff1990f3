"""The winner of a whole search among its finalists, also after a kill."""

import os
import re
import signal

import keras
import numpy as np
import pytest
import tiny_search

import pnas.model  # noqa: F401  (registers the layers of best.keras)
from mnist.mnist_data import load_data
from pnas.encoder import Encoder
from pnas.store.store import Store

FINAL = ["--B", "1", "--FINALISTS", "2", "--FINAL_SEEDS", "2", "--operators", "['3x3 bconv','linear']"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """Folder in which the search has run to its end."""
    folder = tmp_path_factory.mktemp("winner")
    tiny_search.run(folder, *FINAL)
    return folder


def rewards(folder):
    """dict, number of a finalist -> its rewards: of the first training and of the two further seeds."""
    store = Store.open("pnas", folder / "logs")
    first, *again = [{child.number: child.reward for child in store.children(repeat=repeat)} for repeat in range(3)]
    return {number: [first[number], *(trained[number] for trained in again)] for number in again[0]}


def best_line(folder):
    return re.search(
        r"^# Best: mean reward .*, child (\d+), .*$", (folder / "architectures" / "pnas.txt").read_text(), re.M
    )


def test_the_winner_has_the_highest_mean_of_three_trainings(searched):
    means = {number: np.mean(trainings) for number, trainings in rewards(searched).items()}
    assert len(means) == 2 and best_line(searched)[1] == str(max(means, key=means.get))
    store = Store.open("pnas", searched / "logs")
    number, *_ = store.ranking()
    assert best_line(searched)[1] == str(number)
    assert [child.reward for child in store.trainings(number)] == rewards(searched)[number]


def test_best_keras_is_the_winners_best_network(searched):
    data = load_data("digits")
    network = keras.models.load_model(searched / "weights" / "pnas" / "best.keras")
    accuracy = np.mean(network.predict(data.x_val, verbose=0).argmax(axis=1) == data.y_val.argmax(axis=1))
    assert accuracy == pytest.approx(max(rewards(searched)[int(best_line(searched)[1])]))


def test_surrogate_keras_is_the_surrogate_fitted_to_all_children(searched):
    surrogate = Encoder.load(searched / "weights" / "pnas" / "surrogate.keras")
    children = Store.open("pnas", searched / "logs").children()
    assert surrogate.fits[-1]["cells"] == [child.cell for child in children]
    assert surrogate.fits[-1]["rewards"] == [child.reward for child in children]


def test_a_search_killed_among_its_finalists_has_the_same_winner(searched, tmp_path):
    process = tiny_search.start(tmp_path, *FINAL)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "  first 0." in line:  # the first finalist has been trained again
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.communicate()
    assert lines[-1].lstrip().startswith("1/2") and Store.open("pnas", tmp_path / "logs").children(repeat=2) == []
    tiny_search.run(tmp_path, *FINAL)
    assert rewards(tmp_path) == rewards(searched) and best_line(tmp_path)[0] == best_line(searched)[0]

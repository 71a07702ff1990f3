"""The surrogate that a search keeps, and its return in a resumed one."""

import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from pnas.encoder import Encoder, StateSpace
from pnas.store.surrogate import KeptSurrogate

SPACE = StateSpace(2, ["3x3 bconv", "linear"], input_lookforward_depth=None)
SMALL = SPACE.initial_children()
LARGE = SPACE.expand(SMALL)
FITS = [(SMALL, [0.5, 0.6, 0.7]), (SMALL + LARGE[:2], [0.5, 0.6, 0.7, 0.1, 0.2])]


class Counting(Encoder):
    """An Encoder that counts the fits that it makes."""

    made = 0

    def fit(self, cells, rewards):
        Counting.made += 1
        return super().fit(cells, rewards)


@pytest.fixture(autouse=True)
def count(monkeypatch):
    """Encoders that are read from files count, too."""
    monkeypatch.setattr("pnas.store.surrogate.Encoder", Counting)
    Counting.made = 0


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "surrogate.keras")


def encoder(epochs=2):
    return Counting(SPACE, lstm_cells=4, epochs=epochs, num_predictors=2, seed=3)


@pytest.fixture(scope="module")
def uninterrupted():
    """Losses of both fits, and the predictions after each, of an Encoder that was never written to a file."""
    plain = Encoder(SPACE, lstm_cells=4, epochs=2, num_predictors=2, seed=3)
    return [(plain.fit(*fit), plain.predict(LARGE).tolist()) for fit in FITS]


def test_a_loaded_encoder_predicts_and_learns_as_the_saved_one(path, uninterrupted):
    saved = encoder()
    saved.fit(*FITS[0])
    saved.save(path)
    loaded = Encoder.load(path)
    assert loaded.predict(LARGE).tolist() == uninterrupted[0][1]
    assert (loaded.fit(*FITS[1]), loaded.predict(LARGE).tolist()) == uninterrupted[1]


def test_keras_loads_the_file_as_a_model(path):
    saved = encoder()
    saved.fit(*FITS[0])
    saved.save(path)
    tokens = np.array([[1, 3, 1, 4, 0, 0, 0, 0]], "int32")  # inputs 0 and 1 are tokens 1 and 2, operators 3 and 4
    outputs = keras.models.load_model(path).predict(tokens, verbose=0)
    assert outputs.mean() == pytest.approx(saved.predict([[0, "3x3 bconv", 0, "linear"]])[0], abs=1e-6)


def test_a_resumed_search_restores_the_surrogate_without_a_fit(path, uninterrupted):
    first = KeptSurrogate(encoder(), path)
    for fit in FITS:
        first.fit(*fit)
    Counting.made = 0
    resumed = KeptSurrogate(encoder(), path)
    assert [resumed.fit(*fit) for fit in FITS] == [losses for losses, _ in uninterrupted]
    assert resumed.predict(LARGE).tolist() == uninterrupted[1][1]
    assert Counting.made == 0


def test_a_resumed_search_goes_on_where_the_file_ends(path, uninterrupted):
    KeptSurrogate(encoder(), path).fit(*FITS[0])
    Counting.made = 0
    resumed = KeptSurrogate(encoder(), path)
    assert resumed.fit(*FITS[0]) == uninterrupted[0][0] and Counting.made == 0
    assert (resumed.fit(*FITS[1]), resumed.predict(LARGE).tolist()) == uninterrupted[1] and Counting.made == 1
    assert len(Encoder.load(path).fits) == 2


def test_a_prediction_between_the_kept_fits_is_that_of_its_time(path, uninterrupted):
    first = KeptSurrogate(encoder(), path)
    for fit in FITS:
        first.fit(*fit)
    resumed = KeptSurrogate(encoder(), path)
    resumed.fit(*FITS[0])
    assert resumed.predict(LARGE).tolist() == uninterrupted[0][1]
    assert (resumed.fit(*FITS[1]), resumed.predict(LARGE).tolist()) == uninterrupted[1]


@pytest.mark.parametrize("other", ["rewards", "cells", "settings"])
def test_a_file_of_other_fits_is_not_restored(path, uninterrupted, other):
    cells, rewards = FITS[0]
    if other == "rewards":
        rewards = [0.5, 0.6, 0.8]
    elif other == "cells":
        cells = cells[::-1]
    KeptSurrogate(encoder(epochs=3 if other == "settings" else 2), path).fit(cells, rewards)
    resumed = KeptSurrogate(encoder(), path)
    assert [(resumed.fit(*fit), resumed.predict(LARGE).tolist()) for fit in FITS] == uninterrupted


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "fits"])
def test_a_damaged_file_is_replaced_with_a_warning(path, uninterrupted, damage):
    KeptSurrogate(encoder(), path).fit(*FITS[0])
    with Path(path).open("r+b") as file:
        content = file.read()
        file.truncate({"empty": 0, "cut": len(content) // 2, "other": 0, "fits": 0}[damage])
    if damage == "other":
        keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(path)
    elif damage == "fits":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(Encoder.SETTINGS_FILE, "[1]")
    with pytest.warns(UserWarning, match="surrogate.keras is not a whole file of an Encoder: .*fitted again"):
        resumed = KeptSurrogate(encoder(), path)
    assert [(resumed.fit(*fit), resumed.predict(LARGE).tolist()) for fit in FITS] == uninterrupted
    assert len(Encoder.load(path).fits) == 2

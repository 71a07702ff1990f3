"""The surrogate that a search keeps, and its return in a resumed one."""

import re
import textwrap
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from train_constants import settings_of_train

from pnas.encoder import Encoder, StateSpace
from pnas.search import progressive_search
from pnas.store.surrogate import KeptSurrogate

SPACE = StateSpace(2, ["3x3 bconv", "linear"], input_lookforward_depth=None)
SMALL = SPACE.initial_children()
LARGE = SPACE.expand(SMALL)
FITS = [(SMALL, [0.5, 0.6, 0.7]), (SMALL + LARGE[:2], [0.5, 0.6, 0.7, 0.1, 0.2])]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "surrogate.keras"


def encoder():
    return Encoder(SPACE, lstm_cells=4, epochs=2, num_predictors=2, seed=3)


@pytest.fixture(scope="module")
def uninterrupted():
    """Losses of both fits, and the predictions after each, of an Encoder that was never written to a file."""
    plain = encoder()
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


class Counts:
    """A surrogate with nothing but `fit`, which returns itself, and `predict`: the number of linear operators."""

    def fit(self, cells, rewards):
        return self

    def predict(self, cells):
        return [cell.count("linear") for cell in cells]


def test_a_surrogate_needs_no_more_than_fit_and_predict(path):
    surrogate = KeptSurrogate(Counts(), path)
    assert surrogate.fit(*FITS[0]) == [] and not path.exists()
    assert (surrogate.predict(SMALL) == [0, 1, 2]).all()
    assert [list(part) for part in surrogate.predict_with_deviation(SMALL)] == [[0, 1, 2], [0, 0, 0]]


def test_a_surrogate_without_a_cell_to_rank_is_not_asked(path):
    children = progressive_search(
        SPACE, KeptSurrogate(Counts(), path), lambda new: new, K=2, fits=lambda cell: len(cell) == 4
    )
    assert [child.cell for child in children] == SMALL


def test_the_surrogate_in_readme_is_put_into_train():
    readme = (Path(__file__).parents[3] / "README.md").read_text()
    (example,) = re.findall(r"^    def make_surrogate\(settings\):\n(?:     .*\n)+", readme, re.M)
    names = {}
    exec(textwrap.dedent(example), names)
    surrogate = KeptSurrogate(names["make_surrogate"](settings_of_train(operators=SPACE.operators)), None)
    surrogate.fit(SMALL, [0.5, 0.6, 0.7])
    assert surrogate.predict(SMALL) == pytest.approx(
        Ridge().fit([[2, 0], [1, 1], [0, 2]], [0.5, 0.6, 0.7]).predict([[2, 0], [1, 1], [0, 2]])
    )


def test_a_resumed_search_makes_the_same_fits_and_writes_them(path, uninterrupted):
    KeptSurrogate(encoder(), path).fit(*FITS[0])
    resumed = KeptSurrogate(encoder(), path)
    for number, fit in enumerate(FITS, start=1):
        assert (resumed.fit(*fit), resumed.predict(LARGE).tolist()) == uninterrupted[number - 1]
        kept = Encoder.load(path)
        assert len(kept.fits) == number and kept.predict(LARGE).tolist() == uninterrupted[number - 1][1]


@pytest.mark.parametrize("damage", ["empty", "cut", "other", "fits"])
def test_a_damaged_file_is_refused_with_its_path(path, damage):
    encoder().save(path)
    with path.open("r+b") as file:
        content = file.read()
        file.truncate({"empty": 0, "cut": len(content) // 2, "other": 0, "fits": 0}[damage])
    if damage == "other":
        keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]).save(path)
    elif damage == "fits":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(Encoder.SETTINGS_FILE, "[1]")
    with pytest.raises(ValueError, match="surrogate.keras is not a whole file of an Encoder: "):
        Encoder.load(path)

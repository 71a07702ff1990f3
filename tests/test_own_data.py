"""A user's own images, by the lines of README and in colour: from arrays to a search and a network of bits."""

import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tiny_search
import tiny_training

import train
from binarized.bitwise.packing import pack
from mnist.mnist_data import load_data
from pnas.store.architecture import ArchitectureJournal
from pnas.training.architecture import train_architecture
from pnas.training.data import check_data

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_lines_of_readme_go_from_scikit_learns_digits_to_a_search(tmp_path):
    ((lines, command),) = re.findall(r"^((?:    .*\n){4})    python train\.py (.*--DATASET my.npz.*)$", README, re.M)
    exec(lines.replace("    ", ""), {})
    few = ["--B", "1", "--operators", "['linear']", *shlex.split(command, comments=True)]
    assert re.search(r"^Best: reward 0\.\d+, child 1, ", tiny_search.run(tmp_path, *few), re.M)
    assert Path("logs/my/search.db").exists()
    data = load_data("my.npz")
    assert [len(part) for part in (data.x_train, data.x_val, data.x_test)] == [1350, 150, 297]
    assert data.x_train.shape[1:] == (8, 8, 1) and data.y_train.shape[1:] == (10,) and data.x_train.max() == 1


class Tensor:
    """As torchvision holds MNIST's images and labels."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def colour_images(count=40):
    """Images of 20 x 24 pixels and their classes."""
    images = np.random.default_rng(0).integers(0, 256, (count, 20, 24, 3), np.uint8)
    return images, np.arange(count) % 4


@pytest.mark.parametrize("source", ["torchvision's train and test", "Keras"])
@pytest.mark.parametrize(
    "wrap_images, wrap_labels", [(np.asarray, list), (Tensor, Tensor), (np.asarray, np.c_.__getitem__)]
)
def test_a_line_of_readme_makes_a_file_of_the_arrays_of_other_packages(source, wrap_images, wrap_labels, monkeypatch):
    """CIFAR-10's classes are a list in torchvision and a column in Keras."""
    (line,) = re.findall(rf"^    (np\.savez.*)  # or of {source}$", README, re.M)
    images, labels = colour_images()
    x, y = wrap_images(images), wrap_labels(labels)
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: ((x, y), (x, y)))
    part = SimpleNamespace(data=x, targets=y)
    exec(line, {"np": np, "keras": keras, "train": part, "test": part})
    data = load_data("my.npz")
    assert np.array_equal(data.x_test, images.astype(np.float32) / 127.5 - 1)
    assert np.array_equal(data.y_test.argmax(1), labels)


def test_colour_images_of_20_x_24_pixels_are_summarized_trained_and_packed(tmp_path, capsys):
    images, labels = colour_images()
    Path("folder").mkdir()
    np.savez("folder/my.npz", x_train=images, y_train=labels, x_test=images[:8], y_test=labels[:8])
    string = "[[1. 0.]] [[1. 0. 0.]] [[1. 0.]] [[0. 1. 0.]]"  # 3x3 bconv + 3x3 maxpool
    network = {"NUM_CELLS": 2, "NUM_CELL_FILTERS": [4, 4], "DENSE_LAYERS": [8, 4], "REPRESENTATION_STRING": string}
    settings = tiny_training.settings_of(DATASET="folder/my.npz", NUM_EPOCHS=1, LOAD_SAVED=False, **network)
    train.show_summary(settings)
    total = next(line for line in capsys.readouterr().out.splitlines() if "total" in line)
    # 3x3 weights of 3 and of 4 + 3 channels for 4 filters. 20 x 24 pixels are halved twice; with 4 + 7 channels they
    # are the inputs of 8 units, and these of 4.
    assert f" {9 * 3 * 4 + 9 * 7 * 4 + 5 * 6 * 11 * 8 + 8 * 4:,} " in total

    data, settings = train.load(settings)
    cell = settings.state_space().decode(string)
    journal = ArchitectureJournal(tmp_path)
    model = train_architecture(cell, settings, check_data(data, settings.DENSE_LAYERS), tmp_path, journal)
    expected = model.predict(data.x_test, verbose=0)
    np.testing.assert_array_equal(pack(model).predict(images[:8]), expected.argmax(1))

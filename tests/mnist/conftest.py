"""Files of MNIST: made-up ones, and the real ones in the folder that the environment variable MNIST_DIR names."""

import gzip
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from mnist_files import NAMES, idx

from mnist import download_mnist as downloading


@pytest.fixture(autouse=True)
def keras_home(tmp_path_factory, monkeypatch):
    """An empty folder in the place of ~/.keras, where Keras may have left the real mnist.npz."""
    folder = tmp_path_factory.mktemp("keras")
    monkeypatch.setenv("KERAS_HOME", str(folder))
    return folder


@pytest.fixture
def arrays():
    """Noise with the shapes of MNIST: 5,030 images for training and validation, 40 for the test."""
    rng = np.random.default_rng(0)
    shapes = (5030, 28, 28), 5030, (40, 28, 28), 40
    return {
        name: rng.integers(0, 256 if "images" in name else 10, shape, np.uint8)
        for name, shape in zip(NAMES, shapes, strict=True)
    }


@pytest.fixture
def files(arrays, monkeypatch):
    """dict, name -> content of four made-up files. The table of checksums accepts them."""
    contents = {name: idx(array) for name, array in arrays.items()}
    sums = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(downloading, "MD5", sums)
    return contents


@pytest.fixture
def archives(files):
    return {f"{name}.gz": gzip.compress(content, 1) for name, content in files.items()}


@pytest.fixture
def mnist_dir():
    if "MNIST_DIR" not in os.environ:
        pytest.skip("MNIST_DIR, a folder with the four files of MNIST, is not set")
    return Path(os.environ["MNIST_DIR"]).absolute()

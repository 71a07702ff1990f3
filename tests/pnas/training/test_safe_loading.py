"""A network file that refers to something outside itself is refused, and what it refers to is neither read nor run."""

import os
import zipfile
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import psutil
import pytest

from pnas import UsageError
from pnas.training.architecture import load_network

ELSEWHERE = np.full((4, 2), 42.5, "float32")  # weights that lie in another file
KERNEL = "layers/dense/vars/0"  # where a network of one dense layer keeps its weights


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_with_weights(path, change):
    """Saves a network of one dense layer after `change`, a function of an h5py.File, has been at its weights."""
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Dense(2, use_bias=False, name="dense")(image)).save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
        archive.extract("model.weights.h5")
    with h5py.File("model.weights.h5", "r+") as weights:
        change(weights)
    with zipfile.ZipFile(path, "w") as archive:
        for name in parts.keys() - {"model.weights.h5"}:
            archive.writestr(name, parts[name])
        archive.write("model.weights.h5")


def mark_unread(folder):
    """Sets the access time of all files under a folder back, which the file system does not do by itself."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        os.utime(path, (0, 0))
    return files


def read(files):
    return [path.name for path in files if path.stat().st_atime > 0]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow runs such a layer")
def test_a_network_that_calls_a_saved_program_is_refused(folder):
    import tensorflow as tf

    class Program(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 4))])
        def serve(self, image):
            with tf.control_dependencies([tf.io.write_file(str(folder / "harm"), "done")]):
                return tf.identity(image)

    program = Program()
    tf.saved_model.save(program, "program", signatures={"serve": program.serve})
    image = keras.Input((4,))
    layer = keras.layers.TFSMLayer(str(folder / "program"), call_endpoint="serve")
    keras.Model(image, layer(image)).save("calls.keras")
    (folder / "harm").unlink(missing_ok=True)
    files = mark_unread(folder / "program")
    with pytest.raises(UsageError, match="calls.keras cannot be loaded"):
        load_network("calls.keras").predict(np.zeros((1, 4)), verbose=0)
    assert not (folder / "harm").exists() and read(files) == []


@pytest.mark.parametrize("memory", ["plenty", "none"])  # without memory for the weights Keras reads them from the disk
def test_a_network_with_weights_in_another_file_is_refused(memory, folder, monkeypatch):
    (folder / "outside").mkdir()
    ELSEWHERE.tofile("outside/weights.bin")

    def external(weights):
        del weights[KERNEL]
        stored = [(str(folder / "outside/weights.bin"), 0, ELSEWHERE.nbytes)]
        weights.create_dataset(KERNEL, ELSEWHERE.shape, ELSEWHERE.dtype, external=stored)

    save_with_weights("external.keras", external)
    if memory == "none":
        monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))
    files = mark_unread(folder / "outside")
    with pytest.raises(UsageError, match="external.keras cannot be loaded"):
        load_network("external.keras")
    assert read(files) == []


@pytest.mark.parametrize("linked", [KERNEL, "layers/dense", "layers"])
def test_a_network_whose_weights_are_a_link_to_another_file_is_refused(linked, folder, monkeypatch):
    with h5py.File("outside.h5", "w") as outside:
        outside[KERNEL] = ELSEWHERE

    def link(weights):
        del weights[linked]
        weights[linked] = h5py.ExternalLink(str(folder / "outside.h5"), linked)

    save_with_weights("link.keras", link)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=0))  # see above
    with pytest.raises(UsageError, match="link.keras cannot be loaded"):
        load_network("link.keras")


def test_a_network_whose_weights_lie_in_its_own_file_is_loaded():
    def replace(weights):
        weights[KERNEL][...] = ELSEWHERE

    save_with_weights("whole.keras", replace)
    np.testing.assert_array_equal(load_network("whole.keras").get_weights()[0], ELSEWHERE)

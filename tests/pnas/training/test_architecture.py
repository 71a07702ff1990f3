"""Training one architecture: what a resumed training starts from, and damaged or hostile files."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import damaged, some
from tiny_training import CELL, manager_of

from pnas.backend import keras
from pnas.journal.architecture import ArchitectureJournal, read_curve
from pnas.model import build_child
from pnas.training import architecture
from pnas.training.architecture import load_network
from pnas.training.callbacks import SaveNetworks, file_content


def train(folder, load_saved=False, epochs=3, cell=CELL, dropout=(True, 0.2, 0.5), **constants):
    manager = manager_of(dropout=dropout, **constants)
    return manager.train_architecture(cell, epochs, str(folder), load_saved, ArchitectureJournal(str(folder / "logs")))


def learning_curve(folder):
    return read_curve(folder / "logs" / "architecture.csv")


def killed_after(epoch, monkeypatch):
    """Makes a training stop after it has saved this epoch, counted from 1."""

    class Killed(SaveNetworks):
        def on_epoch_end(self, number, logs=None):
            super().on_epoch_end(number, logs)
            if number == epoch - 1:
                raise KeyboardInterrupt

    monkeypatch.setattr(architecture, "SaveNetworks", Killed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a complete training."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder)
    return folder


def test_a_resumed_training_ends_with_the_same_weights(trained, tmp_path, monkeypatch, capsys):
    """With dropout, whose masks are random, and after a row of the learning curve whose epoch was not saved."""
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        killed_after(2, patched)
        train(tmp_path)
    assert [row["epoch"] for row in learning_curve(tmp_path)] == [1, 2]
    with open(tmp_path / "logs" / "architecture.csv", "a") as file:
        file.write("3,9,0,9,1,9,1,9\n4,9")
    train(tmp_path, load_saved=True)
    assert "Resuming after epoch 2 of 3" in capsys.readouterr().out
    for expected, row in zip(learning_curve(trained), learning_curve(tmp_path), strict=True):
        del expected["seconds"], row["seconds"]
        assert row == pytest.approx(expected, abs=1e-5)
    whole, resumed = (
        architecture.load_network(str(folder / "architecture_last.keras")) for folder in (trained, tmp_path)
    )
    assert int(resumed.optimizer.iterations) == 3 * 4  # 50 images make 4 batches of 16
    for expected, weight in zip(whole.get_weights(), resumed.get_weights()):
        np.testing.assert_allclose(weight, expected, atol=1e-6)


@pytest.mark.parametrize(
    "constants, difference",
    [
        ({"count": 34}, "number of training images was 50 and is 34"),
        ({"other": 5}, "their checksum was"),
        ({"batch_size": 8}, "BATCHSIZE was 16 and is 8"),
        ({"dropout": (True, 0, 0)}, r"DROPOUT was \[True, 0.2, 0.5\] and is \[True, 0, 0\]"),
        ({"seed": 1}, "SEED was 0 and is 1"),
        ({"filters": [3]}, "one of other filters"),
        ({"cell": [0, "linear", 0, "linear"]}, "not noise_0_linear_0_linear in training"),
    ],
)
def test_load_saved_refuses_another_training(trained, constants, difference):
    before = (trained / "architecture_last.keras").read_bytes()
    with pytest.raises(ValueError, match=difference):
        train(trained, load_saved=True, epochs=4, **constants)
    assert (trained / "architecture_last.keras").read_bytes() == before


def test_load_saved_refuses_a_network_without_its_optimizer(trained, tmp_path):
    network = architecture.load_network(str(trained / "architecture_best.keras"))
    for name in ("architecture_best.keras", "architecture_last.keras"):
        keras.Model(network.inputs, network.outputs, name=network.name).save(tmp_path / name)
    with pytest.raises(ValueError, match="without its optimizer"):
        train(tmp_path, load_saved=True)


def test_load_saved_needs_a_saved_network(tmp_path):
    reason = "LOAD_SAVED: no training of this EXPERIMENT_NAME has been saved, .*_last.keras"
    with pytest.raises(ValueError, match=reason):
        train(tmp_path, load_saved=True)


def test_a_folder_for_temporary_files_that_takes_none_is_named_before_training(tmp_path, monkeypatch):
    (tmp_path / "full").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    with pytest.raises(OSError, match=f"the folder {tmp_path / 'full'} does not take 16 MiB: "):
        train(tmp_path)
    assert not (tmp_path / "logs").exists()


def test_a_resumed_training_without_epochs_left_says_so(trained, capsys):
    before = (trained / "architecture_last.keras").read_bytes()
    train(trained, load_saved=True, epochs=2)
    assert "NUM_EPOCHS is 2 and 3 epochs have been trained: no further epoch is trained" in capsys.readouterr().out
    assert (trained / "architecture_last.keras").read_bytes() == before and len(learning_curve(trained)) == 3


def test_files_that_killed_runs_left_half_written_are_removed(trained):
    names = "architecture_best.keras", "architecture_last.keras", "architecture_settings.json"
    left = [trained / f"{name}.7.tmp" for name in names]
    for path in left:
        path.write_text("")
    train(trained, load_saved=True, epochs=2)
    assert not any(path.exists() for path in left)


def test_images_between_pixel_values_are_also_measured_rounded():
    """Class 1 begins above 127.7. Rounding moves one pixel across, from 127.6 to 128."""

    class Network:
        def classes(self, images):
            return (images[:, 0, 0, 0] > 0.002).astype(int)  # above 127.755

        def evaluate(self, images, labels, **_):
            return {"accuracy": np.mean(self.classes(images) == labels.argmax(axis=1))}

        def predict(self, pixels):
            assert pixels.dtype == np.uint8
            return self.classes(pixels / 127.5 - 1)

    pixels = np.array([0, 255, 127.6, 128], np.float32).reshape(4, 1, 1, 1)
    labels = np.array([[1, -1], [-1, 1], [1, -1], [-1, 1]])
    images = pixels / np.float32(127.5) - 1
    data = SimpleNamespace(x_val=images, y_val=labels, x_test=images, y_test=labels)
    assert architecture.measure(Network(), Network(), data) == {
        **{"validation_accuracy": 1, "test_accuracy": 1, "test_accuracy_as_bits": 0.75, "test_accuracy_rounded": 0.75}
    }
    data.x_test = np.rint(pixels) / np.float32(127.5) - 1
    assert architecture.measure(Network(), Network(), data) == {
        **{"validation_accuracy": 1, "test_accuracy": 0.75, "test_accuracy_as_bits": 0.75}
    }


@pytest.fixture(scope="module")
def network():
    """Content of a .keras file."""
    return file_content(build_child([0, "3x3 bconv", 0, "linear"], 1, [2], [10]))


@some
@given(st.data())
def test_a_damaged_network_is_refused_in_one_line(network, tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.keras"
    path.write_bytes(data.draw(st.one_of(damaged(network), st.binary())))
    try:
        load_network(str(path))
    except ValueError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000


def test_code_in_a_network_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: (open("harm", "w"), x)[1])(image)).save("lambda.keras")
    Path("harm").unlink(missing_ok=True)
    with pytest.raises(ValueError, match="lambda.keras cannot be loaded"):
        load_network("lambda.keras")
    assert not Path("harm").exists()

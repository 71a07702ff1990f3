"""Training one architecture: what a resumed training starts from, and damaged or hostile files."""

import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import damaged, some
from tiny_training import CELL, manager_of

from pnas import UsageError
from pnas.backend import keras
from pnas.model import build_child
from pnas.store.atomic import file_content
from pnas.training import architecture
from pnas.training.architecture import load_network
from pnas.training.callbacks import SaveNetworks


class Journal:
    """Keeps in memory what an ArchitectureJournal keeps."""

    def __init__(self):
        self.kept, self.rows = None, {}

    def get(self, name):
        return {"settings": self.kept}[name]

    def start(self, trained_epochs, settings):
        self.kept = json.loads(json.dumps(settings))
        self.rows = {epoch: row for epoch, row in self.rows.items() if epoch <= trained_epochs}

    def write_epoch(self, epoch, measures):
        assert epoch not in self.rows
        self.rows[epoch] = measures


def train(folder, journal=None, cell=CELL, DROPOUT=(True, 0.2, 0.5), **changes):
    manager = manager_of(DROPOUT=DROPOUT, **changes)
    return architecture.train_architecture(cell, manager.settings, manager.arrays, folder, journal or Journal())


def killed_before_saving(epoch, monkeypatch):
    """Makes a training stop before it saves this epoch, counted from 1."""

    class Killed(SaveNetworks):
        def on_epoch_end(self, number, logs=None):
            if number == epoch - 1:
                raise KeyboardInterrupt
            super().on_epoch_end(number, logs)

    monkeypatch.setattr(architecture, "SaveNetworks", Killed)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder of a complete training, and its Journal."""
    folder, journal = tmp_path_factory.mktemp("whole"), Journal()
    train(folder, journal)
    return folder, journal


def test_a_resumed_training_ends_with_the_same_weights(trained, tmp_path, monkeypatch, capsys):
    """With dropout, whose masks are random, and after a row of the learning curve whose epoch was not saved."""
    journal = Journal()
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        killed_before_saving(3, patched)
        train(tmp_path, journal)
    assert list(journal.rows) == [1, 2, 3]
    best = train(tmp_path, journal, LOAD_SAVED=True)
    assert "Resuming after epoch 2 of 3" in capsys.readouterr().out
    assert list(journal.rows) == list(trained[1].rows) == [1, 2, 3]
    for epoch, expected in trained[1].rows.items():
        names = set(expected) - {"seconds"}
        row = journal.rows[epoch]
        assert {name: row[name] for name in names} == pytest.approx({name: expected[name] for name in names}, abs=1e-5)
    whole, resumed = (load_network(folder / "architecture_last.keras") for folder in (trained[0], tmp_path))
    assert int(resumed.optimizer.iterations) == 3 * 4  # 50 images make 4 batches of 16
    for expected, weight in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-6)
    for expected, weight in zip(
        load_network(trained[0] / "architecture_best.keras").get_weights(), best.get_weights(), strict=True
    ):
        np.testing.assert_allclose(weight, expected, atol=1e-6)


def test_a_resumed_training_knows_the_best_accuracy_so_far(trained, monkeypatch):
    known = []

    class Told(SaveNetworks):
        def __init__(self, best_path, last_path, best_accuracy):
            super().__init__(best_path, last_path, best_accuracy)
            known.append(best_accuracy)

    monkeypatch.setattr(architecture, "SaveNetworks", Told)
    folder, journal = trained
    train(folder, journal, LOAD_SAVED=True)
    assert known == [pytest.approx(max(row["val_accuracy"] for row in journal.rows.values()))]


def test_each_epoch_is_kept_with_its_measures(trained):
    measures = {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "sign_flips", "seconds"}
    assert all(set(row) == measures and row["seconds"] > 0 for row in trained[1].rows.values())


@pytest.mark.parametrize(
    "changes, difference",
    [
        ({"count": 34}, "number of training images was 50 and is 34"),
        ({"other": 5}, "their checksum was"),
        ({"BATCHSIZE": 8}, "BATCHSIZE was 16 and is 8"),
        ({"DROPOUT": (True, 0, 0)}, r"DROPOUT was \[True, 0.2, 0.5\] and is \[True, 0, 0\]"),
        ({"SEED": 1}, "SEED was 0 and is 1"),
        ({"NUM_CELL_FILTERS": [3]}, "one of other filters"),
        ({"cell": [0, "linear", 0, "linear"]}, "not noise_0_linear_0_linear in training"),
    ],
)
def test_load_saved_refuses_another_training(trained, changes, difference):
    folder, journal = trained
    before = (folder / "architecture_last.keras").read_bytes()
    with pytest.raises(UsageError, match=f"LOAD_SAVED: .*{difference}"):
        train(folder, journal, LOAD_SAVED=True, NUM_EPOCHS=4, **changes)
    assert (folder / "architecture_last.keras").read_bytes() == before and list(journal.rows) == [1, 2, 3]


def test_load_saved_refuses_a_network_without_its_optimizer(trained, tmp_path):
    network = load_network(trained[0] / "architecture_best.keras")
    for name in ("architecture_best.keras", "architecture_last.keras"):
        keras.Model(network.inputs, network.outputs, name=network.name).save(tmp_path / name)
    with pytest.raises(UsageError, match="without its optimizer"):
        train(tmp_path, LOAD_SAVED=True)


def test_load_saved_needs_a_saved_network(tmp_path):
    reason = "LOAD_SAVED: no training of this EXPERIMENT_NAME has been saved, .*_last.keras"
    with pytest.raises(UsageError, match=reason):
        train(tmp_path, LOAD_SAVED=True)


def test_a_new_training_moves_an_earlier_one_aside(tmp_path):
    earlier = [tmp_path / name for name in ("architecture_best.keras", "architecture_last.keras", "network.npz")]
    for path in earlier:
        path.write_text(path.name)
    train(tmp_path, NUM_EPOCHS=1)
    for path in earlier:
        (moved,) = tmp_path.glob(f"{path.stem}.2*{path.suffix}")  # of this millennium
        assert moved.read_text() == path.name
    assert load_network(earlier[0]) and load_network(earlier[1])
    assert not earlier[2].exists()  # or else it would be of another network than the others


def test_a_folder_for_temporary_files_that_takes_none_is_named_before_training(tmp_path, monkeypatch):
    (tmp_path / "full").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "full"))
    journal = Journal()
    with pytest.raises(OSError, match=f"the folder {tmp_path / 'full'} does not take 16 MiB: "):
        train(tmp_path, journal)
    assert journal.kept is None


def test_a_resumed_training_without_epochs_left_says_so(trained, capsys):
    folder, journal = trained
    before = (folder / "architecture_last.keras").read_bytes()
    train(folder, journal, LOAD_SAVED=True, NUM_EPOCHS=2)
    assert "NUM_EPOCHS is 2 and 3 epochs have been trained: no further epoch is trained" in capsys.readouterr().out
    assert (folder / "architecture_last.keras").read_bytes() == before and list(journal.rows) == [1, 2, 3]


def test_a_packed_network_is_measured_on_pixels():
    """Class 1 begins above 127.5, as bits above 200."""

    class Network:
        def evaluate(self, images, labels, **_):
            return {"accuracy": np.mean((images[:, 0, 0, 0] > 0) == labels.argmax(axis=1))}

        def predict(self, pixels):
            assert pixels.dtype == np.uint8
            return (pixels[:, 0, 0, 0] > 200).astype(int)

    images = np.array([0, 255, 127, 128], np.float32).reshape(4, 1, 1, 1) / np.float32(127.5) - 1
    labels = np.array([[1, -1], [-1, 1], [1, -1], [-1, 1]])
    data = SimpleNamespace(x_val=images[:2], y_val=labels[:2], x_test=images, y_test=labels)
    accuracies = {"validation_accuracy": 1, "test_accuracy": 1}
    assert architecture.measure(Network(), Network(), data) == {**accuracies, "test_accuracy_as_bits": 0.75}
    assert architecture.measure(Network(), None, data) == accuracies


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
    except UsageError as error:
        assert str(path) in str(error) and "\n" not in str(error) and len(str(error)) < 1000


def test_code_in_a_network_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = keras.Input((4,))
    keras.Model(image, keras.layers.Lambda(lambda x: (Path("harm").touch(), x)[1])(image)).save("lambda.keras")
    Path("harm").unlink(missing_ok=True)
    with pytest.raises(UsageError, match="lambda.keras cannot be loaded"):
        load_network("lambda.keras")
    assert not Path("harm").exists()

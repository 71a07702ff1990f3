"""Training one architecture with several seeds: what each trains, what is kept of it, and that it can be resumed."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_training import CELL, images, settings_of

from pnas import UsageError
from pnas.child import Child
from pnas.report.console import result_lines
from pnas.store.architecture import ArchitectureJournal, read_curves
from pnas.store.paths import Paths
from pnas.training import architecture, seeds
from pnas.training.architecture import keep_best, load_network
from pnas.training.callbacks import SaveNetworks
from pnas.training.child import child_seed, train_child
from pnas.training.seeds import side_by_side, train_seeds

ARRAYS = (*images(50), *images(30, seed=1))
EPOCHS = 2


def train(**changes):
    """Trains seeds one after the other in the current folder."""
    changes = {"TRAIN_SEEDS": 3, "NUM_EPOCHS": EPOCHS, "DROPOUT": (True, 0.2, 0.5), **changes}
    paths = Paths("pnas")
    journal = ArchitectureJournal(paths.logs)
    try:
        train_seeds(CELL, settings_of(**changes), ARRAYS, paths, journal)
    finally:
        journal.close()


def measured(monkeypatch, *accuracies, **changes):
    """`keep_best` of the networks in the current folder, with these validation accuracies and test accuracies of 0.5,
    and the numbers of test images that were looked at.
    """
    values, looks = iter(accuracies), []

    def measure(network, packed, data):
        looks.append(len(data.x_test))
        return {"validation_accuracy": next(values), "test_accuracy": 0.5, "test_accuracy_as_bits": 0.5}

    monkeypatch.setattr(architecture, "measure", measure)
    data = SimpleNamespace(name="noise", x_test=ARRAYS[2])
    result, _ = keep_best(CELL, settings_of(TRAIN_SEEDS=len(accuracies), **changes), data, Paths("pnas"))
    return result, looks


def curves():
    """Seed -> the measures of its epochs, without the time."""
    return {
        seed: [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
        for seed, rows in read_curves(Paths("pnas")).items()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder in which three seeds were trained."""
    folder = tmp_path_factory.mktemp("seeds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train()
    return folder


@pytest.fixture
def copy(trained, tmp_path, monkeypatch):
    """A copy of that folder, which is the current one."""
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return Path()


def test_a_further_seed_trains_as_the_repeat_of_a_finalist(copy):
    settings = settings_of(MAX_EPOCHS=EPOCHS, DROPOUT=(True, 0.2, 0.5))
    child = Child(1, CELL, 0.5, seed=child_seed(0, CELL, 1), repeat=1)
    history = train_child(child, settings, None, *ARRAYS).history
    for name in history:
        assert [row[name] for row in curves()[2]] == pytest.approx(history[name], abs=1e-6)
    assert len({json.dumps(rows) for rows in curves().values()}) == 3


def test_one_seed_trains_as_the_first_of_several_and_others_can_be_added(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(trained)
    expected = curves()
    monkeypatch.chdir(tmp_path)
    train(TRAIN_SEEDS=1)
    assert curves() == {1: expected[1]}
    networks = {path.name: path.read_bytes() for path in Path("weights/pnas").iterdir()}
    assert sorted(networks) == ["architecture_best.keras", "architecture_last.keras"]
    train(TRAIN_SEEDS=2, LOAD_SAVED=True)
    assert curves() == {seed: expected[seed] for seed in (1, 2)}
    assert all(Path("weights/pnas", name).read_bytes() == content for name, content in networks.items())


def test_the_network_with_the_best_validation_accuracy_is_kept_under_the_usual_names(copy, monkeypatch):
    weights = copy / "weights" / "pnas"
    before = [(weights / folder / "architecture_best.keras").read_bytes() for folder in ("", "seed_2", "seed_3")]
    result, looks = measured(monkeypatch, 0.5, 0.75, 0.75)
    assert looks == [30, 30, 30]  # the test images, once for each seed
    places = ("seed_1", "", "seed_3")
    assert [(weights / folder / "architecture_best.keras").read_bytes() for folder in places] == before
    assert all((weights / folder / "network.npz").exists() for folder in places)
    assert result["seed"] == 2 and result["validation_accuracy"] == 0.75
    assert [each["validation_accuracy"] for each in result["trainings"]] == [0.5, 0.75, 0.75]
    assert [each["seed"] for each in result["trainings"]] == [1, 2, 3]
    assert {each["epochs"] for each in result["trainings"]} == {EPOCHS}
    assert result["mean"]["validation_accuracy"] == pytest.approx(2 / 3)
    # The deviations are -1/6, 1/12 and 1/12; their squares make 6/144, divided by 2.
    assert result["standard_deviation"]["validation_accuracy"] == pytest.approx((3 / 144) ** 0.5)
    assert result["standard_deviation"]["test_accuracy"] == 0


def test_a_network_that_cannot_be_packed_has_a_result_in_keras_alone(copy, monkeypatch):
    def refuse(model):
        raise ValueError("pack: layer 'mine' (Conv2D) has no binary kernel")

    def measure(network, packed, data):
        return {"validation_accuracy": 0.5, "test_accuracy": 0.5 if packed is None else 0}

    monkeypatch.setattr(architecture, "pack", refuse)
    monkeypatch.setattr(architecture, "measure", measure)
    with pytest.warns(UserWarning, match="^the network is not packed into bits: pack: layer 'mine'"):
        result, packed = keep_best(CELL, settings_of(), SimpleNamespace(name="noise"), Paths("pnas"))
    assert packed is None and result["test_accuracy"] == 0.5 and "bytes_as_bits" not in result
    assert result_lines(result, Path("weights"))[-1] == "Test accuracy: 0.5000"
    assert not (copy / "weights" / "pnas" / "network.npz").exists()


def test_seeds_of_which_one_cannot_be_packed_have_means_in_keras_alone(copy, monkeypatch):
    packed_networks = iter([SimpleNamespace(save=lambda path: None)])

    def pack_the_first(model):
        for network in packed_networks:
            return network
        raise ValueError("pack: layer 'scores' has statistics that are not finite")

    def measure(network, packed, data):
        accuracies = {"validation_accuracy": 0.5 if packed else 0.75, "test_accuracy": 0.5}
        return accuracies | {"test_accuracy_as_bits": 0.5} if packed else accuracies

    monkeypatch.setattr(architecture, "pack", pack_the_first)
    monkeypatch.setattr(architecture, "measure", measure)
    with pytest.warns(UserWarning, match="^the network is not packed into bits: pack: layer 'scores'"):
        result, packed = keep_best(CELL, settings_of(TRAIN_SEEDS=2), SimpleNamespace(name="noise"), Paths("pnas"))
    assert packed is None and result["seed"] == 2
    assert result["mean"] == {"validation_accuracy": 0.625, "test_accuracy": 0.5}


def test_the_console_shows_every_seed_their_mean_and_the_best():
    trainings = [
        {"seed": seed, "best_epoch": seed + 5, "validation_accuracy": accuracy, "test_accuracy": accuracy - 0.25}
        for seed, accuracy in enumerate([0.5, 0.75], start=1)
    ]
    sums = {"mean": {"validation_accuracy": 0.625, "test_accuracy": 0.375}}
    sums["standard_deviation"] = {"validation_accuracy": 0.1768, "test_accuracy": 0.1768}
    best = {**trainings[1], "test_accuracy_as_bits": 0.5}
    last = ["Validation accuracy: 0.7500, best epoch 7", "Test accuracy: 0.5000"]
    last += ["Test accuracy as bits: 0.5000, weights/network.npz"]
    assert result_lines({**best, "trainings": trainings, **sums}, Path("weights")) == [
        "Seed 1: validation accuracy 0.5000 (epoch 6), test accuracy 0.2500",
        "Seed 2: validation accuracy 0.7500 (epoch 7), test accuracy 0.5000",
        "Mean of 2 seeds: validation accuracy 0.6250 ± 0.1768, test accuracy 0.3750 ± 0.1768",
        "Best by validation accuracy: seed 2",
        *last,
    ]
    assert result_lines(best, Path("weights")) == last


def killed_before_saving(monkeypatch, seed, epoch):
    """Makes a training stop before this seed has saved this epoch, both counted from 1."""
    folders = []

    class Killed(SaveNetworks):
        def __init__(self, best_path, last_path, best_accuracy):
            super().__init__(best_path, last_path, best_accuracy)
            folders.append(best_path)

        def on_epoch_end(self, number, logs=None):
            if (len(folders), number) == (seed, epoch - 1):
                raise KeyboardInterrupt
            super().on_epoch_end(number, logs)

    monkeypatch.setattr(architecture, "SaveNetworks", Killed)


def test_a_killed_training_is_resumed_where_each_seed_was(trained, tmp_path, monkeypatch, capsys):
    """One seed has finished, one has saved an epoch, and one has not begun."""
    monkeypatch.chdir(trained)
    expected = curves()
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        killed_before_saving(patched, seed=2, epoch=2)
        train()
    capsys.readouterr()
    train(LOAD_SAVED=True)
    assert [
        line.rpartition("  loss")[0].rpartition("  ")[0] or line for line in capsys.readouterr().out.splitlines()
    ] == [
        "seed 1  NUM_EPOCHS is 2 and 2 epochs have been trained: no further epoch is trained",
        "seed 2  Resuming after epoch 1 of 2",
        "seed 2  epoch 2/2",
        "seed 3  epoch 1/2",
        "seed 3  epoch 2/2",
    ]
    for number, rows in expected.items():
        for row, other in zip(curves()[number], rows, strict=True):
            assert row == pytest.approx(other, abs=1e-5)


def test_a_resumed_first_seed_goes_on_from_its_own_best_network(copy, monkeypatch):
    """Another seed's network is in its place."""
    weights = copy / "weights" / "pnas"
    expected = max(row["val_accuracy"] for row in curves()[1])
    measured(monkeypatch, 0.5, 0.75, 0.25)
    best = (weights / "architecture_best.keras").read_bytes()
    known = []

    class Told(SaveNetworks):
        def __init__(self, best_path, last_path, best_accuracy):
            super().__init__(best_path, last_path, best_accuracy)
            known.append((best_path, best_accuracy))

    monkeypatch.setattr(architecture, "SaveNetworks", Told)
    train(TRAIN_SEEDS=1, LOAD_SAVED=True)
    assert known == [(weights / "seed_1" / "architecture_best.keras", pytest.approx(expected))]
    assert (weights / "architecture_best.keras").read_bytes() == best
    own = (weights / "seed_1" / "architecture_best.keras").read_bytes()
    measured(monkeypatch, 0.5)
    assert (weights / "architecture_best.keras").read_bytes() == own
    load_network(weights / "architecture_best.keras")


def test_a_new_training_moves_all_seeds_aside(copy):
    train(TRAIN_SEEDS=1, NUM_EPOCHS=1)
    assert list(curves()) == [1]
    for folder in ("weights/pnas/seed_", "logs/pnas/architecture_seed_"):
        assert not list(copy.glob(f"{folder}?")) and len(list(copy.glob(f"{folder}?.2*"))) == 2


def test_load_saved_needs_a_saved_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="LOAD_SAVED: no training of this EXPERIMENT_NAME has been saved"):
        train(LOAD_SAVED=True)


@pytest.mark.parametrize(
    "workers, cores, gpu, expected", [("auto", 8, False, 3), ("auto", 2, False, 2), ("auto", 8, True, 1), (2, 8, 1, 2)]
)
def test_as_many_seeds_as_there_are_cores_train_side_by_side(monkeypatch, workers, cores, gpu, expected):
    monkeypatch.setattr("pnas.backend.has_gpu", lambda: gpu)
    monkeypatch.setattr(seeds.joblib, "cpu_count", lambda: cores)
    assert side_by_side(settings_of(TRAIN_SEEDS=3, N_WORKERS=workers)) == expected

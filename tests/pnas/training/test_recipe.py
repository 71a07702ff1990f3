"""The recipe that a user edits reaches every child, wherever it is trained, and nothing goes on with another one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from tiny_training import CELL, images, manager_of, trained_child

from pnas import UsageError, constants
from pnas.child import Child
from pnas.training import architecture
from pnas.training import child as training
from pnas.training.recipe import recipe

ROOT = Path(__file__).parents[3]


@pytest.fixture
def edited(tmp_path):
    """A copy of the project whose recipe trains with SGD and a learning rate of 0.125."""
    folder = tmp_path / "edited"
    for name in ("pnas", "binarized"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    for name in ("train.py", "tests/tiny_training.py", "tests/train_constants.py"):
        shutil.copy(ROOT / name, folder / name)
    path = folder / "pnas" / "training" / "recipe.py"
    assert "fast_adam(schedule)" in path.read_text()
    path.write_text(path.read_text().replace("fast_adam(schedule)", "keras.optimizers.SGD(0.125)"))
    return folder


def test_an_edited_recipe_trains_the_children_of_workers(edited):
    code = (
        "from tiny_training import CELL, manager_of; from pnas.child import Child\n"
        "(child,) = manager_of().train_children([Child(1, CELL, 0.5)])\n"
        "print(child.error, child.history['learning_rate'])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(edited), str(edited / "tests")])}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=edited)
    assert result.stdout == " [0.125]\n", result.stderr


def test_a_cluster_with_another_recipe_is_refused(cluster, edited):
    pytest.importorskip("distributed")
    cluster.start(machines=1, path=edited)
    where = {"PARALLEL_BACKEND": "dask", "SCHEDULER": cluster.address, "N_WORKERS": "auto"}
    with pytest.raises(UsageError, match="a worker has another version of the recipe in pnas/training/recipe.py than"):
        list(manager_of(**where).train_children([Child(1, CELL, 0.5)]))


def changed(monkeypatch, **parts):
    """Changes parts of the recipe in this process."""
    monkeypatch.setattr(training, "recipe", lambda *arguments: {**recipe(*arguments), **parts})


def test_training_batches_are_augmented_and_no_others(monkeypatch):
    seen = []

    def watch(images, labels, random):
        seen.append(len(images))
        return images, labels

    plain = trained_child(MAX_EPOCHS=2)  # 50 images in batches of 16
    changed(monkeypatch, augment=watch)
    assert trained_child(MAX_EPOCHS=2).history == plain.history and seen == [16, 16, 16, 2] * 2
    changed(monkeypatch, augment=lambda images, labels, random: (-images, labels))
    turned = trained_child(MAX_EPOCHS=2)
    assert not turned.error and turned.history["loss"] != plain.history["loss"]


def test_the_numbers_of_an_augmentation_depend_on_seed_epoch_and_batch():
    x, y = images(20)

    def drawn(seed, epoch, number):
        batches = training.Batches(x, y, 4, seed)
        batches.augment = lambda images, labels, random: (images, random.random())
        batches.shuffle(epoch)
        return batches[number][1]

    places = [(seed, epoch, number) for seed in (1, 2) for epoch in (0, 1) for number in (0, 1)]
    assert len({drawn(*place) for place in places}) == 8
    assert drawn(2, 1, 1) == drawn(2, 1, 1)


def own_loss(labels, outputs):
    return keras.losses.squared_hinge(labels, outputs)


def test_a_loss_that_no_network_could_be_loaded_with_is_refused_at_once(monkeypatch):
    changed(monkeypatch, loss=own_loss)
    with pytest.raises(UsageError, match=r"^pnas/training/recipe.py: its optimizer or loss cannot be loaded again: "):
        trained_child()
    changed(monkeypatch, loss=keras.saving.register_keras_serializable("test_recipe")(own_loss))
    assert trained_child().error == ""


def test_a_training_is_not_resumed_with_another_recipe(tmp_path, monkeypatch):
    kept = {}

    class Journal:
        get = staticmethod(lambda name: kept)
        start = staticmethod(lambda epochs, made_with: kept.update(made_with))
        write_epoch = staticmethod(lambda *facts: None)

    def train(**changes):
        manager = manager_of(NUM_EPOCHS=1, **changes)
        architecture.train_architecture(CELL, manager.settings, manager.arrays, tmp_path, Journal)

    train()
    monkeypatch.setattr(constants, "RECIPE", constants.RECIPE.replace("squared_hinge", "hinge"))
    with pytest.raises(UsageError, match="other settings: the recipe in pnas/training/recipe.py was changed. Set them"):
        train(LOAD_SAVED=True)

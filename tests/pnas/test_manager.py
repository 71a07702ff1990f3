"""The seeds with which children are trained, and what else the workers get."""

from types import SimpleNamespace

from tiny_training import CELL, manager_of

from pnas.child import Child
from pnas.training.child import child_seed


def handed_over(children, stop=None, **changes):
    """What a Manager gives to its workers: (children, settings, stop, arrays)."""
    manager = manager_of(DATASET="images/noise.npz", **changes)
    manager.workers = SimpleNamespace(train=lambda *arguments, arrays: (*arguments, arrays))
    return manager.train_children(children, stop)


def test_a_child_gets_a_seed_of_the_search_its_cell_and_its_repeat():
    other = [0, "linear", 0, "linear"]
    untrained = [Child(1, CELL, 0.5), Child(2, other, 0.25), Child(2, other, 0.25, repeat=1)]
    children, *_ = handed_over(untrained, SEED=3)
    assert [child.seed for child in children] == [child_seed(3, CELL), child_seed(3, other), child_seed(3, other, 1)]
    assert [child._replace(seed=0) for child in children] == untrained


def test_workers_get_the_name_of_the_data_and_when_to_stop():
    _, settings, stop, arrays = handed_over([], stop=(2, 0.75), MAX_EPOCHS=9)
    assert (settings.DATASET, settings.MAX_EPOCHS, stop) == ("noise", 9, (2, 0.75))
    assert [len(array) for array in arrays] == [50, 50, 30, 30]

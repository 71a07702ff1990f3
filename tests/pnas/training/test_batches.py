"""Batches of images, and their order."""

import numpy as np

from pnas.training.batches import Batches


def epoch_of(batches, epoch):
    batches.shuffle(epoch)
    seen = [batches[number] for number in range(len(batches))]
    return [row for rows, _ in seen for row in rows], [label for _, labels in seen for label in labels]


def test_each_epoch_shows_every_image_once_in_a_new_order():
    batches = Batches(np.arange(10), 100 + np.arange(10), batch_size=4, seed=0)
    assert [len(batches[number][0]) for number in range(len(batches))] == [4, 4, 2]
    first, labels = epoch_of(batches, 0)
    second, _ = epoch_of(batches, 1)
    assert sorted(first) == sorted(second) == list(range(10)) and first != second
    assert [100 + row for row in first] == labels


def test_the_order_depends_on_seed_and_epoch_alone():
    one, same, other = (Batches(np.arange(50), np.arange(50), batch_size=8, seed=seed) for seed in (7, 7, 8))
    epoch_of(one, 0)
    assert epoch_of(one, 2) == epoch_of(same, 2) != epoch_of(other, 2)
    assert epoch_of(one, 1) != epoch_of(other, 0)  # 7 + 1 = 8 + 0

"""Children in words and numbers."""

import numpy as np

from pnas.child import as_fraction, counted


def test_an_accuracy_keeps_its_fraction_and_its_float32():
    assert as_fraction(0.800599992275238) == 0.8006  # 4,003 of 5,000 images
    for images in (5000, 597, 160):
        for correct in range(images + 1):
            measured = np.float32(correct) / np.float32(images)
            reward = as_fraction(measured)
            assert np.float32(reward) == measured and round(reward * images, 3) == correct
            assert images != 5000 or reward == correct / images


def test_one_is_counted_as_one():
    assert [counted(number) for number in (0, 1, 2)] == ["0 children", "1 child", "2 children"]
    assert counted(1, "block", "blocks") == "1 block"

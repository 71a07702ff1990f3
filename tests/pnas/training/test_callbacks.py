"""Measurements during the training of a child, counted by hand."""

import keras
import numpy as np
import pytest

from binarized.binary_layers import BinaryConv2D, BinaryDense
from pnas.training.callbacks import ProgressBar, SaveNetworks, SignFlips


def test_sign_flips_are_counted_in_all_layers():
    layers = [BinaryConv2D(2, 1, use_bias=False), keras.layers.Flatten(), BinaryDense(2, use_bias=False)]
    model = keras.Sequential([keras.Input((2, 1, 1)), *layers])
    convolution, dense = layers[0].binary_kernels[0].variable, layers[2].binary_kernels[0].variable
    convolution.assign(np.reshape([0.5, -0.5], convolution.shape))
    dense.assign(np.reshape([0.1, -0.1, 0.1, -0.1, 0.1, -0.1, 0.1, -0.1], dense.shape))
    flips = SignFlips()
    flips.set_model(model)
    flips.on_train_begin()

    def epoch(weights, others):
        convolution.assign(np.reshape(weights, convolution.shape))
        dense.assign(np.reshape(others, dense.shape))
        logs = {}
        flips.on_epoch_end(0, logs)
        return logs["sign_flips"]

    assert epoch([0.0, -0.1], [0.1, -0.1, 0.1, -0.1, 0.1, -0.1, 0.1, -0.1]) == 0  # 0.5 became 0, whose sign is +1
    assert epoch([-0.5, -0.1], [0.1, 0.0, 0.1, -0.1, 0.1, -0.1, 0.1, 0.2]) == pytest.approx(3 / 10)
    assert (
        epoch([-0.5, -0.1], [0.1, 0.0, 0.1, -0.1, 0.1, -0.1, 0.1, 0.2]) == 0
    )  # compared with the epoch before, not the first


def test_sign_flips_compare_weights_before_and_after_an_epoch():
    model = keras.Sequential([keras.Input((8,)), BinaryDense(4, use_bias=False)])
    model.compile(keras.optimizers.SGD(0.3), loss="squared_hinge")
    rng = np.random.default_rng(0)
    x, y = rng.choice([-1.0, 1.0], (32, 8)), rng.choice([-1.0, 1.0], (32, 4))
    before = model.get_weights()[0]
    history = model.fit(
        x, y, batch_size=8, epochs=1, validation_data=(x, y), callbacks=[SignFlips()], verbose=0
    ).history
    share = np.mean((before >= 0) != (model.get_weights()[0] >= 0))
    assert history["sign_flips"] == [pytest.approx(share)] and 0 < share < 1


def test_the_progress_bar_ends_at_the_last_step(capsys):
    """Ten steps are one execution, and an epoch has thirteen."""
    bar = ProgressBar()
    bar.set_params({"verbose": 1, "epochs": 1, "steps": 13})
    bar.on_epoch_begin(0)
    for last in (9, 19):
        bar.on_train_batch_end(last, {"loss": 1.0})
    bar.on_epoch_end(0, {"loss": 1.0})
    shown = capsys.readouterr().out
    assert "13/13" in shown and "20/13" not in shown


def test_the_first_of_equally_good_networks_is_kept(tmp_path):
    class Network:
        def save(self, path):
            path.write_bytes(self.content)

    paths = tmp_path / "best.keras", tmp_path / "last.keras"
    save = SaveNetworks(*paths, best_accuracy=0.5)
    save.set_model(Network())
    for epoch, (accuracy, best) in enumerate([(0.5, None), (0.75, b"1"), (0.75, b"1"), (0.25, b"1"), (0.8, b"4")]):
        save.model.content = b"%d" % epoch
        save.on_epoch_end(epoch, {"val_accuracy": accuracy})
        assert (paths[0].read_bytes() if best else paths[0].exists()) == (best or False)
        assert paths[1].read_bytes() == b"%d" % epoch

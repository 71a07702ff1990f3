"""Training one child: its reward, its network, the batches it sees, and how it fails."""

import errno
import inspect
import zlib
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from tiny_training import CELL, images, settings_of, trained_child

from pnas.child import Child
from pnas.model import OPERATIONS
from pnas.training import child as training
from pnas.training.architecture import load_network
from pnas.training.batches import Batches


def rows(count, shift, seed):
    """Images of classes 0 to 7: row k is bright in class k. Labels are `shift` classes higher."""
    classes = np.arange(count) % 8
    x = np.full((count, 8, 8, 1), -1, "float32")
    x[np.arange(count), classes] = 1
    x += np.random.default_rng(seed).normal(0, 0.3, x.shape).astype("float32")
    return x, np.where(np.eye(10)[(classes + shift) % 8], 1, -1).astype("float32")


def trained_against_validation(tmp_path, learning_rate, epochs):
    """Trains a child whose validation labels contradict its training labels.

    Returns:
        (Child, accuracy of its network on the training images, accuracy on the validation images)
    """
    x, y = rows(320, shift=0, seed=0)
    x_val, y_val = rows(80, shift=1, seed=1)
    constants = {"NUM_CELL_FILTERS": [4], "LEARNING_RATE": learning_rate, "MAX_EPOCHS": epochs}
    child = trained_child(arrays=(x, y, x_val, y_val), **constants)
    assert not child.error
    (tmp_path / "network.keras").write_bytes(child.network)
    network = load_network(tmp_path / "network.keras")

    def accuracy(x, y):
        return np.mean(network.predict(x, verbose=0).argmax(axis=1) == y.argmax(axis=1))

    return child, accuracy(x, y), accuracy(x_val, y_val)


def test_a_reward_is_the_accuracy_on_validation_images(tmp_path):
    child, on_training, on_validation = trained_against_validation(tmp_path, (0.01, 0.001), epochs=1)
    assert on_training > 0.7 and on_validation < 0.3, "the accuracies are too similar for this test"
    assert child.reward == pytest.approx(on_validation)


def test_the_network_of_the_best_epoch_is_kept(tmp_path):
    # The learning rate rises. The first epoch hardly moves the weights, later ones make validation worse.
    child, _, on_validation = trained_against_validation(tmp_path, (1e-6, 0.03), epochs=4)
    assert child.history["val_accuracy"][-1] < child.reward, "the last epoch is the best, so this test shows nothing"
    assert on_validation == pytest.approx(child.reward)
    assert child.epochs == 4
    rates = [1e-6 * (0.03 / 1e-6) ** (epoch / 4) for epoch in (1, 2, 3, 4)]  # from step to step by the same factor
    assert child.history["learning_rate"] == pytest.approx(rates, rel=1e-4)


def test_a_child_below_the_limit_is_stopped_with_the_reward_it_had():
    """The best epoch so far decides, and the limit itself is enough."""
    arrays = rows(80, shift=0, seed=0) * 2
    constants = {"NUM_CELL_FILTERS": [4], "LEARNING_RATE": (0.01, 0.001), "MAX_EPOCHS": 4}
    whole = trained_child(arrays=arrays, **constants)
    best = max(whole.history["val_accuracy"][:2])
    for limit, epochs in ((best, 4), (np.nextafter(best, 2), 2)):
        child = trained_child(arrays=arrays, stop=(2, limit), **constants)
        assert child.epochs == epochs
        assert child.history["val_accuracy"] == whole.history["val_accuracy"][:epochs]
        assert child.reward == pytest.approx(max(child.history["val_accuracy"]))


def test_every_seed_cell_and_repeat_has_its_own_seed():
    others = [0, "linear", 0, "linear"]
    seeds = [training.child_seed(seed, cell, n) for seed in (0, 1) for cell in (CELL, others) for n in (0, 1, 2)]
    assert len(set(seeds)) == 12
    assert training.child_seed(0, CELL) == seeds[0]


def test_a_seed_decides_the_initial_weights_of_all_layers(monkeypatch):
    def stock(x, filters, strides, name):
        return keras.layers.Conv2D(filters, 3, strides, padding="same", name=name)(x)

    monkeypatch.setitem(OPERATIONS, "stock", stock)
    built = []
    for seed in (1, 2, 1):
        keras.utils.set_random_seed(len(built) + 100)  # global seeds have no influence
        built.append(
            training.build_with_seed([0, "stock", 0, "3x3 bconv"], settings_of(), (8, 8, 1), seed).get_weights()
        )
    first, other, again = ([weights for weights in network if np.ptp(weights) > 0] for network in built)
    assert len(first) == 3  # the kernels of both operators and of the dense layer
    assert all(np.array_equal(one, same) for one, same in zip(first, again))
    assert not any(np.array_equal(one, another) for one, another in zip(first, other))


def test_a_child_sees_every_batch_of_every_epoch_in_order(monkeypatch):
    asked = []

    class Watched(Batches):
        def shuffle(self, epoch, logs=None):
            super().shuffle(epoch)
            asked.append([])

        def __getitem__(self, number):
            if asked and self.seed == 1:  # in training; Keras may read batches before the first epoch
                asked[-1].append(number)
            return super().__getitem__(number)

    monkeypatch.setattr(training, "Batches", Watched)
    child = trained_child(MAX_EPOCHS=3)
    assert not child.error and asked == [[0, 1, 2, 3]] * 3


@pytest.mark.parametrize("count, seen", [(200, 2 * 16), (20, 16), (10, 10)])
def test_statistics_are_re_estimated_on_whole_batches_of_all_classes(count, seen, monkeypatch):
    asked = []

    class Watched(Batches):
        def __init__(self, images, labels, *others):
            super().__init__(images, labels, *others)
            asked.append(labels.argmax(axis=1))

    monkeypatch.setattr(training, "Batches", Watched)
    monkeypatch.setattr(training, "CALIBRATION_BATCHES", 2)
    x, _ = images(count)
    classes = np.arange(count) * 2 // count  # the images are sorted
    batches = Watched(x, np.eye(10)[classes], 16, 1)
    training.fit_child(SimpleNamespace(fit=lambda *arguments, **options: None), batches, (x, batches.labels), [])
    of_training, of_calibration, of_validation = asked
    assert len(of_calibration) == seen and set(of_calibration) == {0, 1}


GRAPH_ERROR = """Graph execution error:

Detected at node mul/BroadcastGradientArgs defined at (most recent call last):
  File "child.py", line 64, in train

  File "trainer.py", line 399, in fit

Incompatible shapes: [16] vs. [16,10]
\t [[{{node mul/BroadcastGradientArgs}}]] [Op:__inference_multi_step_on_iterator_1322]"""
OUT_OF_MEMORY = """Graph execution error:

Detected at node Conv2D defined at (most recent call last):
<stack traces unavailable>
OOM when allocating tensor with shape[9,9]
\t [[{{node Conv2D}}]]
Hint: If you want to see a list of allocated tensors when OOM happens, add report_tensor_allocations_upon_oom."""
LAYER_ERROR = """Exception encountered when calling BinaryConv2D.call().

\x1b[1mThe kernel is too large.\x1b[0m

Arguments received by BinaryConv2D.call():
  • inputs=tf.Tensor(shape=(None, 8, 8, 1), dtype=float32)"""


def trained_with(monkeypatch, train):
    monkeypatch.setattr(training, "_train_once", train)
    return trained_child()


def test_a_child_that_fails_once_is_trained_again(monkeypatch):
    outcomes = [MemoryError("no room"), None]

    def train(child, *arguments):
        outcome = outcomes.pop(0)
        if outcome:
            raise outcome
        return child._replace(reward=0.75)

    child = trained_with(monkeypatch, train)
    assert (child.reward, child.error) == (0.75, "")


@pytest.mark.parametrize(
    "error, reason",
    [
        (MemoryError("no room"), "MemoryError: no room"),
        (FloatingPointError("the loss diverged: [nan]"), "FloatingPointError: the loss diverged: [nan]"),
        (RuntimeError("two\nlines"), "RuntimeError: two"),
        (RuntimeError(GRAPH_ERROR), "RuntimeError: Incompatible shapes: [16] vs. [16,10]"),
        (RuntimeError(OUT_OF_MEMORY), "RuntimeError: OOM when allocating tensor with shape[9,9]"),
        (RuntimeError(LAYER_ERROR), "RuntimeError: The kernel is too large."),
        (RuntimeError("Graph execution error:\n\n"), "RuntimeError: Graph execution error:"),
        (AssertionError(), "AssertionError: "),
        (RuntimeError("bell \a, nul \0, half \ud800"), "RuntimeError: bell  , nul  , half  "),
    ],
)
def test_a_child_that_fails_twice_gets_reward_0_and_a_reason(error, reason, monkeypatch):
    def train(*arguments):
        raise error

    child = trained_with(monkeypatch, train)
    assert (child.reward, child.error) == (0, reason)


def test_a_reason_of_a_megabyte_is_shortened(monkeypatch):
    def train(*arguments):
        raise RuntimeError("x" * 10**6)

    assert len(trained_with(monkeypatch, train).error) == 500


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_ends_the_search_not_the_child(number, monkeypatch):
    def train(*arguments):
        raise OSError(number, "cannot be written")

    with pytest.raises(OSError, match="cannot be written"):
        trained_with(monkeypatch, train)


def test_a_training_set_smaller_than_a_batch_is_trained():
    child = trained_child(BATCHSIZE=64)
    assert child.error == "" and np.isfinite(child.history["val_loss"]).all()


def test_a_child_whose_loss_is_nan_fails_after_one_epoch_and_is_not_trained_again(monkeypatch):
    epochs = []

    def watched(*arguments, **options):
        history = fit_child(*arguments, **options)
        epochs.append(len(history.history["loss"]))
        return history

    fit_child = training.fit_child
    monkeypatch.setattr(training, "fit_child", watched)
    nothing = np.ones((20, 8, 8, 1), np.float32), np.full((20, 2), np.nan, np.float32)
    child = trained_child(arrays=nothing * 2, DENSE_LAYERS=[2], BATCHSIZE=10, MAX_EPOCHS=5)
    assert epochs == [1]
    assert child.reward == 0 and "FloatingPointError: the loss diverged" in child.error


@pytest.mark.parametrize(
    "error, tries", [(MemoryError, 2), (RuntimeError, 2), (ValueError, 1), (TypeError, 1), (KeyError, 1)]
)
def test_only_a_failure_that_may_pass_gets_a_second_try(error, tries, monkeypatch):
    tried = []

    def train(*arguments):
        tried.append(1)
        raise error("reason")

    assert trained_with(monkeypatch, train).error and len(tried) == tries


def test_a_mistake_in_an_operator_is_found_in_the_traceback(monkeypatch):
    monkeypatch.setitem(OPERATIONS, "wrong", lambda x, filters, *_: keras.layers.Conv2D(filters, "three")(x))
    child = trained_child(cell=[0, "wrong", 0, "linear"])
    assert child.reward == 0 and child.error.startswith("ValueError: ")
    assert child.traceback.startswith("Traceback (most recent call last):\n") and child.error in child.traceback
    assert f'File "{__file__}", line {inspect.currentframe().f_lineno - 4}, in <lambda>\n' in child.traceback


def test_a_traceback_has_the_whole_chain(monkeypatch):
    def train(*arguments):
        try:
            raise KeyError("the cause")
        except KeyError as cause:
            raise TypeError("the effect") from cause

    traceback = trained_with(monkeypatch, train).traceback
    assert traceback.index("KeyError: 'the cause'") < traceback.index("TypeError: the effect")


def test_a_traceback_of_a_megabyte_keeps_its_beginning_and_its_end():
    child = Child(1, [0, "linear", 0, "linear"], 0.5).failed("reason", f"first \ud800{'x' * 10**6}last")
    assert child.traceback.startswith("first ?xx") and child.traceback.endswith("xxlast")
    assert len(child.traceback) == 100_000 and "xx\n...\nxx" in child.traceback


def test_seeds_differ_by_search_cell_and_repeat():
    cells = [0, "linear", 0, "linear"], [0, "linear", 0, "3x3 bconv"]
    seeds = [training.child_seed(seed, cell, repeat) for seed in (0, 1) for cell in cells for repeat in (0, 1, 2)]
    assert len(set(seeds)) == 12 and all(0 <= seed < 2**32 for seed in seeds)
    assert training.child_seed(0, cells[0]) == zlib.crc32(b"(0, [0, 'linear', 0, 'linear'])")

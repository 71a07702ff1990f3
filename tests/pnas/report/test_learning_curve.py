"""The sheet of a retraining."""

from pnas.report.learning_curve import draw_learning_curves


def row(epoch, val_accuracy):
    measures = {"loss": 0.5, "accuracy": 0.75, "val_loss": 0.25, "val_accuracy": val_accuracy}
    return {"epoch": epoch, **measures, "learning_rate": 0.01 / epoch, "sign_flips": 0.125, "seconds": 2.0}


def test_the_sheet_shows_the_curves_and_marks_the_best_epoch():
    figure = draw_learning_curves({1: [row(1, 0.5), row(2, 0.875), row(3, 0.875)]}, "tiny")
    loss, accuracy, learning_rate, flips = figure.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[0.5] * 3, [0.25] * 3]
    training, validation, best = accuracy.lines
    assert list(validation.get_xdata()) == [1, 2, 3] and list(validation.get_ydata()) == [0.5, 0.875, 0.875]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([2], [0.875])
    assert best.get_label() == "best epoch 2: 0.8750"
    assert list(learning_rate.lines[0].get_ydata()) == [0.01, 0.005, 0.01 / 3]
    assert list(flips.lines[0].get_ydata()) == [0.125] * 3


def test_the_best_seed_is_marked_among_the_others():
    figure = draw_learning_curves({1: [row(1, 0.5)], 2: [row(1, 0.25), row(2, 0.75)], 3: [row(1, 0.75)]}, "tiny")
    validation = [line for line in figure.axes[1].lines if line.get_color() == "#e07b1a"]
    assert [list(line.get_ydata()) for line in validation] == [[0.5], [0.75], [0.25, 0.75]]
    assert [line.get_marker() for line in validation] == ["None", "None", "s"]
    assert figure.get_suptitle().endswith("tiny, best seed 2 of 3 (the others are thin)")
    assert figure.axes[1].lines[-1].get_label() == "best epoch 2: 0.7500"

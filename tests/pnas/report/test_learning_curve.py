"""The sheet of a retraining."""

from pnas.report.learning_curve import draw_learning_curve


def row(epoch, val_accuracy):
    measures = {"loss": 0.5, "accuracy": 0.75, "val_loss": 0.25, "val_accuracy": val_accuracy}
    return {"epoch": epoch, **measures, "learning_rate": 0.01 / epoch, "sign_flips": 0.125, "seconds": 2.0}


def test_the_sheet_shows_the_curves_and_marks_the_best_epoch():
    figure = draw_learning_curve([row(1, 0.5), row(2, 0.875), row(3, 0.875)], "tiny")
    loss, accuracy, learning_rate, flips = figure.axes
    assert [list(line.get_ydata()) for line in loss.lines] == [[0.5] * 3, [0.25] * 3]
    training, validation, best = accuracy.lines
    assert list(validation.get_xdata()) == [1, 2, 3] and list(validation.get_ydata()) == [0.5, 0.875, 0.875]
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([2], [0.875])
    assert best.get_label() == "best epoch 2: 0.8750"
    assert list(learning_rate.lines[0].get_ydata()) == [0.01, 0.005, 0.01 / 3]
    assert list(flips.lines[0].get_ydata()) == [0.125] * 3

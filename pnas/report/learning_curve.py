"""The sheet of one architecture's training, drawn from architecture.csv."""

import os

import matplotlib
from matplotlib.ticker import MaxNLocator, NullFormatter

from pnas.journal.architecture import CURVE, read_curve
from pnas.report.figures import COLOURS, STYLE, save_sheet, sheet


def write_learning_curve(experiment, logs="logs"):
    """Draws the learning curve of `train.py --train_arc` anew, also while it runs.

    Args:
        experiment: EXPERIMENT_NAME.
        logs: folder of the experiments.
    Returns:
        List of the paths that were written, LOGS/EXPERIMENT/report/architecture.png and .svg.
    Raises:
        ValueError: architecture.csv is damaged, or has no epoch yet.
        OSError: a file cannot be read or written.
    """
    path = os.path.join(logs, experiment, CURVE)
    rows = read_curve(path)
    if not rows:
        raise ValueError(f"{path} has no epoch yet")
    folder = os.path.join(logs, experiment, "report")
    os.makedirs(folder, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        return save_sheet(draw_learning_curve(rows, experiment), os.path.join(folder, "architecture"))


def draw_learning_curve(rows, about):
    """Draws loss, accuracy, learning rate and sign flips over the epochs.

    Args:
        rows: list of dict, as of `read_curve`, at least one.
        about: what was trained, for the title.
    Returns:
        matplotlib Figure.
    """
    best = max(rows, key=lambda row: (row["val_accuracy"], -row["epoch"]))
    figure = sheet("Learning curve of the retrained architecture", about, height=6.5)
    panels = figure.subplots(2, 2, sharex=True)
    epochs = [row["epoch"] for row in rows]
    for axes, label, names in (
        (panels[0, 0], "Loss (squared hinge)", {"loss": "training images", "val_loss": "validation images"}),
        (panels[0, 1], "Accuracy (0 to 1)", {"accuracy": "training images", "val_accuracy": "validation images"}),
        (panels[1, 0], "Learning rate", {"learning_rate": None}),
        (panels[1, 1], "Share of weights that changed sign", {"sign_flips": None}),
    ):
        axes.set_ylabel(label)
        for (name, legend), marker, line, colour in zip(names.items(), "os", ("-", "--"), COLOURS):
            look = {"markersize": 4, "markerfacecolor": "none", "markevery": max(1, len(rows) // 20)}
            axes.plot(epochs, [row[name] for row in rows], marker + line, color=colour, label=legend, **look)
    for axes in panels[1]:
        axes.set_xlabel("Epoch")
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # the default is a formula
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    mark = {"color": "k", "markersize": 11, "markerfacecolor": "none"}
    text = f"best epoch {best['epoch']}: {best['val_accuracy']:.4f}"
    panels[0, 1].plot(best["epoch"], best["val_accuracy"], "o", label=text, **mark)
    for axes in panels[0]:
        axes.legend(fontsize=8)
    return figure

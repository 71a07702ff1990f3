"""The sheet of one architecture's training."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from pnas.report.figures import COLOURS, sheet


def draw_learning_curve(rows: list[dict[str, float]], about: str) -> Figure:
    """Draws loss, accuracy, learning rate and sign flips over the epochs.

    Args:
        rows: one for each epoch, as of `pnas.store.architecture.read_curve`, at least one.
        about: what was trained, for the title.
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
        axes.set(xlabel="Epoch", yscale="log")
        axes.yaxis.set_major_formatter("{x:g}")  # the default is a formula
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    mark = {"color": "k", "markersize": 11, "markerfacecolor": "none"}
    text = f"best epoch {best['epoch']}: {best['val_accuracy']:.4f}"
    panels[0, 1].plot(best["epoch"], best["val_accuracy"], "o", label=text, **mark)
    for axes in panels[0]:
        axes.legend(fontsize=8)
    return figure

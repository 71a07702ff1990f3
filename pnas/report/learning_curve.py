"""The sheet of one architecture's training."""

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from pnas.report.figures import COLOURS, sheet


def draw_learning_curves(curves: dict[int, list[dict[str, float]]], about: str) -> Figure:
    """Draws loss, accuracy, learning rate and sign flips over the epochs, of the best seed and, thin, of the others.

    Args:
        curves: at least one, seed (counted from 1) -> its epochs, at least one, as of
            `pnas.store.architecture.read_curves`.
        about: what was trained, for the title.
    """
    seed, best = max(
        ((seed, row) for seed, rows in curves.items() for row in rows),
        key=lambda each: (each[1]["val_accuracy"], -each[0], -each[1]["epoch"]),
    )
    if len(curves) > 1:
        about += f", best seed {seed} of {len(curves)} (the others are thin)"
    figure = sheet("Learning curve of the retrained architecture", about, height=6.5)
    panels = figure.subplots(2, 2, sharex=True)
    for axes, label, names in (
        (panels[0, 0], "Loss (squared hinge)", {"loss": "training images", "val_loss": "validation images"}),
        (panels[0, 1], "Accuracy (0 to 1)", {"accuracy": "training images", "val_accuracy": "validation images"}),
        (panels[1, 0], "Learning rate", {"learning_rate": None}),
        (panels[1, 1], "Share of weights that changed sign", {"sign_flips": None}),
    ):
        axes.set_ylabel(label)
        for (name, legend), marker, line, colour in zip(names.items(), "os", ("-", "--"), COLOURS):
            for number, rows in sorted(curves.items(), key=lambda each: each[0] == seed):
                look = {"linewidth": 0.5}
                if number == seed:
                    look = {"marker": marker, "markersize": 4, "markerfacecolor": "none", "label": legend}
                    look["markevery"] = max(1, len(rows) // 20)
                epochs = [row["epoch"] for row in rows]
                axes.plot(epochs, [row[name] for row in rows], linestyle=line, color=colour, **look)
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

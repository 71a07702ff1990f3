"""Where the files of an experiment are."""

from pathlib import Path


class Paths:
    """The files of a search, as pathlib.Path.

    Args:
        name: of the experiment.
        logs: folder of the experiments' logs.
    """

    def __init__(self, name: str, logs: str | Path = "logs"):
        self.text = Path("architectures", f"{name}.txt")
        self.logs = Path(logs, name)
        self.database = self.logs / "search.db"
        self.children = self.logs / "children.csv"
        self.curves = self.logs / "learning_curves.csv"
        self.qualities = self.logs / "surrogate.csv"
        self.front = self.logs / "front.csv"
        self.report = self.logs / "report"
        self.weights = Path("weights", name)
        self.best = self.weights / "best.keras"
        self.surrogate = self.weights / "surrogate.keras"
        self.networks = self.weights / "children"
        self.front_networks = self.weights / "front"

    def network(self, number: int, repeat: int = 0) -> Path:
        """The trained network of a child, such as children/0007.keras or, of a repeat, children/0007_repeat_1.keras."""
        return self.networks / f"{_stem(number, repeat)}.keras"

    def front_network(self, macs: int, number: int) -> Path:
        """The network of a child of the front, such as front/709316_macs_child_0004.keras."""
        return self.front_networks / f"{macs}_macs_child_{number:04d}.keras"

    def error(self, number: int, repeat: int = 0) -> Path:
        """The traceback of a failed child."""
        return self.logs / "errors" / f"{_stem(number, repeat)}.txt"


def _stem(number, repeat):
    return f"{number:04d}" + f"_repeat_{repeat}" * bool(repeat)

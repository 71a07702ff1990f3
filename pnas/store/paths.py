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

    def of_seed(self, repeat: int) -> tuple[Path, Path]:
        """The folders of a retraining's networks and learning curve.

        Args:
            repeat: 0 for the first seed, in weights/NAME and logs/NAME, or r for weights/NAME/seed_{r + 1} and
                logs/NAME/architecture_seed_{r + 1}.
        """
        if not repeat:
            return self.weights, self.logs
        return self.weights / f"seed_{repeat + 1}", self.logs / f"architecture_seed_{repeat + 1}"

    def seeds(self) -> dict[Path, int]:
        """The folders of seeds below weights/NAME and logs/NAME that exist -> the seed, counted from 1."""
        found = [*self.weights.glob("seed_*"), *self.logs.glob("architecture_seed_*")]
        numbers = {folder: folder.name.rpartition("_")[2] for folder in found}
        return {folder: int(number) for folder, number in numbers.items() if number.isdigit()}  # none set aside


def saved_networks(folder: str | Path) -> tuple[Path, Path]:
    """The best and the last network of a retraining that saves into a folder, whether they exist or not.

    At the end weights/NAME has the best network of all seeds. If it is not that of the first seed, the first one's is
    in seed_1 below it, also when its training is resumed.
    """
    best, last = (Path(folder, f"architecture_{which}.keras") for which in ("best", "last"))
    own = Path(folder, "seed_1", best.name)
    return own if own.exists() else best, last


def _stem(number, repeat):
    return f"{number:04d}" + f"_repeat_{repeat}" * bool(repeat)

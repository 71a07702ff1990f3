"""The Pareto front that a search ends with, as a table."""

from collections.abc import Callable

from binarized.bitwise.packing import pack
from pnas import UsageError
from pnas.child import in_short
from pnas.search import Finalist
from pnas.store.paths import Paths
from pnas.training.architecture import load_network


def front_rows(
    front: list[Finalist], paths: Paths, encode: Callable[[list], str], command: Callable[[str, str], str]
) -> list[dict]:
    """A row for each cell of a front, with the columns of front.csv and `network`.

    Args:
        front: cheapest first.
        paths: of the search.
        encode: function of a cell, its representation string.
        command: function of a representation string and an EXPERIMENT_NAME, the command line that retrains it. Each
            cell has a name of its own, so that no retraining moves another one aside.
    Returns:
        List of dict: `macs`, `binary_weights`; `bytes_as_bits`, of the network packed into bits, None where its file is
        gone or it cannot be packed; `mean` and `standard_deviation` of the rewards, the latter None for one training;
        `trainings`, how many; `number`, `architecture`, `representation`, `retrain`; and `network`, the content of the
        .keras file of the training with the highest reward, or None.
    """
    rows = []
    for finalist in front:
        child, trainings = finalist.child, finalist.trainings
        best = max(trainings, key=lambda training: (training.reward, -training.repeat))
        network = paths.network(best.number, best.repeat)
        representation, experiment = encode(child.cell), f"{paths.logs.name[:50]}_child_{child.number}"
        rows.append(
            {
                "macs": child.macs,
                "binary_weights": child.binary_weights,
                "bytes_as_bits": _packed_bytes(network),
                "mean": round(finalist.mean, 6),
                "standard_deviation": round(finalist.standard_deviation, 6) if len(trainings) > 1 else None,
                "trainings": len(trainings),
                "number": child.number,
                "architecture": child.cell,
                "representation": representation,
                "retrain": command(representation, experiment),
                "network": network.read_bytes() if network.exists() else None,
            }
        )
    return rows


def _packed_bytes(path):
    try:
        return pack(load_network(path)).packed_bytes
    except (UsageError, ValueError):
        return None


def front_lines(rows: list[dict], paths: Paths) -> list[str]:
    """The front on the console and in the log: a line for each cell, cheapest first, and where its files are.

    Args:
        rows: those of `front_rows`.
        paths: of the search.
    """
    lines = [f"{'MACs':>12}  {'1-bit weights':>13}  {'bytes':>9}  mean reward      child  cell"]
    for row in rows:
        size = "unknown" if row["bytes_as_bits"] is None else f"{row['bytes_as_bits']:,}"
        spread = "" if row["standard_deviation"] is None else f" ± {row['standard_deviation']:.4f}"
        reward = f"{row['mean']:.4f}{spread}"
        cell = in_short(row["architecture"])
        lines.append(
            f"{row['macs']:12,}  {row['binary_weights']:13,}  {size:>9}  {reward:15}  {row['number']:5d}  {cell}"
        )
    return [
        "The best cell at every cost, cheapest first:",
        *lines,
        f"Front:       {paths.front} (with a command that retrains each), networks in {paths.front_networks}",
    ]

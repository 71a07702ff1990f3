"""A table of measured cells, such as tests/data/mnist_cells.csv, from the folders of searches that trained them.

    python tests/benchmarks/make_table.py LOGS... [--MACHINE TEXT] > tests/data/mnist_cells_connected.csv

LOGS are folders logs/EXPERIMENT_NAME of searches that differ in SEED, and at most in which cells they trained. A row is
a cell: its reward with each seed, blank where it was not trained, and of each further training of a finalist; and, of
the search with the lowest seed, the validation accuracy after each epoch, the predicted reward and the seconds of
training.
Children that failed have no reward and are left out, like those that were stopped early. Nothing is interpolated.
"""

import argparse
import csv
import datetime
import json
import os
import platform
import sys
import textwrap
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]
from train_constants import settings_of_train  # noqa: E402

from pnas import UsageError  # noqa: E402
from pnas.backend import keras  # noqa: E402
from pnas.command_line import quoted  # noqa: E402
from pnas.constants import CHOICES  # noqa: E402
from pnas.encoder import StateSpace  # noqa: E402
from pnas.store.store import Store  # noqa: E402

# Searches of one table write cells in one way, and train all of them to the end.
COMMON = {"operators", "INPUT_LOOKBACK_DEPTH", "INPUT_LOOKFORWARD_DEPTH", "STOP_EARLY"}
MAY_DIFFER = {"SEED"} | CHOICES - COMMON


def command(name, settings):
    """The command line that makes a search with these settings, as far as they differ from train.py's constants."""
    arguments = ["python", "train.py", "--EXPERIMENT_NAME", name]
    defaults = json.loads(json.dumps(settings_of_train().__dict__))
    for constant, value in settings.items():
        if value != defaults.get(constant, value):
            arguments += [f"--{constant}", str(value)]
    backend = settings["BACKEND"]
    return f"KERAS_BACKEND={backend} " * (backend != "tensorflow") + " ".join(map(quoted, arguments))


def read_searches(folders):
    """The searches by seed.

    Returns:
        dict, seed -> Store, lowest seed first.
    Raises:
        UsageError: two have one seed, or they differ in what decides about a reward; or one is damaged.
        OSError: one cannot be read.
    """
    searches = {}
    for folder in map(Path, folders):
        store = Store.open(folder.name, folder.parent)
        for other in searches.values():
            names = {**store.settings, **other.settings}
            different = {name for name in names if store.settings.get(name) != other.settings.get(name)}
            if store.settings["SEED"] == other.settings["SEED"] or different - MAY_DIFFER:
                what = ", ".join(sorted(different - MAY_DIFFER)) or f"no SEED, both have {store.settings['SEED']}"
                raise UsageError(f"{folder} and {other.paths.logs} must differ in SEED alone; they differ in {what}")
        searches[store.settings["SEED"]] = store
    return dict(sorted(searches.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("LOGS", nargs="+", help="folder of a search, logs/EXPERIMENT_NAME")
    parser.add_argument("--MACHINE", help="what the cells were trained on; by default this machine")
    options = parser.parse_args()
    try:
        searches = read_searches(options.LOGS)
    except (UsageError, OSError) as error:
        sys.exit(f"make_table.py: {error}")
    first = next(iter(searches.values()))
    settings = first.settings
    depths = settings["INPUT_LOOKBACK_DEPTH"], settings["INPUT_LOOKFORWARD_DEPTH"]
    space = StateSpace(max(store.settings["B"] for store in searches.values()), settings["operators"], *depths)
    epochs = range(1, settings["MAX_EPOCHS"] + 1)
    rows, days, columns = {}, [], {}
    for seed, store in searches.items():
        for child in store.children():
            if child.error or child.epochs < settings["MAX_EPOCHS"]:
                continue
            row = rows.setdefault(
                tuple(space.canonical(child.cell)), {"binary_weights": child.binary_weights, "macs": child.macs}
            )
            for training in store.trainings(child.number):
                column = f"reward_seed_{seed}" + f"_repeat_{training.repeat}" * bool(training.repeat)
                columns[column], row[column] = None, f"{training.reward:.4f}"
            network = store.paths.network(child.number)
            if network.exists():
                days.append(datetime.date.fromtimestamp(network.stat().st_mtime).isoformat())
            if store is first:
                curve = enumerate(store.history(child.number)["val_accuracy"], start=1)
                row.update({f"val_accuracy_{epoch}": f"{accuracy:.4f}" for epoch, accuracy in curve})
                row.update(predicted=child.predicted, seconds=f"{child.seconds:.3f}")

    machine = options.MACHINE or (
        f"{os.cpu_count()} CPU cores ({platform.machine()}), Python {platform.python_version()}, "
        f"Keras {keras.__version__} on {keras.backend.backend()}"
    )
    first_day, last_day = min(days, default="?"), max(days, default="?")
    when = f"on {first_day}" if first_day == last_day else f"from {first_day} to {last_day}"
    commands = "\n".join(command(store.name, store.settings) for store in searches.values())
    header = (
        f"Rewards of {len(rows)} cells, trained {when} on {machine}, by\n"
        f"{commands}\n"
        "A reward is the validation accuracy after the best epoch. `val_accuracy_N`, the accuracy after epoch N, "
        f"`predicted` and `seconds` are those of seed {min(searches)}. `seconds` was measured beside other children."
    )
    for line in header.split("\n"):
        print(*textwrap.wrap(line, 118, initial_indent="# ", subsequent_indent="# "), sep="\n")
    columns = ["cell", "representation", *sorted(columns)]
    columns += [*(f"val_accuracy_{epoch}" for epoch in epochs), "predicted", "seconds", "binary_weights", "macs"]
    table = csv.DictWriter(sys.stdout, columns, lineterminator="\n")
    table.writeheader()
    written = [{"cell": list(cell), "representation": space.encode(list(cell)), **row} for cell, row in rows.items()]
    written.sort(key=lambda row: row["representation"], reverse=True)  # in the order of inputs and operators
    table.writerows(sorted(written, key=lambda row: len(row["cell"])))


if __name__ == "__main__":
    main()

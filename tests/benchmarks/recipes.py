"""What each ingredient of the training recipe gives: one cell trained with each, and with it taken away, over several
seeds.

Every recipe is the one of train.py but for what its name says. Printed, and kept in a CSV file as they come, are the
validation accuracies after the best and after the last epoch; at the end their means and standard deviations over the
seeds. Test images play no part. The same command goes on with the file where it stopped.

    python tests/benchmarks/recipes.py CSV [--CELL ONE|BEST] [--EPOCHS 20] [--SEEDS 3] [--WORKERS 2] [--RECIPES "A; B"]
"""

import argparse
import csv
import os
import statistics
import sys
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]
os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1")

import joblib  # noqa: E402
from train_constants import settings_of_train  # noqa: E402

CELLS = {
    "ONE": [0, "3x3 bconv", 0, "3x3 bconv"],
    "BEST": [0, "1x7-7x1 bconv"] * 3 + [0, "3x3 bconv"] * 3,  # of tests/data/mnist_cells.csv
}
RECIPES = {  # name -> what differs
    "train.py's": {},
    "multiplier ignored": {"multiplier": False},
    "running moments, not re-estimated": {"recalibration": False},
    "neither, 1e-3 to 1e-4": {"multiplier": False, "recalibration": False, "LEARNING_RATE": (1e-3, 1e-4)},
    "1e-3 to 1e-4": {"LEARNING_RATE": (1e-3, 1e-4)},
    "3e-3 to 1e-5": {"LEARNING_RATE": (3e-3, 1e-5)},
    "1e-2 to 1e-4": {"LEARNING_RATE": (1e-2, 1e-4)},
    "1e-2 to 1e-6": {"LEARNING_RATE": (1e-2, 1e-6)},
    "3e-2 to 1e-5": {"LEARNING_RATE": (3e-2, 1e-5)},
    "3e-2 to 1e-5, warm-up": {"LEARNING_RATE": (3e-2, 1e-5), "warm_up": True},
    "batches of 64": {"BATCHSIZE": 64},
    "batches of 256": {"BATCHSIZE": 256},
    "dropout 0.2 and 0.5": {"DROPOUT": (True, 0.2, 0.5)},
    "dropout 0 and 0.2": {"DROPOUT": (True, 0.0, 0.2)},
    "USE_EXPANSION": {"USE_EXPANSION": True},
    "expansion, batches of 256": {"USE_EXPANSION": True, "BATCHSIZE": 256},
    "expansion, batches of 256, 3e-2 to 1e-5": {"USE_EXPANSION": True, "BATCHSIZE": 256, "LEARNING_RATE": (3e-2, 1e-5)},
    "expansion, dropout 0 and 0.2": {"USE_EXPANSION": True, "DROPOUT": (True, 0.0, 0.2)},
}
WARM_UP = 430  # steps, an epoch of MNIST
COLUMNS = ("cell", "epochs", "recipe", "seed", "best", "last", "seconds", "error")


def without_multiplier(build):
    """`build_child`, but the optimizer's steps move W as they are."""

    def build_without(*args, **kwargs):
        from pnas.backend import keras

        def copy(layer):
            config = layer.get_config()
            return type(layer).from_config({**config, "kernel_lr_multiplier": 1.0} if "H" in config else config)

        return keras.models.clone_model(build(*args, **kwargs), clone_function=copy)

    return build_without


def with_warm_up(schedule):
    """A learning rate schedule that takes its first WARM_UP steps to rise from 0."""

    class WarmUp(schedule):
        def __call__(self, step):
            from keras import ops

            return super().__call__(step) * ops.minimum(1.0, (ops.cast(step, "float32") + 1) / WARM_UP)

    return WarmUp


def train(
    cell,
    epochs,
    seed,
    data_dir,
    multiplier=True,
    recalibration=True,
    warm_up=False,
    **constants,
):
    """The trained `Child` of a cell."""
    from mnist.mnist_data import load_data
    from pnas.backend import keras
    from pnas.child import Child
    from pnas.training import child as training_child

    schedules = keras.optimizers.schedules
    schedule = with_warm_up(schedules.ExponentialDecay) if warm_up else schedules.ExponentialDecay
    settings = settings_of_train(MAX_EPOCHS=epochs, **constants)
    data = load_data("mnist", data_dir, use_expansion=settings.USE_EXPANSION)
    arrays = data.x_train, data.y_train, data.x_val, data.y_val
    build = training_child.build_child if multiplier else without_multiplier(training_child.build_child)
    recalibrate = training_child.recalibrate if recalibration else lambda *_: None
    with (
        mock.patch.object(training_child, "build_child", build),
        mock.patch.object(training_child, "recalibrate", recalibrate),
        mock.patch.object(schedules, "ExponentialDecay", schedule),
    ):
        return training_child.train_child(Child(1, cell, 0.0, seed), settings, None, *arrays)


def row_of(cell, epochs, recipe, seed, data_dir):
    child = train(CELLS[cell], epochs, seed, data_dir, **RECIPES[recipe])
    accuracies = child.history.get("val_accuracy", [0.0])
    values = cell, epochs, recipe, seed, max(accuracies), accuracies[-1], round(child.seconds), child.error
    return dict(zip(COLUMNS, values))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("CSV", type=Path, help="file of the results, begun or gone on with")
    parser.add_argument("--CELL", choices=CELLS, default="ONE")
    parser.add_argument("--EPOCHS", type=int, default=20)
    parser.add_argument("--SEEDS", type=int, default=3)
    parser.add_argument("--WORKERS", type=int, default=joblib.cpu_count())
    parser.add_argument("--RECIPES", default="; ".join(RECIPES), help="names with ';' between them")
    parser.add_argument("--DATA_DIR", default="data")
    arguments = parser.parse_args()
    recipes = arguments.RECIPES.split("; ")
    wrong = [name for name in recipes if name not in RECIPES]
    if wrong:
        parser.error(f"--RECIPES: {wrong} are not among {list(RECIPES)}")

    rows = {}
    if arguments.CSV.exists():
        with arguments.CSV.open(newline="") as file:
            rows = {
                (row["cell"], int(row["epochs"]), row["recipe"], int(row["seed"])): row for row in csv.DictReader(file)
            }
    wanted = [(arguments.CELL, arguments.EPOCHS, recipe, seed) for seed in range(arguments.SEEDS) for recipe in recipes]
    jobs = [joblib.delayed(row_of)(*key, Path(arguments.DATA_DIR).resolve()) for key in wanted if key not in rows]
    with arguments.CSV.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not file.tell():
            writer.writeheader()
        for row in joblib.Parallel(arguments.WORKERS, return_as="generator_unordered")(jobs):
            writer.writerow(row)
            file.flush()
            print(*row.values(), sep="  ", flush=True)
            rows[row["cell"], row["epochs"], row["recipe"], row["seed"]] = row

    print(
        f"\n{arguments.CELL}: {CELLS[arguments.CELL]}, {arguments.EPOCHS} epochs; validation accuracy, mean ± deviation"
    )
    for recipe in recipes:
        found = [rows[key] for key in wanted if key[2] == recipe and not rows[key]["error"]]
        best, last = ([float(row[when]) for row in found] for when in ("best", "last"))
        spread = [statistics.stdev(values) if len(values) > 1 else float("nan") for values in (best, last)]
        print(
            f"{recipe:36} best epoch {statistics.mean(best):.4f} ± {spread[0]:.4f}   "
            f"last epoch {statistics.mean(last):.4f} ± {spread[1]:.4f}   {len(found)} seeds"
        )


if __name__ == "__main__":
    main()

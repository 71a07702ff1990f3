"""What fewer batches of training images cost when batch-norm statistics are re-estimated, in accuracy and in time.

One-block cells are trained as for tests/data/mnist_cells.csv: 5,000 images, 8 epochs. After every epoch the statistics
are re-estimated over each number of batches, and the validation images are classified. A training does not depend on
these statistics, so all numbers of batches are compared on the same weights. Printed are the accuracy of the best
epoch for each, the mean difference from the largest number with its standard error, and the seconds of a re-estimation.

    python tests/benchmarks/recalibration.py [--SEEDS 2] [--EPOCHS 8] [--BATCHES "5,10,25,39"] [--DATA_DIR data]
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from unittest import mock

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]
os.environ.update(TF_NUM_INTRAOP_THREADS="1", TF_NUM_INTEROP_THREADS="1", KERAS_BACKEND="tensorflow")

import joblib  # noqa: E402
import numpy as np  # noqa: E402
from train_constants import settings_of_train  # noqa: E402

OPERATORS = ("3x3 sep-bconv", "5x5 sep-bconv", "1x7-7x1 bconv", "3x3 bconv")


def compare(operator, seed, epochs, counts, data_dir):
    """Trains the cell that has an operator twice.

    Returns:
        (accuracies, seconds): for each number of batches, after each epoch.
    """
    import pnas.backend  # noqa: F401  # isort: skip  (first: it imports Keras without its messages)
    from mnist.mnist_data import load_data
    from pnas.child import Child
    from pnas.training import child as training_child

    data = load_data("mnist", data_dir, train_size=5000, seed=seed)
    accuracies, seconds = ({count: [] for count in counts} for _ in range(2))

    recalibrate = training_child.recalibrate

    def compared(model, batches):
        for count in counts:
            start = time.perf_counter()
            recalibrate(model, batches.take(count))
            seconds[count].append(time.perf_counter() - start)
            classes = model.predict(data.x_val, 500, verbose=0).argmax(axis=1)
            accuracies[count].append(np.mean(classes == data.y_val.argmax(axis=1)))
        recalibrate(model, batches)

    settings = settings_of_train(MAX_EPOCHS=epochs)
    arrays = data.x_train, data.y_train, data.x_val, data.y_val
    with mock.patch.object(training_child, "recalibrate", compared):
        child = training_child.train_child(Child(1, [0, operator] * 2, 0.0, seed), settings, None, *arrays)
    assert not child.error, child.error
    return accuracies, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--SEEDS", type=int, default=2)
    parser.add_argument("--EPOCHS", type=int, default=8)
    parser.add_argument("--BATCHES", default="5,10,25,39", help="39 batches are all 5,000 images")
    parser.add_argument("--WORKERS", type=int, default=joblib.cpu_count())
    parser.add_argument("--DATA_DIR", type=Path, default=Path("data"))
    options = parser.parse_args()
    counts = sorted(map(int, options.BATCHES.split(",")))
    trainings = [(operator, seed) for seed in range(options.SEEDS) for operator in OPERATORS]
    jobs = [joblib.delayed(compare)(*each, options.EPOCHS, counts, options.DATA_DIR.resolve()) for each in trainings]
    best, differences, seconds = [], {count: [] for count in counts}, {count: [] for count in counts}
    results = joblib.Parallel(options.WORKERS, return_as="generator")(jobs)
    for (operator, seed), (accuracies, times) in zip(trainings, results):
        best.append([max(accuracies[count]) for count in counts])
        print(f"{operator} ×2, seed {seed}:", *(f"{accuracy:.4f}" for accuracy in best[-1]), flush=True)
        for count, accuracy in zip(counts, best[-1]):
            differences[count].append(accuracy - best[-1][-1])
            seconds[count] += times[count][1:]  # the first one is traced
    for count in counts:
        error = statistics.stdev(differences[count]) / len(trainings) ** 0.5 if len(trainings) > 1 else float("nan")
        print(
            f"{count:3} batches: best epoch {statistics.mean(differences[count]):+.4f} ± {error:.4f}, "
            f"{statistics.median(seconds[count]):.2f} s a re-estimation"
        )


if __name__ == "__main__":
    main()

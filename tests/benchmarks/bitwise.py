"""A packed network against the Keras model it was made of: speed, start, memory and size.

For each of the 12 cells of cells.py, with random moments, batches of BATCH images on one thread: `Network.predict` and
`keras.Model.predict` in turn, REPEATS times, and the medians compared. For a cell of every size, in processes of their
own, in turn: from the start of Python to the first prediction, and the peak of memory. It fails if a class differs, if
the geometric mean of the ratios is below 1, a start not EARLIER times as fast or a peak above 1/SMALLER.

    python tests/benchmarks/bitwise.py [--images data/mnist.npz]

Without this file (`python -m mnist.download_mnist data --npz` writes it) the images are noise.
"""

import argparse
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core, for the processes started here, too

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
import numpy as np  # noqa: E402
from cells import CELLS, DENSE_LAYERS, FILTERS, NUM_CELLS  # noqa: E402

from binarized.bitwise.__main__ import read_npz  # noqa: E402

BATCH = 256
REPEATS = 7
STARTS = 3
STARTED = (0, 4, 8)  # the cells whose starts are measured, one of every size
EARLIER = 10
SMALLER = 5
KERAS_START = """
import resource, sys
import tensorflow as tf
tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)
import keras, numpy as np
import pnas.model
images = np.load(sys.argv[2]).astype(np.float32) / 127.5 - 1
keras.models.load_model(sys.argv[1]).predict(images, batch_size=len(images), verbose=0)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
PACKED_START = """
import resource, sys
import numpy as np
from binarized.bitwise.network import load
load(sys.argv[1]).predict(np.load(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def timed(function):
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def started(code, network, images):
    """Seconds and peak memory in MiB of a process that loads a network and predicts once."""
    command = [sys.executable, "-c", code, network, images]
    seconds, done = timed(lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True))
    return seconds, int(done.stdout.split()[-1]) / 1024


def start_and_memory(files, images):
    """Medians over STARTS of what `started` measures, for Keras and for the packed network."""
    codes = KERAS_START, PACKED_START
    measured = [[started(code, file, images) for code, file in zip(codes, files)] for _ in range(STARTS)]
    return np.median(measured, axis=0)


def randomize(model, seed):
    """Moments, scales and offsets as no training would leave them."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if type(layer).__name__ == "Normalization":
            n = layer.gamma.shape[0]
            layer.gamma.assign(rng.uniform(0.2, 2, n) * rng.choice([-1, 1, 1], n))
            layer.beta.assign(rng.normal(0, 1, n))
            layer.mean.assign(rng.normal(0, 2, n))
            layer.variance.assign(rng.uniform(0.1, 30, n))


def write_networks(folder):
    """Builds a model of every cell and saves it for Keras and packed, as 0.keras, 0.npz, 1.keras, ..."""
    import keras

    from binarized.bitwise.packing import pack
    from pnas.model import build_child

    for number, cell in enumerate(CELLS):
        keras.utils.set_random_seed(number)
        model = build_child(cell, NUM_CELLS, FILTERS, DENSE_LAYERS)
        randomize(model, number)
        model.save(f"{folder}/{number}.keras")
        pack(model).save(f"{folder}/{number}.npz")


def compare_starts(folder):
    """Prints start and peak memory for a cell of every size; returns whether each is as much better as it should be."""
    print(f"start of Python to first prediction of {BATCH} images, and peak memory, medians of {STARTS} processes")
    early = small = True
    for number in STARTED:
        files = f"{folder}/{number}.keras", f"{folder}/{number}.npz"
        (keras_start, keras_peak), (start, peak) = start_and_memory(files, f"{folder}/images.npy")
        early &= keras_start >= EARLIER * start
        small &= keras_peak >= SMALLER * peak
        print(
            f"keras {keras_start:5.2f} s, packed {start:5.2f} s, ratio {keras_start / start:4.1f};  "
            f"keras {keras_peak:6.1f} MiB, packed {peak:6.1f} MiB, ratio {keras_peak / peak:4.1f}  {CELLS[number]}"
        )
    return early, small


def compare_speeds(folder, images):
    """Prints time and size of every cell; returns the ratios of the times and whether all classes were the same."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import keras

    from binarized.bitwise.network import load

    print(f"keras {keras.__version__}, {keras.backend.backend()} {tf.__version__}")
    print(f"ms per batch, median (fastest) of {REPEATS} runs in turn; sizes in KB of 1000 bytes")
    sizes = f"{'float32':>8} {'packed':>7} {'file':>7} {'MACs':>11} {'bit op.':>12}"
    print(f"{'keras':>15} {'packed':>15} {'ratio':>6} {sizes}  cell")
    scaled = images.astype(np.float32) / 127.5 - 1
    ratios, same = [], True
    for number, cell in enumerate(CELLS):
        keras.utils.clear_session()
        model, network = keras.models.load_model(f"{folder}/{number}.keras"), load(f"{folder}/{number}.npz")
        both = partial(model.predict, scaled, batch_size=BATCH, verbose=0), partial(network.predict, images)
        same &= bool((both[0]().argmax(1) == both[1]()).all())  # and warms up
        seconds = np.array([[timed(function)[0] for function in both] for _ in range(REPEATS)]) * 1e3
        medians, fastest = np.median(seconds, axis=0), seconds.min(axis=0)
        ratios.append(medians[0] / medians[1])
        print(
            *(f"{median:7.1f} ({best:5.1f})" for median, best in zip(medians, fastest)),
            f"{ratios[-1]:6.2f} {network.float_bytes / 1e3:8.1f} {network.packed_bytes / 1e3:7.1f} "
            f"{Path(folder, f'{number}.npz').stat().st_size / 1e3:7.1f} {network.macs:11,} "
            f"{network.bit_operations:12,}",
            f" {cell}",
        )
    return ratios, same


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", default="data/mnist.npz", help="default: data/mnist.npz")
    try:
        images, source = read_npz(parser.parse_args().images)[0][:BATCH, ..., np.newaxis], "MNIST's first test images"
    except OSError:
        images, source = np.random.default_rng(0).integers(0, 256, (BATCH, 28, 28, 1), np.uint8), "noise"
    print(
        f"{os.cpu_count()} CPU cores, 1 used, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"numpy {np.__version__}; batches of {BATCH}, {source}"
    )
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/images.npy", images)
        # In a process of its own, and the starts first: Linux counts the memory of the process that starts another
        # as the other's, too.
        writer = multiprocessing.get_context("spawn").Process(target=write_networks, args=(folder,))
        writer.start()
        writer.join()
        early, small = compare_starts(folder)
        ratios, same = compare_speeds(folder, images)
    mean = np.exp(np.mean(np.log(ratios)))
    print(f"geometric mean of the ratios: {mean:.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    checks = {"the same classes": same, "speed": mean >= 1, "start": early, "memory": small}
    print(", ".join(f"{name}: {'met' if met else 'NOT MET'}" for name, met in checks.items()))
    if not all(checks.values()):
        sys.exit("FAILED")


if __name__ == "__main__":
    main()

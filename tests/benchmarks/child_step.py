"""How long a training step of a child takes, on one thread, against the same network of stock Keras layers.

Of each of the 12 cells of cells.py, with train.py's filters and dense layers, these are timed, in turn:

    project  a step of `build_child`, as the search trains it
    stock    the same network of stock layers with a straight-through sign, branch by branch (stock.py), in plain `fit`
    oneDNN   the same, with TensorFlow told to use oneDNN, as the project tells it
    float    as stock, with float kernels and relu
    bound    matrix products of as many multiply-accumulates as the kernels need, forward and backward

and, with PEERS, the same networks in larq, PyTorch and torch.compile (peers.py), each in a Python that has the library,
as their requirements exclude those of this project.

A timing is that of the last 10 of the 20 steps of 128 images of a `fit` (the bound: of 10 rounds of products). Each has
a process of its own; they wait for each other. Printed are medians over ROUNDS: the project's CPU and wall milliseconds
a step, and how many times longer the others take. `tracing` is the wall time in which the project's first step is made
ready: building and compiling the network, and its first `fit` of one step less a later one.

    python tests/benchmarks/child_step.py [--CELLS 1,2,12] [--ROUNDS 5] [--THREADS 1]
        [--PEERS larq,torch,torch.compile --LARQ_PYTHON PATH --TORCH_PYTHON PATH]
"""

import argparse
import math
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
from cells import CELLS, DENSE_LAYERS, FILTERS, NUM_CELLS  # noqa: E402
from turns import BATCH, STEPS, clock, random_images, take_turns  # noqa: E402

ENVIRONMENTS = {"project": {}, "stock": {}, "oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "1"}, "float": {}, "bound": {}}


def fit(model, data):
    """CPU and wall seconds a step of the last STEPS steps of a `fit`."""
    import keras

    class Timer(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch + 1 == STEPS:
                self.start = clock()
            elif batch + 1 == 2 * STEPS:
                self.per_step = (clock() - self.start) / STEPS

    timer = Timer()
    model.fit(**data, verbose=0, callbacks=[timer])
    return timer.per_step


def data_of(variant, images, labels):
    """Arguments of `fit`: arrays, or what the search trains its children on."""
    if variant != "project":
        return {"x": images, "y": labels, "batch_size": BATCH}
    from pnas.training.batches import Batches

    return {"x": Batches(images, labels, BATCH).for_fit(), "shuffle": False}


def make_child(variant, cell):
    """The compiled network of a variant."""
    if variant != "project":
        from stock import stock_child

        return stock_child(cell, FILTERS, DENSE_LAYERS, binary=variant != "float")
    from pnas.model import build_child
    from pnas.training.batches import Batches
    from pnas.training.child import STEPS_PER_EXECUTION, compile_child

    assert STEPS % STEPS_PER_EXECUTION == 0, "Keras calls the timer after each execution"
    model = build_child(cell, NUM_CELLS, FILTERS, DENSE_LAYERS)
    rows = np.zeros(STEPS * BATCH)
    compile_child(model, Batches(rows, rows, BATCH), 2, (1e-2, 1e-5))
    return model


def products(cell):
    """A function that does the multiply-accumulates of a training step as matrix products, and nothing else."""
    import tensorflow as tf

    from pnas.model import binary_kernels, build_child

    pairs = []
    for layer, kernel in binary_kernels(build_child(cell, NUM_CELLS, FILTERS, DENSE_LAYERS)):
        *area, inputs, outputs = kernel.variable.shape
        rows = BATCH * math.prod(layer.output.shape[1:-1])
        is_depthwise = len(layer.binary_kernels) == 2 and kernel is layer.binary_kernels[0]
        if is_depthwise:  # each channel by itself
            rows, inputs = rows * inputs, 1
        fan_in = math.prod(area) * inputs
        pairs.append((tf.ones((rows, fan_in)), tf.ones((fan_in, outputs)), layer.input.shape[-1] > 1))

    @tf.function
    def step():
        results = []
        for x, w, has_gradient in pairs:  # the image has none
            y = tf.matmul(x, w)
            results += [y, tf.matmul(x, y, transpose_a=True)]
            results += [tf.matmul(y, w, transpose_b=True)] * has_gradient
        return [result[0, 0] for result in results]

    return step


def prepare_peer(command):
    """As `prepare`, of a variant that runs in a process of another Python."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if not process.stdout.readline():
        raise RuntimeError(f"{' '.join(command)} failed, see above")

    def measure():
        process.stdin.write("\n")
        process.stdin.flush()
        return np.array(process.stdout.readline().split(), float)

    return 0, measure


def prepare(variant, number, threads, pythons):
    """The seconds of tracing of a variant, and a function that measures CPU and wall seconds a step."""
    cell = CELLS[number - 1]
    if variant in pythons:
        script = str(Path(__file__).with_name("peers.py"))
        return prepare_peer([pythons[variant], script, variant, str(number), str(threads)])
    os.environ.update(TF_NUM_INTRAOP_THREADS=str(threads), TF_NUM_INTEROP_THREADS=str(threads), **ENVIRONMENTS[variant])
    if variant in ("project", "bound"):
        import pnas.backend  # noqa: F401
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    keras.utils.set_random_seed(0)
    if variant == "bound":
        step = products(cell)
        step()

        def measure():
            start = clock()
            for _ in range(STEPS):
                step()
            return (clock() - start) / STEPS

        return 0, measure

    images, labels = random_images(BATCH * 2 * STEPS)
    start = clock()[1]
    model = make_child(variant, cell)
    one_batch = data_of(variant, images[:BATCH], labels[:BATCH])
    model.fit(**one_batch, verbose=0)
    first = clock()[1] - start
    start = clock()[1]
    model.fit(**one_batch, verbose=0)
    return first - (clock()[1] - start), lambda: fit(model, data_of(variant, images, labels))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--CELLS", default="", help="numbers of the cells, from 1; all by default")
    parser.add_argument("--ROUNDS", type=int, default=5, help="how often each is timed")
    parser.add_argument("--THREADS", type=int, default=1, help="threads of each library")
    parser.add_argument("--PEERS", default="", help="of larq, torch, torch.compile")
    parser.add_argument("--LARQ_PYTHON", help="a Python with larq, tensorflow and tf_keras")
    parser.add_argument("--TORCH_PYTHON", help="a Python with torch")
    arguments = parser.parse_args()
    available = {
        "larq": arguments.LARQ_PYTHON,
        "torch": arguments.TORCH_PYTHON,
        "torch.compile": arguments.TORCH_PYTHON,
    }
    pythons = {}
    for peer in filter(None, arguments.PEERS.split(",")):
        if not available.get(peer):
            parser.error(
                f"--PEERS {peer} needs --{peer.split('.')[0].upper()}_PYTHON; peers are {', '.join(available)}"
            )
        pythons[peer] = available[peer]
    numbers = [int(number) for number in arguments.CELLS.split(",") if number] or range(1, len(CELLS) + 1)
    print(
        f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"{arguments.THREADS} thread(s); {BATCH} images a step, medians of {arguments.ROUNDS} x {STEPS} steps"
    )
    others = [*list(ENVIRONMENTS)[1:], *pythons]
    print(
        "cell  project: ms CPU (wall)  times as long, CPU (wall): "
        + "  ".join(f"{name:12}" for name in others)
        + "  tracing, s"
    )
    ratios, tracings = [], []
    for number in numbers:
        variants = [*ENVIRONMENTS, *pythons]
        tracing, *rounds = take_turns(prepare, variants, arguments.ROUNDS, number, arguments.THREADS, pythons)
        medians = {name: np.median([times[name] for times in rounds], axis=0) for name in variants}
        ratios.append([medians[name] / medians["project"] for name in others])
        tracings.append(tracing["project"])
        cpu, wall = medians["project"] * 1000
        print(
            f"{number:4d}  {cpu:15.1f} ({wall:5.1f}) {'':27}{columns(ratios[-1])}  {tracings[-1]:4.1f}  "
            f"{CELLS[number - 1]}",
            flush=True,
        )
    means = np.exp(np.log(ratios).mean(axis=0))
    print(f"geometric mean {'':39}{columns(means)}  {np.median(tracings):4.1f} (median)")
    for position, name in enumerate(others):
        cpu = [ratio[position][0] for ratio in ratios]
        spread = f"geometric mean; {min(cpu):.2f} to {max(cpu):.2f}"
        print(f"{name} takes {means[position][0]:.2f} times the project's CPU time ({spread}).")


def columns(ratios):
    return "  ".join(f"{cpu:5.2f} ({wall:4.2f})" for cpu, wall in ratios)


if __name__ == "__main__":
    main()

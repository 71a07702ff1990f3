"""Progressive neural architecture search over binarized neural networks.

    python train.py               searches for the best cell
    python train.py --train_arc   trains the cell of REPRESENTATION_STRING to convergence

Edit the constants below, or give any of them on the command line: --MAX_EPOCHS 2 --operators "['3x3 bconv', 'linear']"
"""

# -------Controller Training Settings-------
B = 3  # Maximum number of blocks in the cell
K_ = 128  # Number of children to be trained for each block size after the first
REGULARIZATION = 0  # L2 regularization strength on the surrogate's LSTMs
CONTROLLER_CELLS = 100  # Number of units in each LSTM, and of embedding dimensions
RNN_TRAINING_EPOCHS = 15  # Training epochs of the surrogate after each block size, each of at least 10 batches
NUM_PREDICTORS = 5  # Number of LSTMs in the surrogate; the prediction is their mean
RESTORE_CONTROLLER = True  # Go on with an earlier run of this experiment; False moves what it kept aside
INPUT_LOOKBACK_DEPTH = 0  # 0, or -k: ops may also read the outputs of the k cells before their input
INPUT_LOOKFORWARD_DEPTH = 0  # How many blocks of a cell the others may read: 0 (flat cells), a number, or None for all
# ------------------------------------------

# ------- Common Settings --------
EXPERIMENT_NAME = "pnas"  # Names the files of this experiment
SEED = 0  # Decides about all that is random: same seed, same rewards and same choice
DATASET = "mnist"  # 'mnist', or 'digits': scikit-learn's 1,797 small digits, for trying things out
DATA_DIR = "data"  # Folder of MNIST's four files, which are downloaded into it if need be
TRAIN_SIZE = None  # Number of training images, drawn by class; None for all
DROP_INPUT = 0.2  # Dropout rate of the input image
DROP_HIDDEN = 0.5  # Dropout rate before the dense layers
DROPOUT = (False, DROP_INPUT, DROP_HIDDEN)  # Whether there is dropout, and its two rates
MAX_EPOCHS = 20  # Training epochs of each child
BATCHSIZE = 128  # Images in a training step
LEARNING_RATE = (1e-2, 1e-5)  # Adam's first and last step size, decaying exponentially from step to step
NUM_CELLS = 3  # Number of cells stacked in each architecture
NUM_CELL_FILTERS = [16, 24, 32]  # Number of filters of an op in each cell
DENSE_LAYERS = [32, 10]  # Number of units in the dense layers at the end; the last one is the number of classes
USE_EXPANSION = False  # Whether to train also on four copies of each image, rotated and shifted a little
operators = ["3x3 sep-bconv", "5x5 sep-bconv", "1x7-7x1 bconv", "3x3 bconv"]  # The operators of the search space
N_WORKERS = "auto"  # Children trained side by side, each in a process; 'auto': by cores (at most 4 on a GPU) or cluster
THREADS_PER_CHILD = 1  # TensorFlow's threads in each child; another number gives other last digits, and so other rewards
PARALLEL_BACKEND = "loky"  # Where children are trained: 'loky' for this machine, 'dask' or 'ray' for a cluster
SCHEDULER = None  # The cluster's address, such as 'tcp://host:8786'; with 'ray' None starts it on this machine
# --------------------------------

# -------Architecture Training Settings-----
NUM_EPOCHS = 200  # Number of epochs
REPRESENTATION_STRING = "[[1. 0. 0.]] [[1. 0. 0. 0.]] [[1. 0. 0.]] [[1. 0. 0. 0.]]"  # The architecture, from the log
LOAD_SAVED = False  # Go on with the saved training of this architecture, after the epochs it has had
# ------------------------------------------

import json
import math
import os
import re
import shlex
import sys
import time

import joblib
import numpy as np

from pnas.command_line import read_command_line

started = time.monotonic()
train_arc = False
if __name__ == "__main__":
    given = read_command_line(__file__, __doc__)
    globals().update(given)
    if "DROPOUT" not in given and given.keys() & {"DROP_INPUT", "DROP_HIDDEN"}:
        DROPOUT = (DROPOUT[0], DROP_INPUT, DROP_HIDDEN)  # made of the two above, which have just changed
constants = {name: value for name, value in globals().items() if name.isupper() or name == "operators"}

# Keras's backend reads the number of threads when it is imported. In a search the surrogate gets as many as a child, so that
# the number of cores does not show in the last digits of its predictions; a single architecture gets all.
threads = str(joblib.cpu_count() if train_arc else THREADS_PER_CHILD)
os.environ.update(TF_NUM_INTRAOP_THREADS=threads, TF_NUM_INTEROP_THREADS=threads)

from pnas.backend import keras  # noqa: E402  (silences it, so it comes first)
from binarized.bitwise import pack  # noqa: E402
from mnist.mnist_data import load_data  # noqa: E402
from pnas.console import Progress  # noqa: E402
from pnas.encoder import Encoder, StateSpace  # noqa: E402
from pnas.files import check_writable, lock, set_aside  # noqa: E402
from pnas.journal import Journal  # noqa: E402
from pnas.manager import Manager  # noqa: E402
from pnas.ranking import ranking_quality  # noqa: E402
from pnas.report import write_report  # noqa: E402
from pnas.settings import check  # noqa: E402


def search():
    """Trains all cells of one block, then, for every larger size, the K_ expansions that the surrogate ranks highest."""
    state_space = StateSpace(B, operators, INPUT_LOOKBACK_DEPTH, INPUT_LOOKFORWARD_DEPTH)
    data = load_data(DATASET, DATA_DIR, TRAIN_SIZE, USE_EXPANSION, SEED)
    journal = Journal(EXPERIMENT_NAME, search_settings(data.name), RESTORE_CONTROLLER, state_space)
    manager = manager_of(data)
    encoder = Encoder(state_space, CONTROLLER_CELLS, RNN_TRAINING_EPOCHS, REGULARIZATION, NUM_PREDICTORS, SEED)
    progress = Progress(K_, B, manager.workers.count)

    trained = []
    cells = state_space.initial_children()
    predicted = [math.nan] * len(cells)
    for blocks in range(1, B + 1):
        numbered = enumerate(zip(cells, predicted), start=len(trained) + 1)
        children = [(number, cell, prediction) for number, (cell, prediction) in numbered]
        done = [journal.finished[tuple(cell)] for _, cell, _ in children if tuple(cell) in journal.finished]
        new = [child for child in children if tuple(child[1]) not in journal.finished]
        journal.write_heading(blocks, len(cells))
        for child in progress.follow(blocks, new, done, manager.train_children(new, MAX_EPOCHS)):
            journal.write_child(child)
            done.append(child)
        trained += sorted(done, key=lambda child: child.number)  # the order in which they ended is chance
        judged = [child for child in done if not child.error]
        if blocks > 1 and len(judged) > 1:
            quality = ranking_quality([child.predicted for child in judged], [child.reward for child in judged])
            journal.write_quality(blocks, quality)
            progress.show_quality(quality)
        if blocks < B:
            losses = encoder.fit([child.cell for child in trained], [child.reward for child in trained])
            journal.events.write_surrogate(blocks, losses)
            if blocks + 1 not in journal.choices:
                journal.write_choice(blocks + 1, *encoder.rank(state_space.expand(cells), K_))
            cells, predicted = journal.choices[blocks + 1]

    if journal.best is None:
        raise ValueError(f"all children failed; {journal.text_path} says why")
    representation = state_space.encode(journal.best.cell)
    arguments = [*sys.argv[1:], "--REPRESENTATION_STRING", representation]
    command = " ".join(["python train.py --train_arc", *(quoted(argument) for argument in arguments)])
    journal.write_end(command)
    write_report(EXPERIMENT_NAME)
    if not manager.workers.grows:
        progress.show_times(time.monotonic() - started)
    print(
        f"\nBest: reward {journal.best.reward:.4f}, {journal.best.cell}, in {journal.text_path}\n"
        f"Pictures:    {journal.logs}/report\nRetrain it:  {command}"
    )


def train_architecture():
    """Trains REPRESENTATION_STRING to convergence, chosen on the validation images, and looks at the test images once."""
    cell = StateSpace(B, operators, INPUT_LOOKBACK_DEPTH, INPUT_LOOKFORWARD_DEPTH).decode(REPRESENTATION_STRING)
    data = load_data(DATASET, DATA_DIR, TRAIN_SIZE, USE_EXPANSION, SEED)
    folder = os.path.join("weights", EXPERIMENT_NAME)
    held = lock(f"{folder}.lock")  # noqa: F841  (until the end)
    check_writable(folder)
    print(f"Training {cell} on {len(data.x_train):,} images ({data.name}), {NUM_EPOCHS} epochs; weights in {folder}")
    network = manager_of(data).train_architecture(cell, NUM_EPOCHS, folder, LOAD_SAVED)
    for part, images, labels in (("Validation", data.x_val, data.y_val), ("Test", data.x_test, data.y_test)):
        accuracy = network.evaluate(images, labels, verbose=0, return_dict=True)["accuracy"]
        print(f"{part} accuracy: {accuracy:.4f}")

    bits = pack(network)
    bits_path = os.path.join(folder, "network.npz")
    set_aside(bits_path)
    bits.save(bits_path)
    classes = bits.predict(np.rint((data.x_test + 1) * 127.5).astype(np.uint8))
    print(f"Test accuracy as bits: {np.mean(classes == data.y_test.argmax(axis=1)):.4f}, {bits_path}\n{bits.summary()}")


def quoted(argument):
    """A word of a command line, in double quotes where that will do: operators hold single ones."""
    plain = re.fullmatch(r"[\w./-]*", argument) or re.search(r'["$`\\!]', argument)
    return shlex.quote(argument) if plain else f'"{argument}"'


def manager_of(data):
    return Manager(
        *(data, NUM_CELLS, NUM_CELL_FILTERS, DENSE_LAYERS, DROPOUT),
        *(BATCHSIZE, LEARNING_RATE, SEED, N_WORKERS, THREADS_PER_CHILD, PARALLEL_BACKEND, SCHEDULER),
    )


def search_settings(dataset):
    """The constants that decide about rewards and choice: a run goes on only with rewards that were got under the same."""
    without = "EXPERIMENT_NAME DATA_DIR RESTORE_CONTROLLER N_WORKERS DROP_INPUT DROP_HIDDEN".split()
    without += ["PARALLEL_BACKEND", "SCHEDULER", "NUM_EPOCHS", "REPRESENTATION_STRING", "LOAD_SAVED"]
    settings = {name: value for name, value in constants.items() if name not in without}
    settings.update(DATASET=dataset, BACKEND=keras.backend.backend())
    return json.loads(json.dumps(settings))  # as a file gives them back


def main():
    faults = check(constants, train_arc)
    if faults:
        print(*(f"train.py: {fault}" for fault in faults), sep="\n", file=sys.stderr)
        sys.exit(2)
    try:
        train_architecture() if train_arc else search()
    except (ValueError, OSError) as error:
        sys.exit(f"train.py: {error}")
    except KeyboardInterrupt:
        if train_arc:
            sys.exit(
                f"\nStopped. weights/{EXPERIMENT_NAME} keeps every whole epoch; --LOAD_SAVED True goes on from there."
            )
        sys.exit(
            f"\nStopped. logs/{EXPERIMENT_NAME} keeps every child that was shown; the same command goes on from there."
        )


if __name__ == "__main__":
    main()

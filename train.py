"""Progressive neural architecture search over binarized neural networks.

    python train.py               searches for the best cell
    python train.py --train_arc   trains the cell of REPRESENTATION_STRING to convergence
    python train.py --summary     shows the layers of its network, their weights, operations and memory

Edit the constants below, or give any of them on the command line: --MAX_EPOCHS 2 --operators "['3x3 bconv', 'linear']"
"""

# -------Controller Training Settings-------
B = 3  # Maximum number of blocks in the cell
K_ = 128  # Number of children to be trained for each block size after the first
REGULARIZATION = 0  # L2 regularization strength on the surrogate's LSTMs
CONTROLLER_CELLS = 100  # Number of units in each LSTM, and of embedding dimensions
RNN_TRAINING_EPOCHS = 15  # Training epochs of the surrogate after each block size, each of at least 10 batches
NUM_PREDICTORS = 5  # Number of LSTMs in the surrogate; the prediction is their mean
RESTORE_CONTROLLER = True  # Resume an earlier run of this experiment; False moves its files aside
INPUT_LOOKBACK_DEPTH = 0  # 0, or -k: operators may also read the outputs of k earlier cells
INPUT_LOOKFORWARD_DEPTH = 0  # Blocks of a cell that others may read: 0 (flat cells), a number, or None for all
MAX_MACS = None  # Limit on a network's multiply-accumulates for one image; larger cells are never trained
MAX_BINARY_WEIGHTS = None  # Limit on its binary weights, dense layers included, or None; larger cells are never trained
# Cells above a limit are neither ranked nor expanded.
STOP_EARLY = False  # Whether to stop children of more than one block that are behind after a quarter of MAX_EPOCHS
FINALISTS = 5  # Number of best cells that are trained again after the last block size; 0 for none
FINAL_SEEDS = 2  # Further seeds that each finalist is trained with; the winner has the highest mean reward
REWARD_NOISE = 0.003  # Standard deviation of a reward from seed to seed, for the choice of the finalists
# ------------------------------------------

# ------- Common Settings --------
EXPERIMENT_NAME = "pnas"  # Names the files of this experiment
SEED = 0  # Random seed; the same seed gives the same rewards and choices
DATASET = "mnist"  # 'mnist', 'digits' (scikit-learn's 1,797 small digits), or the path of an .npz file of your images
DATA_DIR = "data"  # Folder of MNIST's files, which are downloaded into it if they are missing
TRAIN_SIZE = None  # Number of training images, stratified by class; None for all
DROP_INPUT = 0.2  # Dropout rate of the input image
DROP_HIDDEN = 0.5  # Dropout rate before the dense layers
DROPOUT = (False, DROP_INPUT, DROP_HIDDEN)  # Whether to use dropout, and its two rates
MAX_EPOCHS = 20  # Training epochs of each child
BATCHSIZE = 128  # Images in a training step
LEARNING_RATE = (1e-2, 1e-5)  # Initial and final learning rate of Adam, decaying exponentially; or one constant rate
NUM_CELLS = 3  # Number of cells stacked in each architecture
NUM_CELL_FILTERS = [16, 24, 32]  # Number of filters of an operator in each cell
DENSE_LAYERS = [32, 10]  # Number of units in the dense layers at the end; the last one must be the number of classes
USE_EXPANSION = False  # Whether to train also on four slightly rotated and shifted copies of each image
operators = ["3x3 sep-bconv", "5x5 sep-bconv", "1x7-7x1 bconv", "3x3 bconv"]  # The operators of the search space
N_WORKERS = "auto"  # Processes that train children side by side; 'auto': by cores (at most 4 on a GPU) or cluster
THREADS_PER_CHILD = 1  # TensorFlow's threads in each child; another number changes rounding, and so rewards
PARALLEL_BACKEND = "loky"  # Where children are trained: 'loky' is this machine, 'dask' and 'ray' are clusters
SCHEDULER = None  # Address of the cluster, such as 'tcp://host:8786'; with 'ray', None starts one on this machine
# --------------------------------

# -------Architecture Training Settings-----
NUM_EPOCHS = 200  # Number of training epochs in total
REPRESENTATION_STRING = "[[1. 0. 0.]] [[1. 0. 0. 0.]] [[1. 0. 0.]] [[1. 0. 0. 0.]]"  # From the log
LOAD_SAVED = False  # Resume the saved training of this architecture after its last epoch
# ------------------------------------------

import os
import sys
import time
import warnings

import joblib

from pnas.constants import check, read_command_line, refuse, refuse_missing_backend, retrain_command, search_settings

started = time.monotonic()
train_arc = summary = False
defaults = {name: value for name, value in globals().items() if name.isupper() or name == "operators"}
if __name__ == "__main__":
    given = read_command_line(__file__, __doc__)
    globals().update(given)
    if "DROPOUT" not in given and given.keys() & {"DROP_INPUT", "DROP_HIDDEN"}:
        DROPOUT = (DROPOUT[0], given.get("DROP_INPUT", DROPOUT[1]), given.get("DROP_HIDDEN", DROPOUT[2]))
    if type(LEARNING_RATE) in (int, float):
        LEARNING_RATE = (LEARNING_RATE, LEARNING_RATE)
constants = {name: globals()[name] for name in defaults}

# Keras's backend reads the number of threads when it is imported. In a search the surrogate gets as many as a child, so
# that its predictions do not depend on the number of cores. A single architecture gets all cores.
threads = str(joblib.cpu_count() if train_arc else THREADS_PER_CHILD)
os.environ.update(TF_NUM_INTRAOP_THREADS=threads, TF_NUM_INTEROP_THREADS=threads)
refuse_missing_backend()

from pnas.backend import keras  # isort: skip  (first: it imports Keras without its messages)
from binarized.bitwise.packing import pack
from mnist.mnist_data import SIDE, load_data
from pnas.costs import Costs, budget
from pnas.early_stopping import train_with_stops
from pnas.encoder import Encoder, StateSpace
from pnas.journal.architecture import ArchitectureJournal
from pnas.journal.controller import KeptEncoder
from pnas.journal.files import lock, set_aside
from pnas.journal.finalists import FinalistsJournal
from pnas.journal.journal import Journal
from pnas.manager import Manager
from pnas.model import build_child
from pnas.report.console import Progress, finalist_lines
from pnas.report.figures import write_report
from pnas.report.recorder import Recorder
from pnas.report.summary import print_summary
from pnas.search import progressive_search, train_finalists
from pnas.training.architecture import measure
from pnas.training.local import remove_folders
from pnas.training.local import stop as stop_workers
from pnas.training.stopping import Stopped, stop_on_signals


def search():
    """Searches for the best cell: keeps and shows every child, then draws the report."""
    state_space = StateSpace(B, operators, INPUT_LOOKBACK_DEPTH, INPUT_LOOKFORWARD_DEPTH)
    data = load_data(DATASET, DATA_DIR, TRAIN_SIZE, USE_EXPANSION, SEED)
    costs = Costs(NUM_CELLS, NUM_CELL_FILTERS, DENSE_LAYERS, data.x_train.shape[1:])
    fits = budget(costs, state_space.initial_children(), MAX_MACS, MAX_BINARY_WEIGHTS)
    manager = make_manager(data)
    settings = search_settings(constants, data.name, keras.backend.backend())
    journal = Journal(EXPERIMENT_NAME, settings, RESTORE_CONTROLLER, state_space, defaults)
    finalists_journal = FinalistsJournal(journal.logs, data.name, state_space)
    encoder = Encoder(state_space, CONTROLLER_CELLS, RNN_TRAINING_EPOCHS, REGULARIZATION, NUM_PREDICTORS, SEED)
    surrogate = KeptEncoder(encoder, journal.controller_path)
    progress = Progress(K_, B, manager.workers.count, FINALISTS, FINAL_SEEDS, MAX_EPOCHS, state_space.most_expansions)
    recorder = Recorder(journal, finalists_journal, progress)

    def train(blocks, new, known):
        if not STOP_EARLY or blocks == 1:
            results = manager.train_children(new, MAX_EPOCHS)
        else:
            results = train_with_stops(train_some, new, known, MAX_EPOCHS, journal.events.learning_curve)
        return progress.follow(blocks, new, known, results)

    def train_some(new, stop):
        return manager.train_children(new, MAX_EPOCHS, stop=stop)

    def train_again(seed, chosen, new):
        return progress.follow_finalists(seed, FINAL_SEEDS, chosen, new, manager.train_children(new, MAX_EPOCHS, seed))

    children = progressive_search(state_space, surrogate, train, K_, recorder, fits)
    if journal.best is None:
        raise ValueError(f"all children failed; {journal.text_path} gives the reasons")
    finalists = train_finalists(children, surrogate, REWARD_NOISE, FINALISTS, FINAL_SEEDS, train_again, recorder)
    recorder.keep_winner(finalists[0])

    winner = finalists[0].child
    command = retrain_command(sys.argv, state_space.encode(winner.cell))
    lines = finalist_lines(finalists) if FINALISTS else []
    journal.write_end(winner, lines, command)
    if not manager.workers.is_elastic:
        progress.show_times(time.monotonic() - started)
    print(
        *("", *lines, f"Best: reward {winner.reward:.4f}, {winner.cell}, in {journal.text_path}"),
        f"Costs:       {journal.costs_of(winner)}",
        f"Retrain it:  {command}",
        sep="\n",
    )
    try:
        write_report(EXPERIMENT_NAME)
        print(f"Pictures:    {journal.logs}/report")
    except Exception as error:  # all results are kept and shown already
        warnings.warn(f"the report cannot be drawn: {error}; `python -m pnas.report {EXPERIMENT_NAME}` draws it later")


def train_architecture():
    """Trains REPRESENTATION_STRING to convergence; looks at the test images once, with the best epoch."""
    cell = StateSpace(B, operators, INPUT_LOOKBACK_DEPTH, INPUT_LOOKFORWARD_DEPTH).decode(REPRESENTATION_STRING)
    data = load_data(DATASET, DATA_DIR, TRAIN_SIZE, USE_EXPANSION, SEED)
    manager = make_manager(data)
    folder = os.path.join("weights", EXPERIMENT_NAME)
    held = lock(f"{folder}.lock")  # noqa: F841  (held until the process ends)
    print(f"Training {cell} on {len(data.x_train):,} images ({data.name}), {NUM_EPOCHS} epochs; weights in {folder}")
    journal = ArchitectureJournal(os.path.join("logs", EXPERIMENT_NAME))
    network = manager.train_architecture(cell, NUM_EPOCHS, folder, LOAD_SAVED, journal)

    packed = pack(network)
    packed_path = os.path.join(folder, "network.npz")
    set_aside(packed_path)
    packed.save(packed_path)
    accuracies = measure(network, packed, data)
    sizes = {"bytes_as_float32": packed.float_bytes, "bytes_as_bits": packed.packed_bytes}
    journal.write_result(
        architecture=cell, representation_string=REPRESENTATION_STRING, dataset=data.name, **accuracies, **sizes
    )
    print(f"Validation accuracy: {accuracies['validation_accuracy']:.4f}, best epoch {journal.best_epoch()}")
    print(f"Test accuracy: {accuracies['test_accuracy']:.4f}")
    if "test_accuracy_rounded" in accuracies:
        print(f"Test accuracy on images rounded to 8 bits: {accuracies['test_accuracy_rounded']:.4f}")
    print(f"Test accuracy as bits: {accuracies['test_accuracy_as_bits']:.4f}, {packed_path}\n{packed.summary()}")
    print(f"Learning curve and result: {journal.curve_path}, {journal.result_path}")


def show_summary():
    """Shows the layers of REPRESENTATION_STRING's network, without training it."""
    cell = StateSpace(B, operators, INPUT_LOOKBACK_DEPTH, INPUT_LOOKFORWARD_DEPTH).decode(REPRESENTATION_STRING)
    shape = (SIDE, SIDE, 1)
    if DATASET.endswith(".npz"):
        shape = load_data(DATASET, seed=SEED).x_train.shape[1:]
    print_summary(build_child(cell, NUM_CELLS, NUM_CELL_FILTERS, DENSE_LAYERS, DROPOUT, shape))


def make_manager(data):
    return Manager(
        *(data, NUM_CELLS, NUM_CELL_FILTERS, DENSE_LAYERS, DROPOUT),
        *(BATCHSIZE, LEARNING_RATE, SEED, N_WORKERS, THREADS_PER_CHILD, PARALLEL_BACKEND, SCHEDULER),
    )


def main():
    faults = check(constants, train_arc or summary)
    if faults:
        refuse(faults)
    warnings.formatwarning = lambda message, *_, **__: f"train.py: {message}\n"  # one line each
    if train_arc:
        kept = f"Stopped. weights/{EXPERIMENT_NAME} keeps every whole epoch; --LOAD_SAVED True resumes there."
    else:
        kept = f"Stopped. logs/{EXPERIMENT_NAME} keeps every child reported above; the same command resumes there."
    stop_on_signals(lambda: (remove_folders(), print(f"\n{kept}", file=sys.stderr, flush=True)))
    try:
        show_summary() if summary else train_architecture() if train_arc else search()
    except (ValueError, OSError) as error:
        sys.exit(f"train.py: {error}")
    except Stopped as stopped:
        print(f"\n{kept}", file=sys.stderr)
        sys.exit(stopped.exit_code)
    finally:
        stop_workers()


if __name__ == "__main__":
    main()

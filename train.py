"""Progressive neural architecture search over binarized neural networks.

    python train.py               searches for the best cell
    python train.py --dry_run     shows what a search will train, and the time, memory and disk that it will take
    python train.py --train_arc   trains the cell of REPRESENTATION_STRING to convergence
    python train.py --summary     shows and draws the layers of its network, their weights, operations and memory

Edit the constants below, or give any of them on the command line: --MAX_EPOCHS 2 --operators "['3x3 bconv', 'linear']"
"""

# -------Controller Training Settings-------
B = 3  # Maximum number of blocks in the cell
K_ = 128  # Largest number of children to be trained for each block size after the first
REGULARIZATION = 0  # L2 regularization strength on the surrogate's LSTMs
CONTROLLER_CELLS = 100  # Number of units in each LSTM, and of embedding dimensions
RNN_TRAINING_EPOCHS = 15  # Training epochs of the surrogate in each round, each of at least 10 batches
NUM_PREDICTORS = 5  # Number of LSTMs in the surrogate; the prediction is their mean
RESTORE_CONTROLLER = True  # Resume an earlier run of this experiment; False moves its files aside
REUSE = None  # Name of an earlier experiment, or a list: children that it has trained in the same way come from there
INPUT_LOOKBACK_DEPTH = 0  # 0, or -k: operators may also read the outputs of k earlier cells
INPUT_LOOKFORWARD_DEPTH = 0  # Blocks of a cell that others may read: 0 (flat cells), a number, or None for all
MAX_MACS = None  # Limit on a network's multiply-accumulates for one image; larger cells are never trained
MAX_BINARY_WEIGHTS = None  # Limit on its binary weights, dense layers included, or None; larger cells are never trained
PARETO = None  # 'macs' or 'binary_weights': search for the best cell at every cost; None for the best cell at any cost
ROUNDS = 2  # Rounds in which a block size's children are chosen; the surrogate learns in between; the paper has 1
STOP_EARLY = True  # Stop larger children that are behind after a quarter of MAX_EPOCHS, if 4 or more; not with PARETO
FINALISTS = 5  # Best cells to train again after the last block size, with PARETO up to 6 times as many; 0 for none
FINAL_SEEDS = 2  # Further seeds that each finalist is trained with; the winner has the highest mean reward
REWARD_NOISE = 0.045  # Standard deviation of a reward from seed to seed, as a share of 1 - reward; for the finalists
# ------------------------------------------

# ------- Common Settings --------
EXPERIMENT_NAME = "pnas"  # Names the files of this experiment
SEED = 0  # Random seed; the same seed gives the same rewards and choices
DATASET = "mnist"  # 'mnist', 'digits' (scikit-learn's), an .npz file of your images, or a folder of four IDX files
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
MAX_CHILD_MINUTES = None  # Limit on a child's minutes, or None; one that exceeds it twice counts as failed
PARALLEL_BACKEND = "loky"  # Where children are trained: 'loky' is this machine, 'dask' and 'ray' are clusters
SCHEDULER = None  # Address of the cluster, such as 'tcp://host:8786'; with 'ray', None starts one on this machine
# --------------------------------

# -------Architecture Training Settings-----
NUM_EPOCHS = 200  # Number of training epochs in total
TRAIN_SEEDS = 1  # Number of seeds to train it with; the best network by validation accuracy is kept
REPRESENTATION_STRING = "[[1. 0. 0.]] [[1. 0. 0. 0.]] [[1. 0. 0.]] [[1. 0. 0. 0.]]"  # From the log
LOAD_SAVED = False  # Resume the saved training of this architecture after its last epoch
# ------------------------------------------

import dataclasses
import functools
import sys
import warnings
from pathlib import Path

import joblib

from pnas.command_line import check, import_keras, read_command_line, retrain_command
from pnas.constants import TRAINING_IMAGES, Settings

settings, action = Settings.of(globals()), "search"
if __name__ == "__main__":
    settings, action = read_command_line(settings, __file__, __doc__)
# In a search the surrogate gets as many threads as a child, so that its predictions do not depend on the number of
# cores. A single architecture gets all cores.
import_keras(threads=joblib.cpu_count() if action == "train_arc" else settings.THREADS_PER_CHILD)

from mnist import DataError
from mnist.download_mnist import MD5, find
from mnist.mnist_data import COPIES, MNIST_VALIDATION, SIDE, Data, load_data
from pnas import UsageError
from pnas.costs import budget
from pnas.encoder import Encoder
from pnas.manager import Manager
from pnas.report.console import Progress, end_lines, result_lines
from pnas.report.figures import write_report, write_sheets
from pnas.report.forecast import announce, print_constants, print_forecast
from pnas.report.front import front_lines, front_rows
from pnas.report.network_drawing import draw_network
from pnas.report.ranking import judge
from pnas.report.summary import print_summary
from pnas.search import front, progressive_search, train_finalists
from pnas.store.architecture import ArchitectureJournal
from pnas.store.files import Files
from pnas.store.paths import Paths
from pnas.store.store import Store
from pnas.store.surrogate import KeptSurrogate
from pnas.training.architecture import keep_best
from pnas.training.child import build_with_seed
from pnas.training.data import check_data
from pnas.training.early_stopping import train_with_stops
from pnas.training.local import stop as stop_workers
from pnas.training.reuse import open_earlier, train_or_reuse
from pnas.training.seeds import train_seeds
from pnas.training.speed import Images
from pnas.training.stopping import Stopped, stop_on_signals
from pnas.training.workers import Workers


def search(settings: Settings):
    """Searches for the best cell: keeps and shows every child, trains the best ones again, and draws the report."""
    asked = settings.DATASET
    data, settings = load(settings)
    space = settings.state_space()
    costs = settings.costs(data.x_train.shape[1:])
    fits = budget(costs, space.initial_children(), settings.MAX_MACS, settings.MAX_BINARY_WEIGHTS)
    manager, earlier = Manager(data, settings), open_earlier(settings)
    store = Store(settings.EXPERIMENT_NAME, settings.deciding(), settings.RESTORE_CONTROLLER)
    surrogate = KeptSurrogate(make_surrogate(settings), store.paths.surrogate)
    files = Files(store, space, settings, judge)
    train = train_fully = functools.partial(train_or_reuse, manager.train_children, earlier, settings)
    if settings.stops_early:
        train = functools.partial(train_with_stops, train, store, settings.MAX_EPOCHS, settings.rounds)
    announce(settings, images_of(data), manager.workers, known=len(store.children()))
    with Progress(settings, manager.workers) as progress:
        told = {"store": store, "callbacks": [files, progress]}
        rounds, cost = settings.ROUNDS, settings.PARETO and (lambda cell: getattr(costs(cell), settings.PARETO))
        children = progressive_search(space, surrogate, train, settings.K_, fits=fits, rounds=rounds, cost=cost, **told)
        if all(child.error for child in children):
            raise UsageError(f"all children failed; {store.paths.text} gives the reasons")
        noise, count, repeats = settings.REWARD_NOISE, settings.most_finalists(len(children)), settings.FINAL_SEEDS
        finalists = train_finalists(
            children, surrogate, train_fully, noise, count, repeats, cost=settings.PARETO, **told
        )
    instead = ["--DATASET", data.name, "--TRAIN_SIZE", str(data.train_size)] * (data.name == "digits" != asked)
    command = functools.partial(retrain_command, [*sys.argv, *instead])
    lines = end_lines(finalists, settings, command(space.encode(finalists[0].child.cell)))
    if settings.PARETO:
        rows = front_rows(front(finalists, settings.PARETO), store.paths, space.encode, command)
        files.write_front(rows)
        lines = [*front_lines(rows, store.paths), *lines]
    files.write_end(lines)
    print(*lines, f"Log:         {store.paths.text}", sep="\n")
    draw_report(settings.EXPERIMENT_NAME)


def make_surrogate(settings: Settings):
    """The surrogate: anything with `fit` and `predict`, such as `Encoder` or a regressor of scikit-learn.

    A search does not notice that it resumes with another one: give that another EXPERIMENT_NAME.
    """
    return Encoder(
        settings.state_space(),
        lstm_cells=settings.CONTROLLER_CELLS,
        epochs=settings.RNN_TRAINING_EPOCHS,
        regularization=settings.REGULARIZATION,
        num_predictors=settings.NUM_PREDICTORS,
        seed=settings.SEED,
    )


def draw_report(name: str):
    """Draws the figures of a search. If they cannot be drawn, a warning says so: all results are kept and shown."""
    try:
        print(f"Figures:     {Path(write_report(name)[0]).parent}")
    except Exception as error:
        later = f"`python -m pnas.report {name}` draws it later"
        warnings.warn(f"the report cannot be drawn: {error}; {later}", stacklevel=2)


def train_to_convergence(settings: Settings):
    """Trains REPRESENTATION_STRING to convergence; looks at the test images once per seed, with the best epoch."""
    cell = settings.state_space().decode(settings.REPRESENTATION_STRING)
    data, settings = load(settings)
    arrays = check_data(data, settings.DENSE_LAYERS)
    paths = Paths(settings.EXPERIMENT_NAME)
    journal = ArchitectureJournal(paths.logs)
    images = f"{len(data.x_train):,} images ({data.name})"
    seeds = f", {settings.TRAIN_SEEDS} seeds" * (settings.TRAIN_SEEDS > 1)
    print(f"Training {cell} on {images}, {settings.NUM_EPOCHS} epochs{seeds}; weights in {paths.weights}", flush=True)
    train_seeds(cell, settings, arrays, paths, journal)
    result, packed = keep_best(cell, settings, data, paths)
    journal.write_result(result)
    print(*result_lines(result, paths.weights), *[packed.summary()] * bool(packed), sep="\n")
    print(f"Learning curve and result: {journal.curve_path}, {journal.result_path}")


def show_summary(settings: Settings):
    """Shows the layers of REPRESENTATION_STRING's network, without training it, and draws how they are stacked."""
    cell = settings.state_space().decode(settings.REPRESENTATION_STRING)
    shape = (SIDE, SIDE, 1)
    if settings.DATASET not in TRAINING_IMAGES:
        data, settings = load(settings)
        shape = data.x_train.shape[1:]
    print_summary(build_with_seed(cell, settings, shape, settings.SEED))
    drawn = write_sheets(settings.EXPERIMENT_NAME, {"network": lambda: draw_network(cell, settings, shape)})
    print(f"Drawn:       {', '.join(drawn)}")


def foresee(settings: Settings):
    """Shows what a search will take, without searching. Nothing is written, and MNIST is not downloaded."""
    print_constants(settings, Settings.of(globals()))
    if settings.DATASET == "mnist":
        training = (settings.TRAIN_SIZE or TRAINING_IMAGES["mnist"]) * (1 + COPIES * settings.USE_EXPANSION)
        images = Images(training, MNIST_VALIDATION, (SIDE, SIDE, 1))
        if not all(find(name, Path(settings.DATA_DIR)) for name in MD5):
            print(f"MNIST is not in {settings.DATA_DIR}; a search downloads it")
    else:
        data, settings = load(settings)
        check_data(data, settings.DENSE_LAYERS)
        images = images_of(data)
    open_earlier(settings)  # refuses those that cannot be reused
    print_forecast(settings, images, Workers(settings))


def images_of(data: Data) -> Images:
    return Images(len(data.x_train), len(data.x_val), data.x_train.shape[1:])


def load(settings: Settings) -> tuple[Data, Settings]:
    """The data, and the settings with its name and size: it may be the digits where MNIST could not be downloaded."""
    data = load_data(settings.DATASET, settings.DATA_DIR, settings.TRAIN_SIZE, settings.USE_EXPANSION, settings.SEED)
    return data, dataclasses.replace(settings, DATASET=data.name, TRAIN_SIZE=data.train_size)


def main():
    check(settings, action)
    formatwarning = warnings.formatwarning  # put back at the end, as in a notebook other work goes on
    warnings.formatwarning = lambda message, *_, **__: f"train.py: {message}\n"  # one line each
    again = "the same command" + " with RESTORE_CONTROLLER = True" * (not settings.RESTORE_CONTROLLER)
    name = settings.EXPERIMENT_NAME
    run, kept = {
        "search": (search, f"logs/{name} keeps every child reported above; {again} resumes there."),
        "dry_run": (foresee, ""),
        "train_arc": (
            train_to_convergence,
            f"weights/{name} has the best and the last whole epoch; --LOAD_SAVED True resumes there.",
        ),
        "summary": (show_summary, ""),
    }[action]
    stopped_line = f"\nStopped. {kept}"
    with stop_on_signals(lambda: print(stopped_line, file=sys.stderr, flush=True)):
        try:
            run(settings)
        except (UsageError, DataError, OSError) as error:
            sys.exit(f"train.py: {error}")
        except Stopped as stopped:
            print(stopped_line, file=sys.stderr)
            sys.exit(stopped.exit_code)
        finally:
            stop_workers()
            warnings.formatwarning = formatwarning


if __name__ == "__main__":
    main()

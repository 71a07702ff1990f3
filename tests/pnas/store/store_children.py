"""Children and settings for tests of the store. Without Keras, so that processes start quickly."""

from pnas.child import Child

CELLS = [[0, "3x3 bconv", 0, "3x3 bconv"], [0, "3x3 bconv", 0, "linear"], [0, "linear", 0, "linear"]]
SETTINGS = {"DATASET": "digits", "SEED": 0, "LEARNING_RATE": (0.01, 0.001)}


def child(number, reward, **other):
    """A trained child; cells of one block for numbers up to 3."""
    cell = CELLS[number - 1] if number <= 3 else CELLS[(number - 4) % 3] * 2
    facts = {"cell": cell, "predicted": 0.5, "seed": 7, "seconds": 1.5}
    facts |= {"parameters": 10, "binary_weights": 8, "macs": 90}
    history = {"loss": [0.5] * 4, "val_accuracy": [reward] * 4}
    facts |= {"epochs": 4, "history": history, "network": b"network %d" % number}
    return Child(number, reward=reward, **{**facts, **other})


def failed(number, error="MemoryError: no room", **other):
    facts = {"network": b"", "history": {}, "error": error, "traceback": f"Traceback\n{error}\n"}
    return child(number, 0.0, **{**facts, **other})


def kept(child):
    """A child as the store gives it back in a list."""
    return child._replace(network=b"", history={})

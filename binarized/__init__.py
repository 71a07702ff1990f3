"""Binarized layers for Keras 3 (Hubara et al. 2016, arXiv:1602.02830).

binary_ops: activations and their gradients. binary_layers: dense and convolutional layers. normalization: batch
normalization with binarization. kernels, depthwise, padding, seeds: what these share. bitwise: packed networks, run
with numpy.
"""

import json
import os
import sys
from pathlib import Path


def _backend():
    """Name of the backend that Keras uses, or will use once it is imported; None for its default."""
    if sys.modules.get("keras"):
        return sys.modules["keras"].backend.backend()
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    configuration = Path(os.environ.get("KERAS_HOME", "~/.keras"), "keras.json").expanduser()
    try:
        return json.loads(configuration.read_text())["backend"]
    except (OSError, LookupError, TypeError, ValueError):
        return None


if _backend() not in (None, "tensorflow", "jax"):
    raise ImportError(f"binarized: the backend of Keras must be 'tensorflow' or 'jax', got {_backend()!r}")

"""What binarized/binary_ops.py does to a number, forward and backward, under every backend.

The tables are written by hand from Hubara et al. 2016, arXiv:1602.02830. Each backend computes in a process of its own,
so that both are tested whichever one runs this file.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

UP, DOWN = np.float32(np.inf), np.float32(-np.inf)
JUST_BELOW_1, JUST_ABOVE_1 = np.nextafter(np.float32(1), DOWN), np.nextafter(np.float32(1), UP)
JUST_BELOW_HALF, JUST_ABOVE_HALF = np.nextafter(np.float32(0.5), DOWN), np.nextafter(np.float32(0.5), UP)

# name: rows of x, f(x) and the pseudo-gradient, which is not 0 where |x| <= 1 (or H), both ends included.
TABLES = {
    "round_through": [
        (-2, -2, 1),
        (-1.5, -1, 1),
        (-JUST_ABOVE_1, -1, 1),
        (-1, -1, 1),
        (-JUST_BELOW_1, -1, 1),
        (-0.5, 0, 1),
        (-1e-9, 0, 1),
        (-0.0, 0, 1),
        (0, 0, 1),
        (0.3, 0, 1),
        (JUST_BELOW_HALF, 0, 1),
        (0.5, 1, 1),
        (JUST_BELOW_1, 1, 1),
        (1, 1, 1),
        (JUST_ABOVE_1, 1, 1),
        (1.5, 2, 1),
        (2.5, 3, 1),
    ],
    "hard_sigmoid": [
        (-2, 0, 0),
        (-JUST_ABOVE_1, 0, 0),
        (-1, 0, 0.5),
        (-JUST_BELOW_1, 0, 0.5),
        (-1e-9, 0.5, 0.5),
        (-0.0, 0.5, 0.5),
        (0, 0.5, 0.5),
        (0.3, 0.65, 0.5),
        (JUST_BELOW_1, 1, 0.5),
        (1, 1, 0.5),
        (JUST_ABOVE_1, 1, 0),
        (1.5, 1, 0),
    ],
    "binary_sigmoid": [
        (-2, 0, 0),
        (-JUST_ABOVE_1, 0, 0),
        (-1, 0, 0.5),
        (-JUST_BELOW_1, 0, 0.5),
        (-1e-9, 0, 0.5),
        (-0.0, 1, 0.5),
        (0, 1, 0.5),
        (0.3, 1, 0.5),
        (JUST_BELOW_1, 1, 0.5),
        (1, 1, 0.5),
        (JUST_ABOVE_1, 1, 0),
        (1.5, 1, 0),
    ],
    "binary_tanh": [
        (-2, -1, 0),
        (-JUST_ABOVE_1, -1, 0),
        (-1, -1, 1),
        (-JUST_BELOW_1, -1, 1),
        (-1e-9, -1, 1),
        (-0.0, 1, 1),
        (0, 1, 1),
        (0.3, 1, 1),
        (JUST_BELOW_1, 1, 1),
        (1, 1, 1),
        (JUST_ABOVE_1, 1, 0),
        (1.5, 1, 0),
    ],
    "binarize, H = 0.5": [
        (-2, -0.5, 0),
        (-1, -0.5, 0),
        (-JUST_ABOVE_HALF, -0.5, 0),
        (-0.5, -0.5, 1),
        (-JUST_BELOW_HALF, -0.5, 1),
        (-1e-9, -0.5, 1),
        (-0.0, 0.5, 1),
        (0, 0.5, 1),
        (0.3, 0.5, 1),
        (JUST_BELOW_HALF, 0.5, 1),
        (0.5, 0.5, 1),
        (JUST_ABOVE_HALF, 0.5, 0),
        (1, 0.5, 0),
        (1.5, 0.5, 0),
    ],
}
TABLES["binarize, H = 1"] = TABLES["binary_tanh"]

# Reads {name: numbers}, writes {name: [f(x), gradient of sum(upstream * f(x)), dtype of f of a float16]}.
SCRIPT = """
import json, sys
import numpy as np
from keras import backend, ops
from binarized import binary_ops

functions = {
    **{name: getattr(binary_ops, name) for name in ("round_through", "hard_sigmoid", "binary_sigmoid", "binary_tanh")},
    "binarize, H = 1": binary_ops.binarize,
    "binarize, H = 0.5": lambda W: binary_ops.binarize(W, 0.5),
}

def gradient(function, x, upstream):
    if backend.backend() == "jax":
        import jax
        return jax.grad(lambda x: ops.sum(upstream * function(x)))(x)
    import tensorflow as tf
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = ops.sum(upstream * function(x))
    return tape.gradient(y, x)

results = {}
for name, numbers in json.load(sys.stdin).items():
    x = ops.convert_to_tensor(np.float32(numbers))
    upstream = np.arange(1, len(numbers) + 1, dtype="float32")
    results[name] = [
        np.asarray(functions[name](x)).tolist(),
        np.asarray(gradient(functions[name], x, upstream)).tolist(),
        backend.standardize_dtype(functions[name](ops.cast(x, "float16")).dtype),
    ]
assert backend.backend() == sys.argv[1]
json.dump(results, sys.stdout)
"""


@pytest.fixture(scope="module", params=["tensorflow", "jax"])
def computed(request):
    """dict, name -> (values, gradients, dtype) as one backend computes them at the points of the tables."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, request.param],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **quiet, "KERAS_BACKEND": request.param},
        input=json.dumps({name: [float(x) for x, _, _ in rows] for name, rows in TABLES.items()}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", TABLES)
def test_forward_values_are_those_of_the_paper(computed, name):
    points, expected, _ = zip(*TABLES[name], strict=True)
    values, _, _ = computed[name]
    # Only the hard sigmoid is no whole number or half of one: there, what float32 can say in [0, 1].
    tolerance = 1e-7 if name == "hard_sigmoid" else 0
    for x, wanted, got in zip(points, expected, values, strict=True):
        assert abs(got - wanted) <= tolerance, f"{name}({x!r})"


@pytest.mark.parametrize("name", TABLES)
def test_gradient_passes_straight_through_where_the_paper_lets_it(computed, name):
    points, _, slopes = zip(*TABLES[name], strict=True)
    _, gradients, _ = computed[name]
    for upstream, (x, slope, got) in enumerate(zip(points, slopes, gradients, strict=True), start=1):
        assert got == upstream * slope, f"derivative of {name} at {x!r}, upstream {upstream}"


@pytest.mark.parametrize("name", TABLES)
def test_half_precision_stays_half_precision(computed, name):
    assert computed[name][2] == "float16"


@pytest.mark.parametrize("H", [1.0, 0.5])
def test_a_binary_number_has_one_magnitude_and_is_never_zero(H):
    from keras import ops

    from binarized.binary_ops import binarize

    # from the smallest normal float32 to the largest, of both signs, and both zeros
    magnitudes = np.geomspace(1.2e-38, 3.4e38, 500)
    W = np.float32([*-magnitudes, -0.0, 0.0, *magnitudes])
    binary = np.asarray(binarize(ops.convert_to_tensor(W), H))
    assert set(np.unique(binary)) == {-H, H}
    assert np.array_equal(binary, np.where(W >= 0, np.float32(H), np.float32(-H)))


@pytest.mark.parametrize("name", ["round_through", "hard_sigmoid", "binary_sigmoid", "binary_tanh", "binarize"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nan_stays_nan(name, dtype):
    from keras import ops

    from binarized import binary_ops

    values = np.array([np.nan, 0.5, np.nan, -2, 2], dtype)
    result = np.asarray(getattr(binary_ops, name)(ops.convert_to_tensor(values)))
    np.testing.assert_array_equal(np.isnan(result), np.isnan(values))

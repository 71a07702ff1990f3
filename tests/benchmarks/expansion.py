"""How fast the training set is expanded, and in how much memory.

`mnist.mnist_data.expand` against two loops over single images with scipy.ndimage: the same angles, the same shifts, the
same bilinear interpolation:
  shift, rotate      the two calls that say what is wanted; gives the same images, to within TOLERANCE
  affine_transform   the two as one map, the fastest such loop; the same images too, but where the shift pushed ink out
                     of the frame and the rotation would have brought it back
The three are timed in turn, REPEATS times, and their medians compared. It fails if `expand` is not FASTER times as fast
as the first loop or gives other images. `expand` uses all cores, a loop one.

    python tests/benchmarks/expansion.py [--DATA_DIR data]
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import scipy
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the script's own folder is there by itself, the project is not
from mnist.mnist_data import draw_distortions, expand, load_data  # noqa: E402

REPEATS = 7
LOOP = 1000  # images that a loop distorts in each repeat
TOLERANCE = 1e-5  # of pixels in [-1, +1]: float32 rounding
FASTER = 20
SETTINGS = {"order": 1, "mode": "grid-constant", "cval": -1}
PEAK = """
import resource, sys
from mnist.mnist_data import load_data
images = load_data('mnist', sys.argv[1], use_expansion=True).x_train
print(f'{len(images):,} images, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2:.2f} GiB')
"""


def shift_and_rotate(image, angle, shift):
    return ndimage.rotate(ndimage.shift(image, shift, **SETTINGS), angle, reshape=False, **SETTINGS)


def affine(image, angle, shift):
    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.array([[cos, sin], [-sin, cos]])
    centre = np.array([13.5, 13.5])
    return ndimage.affine_transform(image, turn, centre - turn @ centre - shift, **SETTINGS)


def timed(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--DATA_DIR", default="data", help="folder of the files of MNIST (default: data)")
    data_dir = Path(parser.parse_args().DATA_DIR).resolve()

    print(
        f"{os.cpu_count()} CPU cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"numpy {np.__version__}, scipy {scipy.__version__}; keras takes no part"
    )
    # Before this process grows: Linux counts the memory of the process that starts another as the other's, too.
    print(
        "load and expand:",
        subprocess.run(
            [sys.executable, "-c", PEAK, data_dir], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip(),
    )

    data = load_data("mnist", data_dir)
    n = len(data.x_train)
    angles, shifts = draw_distortions(4 * n, seed=0)
    picked = np.random.default_rng(0).choice(4 * n, LOOP * REPEATS, replace=False).reshape(REPEATS, LOOP)
    seconds = {"expand": [], "shift, rotate": [], "affine_transform": []}
    largest, cut = 0, 0  # difference from the first loop; copies that differ from the second
    for picks in picked:
        took, expanded = timed(lambda: expand(data.x_train, seed=0))
        seconds["expand"].append(took / (4 * n))
        copies, sources = expanded[n + picks, ..., 0], data.x_train[picks % n, ..., 0]
        for name, distorted in ("shift, rotate", shift_and_rotate), ("affine_transform", affine):
            took, images = timed(list, map(distorted, sources, angles[picks], shifts[picks]))
            seconds[name].append(took / LOOP)
            difference = abs(np.array(images) - copies).max((1, 2))
            if name == "shift, rotate":
                largest = max(largest, difference.max())
            else:
                cut += (difference > TOLERANCE).sum()
        del expanded, copies

    medians = {name: np.median(values) for name, values in seconds.items()}
    print(f"{data.name}, {4 * n:,} copies; microseconds per copy, median of {REPEATS} (fastest, slowest)")
    for name, values in seconds.items():
        print(
            f"{name:17} {medians[name] * 1e6:7.2f} ({min(values) * 1e6:.2f}, {max(values) * 1e6:.2f})"
            f"  {medians[name] / medians['expand']:5.1f} x expand"
        )
    print(
        f"largest difference from shift, rotate: {largest:.1e} (allowed {TOLERANCE:.0e}); "
        f"{cut / picked.size:.1%} of the copies differ from affine_transform, at the frame"
    )
    if largest > TOLERANCE or medians["shift, rotate"] < FASTER * medians["expand"]:
        sys.exit(f"FAILED: other images than the loop's, or not {FASTER} times as fast")


if __name__ == "__main__":
    main()

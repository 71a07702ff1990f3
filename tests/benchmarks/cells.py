"""The 12 cells that benchmarks compare on: every operator; 1, 2 and 3 blocks; flat, lookback and block inputs."""

NUM_CELLS, FILTERS, DENSE_LAYERS = 3, [16, 24, 32], [32, 10]  # the constants of train.py
CELLS = [
    [0, "3x3 bconv", 0, "3x3 bconv"],
    [0, "3x3 sep-bconv", 0, "5x5 sep-bconv"],
    [0, "1x7-7x1 bconv", 0, "3x3 maxpool"],
    [0, "linear", 0, "5x5 bconv"],
    [0, "3x3 sep-bconv", 0, "3x3 bconv", 0, "5x5 sep-bconv", 0, "1x7-7x1 bconv"],
    [0, "7x7 bconv", 0, "3x3 avgpool", 0, "linear", 0, "3x3 bconv"],
    [-1, "3x3 bconv", 0, "7x7 sep-bconv", 0, "3x3 maxpool", 0, "linear"],
    [0, "3x3 bconv", 0, "linear", 1, "3x3 sep-bconv", 1, "3x3 avgpool"],
    [0, "3x3 bconv", 0, "3x3 bconv", 0, "3x3 sep-bconv", 0, "3x3 sep-bconv", 0, "1x7-7x1 bconv", 0, "5x5 sep-bconv"],
    [0, "5x5 bconv", 0, "3x3 maxpool", 0, "7x7 sep-bconv", 0, "3x3 avgpool", 0, "linear", 0, "linear"],
    [-2, "3x3 avgpool", -1, "1x7-7x1 bconv", 0, "5x5 sep-bconv", 0, "3x3 bconv", -1, "linear", 0, "3x3 maxpool"],
    [0, "3x3 sep-bconv", 0, "3x3 bconv", 1, "5x5 bconv", 0, "1x7-7x1 bconv", 1, "linear", 2, "7x7 bconv"],
]

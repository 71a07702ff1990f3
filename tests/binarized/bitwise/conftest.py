"""A packed network and its file."""

import pytest
from packed_networks import child

from binarized.bitwise.packing import pack


@pytest.fixture(scope="module")
def network():
    return pack(child([0, "3x3 bconv", 0, "5x5 sep-bconv", 1, "3x3 avgpool", -1, "linear"]))


@pytest.fixture
def path(network, tmp_path):
    network.save(tmp_path / "network.npz")
    return tmp_path / "network.npz"

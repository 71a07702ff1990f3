"""A packed network: its counts, its batches, and its file, which numpy alone reads."""

import io
import json
import zipfile

import numpy as np
import pytest
from packed_networks import assert_exact, child, noise, scaled

from binarized.bitwise import network as network_file
from binarized.bitwise.network import load
from binarized.bitwise.packing import pack


def test_dropout_and_several_batches_change_nothing(monkeypatch):
    monkeypatch.setattr(network_file, "IMAGES", 32)
    assert_exact(child([0, "3x3 bconv", 0, "3x3 maxpool"], dropout=(True, 0.2, 0.5)), noise(70))


def test_operations_are_counted_as_on_fingers():
    network = pack(child([0, "3x3 bconv", 0, "3x3 sep-bconv"], num_cells=1, filters=(5,), dense_layers=(10,)))
    conv, separable, dense = 14 * 14 * 9 * 5, 14 * 14 * (9 + 5), 14 * 14 * 10 * 10
    assert network.macs == conv + separable + dense
    # On the image 8 planes; a separable one of a single channel is run as a convolution.
    assert network.bit_operations == 2 * (8 * conv + 8 * conv + dense)
    assert network.weights == 9 * 5 + 9 + 5 + 14 * 14 * 10 * 10
    assert network.float_bytes == 4 * network.weights + 16 * (5 + 5 + 10)
    assert network.packed_bytes == -(-(network.weights + 10) // 8) + 4 * 10 + 16 * 10
    assert f"{network.macs:,} MACs" in network.summary()
    assert network.summary().endswith(": 2 for a MAC on -1 and +1, 16 on 8-bit pixels")


def refused(path):
    with pytest.raises(ValueError) as caught:
        load(path)
    message = str(caught.value)
    assert message.startswith(f"{path} is not a packed network: ") and "\n" not in message
    return message


def test_a_saved_network_is_the_same_one(network, path):
    images = noise(10)
    np.testing.assert_array_equal(load(path).scores(images), network.scores(images))
    assert load(path).summary() == network.summary()
    assert [file.name for file in path.parent.iterdir()] == ["network.npz"]  # nothing half-written is left


def test_size_of_the_file(tmp_path):
    """At most 10 % above packed_bytes, and 2 KiB for the archive and the architecture."""
    larger = [0, "5x5 bconv", 0, "1x7-7x1 bconv", 0, "linear", 0, "3x3 bconv"]
    for cell in ([0, "3x3 sep-bconv", 0, "3x3 sep-bconv"], larger):
        network = pack(child(cell, num_cells=3, filters=(16, 24, 32), dense_layers=(32, 10)))
        network.save(tmp_path / "network.npz")
        assert (tmp_path / "network.npz").stat().st_size <= 1.1 * network.packed_bytes + 2048


def test_a_damaged_file_is_refused(path):
    content = path.read_bytes()
    for length in [0, 1, 100, len(content) // 2, len(content) - 1]:
        path.write_bytes(content[:length])
        refused(path)
    rng = np.random.default_rng(0)
    arrays = sorted(network_file.ARRAYS)
    directory = range(content.index(b"PK\1\2"), len(content))  # zipfile fails in the most ways where this is damaged
    for position in [*rng.integers(0, len(content), 150), *directory]:
        flipped = bytearray(content)
        flipped[position] ^= 1 << rng.integers(8)
        path.write_bytes(flipped)
        try:
            loaded = load(path)  # a bit of the archive's dates, say
        except ValueError:
            refused(path)
        else:
            assert sorted(loaded.arrays) == arrays
    path.write_bytes(b"no archive at all")
    refused(path)
    with pytest.raises(FileNotFoundError):
        load(path.with_name("absent.npz"))


def changed(network, path, change=None, **arrays):
    """Saves the network with other arrays, or a function applied to its architecture."""
    arrays = {**network.arrays, **arrays}
    if change:
        description = json.loads(arrays["architecture"].tobytes())
        change(description)
        arrays["architecture"] = np.frombuffer(json.dumps(description).encode(), np.uint8)
    np.savez(path, **arrays)


@pytest.mark.parametrize(
    "change, reason",
    [
        (lambda d: d.update(version=2), "version 1"),
        (lambda d: d.update(image=[28, 28]), "height, width and channels"),
        (lambda d: d.update(image=[28, 28, 10**9]), "from 1 to 256"),
        (lambda d: d.update(image=[30, 28, 1]), "bits"),
        (lambda d: d.update(steps=[]), "no steps"),
        (lambda d: d["steps"].pop(), "bits"),
        (lambda d: d.update(steps=d["steps"][:-2]), "dense"),
        (lambda d: d["steps"][0].update(op="eval"), "must be one of"),
        (lambda d: d["steps"][0].update({"from": [1]}), "before it"),
        (lambda d: d["steps"][0].update({"from": [0, 0]}), "several"),
        (lambda d: d["steps"][0].update(filters=2**19), "more weights"),
        (lambda d: d["steps"][0].update(filters=-1), "filters"),
        (lambda d: d["steps"][0].update(filters=True), "filters"),
        (lambda d: d["steps"][0].update(kernel=[3, 10**6]), "kernel"),
        (lambda d: d["steps"][0].update(strides=0), "kernel and strides"),
        (lambda d: d["steps"][0].update(name=[]), "name"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(network, path, change, reason):
    changed(network, path, change)
    assert reason in refused(path)


def test_arrays_that_do_not_fit_are_refused(network, path):
    arrays = network.arrays
    for others, reason in [
        ({"bits": arrays["bits"][:-1]}, "more weights"),
        ({"bits": np.append(arrays["bits"], np.uint8(0))}, "bytes of bits"),
        ({"thresholds": arrays["thresholds"][:-1]}, "more channels"),
        ({"thresholds": np.append(arrays["thresholds"], np.int32(0))}, "thresholds"),
        ({"thresholds": arrays["thresholds"].astype(np.float64)}, "float64"),
        ({"scores": arrays["scores"][:, :-1]}, "scores"),
        ({"scores": arrays["scores"] * np.nan}, "scores"),
        ({"architecture": np.frombuffer(b"{", np.uint8)}, "JSON"),
        ({"architecture": np.frombuffer(b"[" * 100000, np.uint8)}, "JSON"),
        ({"more": np.zeros(1)}, "it holds"),
    ]:
        changed(network, path, **others)
        assert reason in refused(path)


def test_a_bit_behind_the_last_one_is_refused(network, path):
    used = network.weights + len(network.arrays["thresholds"])
    assert used % 8, "the last byte must have room"
    bits = network.arrays["bits"].copy()
    bits[-1] |= 1 << 7
    changed(network, path, bits=bits)
    assert f"needs {used:,} bits" in refused(path)


def test_nothing_in_a_file_is_unpickled(network, path):
    changed(network, path, thresholds=np.array([None]))
    assert "allow_pickle" in refused(path)


def test_a_header_that_promises_too_much_is_refused(network, path):
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(member, {"descr": "|u1", "fortran_order": False, "shape": (2**60,)})
    changed(network, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (members | {"bits.npy": member.getvalue()}).items():
            archive.writestr(name, content)
    refused(path)


def test_a_small_file_that_unpacks_to_much_is_refused(network, path):
    np.savez_compressed(path, **(network.arrays | {"bits": np.zeros(2**26, np.uint8)}))
    assert path.stat().st_size < 2**20 and "it unpacks to 67,1" in refused(path)


def test_images_that_do_not_fit_are_refused(network):
    for images in (scaled(noise(3)), noise(3, (28, 27, 1)), noise(3)[0]):
        with pytest.raises(ValueError, match="images must be uint8"):
            network.predict(images)


def test_of_no_images_no_classes_are_predicted(network):
    none = noise(3)[:0]
    assert network.predict(none).shape == (0,) and network.predict(none).dtype == network.predict(noise(1)).dtype
    assert network.scores(none).shape == (0, 10)
    shapes = {name: array.shape for name, array in network.accumulators(noise(1)).items()}
    assert {name: (1, *array.shape[1:]) for name, array in network.accumulators(none).items()} == shapes


@pytest.mark.parametrize("method", [1, 9, 12, 14, 99], ids=["shrunk", "deflate64", "bzip2", "LZMA", "encrypted"])
def test_a_file_that_names_another_compression_is_refused(path, method):
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        content[content.index(signature) + offset] = method
    path.write_bytes(content)
    refused(path)


def test_a_step_that_cannot_be_is_named(network, path):
    changed(network, path, lambda d: d["steps"][1].update(kernel=[17, 17]))
    assert f"step 2 ({network.steps[1].spec['op']} {network.steps[1].name!r}): kernel and strides" in refused(path)

"""A packed network is the Keras model: the same integers, the same classes, from a file that numpy alone reads.

Pre-activations of Keras are the expected values; what an accumulator counts in (1/255 where a layer reads the image,
1/36 for a 3x3 average) is from the definitions. Tests on the real test set need the environment variable MNIST_DIR.
"""

import gzip
import importlib.util
import io
import json
import os
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

from binarized.binary_layers import BinaryConv2D, BinaryDense, BinarySeparableConv2D
from binarized.bitwise import network as network_file
from binarized.bitwise.__main__ import read_test_set
from binarized.bitwise.bits import digit, digits, pack_bits, unpack_bits
from binarized.bitwise.larq import export_lce
from binarized.bitwise.network import load
from binarized.bitwise.packing import pack
from binarized.normalization import Normalization
from pnas.model import OPERATIONS, build_child, count_binary_weights, count_macs

ROOT = Path(__file__).parents[1]
ROUNDING = 1e-2  # of Keras's float32 sums, in units of the integer accumulators: far below the distance of 1
MNIST_DIR = os.environ.get("MNIST_DIR")
needs_mnist = pytest.mark.skipif(not MNIST_DIR, reason="MNIST_DIR, the folder of MNIST's files, is not set")


def randomized(model, seed=0):
    """The model with moments, scales and offsets as no training would leave them, a third of the scales negative."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, Normalization):
            n = layer.gamma.shape[0]
            layer.gamma.assign(rng.uniform(0.2, 2, n) * rng.choice([-1, 1, 1], n))
            layer.beta.assign(rng.normal(0, 1, n))
            layer.mean.assign(rng.normal(0, 2, n))
            layer.variance.assign(rng.uniform(0.1, 30, n))
    return model


def child(cell, seed=0, num_cells=2, filters=(6, 11), dense_layers=(9, 10), **more):
    keras.utils.set_random_seed(seed)
    return randomized(build_child(cell, num_cells, list(filters), list(dense_layers), **more), seed)


def noise(count=70, shape=(28, 28, 1), seed=1):
    """Images of all 256 pixel values, a corner of each black."""
    images = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    images[:, : shape[0] // 3, : shape[1] // 2] = 0
    return images


def scaled(images):
    return images.astype(np.float32) / 127.5 - 1


def assert_exact(model, images):
    """Accumulators are the pre-activations of Keras, scores and classes its predictions."""
    network = pack(model)
    accumulators = network.accumulators(images)
    layers = [layer for layer in model.layers if type(layer).__name__.startswith(("Binary", "MaxP", "AverageP"))]
    assert sorted(accumulators) == sorted(layer.name for layer in layers)
    expected = keras.Model(model.inputs, [layer.output for layer in layers] + model.outputs).predict(
        scaled(images), verbose=0
    )
    for layer, output in zip(layers, expected):
        unit = 255 if layer.input.shape[1:] == model.input.shape[1:] else 1  # no other tensor is as large
        unit *= 36 if "avgpool" in layer.name else 1
        acc = accumulators[layer.name]
        assert acc.dtype == np.int64
        difference = np.abs(output.reshape(acc.shape) * unit - acc).max()
        assert difference <= (ROUNDING if unit > 1 else 0), layer.name  # ±1 sums are exact in float32
    np.testing.assert_allclose(network.scores(images), expected[-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(network.predict(images), expected[-1].argmax(1))
    assert network.weights == count_binary_weights(model)
    assert network.macs == count_macs(model)
    return network


# ---- the same numbers as Keras


@pytest.mark.parametrize("operator", OPERATIONS)
def test_every_operation_is_exact(operator):
    other = "linear" if operator != "linear" else "3x3 bconv"
    assert_exact(child([0, operator, 0, operator, 0, operator, 0, other]), noise())


@pytest.mark.parametrize("seed", range(4))
def test_random_cells_with_lookback_and_block_inputs_are_exact(seed):
    rng = random.Random(seed)
    cell = []
    for block in range(1, 4):
        for _ in range(2):
            cell += [rng.choice([-2, -1, 0, 0, *range(1, block)]), rng.choice(list(OPERATIONS))]
    assert_exact(child(cell, seed, num_cells=3, filters=(16, 24, 32), dense_layers=(32, 10)), noise(40))


def test_dropout_and_several_batches_change_nothing(monkeypatch):
    monkeypatch.setattr(network_file, "IMAGES", 32)
    assert_exact(child([0, "3x3 bconv", 0, "3x3 maxpool"], dropout=(True, 0.2, 0.5)), noise(70))


def test_images_of_several_channels_are_exact():
    cell = [0, "5x5 bconv", 0, "3x3 sep-bconv", 0, "3x3 maxpool", 0, "3x3 avgpool"]
    assert_exact(child(cell, input_shape=(12, 10, 3)), noise(20, (12, 10, 3)))


def test_more_channels_than_bits_in_a_word_are_exact():
    cell = [0, "3x3 bconv", 0, "3x3 sep-bconv", 1, "3x3 sep-bconv", 1, "3x3 bconv"]
    assert_exact(child(cell, filters=(50, 70), input_shape=(8, 8, 1)), noise(20, (8, 8, 1)))


def test_the_magnitude_of_weights_goes_into_the_thresholds():
    image = keras.Input((8, 8, 1))
    x = BinaryConv2D(5, 3, padding="same", use_bias=False, H="Glorot", name="conv")(image)
    x = Normalization()(x)
    x = BinarySeparableConv2D(6, 3, padding="same", use_bias=False, H=0.25, name="separable")(x)
    x = Normalization()(x)
    x = BinaryDense(4, use_bias=False, H="Glorot", name="dense")(keras.layers.Flatten()(x))
    model = randomized(keras.Model(image, Normalization(binary=False)(x)))
    images = noise(50, (8, 8, 1))
    np.testing.assert_array_equal(pack(model).predict(images), model.predict(scaled(images), verbose=0).argmax(1))
    outputs = keras.Model(image, [model.get_layer(name).output for name in ("conv", "separable", "dense")])
    for name, output, unit in zip(("conv", "separable", "dense"), outputs(scaled(images)), (255, 1, 1)):
        kernels = model.get_layer(name).binary_kernels
        acc = pack(model).accumulators(images)[name] * np.prod([kernel.H for kernel in kernels]) / unit
        np.testing.assert_allclose(acc.reshape(output.shape), output, atol=1e-4)


def test_thresholds_on_a_tie_and_with_scales_of_all_signs():
    image = keras.Input((1, 1, 1))
    x = keras.layers.MaxPooling2D(1, 1, padding="same")(image)
    x = Normalization()(x)
    x = BinaryDense(9, use_bias=False)(x)
    norm = Normalization(epsilon=0.0)
    x = keras.layers.Flatten()(norm(x))
    model = keras.Model(image, Normalization(binary=False)(BinaryDense(2, use_bias=False)(x)))
    #   y >= 0 begins or ends at:   x=1, x=1,  0,  0,  2, nowhere, everywhere, nowhere, 1 + 1e-6
    norm.gamma.assign([1, -1, 2, -2, 1, 0, 0, 1, 1])
    norm.beta.assign([0, 0, 1, 1, 0, -1, 1, -1e12, 0])
    norm.mean.assign([1, 1, 0.5, -0.5, 2, 0, 0, 0, 1 + 1e-6])
    norm.variance.assign([1] * 9)
    network = pack(model)
    signs = np.unpackbits(network.arrays["bits"], bitorder="little")[1 + 9 :][:9]
    lowest, highest = np.iinfo(np.int32).min, np.iinfo(np.int32).max
    assert network.arrays["thresholds"][1:].tolist() == [1, 2, 0, 1, 2, lowest, lowest, highest, 2]
    assert signs.tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0]


def test_a_trained_network_is_exact():
    from mnist.mnist_data import load_data

    data = load_data("digits")
    keras.utils.set_random_seed(0)
    model = build_child([0, "3x3 bconv", 0, "3x3 sep-bconv"], 2, [8, 12], [16, 10])
    model.compile("adam", "squared_hinge")
    model.fit(data.x_train, data.y_train, batch_size=64, epochs=1, verbose=0)
    assert_exact(model, np.rint((data.x_test + 1) * 127.5).astype(np.uint8))


def test_a_loaded_keras_model_packs_to_the_same_network(tmp_path):
    model = child([0, "1x7-7x1 bconv", 0, "1x7-7x1 bconv", 1, "linear", 0, "3x3 sep-bconv"])
    model.save(tmp_path / "child.keras")
    for name, array in pack(keras.models.load_model(tmp_path / "child.keras")).arrays.items():
        np.testing.assert_array_equal(array, pack(model).arrays[name])


@needs_mnist
def test_classes_on_the_whole_test_set_are_those_of_keras():
    images, _ = read_test_set(MNIST_DIR)
    model = child([0, "3x3 bconv", 0, "5x5 sep-bconv", 1, "3x3 avgpool", -1, "1x7-7x1 bconv"])
    images = images[..., np.newaxis]
    predicted = model.predict(scaled(images), batch_size=500, verbose=0)
    network = pack(model)
    np.testing.assert_array_equal(network.predict(images), predicted.argmax(1))
    # Where Keras binarizes a sum of pixels otherwise than the exact rule, y is within float32 rounding of 0.
    conv = next(layer for layer in model.layers if isinstance(layer, BinaryConv2D) and layer.input is model.input)
    norm, part = model.get_layer("cell1_block1_norm"), slice(conv.filters)  # the convolution is the block's first half
    binary = keras.Model(model.inputs, norm.output).predict(scaled(images), batch_size=500, verbose=0)[..., part]
    gamma, beta, mean, variance = (
        v.numpy().astype(np.float64)[part] for v in (norm.gamma, norm.beta, norm.mean, norm.variance)
    )
    y = gamma * (network.accumulators(images)[conv.name] / 255 - mean) / np.sqrt(variance + norm.epsilon) + beta
    assert np.all(np.abs(y[(y >= 0) != (binary > 0)]) < 1e-5)


# ---- bits


@pytest.mark.parametrize("channels", [1, 7, 8, 9, 63, 64, 65, 200])
def test_words_hold_channels_in_order(channels):
    bits = np.random.default_rng(0).integers(0, 2, (channels, 3, 2), np.uint8)
    words = pack_bits(bits)
    assert words.shape == (-(-channels // 64), 3, 2)
    for c in range(channels):
        np.testing.assert_array_equal(words[c // 64] >> np.uint64(c % 64) & np.uint64(1), bits[c])
    assert sum(np.bitwise_count(words).ravel().tolist()) == bits.sum()
    np.testing.assert_array_equal(unpack_bits(words, channels), bits)


def test_a_digit_counts_plane_b_twice_as_often_as_the_one_before():
    pixels = np.arange(256, dtype=np.uint8).reshape(1, 256)
    for first, planes in digits(taps=9, channels=1):
        np.testing.assert_array_equal(
            np.bitwise_count(digit(pixels, first, planes))[0], pixels[0] >> first & 2**planes - 1
        )


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


# ---- the file


@pytest.fixture(scope="module")
def network():
    return pack(child([0, "3x3 bconv", 0, "5x5 sep-bconv", 1, "3x3 avgpool", -1, "linear"]))


@pytest.fixture
def path(network, tmp_path):
    network.save(tmp_path / "network.npz")
    return tmp_path / "network.npz"


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
    for position in rng.integers(0, len(content), 300):
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


# ---- what pack refuses, and images that do not fit


def classifier(layer):
    """A model with `layer` in its middle, normalized."""
    image = keras.Input((8, 8, 2))
    x = keras.layers.Flatten()(Normalization()(layer(image)))
    return keras.Model(image, Normalization(binary=False)(BinaryDense(3, use_bias=False)(x)))


@pytest.mark.parametrize(
    "layer, reason",
    [
        (BinaryConv2D(4, 3, padding="same", name="odd"), "bias"),
        (BinaryConv2D(4, 3, padding="same", use_bias=False, activation="relu", name="odd"), "activation"),
        (BinaryConv2D(4, 3, padding="valid", use_bias=False, name="odd"), "'same'"),
        (BinaryConv2D(4, 3, padding="same", dilation_rate=2, use_bias=False, name="odd"), "dilated"),
        (BinarySeparableConv2D(4, 3, padding="same", depth_multiplier=2, use_bias=False, name="odd"), "multiplier"),
        (keras.layers.Conv2D(4, 3, padding="same", name="odd"), "no bitwise form"),
        (keras.layers.MaxPooling2D(2, padding="valid", name="odd"), "'same'"),
    ],
)
def test_a_layer_without_bitwise_form_is_named(layer, reason):
    with pytest.raises(ValueError, match=rf"pack: layer 'odd'.*{reason}"):
        pack(classifier(layer))


def test_a_model_without_final_normalization_or_with_nan_is_refused():
    model = classifier(keras.layers.MaxPooling2D(2, padding="same"))
    with pytest.raises(ValueError, match="does not end"):
        pack(keras.Model(model.input, model.layers[-2].output))
    model.layers[-1].mean.assign([np.nan] * 3)
    with pytest.raises(ValueError, match="not finite"):
        pack(model)


def test_images_that_do_not_fit_are_refused(network):
    for images in (scaled(noise(3)), noise(3, (28, 27, 1)), noise(3)[0], noise(3)[:0]):
        with pytest.raises(ValueError, match="images must be uint8"):
            network.predict(images)


# ---- the command


def run_command(path, folder):
    """Runs the command in a process in which importing tensorflow, keras or scipy is an error."""
    code = (
        "import runpy, sys\n"
        "for name in ('tensorflow', 'keras', 'scipy', 'sklearn', 'pnas', 'mnist'): sys.modules[name] = None\n"
        "runpy.run_module('binarized.bitwise', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, str(path), "--images", str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def write_idx(path, array):
    content = struct.pack(f">BBBB{array.ndim}i", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def test_the_command_needs_numpy_alone(network, path, tmp_path):
    images = noise(30)[..., 0]
    labels = network.predict(images).astype(np.uint8)
    labels[:3] = (labels[:3] + 1) % 10
    write_idx(tmp_path / "t10k-images-idx3-ubyte", images)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", labels)
    done = run_command(path, tmp_path)
    assert done.stderr == ""
    assert done.stdout == f"{network.summary()}\ntest accuracy 0.9000, 27 of 30 images\n"


def test_the_command_says_in_one_line_what_is_wrong(path, tmp_path):
    done = run_command(path, tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "t10k-images" in done.stderr
    write_idx(tmp_path / "t10k-images-idx3-ubyte", noise(2)[..., 0])
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x02\1")
    done = run_command(path, tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "not an IDX file" in done.stderr
    path.write_bytes(b"")
    done = run_command(path, tmp_path)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and "not a packed network" in done.stderr


# ---- Larq Compute Engine


def test_without_larq_compute_engine_the_message_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "larq_compute_engine", None)
    with pytest.raises(ImportError, match="pip install larq-compute-engine"):
        export_lce(child([0, "linear", 0, "linear"]), tmp_path / "child.tflite")


@pytest.mark.skipif(
    not importlib.util.find_spec("larq_compute_engine"), reason="larq_compute_engine is not installed (it is optional)"
)
def test_larq_compute_engine_gets_binary_convolutions(tmp_path):
    cell = [0, "3x3 bconv", 0, "3x3 sep-bconv", 0, "3x3 maxpool", 0, "1x7-7x1 bconv"]
    model = child(cell, filters=(32, 64), dense_layers=(64, 10))
    size = export_lce(model, tmp_path / "child.tflite")
    assert size == (tmp_path / "child.tflite").stat().st_size
    network = pack(model)
    merged = sum(  # bits of a separable convolution as one convolution
        np.prod(layer.kernel_size) * layer.input.shape[-1] * layer.filters
        for layer in model.layers
        if isinstance(layer, BinarySeparableConv2D)
    )
    assert size < network.float_bytes / 6
    assert size < 2 * (network.packed_bytes + merged / 8) + 16384  # channels fill words of 32; 16 KiB for the graph

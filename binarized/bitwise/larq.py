"""Conversion of a trained Keras model with Larq Compute Engine."""

import tempfile
from pathlib import Path

import keras
import numpy as np

from binarized.bitwise.layers import Channels, Concatenate, Pooling, average_units
from binarized.bitwise.network import Contents
from binarized.bitwise.packing import pack


def export_lce(model: keras.Model, path: str | Path) -> int:
    """Converts a model with Larq Compute Engine and writes the .tflite file.

    The converter gets the packed network with its thresholds, for images (1, height, width, channels) in [-1, +1].
    Every layer with weights becomes a binary convolution, or a float one if it reads the image. A dense layer becomes a
    convolution that covers its input. The two kernels of a separable layer fold into one.

    Args:
        model: keras.Model as for `pack`.
        path: path of the file.
    Returns:
        int, bytes written.
    Raises:
        ImportError: Larq Compute Engine is missing, or TensorFlow, which its package does not install; the message
            says how to get both.
        ValueError: as `pack`, and for a layer whose accumulators float32 cannot hold.
    Source: Bannink et al. 2021, arXiv:2011.09398.
    """
    try:
        from larq_compute_engine.mlir.python.converter import convert_saved_model
    except ImportError as error:
        raise ImportError(
            f"export_lce needs Larq Compute Engine ({error}): pip install larq-compute-engine tensorflow"
        ) from error
    import tensorflow as tf

    network = pack(model)
    for step in network.steps:
        if step.largest_accumulator > 2**24:
            raise ValueError(
                f"export_lce: layer {step.name!r} has accumulators up to {step.largest_accumulator:,}; float32 holds "
                f"integers up to {2**24:,}"
            )
    contents = Contents(network.arrays["bits"], network.arrays["thresholds"])

    def binary(x):
        # The converter recognizes this pattern as a binarization, but no longer after a concatenation.
        return tf.where(x >= 0, 1.0, -1.0)

    def accumulate(step, x):
        if isinstance(step, Pooling):
            pool = {"maximum": tf.nn.max_pool2d, "average": tf.nn.avg_pool2d}[step.spec["op"]]
            x = pool(x, step.kernel, step.strides, "SAME")
            return x * average_units(step.kernel) if step.spec["op"] == "average" else x
        kernel = np.where(step.read_kernel(contents), np.float32(1), np.float32(-1))
        kernel = kernel.transpose(1, 2, 0).reshape(*step.kernel, step.channels[0], -1)
        return tf.nn.conv2d(x, kernel, step.strides, "VALID" if step.spec["op"] == "dense" else "SAME")

    @tf.function(input_signature=[tf.TensorSpec((1, *network.image_shape), tf.float32)])
    def child(image):
        values = [image * 255.0]
        for step in network.steps:
            inputs = [values[source] for source in step.spec["from"]]
            if isinstance(step, Concatenate):
                values.append(binary(tf.concat(inputs, axis=-1)))
            elif isinstance(step, Channels):
                values.append(binary(inputs[0][..., step.start : step.stop]))
            elif step.last:
                scale, offset = network.arrays["scores"].astype(np.float32)
                values.append(tf.reshape(accumulate(step, inputs[0]), (1, -1)) * scale + offset)
            else:
                acc = accumulate(step, inputs[0])
                sign = np.where(contents.read_bits(step.shape[2]), np.float32(-1), np.float32(1))
                # Halfway between two integers, so rounding does not matter.
                middle = contents.read_thresholds(step.shape[2]).astype(np.float32) - np.float32(0.5)
                values.append(binary(acc * sign - middle * sign))
        return values[-1]

    module = tf.Module()
    module.child = child
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=child)
        content = convert_saved_model(folder)
    return Path(path).write_bytes(content)

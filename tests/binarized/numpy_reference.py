"""Numpy references for tests of layers."""

import numpy as np


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def sign(W):
    return np.where(W >= 0, 1.0, -1.0)


def patches(x, size, strides, padding, dilation=1):
    """What a convolution sees at each place: (n, height, width, kh, kw, channels)."""
    spans = [dilation * (k - 1) + 1 for k in size]
    if padding == "same":  # so that the result has ceil(length / stride) places; zeros, the odd one at the end
        missing = [
            max((-(-n // s) - 1) * s + span - n, 0) for n, s, span in zip(x.shape[1:3], strides, spans, strict=True)
        ]
        x = np.pad(x, [(0, 0), *((m // 2, m - m // 2) for m in missing), (0, 0)])
    rows, columns = (range(0, n - span + 1, s) for n, s, span in zip(x.shape[1:3], strides, spans, strict=True))
    return np.stack(
        [
            np.stack([x[:, i : i + spans[0] : dilation, j : j + spans[1] : dilation] for j in columns], axis=1)
            for i in rows
        ],
        axis=1,
    )

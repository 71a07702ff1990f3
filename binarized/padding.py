"""Where a convolution puts its zeros: the rule of padding 'same', for the Keras layers and for the networks of bits."""


def zeros_around(size, taps, stride, positions):
    """Zeros (before, behind) `size` pixels with which a kernel of so many taps has so many positions, the odd one behind."""
    zeros = max((positions - 1) * stride + taps - size, 0)
    return zeros // 2, zeros - zeros // 2

"""Where a convolution puts its zeros: the rule of padding 'same', for the Keras layers and for the networks of bits."""


def zeros_around(size, taps, stride, positions):
    """(before, behind): zeros along an axis of `size` pixels for a kernel of `taps` to fit at `positions`; an odd one behind."""
    zeros = max((positions - 1) * stride + taps - size, 0)
    return zeros // 2, zeros - zeros // 2

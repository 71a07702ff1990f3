"""The rule of padding 'same', shared by the Keras layers and the packed networks."""


def zeros_around(size: int, taps: int, stride: int, positions: int) -> tuple[int, int]:
    """Padding (before, after) of one axis; an odd zero goes after.

    Args:
        size: pixels along the axis.
        taps: kernel size along it.
        stride: stride along it.
        positions: size of the output along it.
    """
    zeros = max((positions - 1) * stride + taps - size, 0)
    return zeros // 2, zeros - zeros // 2

"""Damaged content, for tests of functions that read files and strings."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

MEGABYTE = 2**20


many = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)


some = settings(many, max_examples=40)


@st.composite
def damaged(draw, content):
    """Strategy: `content`, bytes or text, truncated, or with a piece replaced, doubled or removed."""
    piece = st.binary(max_size=6) if isinstance(content, bytes) else st.text(max_size=6)
    first, last = sorted((draw(st.integers(0, len(content))), draw(st.integers(0, len(content)))))
    last = min(last, first + draw(st.sampled_from([0, 1, 8, len(content)])))
    middle = draw(st.one_of(piece, st.just(content[first:last] * 2), st.just(content[:0])))
    return content[:first] + middle + (content[last:] if draw(st.booleans()) else content[:0])

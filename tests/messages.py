"""What the project's commands write to standard error."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [ROOT / name for name in ("train.py", "pnas", "mnist", "binarized")]


def without_foreign_warnings(stderr):
    """Standard error without the Python warnings of other packages. Tracebacks and TensorFlow's log stay."""

    def kept(match):
        return match[0] if any(Path(match[1]).is_relative_to(source) for source in SOURCES) else ""

    return re.sub(r"^(.+?):\d+: \w*Warning: .*\n(?:  .*\n)?", kept, stderr, flags=re.M)

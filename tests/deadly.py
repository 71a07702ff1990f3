"""A training that kills its worker. Importing it imports no Keras, so that workers start fast."""

import os
import signal


def deadly(start, code, child, numbers, stop, *arrays):
    """Replaces `pnas.training.workers.train_in_worker`: the children of these numbers kill their worker."""
    if child.number in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return child._replace(reward=0.5)

"""Trainings that kill their worker, or hang. Importing this imports no Keras, so that workers start fast."""

import ctypes
import os
import signal
import time

from pnas.training.stopping import ended_when_late


def deadly(start, code, child, numbers, stop, *arrays):
    """Replaces `pnas.training.workers.train_in_worker`: the children of these numbers kill their worker."""
    if child.number in numbers:
        os.kill(os.getpid(), signal.SIGKILL)
    return child._replace(reward=0.5)


def hanging(start, code, child, times, folder, *arrays):
    """Replaces `pnas.training.workers.train_in_worker`: some children hang, the first one with Python's lock held.

    Args:
        times: number of a child -> how often it hangs before it is trained.
        folder: gets a file for each time that a child was begun.
    """
    begun = len(list(folder.glob(f"{child.number} *")))
    (folder / f"{child.number} {begun}").touch()
    with ended_when_late():
        if begun < times.get(child.number, 0):
            if child.number == 1:
                ctypes.PyDLL(None).sleep(600)
            time.sleep(600)
    return child._replace(reward=0.5)

"""Ending a run on a signal, within seconds."""

import contextlib
import os
import signal
import socket
import threading
import time

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP  # Ctrl-C; kill, systemd, SLURM; a terminal that is closed
GRACE = 4  # seconds in which a run ends by itself


class Stopped(KeyboardInterrupt):
    """A signal ends this run.

    Attributes:
        exit_code: 128 + number of the signal, as in a shell.
    """

    def __init__(self, number):
        super().__init__(number)
        self.exit_code = 128 + number


_is_postponed, _pending = False, []


@contextlib.contextmanager
def postponed():
    """A signal that comes inside this context raises Stopped at its end."""
    global _is_postponed
    _is_postponed = True
    try:
        yield
    finally:
        _is_postponed = False
        if _pending:
            raise Stopped(_pending.pop())


def stop_on_signals(at_last):
    """From now on the first of SIGNALS raises Stopped in the main thread, and the others are ignored.

    A signal that is ignored already, as under nohup, stays ignored. While the main thread computes outside Python, it
    raises nothing. If the process still runs after GRACE seconds, another thread ends it.

    Args:
        at_last: function without arguments that this thread calls first.
    """
    ours = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]

    def stop(number, frame):
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        if not _is_postponed:
            raise Stopped(number)
        _pending.append(number)

    def watch():
        number = 0
        while number not in ours:
            number = received.recv(1)[0]
        time.sleep(GRACE)
        at_last()
        os._exit(128 + number)

    received, sent = socket.socketpair()
    sent.setblocking(False)
    signal.set_wakeup_fd(sent.detach())
    threading.Thread(target=watch, daemon=True).start()
    for number in ours:
        signal.signal(number, stop)

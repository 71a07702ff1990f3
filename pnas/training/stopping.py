"""Ending a run on a signal, within seconds, and a process whose task takes too long."""

import contextlib
import contextvars
import faulthandler
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

SIGNALS = signal.SIGINT, signal.SIGTERM, signal.SIGHUP  # Ctrl-C; kill, systemd, SLURM; a terminal that is closed
GRACE = 4  # seconds in which a run ends by itself


class Stopped(KeyboardInterrupt):
    """A signal ends this run.

    Attributes:
        exit_code: 128 + number of the signal, as in a shell.
    """

    def __init__(self, number: int):
        super().__init__(number)
        self.exit_code = 128 + number


_is_postponed, _pending = False, []


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """A signal that comes inside this context raises Stopped at its end."""
    global _is_postponed
    _is_postponed = True
    try:
        yield
    finally:
        _is_postponed = False
        if _pending:
            raise Stopped(_pending.pop())


@contextlib.contextmanager
def stop_on_signals(at_last: Callable[[], object]) -> Iterator[None]:
    """Inside this context the first of SIGNALS raises Stopped in the main thread, and the others are ignored.

    A signal that is ignored already, as under nohup, stays ignored. While the main thread computes outside Python, it
    raises nothing. If the context does not end within GRACE seconds, another thread ends the process. In other threads
    than the main one, which gets no signals, this context changes nothing.

    Args:
        at_last: function without arguments that the other thread calls before it ends the process.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    handlers = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}
    has_ended = threading.Event()

    def stop(number, frame):
        if not has_ended.is_set():
            for each in handlers:
                signal.signal(each, signal.SIG_IGN)
        if not _is_postponed:
            raise Stopped(number)
        _pending[:] = [number]

    def watch():
        for content in iter(lambda: received.recv(1), b""):  # until the other end is closed
            if content[0] in handlers and not has_ended.wait(GRACE):
                at_last()
                os._exit(128 + content[0])

    received, sent = socket.socketpair()
    sent.setblocking(False)
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    wakeup = signal.set_wakeup_fd(sent.fileno())
    try:
        for number in handlers:
            signal.signal(number, stop)
        yield
    finally:
        with postponed():
            has_ended.set()
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            sent.close()
            watcher.join()
            received.close()


class Overdue(NamedTuple):
    """In place of the result of a task that took too long twice.

    Attributes:
        task: the task.
        traceback: of all threads when the process was ended, or empty where that is not known. Its worker may then
            have died of something else.
    """

    task: tuple
    traceback: str


# Of the task of this thread: seconds, or None; and the path of the file that gets a traceback of all threads when they
# are over, or None for standard error.
LIMIT: contextvars.ContextVar[tuple[float | None, Path | None]] = contextvars.ContextVar("LIMIT", default=(None, None))


@contextlib.contextmanager
def ended_when_late() -> Iterator[None]:
    """Ends the process if this context takes longer than LIMIT, even in C code that holds Python's lock."""
    seconds, path = LIMIT.get()
    if seconds is None:
        yield
        return
    with path.open("w") if path else contextlib.nullcontext(sys.__stderr__) as file:
        faulthandler.dump_traceback_later(seconds, exit=True, file=file)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

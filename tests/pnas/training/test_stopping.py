"""A signal ends a run, even one that does not listen."""

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
import tiny_search

from pnas.training import stopping

RUN = """
import signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler)  # the tests may run in the background, where they are ignored
{before}
from pnas.training import stopping
stopping.GRACE = 1
with stopping.stop_on_signals(lambda: print("at last", flush=True)):
    try:
        print("ready", flush=True)
        {work}
    except stopping.Stopped as stopped:
        print("stopped", flush=True)
        {after}
        sys.exit(stopped.exit_code)
"""


def signalled(*numbers, before="", work="time.sleep(60)", after="pass"):
    """Exit code of a small run that gets signals, and what it prints after the first of them."""
    script = RUN.format(before=before, work=work, after=after)
    command = [sys.executable, "-c", script, str(tiny_search.ROOT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        output = ""
        for number in numbers:
            process.send_signal(number)
            output += process.stdout.readline()
        output += process.stdout.read()
    return process.returncode, output


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_a_run_with_128_and_its_number(number, code):
    assert signalled(number) == (code, "stopped\n")


def test_a_second_signal_does_not_disturb_the_end_of_a_run():
    after = "time.sleep(0.5); print('all closed')"
    assert signalled(signal.SIGTERM, signal.SIGINT, after=after) == (143, "stopped\nall closed\n")


def test_a_postponed_signal_stops_the_run_afterwards():
    work = """
        with stopping.postponed():
            signal.raise_signal(signal.SIGTERM)
            print("went on", flush=True)
        print("never printed", flush=True)
    """
    assert signalled(work=work) == (143, "went on\nstopped\n")


def test_a_run_that_computes_outside_python_is_ended_by_another_thread():
    work = """
        import hashlib, os
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        hashlib.scrypt(b"", salt=b"0", n=2**14, r=8, p=10**5, maxmem=2**30)  # takes an hour
    """
    assert signalled(work=work) == (143, "at last\n")


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before, work = "signal.signal(signal.SIGHUP, signal.SIG_IGN)", "time.sleep(1); print('went on', flush=True)"
    assert signalled(signal.SIGHUP, before=before, work=work) == (0, "went on\n")


def test_other_signals_do_not_end_a_run():
    before = "signal.signal(signal.SIGUSR1, lambda *_: print('seen', flush=True))"
    work = "time.sleep(0.2); stopping.GRACE = 0; signal.raise_signal(signal.SIGUSR1); time.sleep(0.3); print('went on')"
    assert signalled(before=before, work=work) == (0, "seen\nwent on\n")


def state():
    """What `stop_on_signals` changes, except for the pipe of wake-ups."""
    return [signal.getsignal(number) for number in stopping.SIGNALS], threading.enumerate()


@pytest.mark.parametrize("way", ["to its end", "by a signal", "by an error"])
def test_after_the_context_handlers_wakeups_and_threads_are_as_before(way):
    def handler(number, frame):
        """Of a notebook."""

    before = signal.signal(signal.SIGTERM, handler)
    received, sent = socket.socketpair()
    sent.setblocking(False)
    wakeup = signal.set_wakeup_fd(sent.fileno())
    try:
        outside = state()
        with contextlib.suppress(stopping.Stopped, ArithmeticError), stopping.stop_on_signals(pytest.fail):
            inside = state()
            if way == "by a signal":
                signal.raise_signal(signal.SIGTERM)
            elif way == "by an error":
                raise ArithmeticError
        assert state() == outside and len(inside[1]) == len(outside[1]) + 1 and handler not in inside[0]
        assert signal.set_wakeup_fd(wakeup) == sent.fileno()
    finally:
        signal.signal(signal.SIGTERM, before)
        received.close()
        sent.close()


def test_a_process_that_has_left_the_context_lives_on_after_an_interrupt():
    script = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
signal.signal(signal.SIGINT, signal.default_int_handler)
from pnas.training import stopping
stopping.GRACE = 0.1
for _ in range(2):
    with stopping.stop_on_signals(lambda: print("at last", flush=True)):
        pass
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt as interrupt:
    print(type(interrupt).__name__)
time.sleep(0.3)
print("alive")
"""
    command = [sys.executable, "-W", "error", "-c", script, str(tiny_search.ROOT)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "KeyboardInterrupt\nalive\n", "")


def test_a_run_that_ends_in_time_after_a_signal_is_not_ended_by_the_other_thread(monkeypatch):
    monkeypatch.setattr(stopping, "GRACE", 0.05)
    with contextlib.suppress(stopping.Stopped), stopping.stop_on_signals(lambda: pytest.fail("not in time")):
        signal.raise_signal(signal.SIGTERM)
    time.sleep(0.15)  # and the tests go on


def test_in_another_thread_nothing_is_changed():
    def run():
        with stopping.stop_on_signals(pytest.fail):
            inside.append(state())

    inside, thread = [], threading.Thread(target=run)
    handlers, threads = state()
    thread.start()
    thread.join()
    assert inside == [(handlers, [*threads, thread])]


def test_a_signal_while_the_context_ends_is_raised_afterwards(monkeypatch):
    def restore(number, handler):
        if (number, handler) == (signal.SIGTERM, before):
            signal.raise_signal(signal.SIGTERM)
        return original(number, handler)

    original, before = signal.signal, signal.getsignal(signal.SIGTERM)
    outside = state()
    with pytest.raises(stopping.Stopped), stopping.stop_on_signals(pytest.fail):
        monkeypatch.setattr(signal, "signal", restore)
    monkeypatch.undo()
    assert state() == outside

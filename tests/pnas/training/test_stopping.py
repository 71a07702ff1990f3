"""A signal ends a run, even one that does not listen."""

import signal
import subprocess
import sys

import pytest
import tiny_search

RUN = """
import signal, sys, time
sys.path.insert(0, sys.argv[1])
for number in (signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.default_int_handler)  # the tests may run in the background, where they are ignored
{before}
from pnas.training import stopping
stopping.GRACE = 1
stopping.stop_on_signals(lambda: print("at last", flush=True))
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
    import hashlib, os, threading
    threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    hashlib.scrypt(b"", salt=b"0", n=2**14, r=8, p=10**5, maxmem=2**30)  # takes an hour
    """
    assert signalled(work=work) == (143, "at last\n")


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before, work = "signal.signal(signal.SIGHUP, signal.SIG_IGN)", "time.sleep(1); print('went on', flush=True)"
    assert signalled(signal.SIGHUP, before=before, work=work) == (0, "went on\n")

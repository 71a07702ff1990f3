"""Names, locks and files of an experiment, also on a full disk."""

import os
import resource
import signal
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import MEGABYTE, many

from pnas.journal.files import append, check_writable, is_experiment_name, lock, write_atomically


@many
@given(
    st.one_of(
        st.text(), st.sampled_from(["..", ".", "", "a/b", "a\\b", "a\0", "~", "-a", "a\n", "A" * MEGABYTE, "NAME"])
    )
)
def test_an_experiment_name_stays_within_its_folder(name):
    if is_experiment_name(name):
        assert os.path.split(os.path.normpath(os.path.join("logs", name))) == ("logs", name) and len(name) <= 64
    else:
        assert name != "NAME"


def test_one_of_eight_threads_gets_a_lock(tmp_path):
    ready, held = threading.Barrier(8), []

    def want():
        ready.wait()
        try:
            held.append(lock(tmp_path / "logs" / "pnas.lock"))
        except ValueError:
            pass

    threads = [threading.Thread(target=want) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "weights").write_text("")
    with pytest.raises(OSError, match="the folder .*weights/pnas does not take 16 MiB: Not a directory"):
        check_writable(tmp_path / "weights" / "pnas")


@pytest.mark.parametrize(
    "write",
    [
        lambda path: append(path, "x" * 9000),
        lambda path: append(path, b"x" * 9000),
        lambda path: write_atomically(path, b"x" * 9000),
    ],
)
def test_a_full_disk_leaves_earlier_content_as_it_was(write, tmp_path):
    path = tmp_path / "file"
    path.write_text("kept\n")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large: .*file"):
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "kept\n"
    assert os.listdir(tmp_path) == ["file"]

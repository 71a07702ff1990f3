"""Files are written whole or not at all, also on a full disk."""

import resource
import signal

import pytest

from pnas.store.atomic import append, check_writable, file_content, set_aside, write_atomically


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "weights").write_text("")
    with pytest.raises(OSError, match="the folder .*weights/pnas does not take 16 MiB: Not a directory"):
        check_writable(tmp_path / "weights" / "pnas")


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    (tmp_path / "logs").symlink_to(tmp_path / "gone")
    with pytest.raises(OSError, match=f"^{tmp_path}/logs is a link to {tmp_path}/gone, which does not exist: create"):
        check_writable(tmp_path / "logs" / "pnas")
    (tmp_path / "gone").mkdir()
    check_writable(tmp_path / "logs" / "pnas")
    assert [*(tmp_path / "gone").rglob("*")] == [tmp_path / "gone" / "pnas"]


@pytest.mark.parametrize("write, kept", [(append, b"kept" + b"x" * 4996), (write_atomically, b"kept")])
def test_a_full_disk_leaves_earlier_content_as_it_was(write, kept, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"kept")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large: .*file"):
            write(path, b"x" * 9000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == kept  # an entry of the log that was cut off is completed by the next run
    assert [*tmp_path.iterdir()] == [tmp_path / "file"]


def test_files_and_folders_that_exist_get_dated_names(tmp_path):
    folder, file, missing = tmp_path / "children", tmp_path / "best.keras", tmp_path / "last.keras"
    folder.mkdir()
    file.write_text("best")
    moved = set_aside(folder, missing, file)
    assert sorted(tmp_path.iterdir()) == sorted(moved)
    assert moved[0].is_dir() and moved[1].read_text() == "best" and moved[1].match("best.2*-*-*.keras")


def test_the_content_of_a_model_is_that_of_its_file():
    class Model:
        def save(self, path):
            path.write_bytes(b"network")

    assert file_content(Model()) == b"network"

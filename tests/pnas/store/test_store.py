"""What a search keeps is read back as it was: after a kill, beside another run, on a full disk."""

import contextlib
import math
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from malformed import damaged, some
from store_children import CELLS, SETTINGS, child, failed, kept

from pnas import UsageError
from pnas.store.database import SCHEMA
from pnas.store.store import Store

ROOT = Path(__file__).parents[3]
DATABASE = Path("logs/trial/search.db")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def opened(settings=SETTINGS, restore=True):
    """The store of a run, closed at its end; fails if there is a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store = Store("trial", settings, restore)
    try:
        yield store
    finally:
        store.close()


@pytest.fixture
def two_children(empty_folder):
    with opened() as store:
        store.add(child(1, 0.75))
        store.add(child(2, 0.5))


def in_another_process(code, **options):
    """Starts Python code that has `Store`, `child` and `SETTINGS`."""
    folders = [str(ROOT), str(Path(__file__).parent)]
    imports = (
        f"import sys; sys.path[:0] = {folders}\nfrom pnas.store.store import Store\nfrom store_children import *\n"
    )
    return subprocess.Popen([sys.executable, "-c", imports + code], stdout=subprocess.PIPE, text=True, **options)


# ---------------------------------------------------------------------------------------------------- what is read back


@pytest.mark.parametrize("name", [None, "trial"])
def test_a_child_is_read_back_as_it_was(name):
    store = Store(name, SETTINGS)
    best, again = child(1, 0.8006, predicted=math.nan), child(1, 0.9, repeat=1)
    store.add(best)
    store.add(again)
    assert str(store.child(CELLS[0])) == str(kept(best)) and store.child(CELLS[1]) is None  # NaN is not NaN
    assert store.children(repeat=1) == [kept(again)]
    assert store.history(1) == best.history and store.history(1, repeat=1)["val_accuracy"] == [0.9] * 4
    assert store.history(2) == {}
    store.close()


def test_children_come_in_the_order_of_their_numbers():
    store = Store()
    for number in (4, 2, 1, 3):
        store.add(child(number, number / 10))
    assert [child.number for child in store.children()] == [1, 2, 3, 4]
    assert [child.number for child in store.children(1)] == [1, 2, 3] and store.children(3) == []


def test_numbers_of_numpy_are_kept_as_numbers():
    store = Store()
    store.add(child(1, np.float32(0.5), predicted=np.float64(0.25), macs=np.int64(90)))
    assert store.children() == [kept(child(1, 0.5, predicted=0.25))]


def test_a_resumed_run_knows_the_search():
    cells, predicted = [CELLS[1] * 2, CELLS[0] * 2], [0.1, float(np.float32(0.7))]
    with opened() as store:
        store.add(child(1, 0.75))
        store.add(child(1, 0.25, repeat=1))
        store.keep_choices(2, [([CELLS[2] * 2], [0.5])])
        store.keep_choices(2, [(cells, predicted), ([CELLS[2] * 2], [0.25])])  # made anew, in two rounds
        store.keep_choices(3, [([], [])])
        store.keep_finalists(2, [3, 1], {"noise": 0.5})
        store.keep_ranking([1])
        store.keep_fit(1, [0.5, 0.25])
        store.keep_quality(2, {"spearman": 0.5})
    with opened() as store:
        assert store.choices(2) == [(cells, predicted), ([CELLS[2] * 2], [0.25])]
        assert store.choices(3) == [([], [])] and store.choices(4) == []
        assert store.finalists(2, {"noise": 0.5}) == [3, 1]
        assert store.finalists(2, None) == store.finalists(3, {"noise": 0.5}) == []
        assert store.ranking() == [1] and [child.reward for child in store.trainings(1)] == [0.75, 0.25]
        assert store.fits() == {1: [0.5, 0.25]} and store.qualities() == {2: {"spearman": 0.5}}
        assert store.settings == {**SETTINGS, "LEARNING_RATE": [0.01, 0.001]}


def test_a_new_search_knows_nothing():
    with opened() as store:
        assert store.children() == [] and store.finalists(5, None) == [] and store.ranking() == []


def test_the_network_of_a_child_and_of_its_repeat_are_kept(two_children):
    with opened() as store:
        store.add(child(2, 0.5, repeat=1, network=b"again"))
    assert Path("weights/trial/children/0002.keras").read_bytes() == b"network 2"
    assert Path("weights/trial/children/0002_repeat_1.keras").read_bytes() == b"again"


def test_a_training_that_failed_is_not_among_the_trainings_of_its_child():
    store = Store()
    for each in (child(1, 0.5), failed(1, repeat=1), child(1, 0.75, repeat=2)):
        store.add(each)
    assert [child.reward for child in store.trainings(1)] == [0.5, 0.75]


# ------------------------------------------------------------------------------------------------------ failed children


def test_a_failed_child_is_not_known_and_named_by_the_next_run():
    with opened() as store:
        store.add(failed(3))
        assert store.child(CELLS[2]) is None and store.children() == [kept(failed(3))]
    with pytest.warns(
        UserWarning, match="^child 3 failed in an earlier run and is trained again: MemoryError: no room"
    ):
        Store("trial", SETTINGS).close()


def test_a_failed_child_is_replaced_by_its_next_training():
    with opened() as store:
        store.add(failed(3, history={"loss": [9.0] * 5}))
        store.add(failed(3, "MemoryError: again"))
        assert [child.error for child in store.children()] == ["MemoryError: again"]
        store.add(child(3, 0.9))
    with opened() as store:
        assert store.children() == [kept(child(3, 0.9))] and store.history(3)["loss"] == [0.5] * 4


def test_a_refused_child_leaves_the_network_of_the_other():
    with opened() as store:
        store.add(child(1, 0.5)._replace(network=b"first"))
        with pytest.raises(UsageError, match="already has another child 1"):
            store.add(child(1, 0.5, cell=CELLS[1])._replace(network=b"second"))
        assert store.paths.network(1).read_bytes() == b"first"


@pytest.mark.parametrize("other", [child(3, 0.5, cell=CELLS[1]), child(1, 0.5), failed(1)])
def test_no_other_training_takes_the_place_of_a_child(other):
    store = Store()
    store.add(child(1, 0.75))
    store.add(failed(3))
    with pytest.raises(UsageError, match=f"already has another child {other.number}, repeat 0"):
        store.add(other)
    assert store.children() == [kept(child(1, 0.75)), kept(failed(3))]
    assert store.history(1)["val_accuracy"] == [0.75] * 4


@pytest.mark.parametrize("reward", [-0.5, 2.0, math.nan])
def test_a_reward_outside_0_to_1_is_no_reward(reward):
    store = Store()
    with pytest.raises(sqlite3.IntegrityError):
        store.add(child(1, reward))
    assert store.children() == []


# ------------------------------------------------------------------------------------------------------------- settings


def test_other_settings_are_named_with_what_they_were(two_children):
    with pytest.raises(UsageError, match=r"SEED was 0 and is 1, LEARNING_RATE was \[0.01, 0.001\] and is 3") as error:
        Store("trial", {**SETTINGS, "SEED": 1, "LEARNING_RATE": 3})
    assert "RESTORE_CONTROLLER = False" in str(error.value) and "DATASET" not in str(error.value)
    with opened() as store:  # nothing was changed or held
        assert len(store.children()) == 2


def test_a_lost_setting_and_a_new_one_are_named(two_children):
    with pytest.raises(UsageError, match="SEED was 0 and is None"):
        Store("trial", {name: value for name, value in SETTINGS.items() if name != "SEED"})
    with pytest.raises(UsageError, match="BACKEND was None and is 'jax'"):
        Store("trial", {**SETTINGS, "BACKEND": "jax"})


def test_changed_code_is_named_without_its_checksum():
    name = "checksum of the recipe in pnas/training/recipe.py"
    Store("trial", {**SETTINGS, name: "00ff"}).close()
    with pytest.raises(UsageError, match="other settings: the recipe in pnas/training/recipe.py was changed. Set them"):
        Store("trial", {**SETTINGS, name: "ff00"})


def test_another_version_of_a_package_gives_only_a_warning():
    Store("trial", {**SETTINGS, "keras version": "3.12"}).close()
    with pytest.warns(UserWarning, match="keras version was '3.12' and is '3.13'.*slightly different") as given:
        Store("trial", {**SETTINGS, "keras version": "3.13"}).close()
    assert len(given) == 1


# ----------------------------------------------------------------------------------------------------- two runs at once


def test_a_second_run_of_a_name_is_refused_until_the_first_ends(two_children):
    code = "store = Store('trial', SETTINGS); print('open', flush=True); sys.stdin.read()"
    first = in_another_process(code, stdin=subprocess.PIPE)
    assert first.stdout.readline() == "open\n"
    for restore in (True, False):
        with pytest.raises(UsageError, match=f"process {first.pid} on .* writes {DATABASE}. Wait for it, stop it"):
            Store("trial", SETTINGS, restore)
    first.communicate()
    with opened() as store:
        assert len(store.children()) == 2


def test_a_second_run_is_refused_in_the_same_process_too():
    with opened() as store:
        for _ in range(2):  # the refused run has opened and closed the file
            with pytest.raises(UsageError, match=f"process {os.getpid()} on "):
                Store("trial", SETTINGS)
        Store.open("trial").close()
        with pytest.raises(UsageError, match=f"process {os.getpid()} on "):
            Store("trial", SETTINGS)
        store.add(child(1, 0.5))


def test_one_of_four_runs_gets_a_new_experiment():
    code = "\ntry: store = Store('trial', SETTINGS)\nexcept ValueError as error: print(error)\nelse: print('open')\n"
    code = "sys.stdin.readline()" + code + "sys.stdout.flush(); sys.stdin.read()"
    runs = [in_another_process(code, stdin=subprocess.PIPE) for _ in range(4)]
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    lines = [run.stdout.readline() for run in runs]
    for run in runs:
        run.communicate()
    assert lines.count("open\n") == 1
    assert sum(line.startswith("another run has this EXPERIMENT_NAME: ") for line in lines) == 3


def test_a_reader_reads_while_a_run_writes(two_children):
    code = (
        "store = Store('trial', SETTINGS)\nfor number in range(3, 60):\n    store.add(child(number, 0.5))\n"
        "    if number < 6:\n        print(number, flush=True)\n        input()\n"  # waits for the reader
    )
    writer, counts = in_another_process(code, stdin=subprocess.PIPE), []

    def read():
        store = Store.open("trial")
        children = store.children()
        assert all(len(store.history(child.number)["val_accuracy"]) == 4 for child in children)
        store.close()
        return len(children)

    for number in (3, 4, 5):
        assert int(writer.stdout.readline()) == number == read()
        writer.stdin.write("\n")
        writer.stdin.flush()
    while writer.poll() is None:  # now both go on without waiting
        counts.append(read())
    assert writer.returncode == 0 and counts == sorted(counts) and read() == 59


def test_a_reader_writes_nothing(two_children):
    before = DATABASE.read_bytes()
    store = Store.open("trial")
    with pytest.raises(OSError, match=f"{DATABASE}: attempt to write a readonly database"):
        store.keep_ranking([1])
    store.close()
    assert DATABASE.read_bytes() == before


@pytest.mark.parametrize("name", ["other", "../trial", "", "A" * 100000, "a\0b"])
def test_a_reader_names_an_experiment_that_there_is_not(two_children, name):
    with pytest.raises(UsageError, match="there is no experiment ") as error:
        Store.open(name)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


# ------------------------------------------------------------------------------------------------------ kills and disks


def test_every_child_that_was_kept_survives_kills(two_children):
    code = """
store = Store('trial', SETTINGS)
for number in range(1 + len(store.children()), 10000):
    store.add(child(number, number / 10000))
    print(number, flush=True)
"""
    random, known = np.random.default_rng(0), 2
    for _ in range(4):
        run = in_another_process(code)
        lines = [run.stdout.readline()]  # after the imports
        with contextlib.suppress(subprocess.TimeoutExpired):
            run.wait(random.uniform(0, 0.2))
        os.kill(run.pid, signal.SIGKILL)
        lines += run.communicate()[0].splitlines()
        shown = max(int(line) for line in lines if line.strip())
        with opened() as store:
            children = store.children()
            known = len(children)
            assert [child.number for child in children] == list(range(1, known + 1)) and known >= shown
            for each in children[2:]:
                assert (
                    each.reward == each.number / 10000
                    and store.history(each.number)["val_accuracy"] == [each.reward] * 4
                )
                assert Path(f"weights/trial/children/{each.number:04d}.keras").exists()


def test_a_commit_that_a_kill_interrupted_is_undone_also_by_a_reader(two_children):
    # The largest commit by far: the kill comes when the file is partly written, and the journal is complete.
    code = f"""
import sqlite3
connection = sqlite3.connect('{DATABASE}')
connection.execute('PRAGMA cache_size = 1')  # changed pages are written before the commit
connection.execute("INSERT INTO facts VALUES ('half', 1, ?)", ['x' * 10**6])
connection.execute('DELETE FROM children')
print('written', flush=True); sys.stdin.read()
"""
    run = in_another_process(code, stdin=subprocess.PIPE)
    assert run.stdout.readline() == "written\n"
    run.kill()
    run.communicate()
    assert DATABASE.stat().st_size > 10**6 and Path(f"{DATABASE}-journal").exists()
    store = Store.open("trial")
    assert len(store.children()) == 2
    store.close()
    assert DATABASE.stat().st_size < 10**5


def test_a_full_disk_loses_nothing_and_names_the_file(two_children):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with opened() as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (DATABASE.stat().st_size, before[1]))
        try:
            with pytest.raises(OSError, match=f"^{DATABASE}: (disk I/O error|database or disk is full)$"):
                store.add(child(3, 0.5, history={"loss": [0.5] * 5000}))
            with pytest.raises(OSError, match="File too large: 'weights/trial/children/0003.keras'"):
                store.add(child(3, 0.5, network=bytes(10**6)))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert store.children() == [kept(child(1, 0.75)), kept(child(2, 0.5))]
        store.add(child(3, 0.5))
    assert Path("weights/trial/children/0003.keras").read_bytes() == b"network 3"
    with opened() as store:
        assert len(store.children()) == 3


def test_a_folder_that_takes_nothing_is_named():
    Path("weights").write_text("")
    with pytest.raises(OSError, match="the folder weights/trial does not take 16 MiB: Not a directory"):
        Store("trial", SETTINGS)


@pytest.mark.parametrize("folder", ["logs", "weights", "architectures", "logs/trial"])
def test_a_link_that_leads_nowhere_is_named(folder):
    Path(folder).parent.mkdir(exist_ok=True)
    Path(folder).symlink_to("gone")
    with pytest.raises(OSError, match=f"^{folder} is a link to gone, which does not exist: create that, or remove"):
        Store("trial", SETTINGS)


# ---------------------------------------------------------------------------------------------------- damaged databases


def test_another_schema_is_refused_with_its_number(two_children):
    with contextlib.closing(sqlite3.connect(DATABASE)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    for use in (lambda: Store("trial", SETTINGS), lambda: Store.open("trial")):
        with pytest.raises(UsageError, match=f"{DATABASE} has schema {SCHEMA + 1}, .* reads schema {SCHEMA}. Use the"):
            use()


def test_a_database_of_another_program_is_refused():
    DATABASE.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(DATABASE)) as connection:
        connection.execute("CREATE TABLE trials (number)")
    before = DATABASE.read_bytes()
    with pytest.raises(UsageError, match=f"{DATABASE} is not a database of this program"):
        Store("trial", SETTINGS)
    assert DATABASE.read_bytes() == before


@pytest.mark.parametrize("cell", ["[]", "[0]", "{}", "3", "[0, 1, 0, 1]", "[" * 100000, "__import__('os')", '[0, "a"]'])
def test_a_cell_that_is_none_is_refused(two_children, cell):
    with contextlib.closing(sqlite3.connect(DATABASE)) as connection, connection:
        connection.execute("UPDATE children SET cell = ? WHERE number = 2", [cell])
    with opened() as store, pytest.raises(UsageError, match=f"{DATABASE} is damaged .child 2: .*Put a copy of it back"):
        store.children()


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """The bytes of a database."""
    with contextlib.chdir(tmp_path_factory.mktemp("whole")):
        store = Store("trial", SETTINGS)
        for number in range(1, 7):
            store.add(child(number, number / 10))
        store.keep_choices(2, [([CELLS[0] * 2], [0.5])])
        store.close()
        return DATABASE.read_bytes()


@some
@given(data=st.data())
def test_a_damaged_database_is_read_whole_or_refused_in_one_line(content, data):
    wrong = data.draw(st.one_of(damaged(content), damaged(content).flatmap(damaged), st.binary(min_size=1)))
    DATABASE.parent.mkdir(parents=True, exist_ok=True)
    Path(f"{DATABASE}-journal").unlink(missing_ok=True)
    DATABASE.write_bytes(wrong or b"x")
    for use in (lambda: Store("trial", SETTINGS), lambda: Store.open("trial")):
        store = None
        try:
            store = use()
            for each in store.children():
                assert each.number > 0 and 0 <= each.reward <= 1 and len(each.cell) % 4 == 0
                store.history(each.number)
            store.choices(2)
        except UsageError as error:
            assert str(DATABASE) in str(error) or "logs/trial was made with other" in str(error)
            assert "\n" not in str(error) and len(str(error)) < 1000
        finally:
            if store:
                store.close()


# -------------------------------------------------------------------------------------------------------- starting over


def test_without_restore_everything_is_moved_aside(two_children):
    before = DATABASE.read_bytes()
    Path("logs/trial/children.csv").write_text("table")
    Path("architectures/trial.txt").write_text("log")
    Path("weights/trial/surrogate.keras").write_text("surrogate")
    with opened(restore=False) as store:
        assert store.children() == []
    (folder,) = Path("logs").glob("trial.*")
    assert (folder / "search.db").read_bytes() == before and (folder / "children.csv").read_text() == "table"
    assert [path.read_text() for path in Path("architectures").glob("trial.*.txt")] == ["log"]
    assert [path.read_text() for path in Path("weights/trial").glob("surrogate.*.keras")] == ["surrogate"]
    (networks,) = Path("weights/trial").glob("children.*")
    assert (networks / "0001.keras").read_bytes() == b"network 1"


def test_a_damaged_database_is_moved_aside_too():
    DATABASE.parent.mkdir(parents=True)
    DATABASE.write_bytes(b"no database" * 1000)
    with opened(restore=False) as store:
        assert store.children() == []
    assert next(Path("logs").glob("trial.*/search.db")).read_bytes() == b"no database" * 1000


@pytest.mark.parametrize("restore", [True, False])
def test_a_first_search_leaves_the_files_of_a_retraining_in_place(restore):
    files = [Path("logs/trial", name) for name in ("architecture.csv", "architecture.db", "report/architecture.png")]
    files.append(Path("weights/trial/architecture_best.keras"))
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("kept")
    with opened(restore=restore):
        assert all(path.read_text() == "kept" for path in files) and DATABASE.exists()
    with opened(restore=False):
        assert all(path.read_text() == "kept" for path in files if "report" not in path.parts)


@pytest.mark.parametrize("left", ["gone", "empty"])
def test_a_database_that_is_gone_is_missed_if_there_are_networks(two_children, left):
    DATABASE.unlink()
    if left == "empty":
        DATABASE.touch()
    before = sorted(Path().rglob("*"))
    with pytest.raises(
        UsageError, match=f"{DATABASE} is gone, but .*/children of its search .* Put it back, or set RESTORE"
    ):
        Store("trial", SETTINGS)
    assert sorted(Path().rglob("*")) == before
    with opened(restore=False) as store:
        assert store.children() == []


@pytest.mark.parametrize("left", ["logs/trial/children.csv", "architectures/trial.txt", "weights/trial/best.keras"])
def test_any_file_of_a_search_tells_that_its_database_is_gone(left):
    Path(left).parent.mkdir(parents=True, exist_ok=True)
    Path(left).write_text("kept")
    with pytest.raises(UsageError, match=f"{DATABASE} is gone, but {left} of its search is there"):
        Store("trial", SETTINGS)
    assert Path(left).read_text() == "kept" and not DATABASE.exists()
    with opened(restore=False):
        assert not Path(left).exists()
    with opened():  # the next run resumes
        pass


def test_a_run_killed_before_its_first_commit_is_started_again():
    DATABASE.parent.mkdir(parents=True)
    DATABASE.touch()
    with opened() as store:
        assert store.children() == []


def test_only_its_own_unfinished_files_are_removed(two_children):
    paths = (
        "architectures/other.txt",
        "logs/other",
        "weights/trial/architecture_best.keras",
        "logs/trial/architecture.csv",
    )
    others = [Path(f"{path}.7.tmp") for path in paths] + [Path("logs/trial/notes.tmp")]
    paths = "logs/trial/children.csv", "weights/trial/best.keras", "weights/trial/children/0003.keras"
    half_written = [Path(f"{path}.7.tmp") for path in paths]
    for path in others + half_written:
        path.write_text("")
    with opened():
        assert all(path.exists() for path in others) and not any(path.exists() for path in half_written)

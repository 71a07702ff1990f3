"""The files for people and tools are complete after any run, and what people wrote into them is kept."""

import csv
import io
import math
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from store_children import CELLS, SETTINGS, child, failed
from test_events import read

from pnas.encoder import StateSpace
from pnas.store.files import Files, table
from pnas.store.store import Store

SPACE = StateSpace(2, ["3x3 bconv", "linear"])
CONSTANTS = SimpleNamespace(MAX_EPOCHS=4)
LOGS, TEXT, BEST = Path("logs/trial"), Path("architectures/trial.txt"), Path("weights/trial/best.keras")
TABLE, CURVES, QUALITIES = LOGS / "children.csv", LOGS / "learning_curves.csv", LOGS / "surrogate.csv"
ENTRY = (
    "Sr. No: 2\nReward: 0.5000\nArchitecture: [0, '3x3 bconv', 0, 'linear']\n"
    'Representation String: "[[1. 0.]] [[1. 0.]] [[1. 0.]] [[0. 1.]]"\n\n'
)


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


class Run:
    """A search in which children are trained one by one, and its warnings."""

    def __enter__(self):
        with warnings.catch_warnings(record=True) as given:
            warnings.simplefilter("always")
            self.store = Store("trial", SETTINGS)
            self.files = Files(self.store, SPACE, CONSTANTS, lambda children: {"spearman": len(children) / 8})
        self.warned = [str(warning.message) for warning in given]
        return self

    def train(self, *children):
        for each in children:
            self.store.add(each)
            self.files.on_child_end(each)

    def __exit__(self, *error):
        self.store.close()


def search():
    """A search that ended: three children, two of them trained again."""
    with Run() as run:
        run.files.on_round_begin(1, (1, 1), [child(1, 0.75), child(2, 0.5)], [], [(2, 1)])
        run.train(child(1, 0.75, predicted=math.nan), child(2, 0.5, predicted=math.nan))
        run.files.on_size_end(1, run.store.children(1))
        run.files.on_fit_end(2, [0.5, 0.25])
        run.files.on_round_begin(2, (1, 1), [child(4, 0.625)], [], [])
        run.train(child(4, 0.625))
        run.files.on_size_end(2, run.store.children(2))
        run.train(child(1, 0.25, repeat=1, network=b"again 1"), child(4, 0.875, repeat=1, network=b"again 4"))
        run.store.keep_ranking([4])
        run.files.on_search_end([])
        run.files.write_end(["Best: child 4", "Retrain it:", "python train.py --train_arc"])


def resumed():
    """Resumes, trains nothing, and returns the warnings."""
    with Run() as run:
        return run.warned


def test_the_log_has_a_header_headings_entries_and_an_end():
    search()
    header, rest = TEXT.read_text().split("\n", 1)
    assert header.startswith("# Started 2")
    first = ENTRY.replace("2\nReward: 0.5000", "1\nReward: 0.7500")
    first = first.replace("'linear'", "'3x3 bconv'").replace("0. 1.", "1. 0.")
    cell = "[0, '3x3 bconv', 0, '3x3 bconv', 0, '3x3 bconv', 0, '3x3 bconv']"
    parts = (
        "# DATASET = 'digits'\n# SEED = 0\n# LEARNING_RATE = [0.01, 0.001]\n\n",
        f"# ---- 1 block a cell: 2 children ----\n\n{first}{ENTRY}# ---- 2 blocks a cell: 1 child ----\n\n",
        f"Sr. No: 4\nReward: 0.6250\nArchitecture: {cell}\n",
        f'Representation String: "{" ".join(["[[1. 0.]]"] * 8)}"\n\n',
        "# Best: child 4\n# Retrain it:\n# python train.py --train_arc\n\n",
    )
    assert rest == "".join(parts)


def rows(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def test_the_tables_have_a_row_for_each_child_epoch_and_size():
    search()
    first, second, fourth = rows(TABLE)
    assert second == {
        **{"number": "2", "dataset": "digits", "blocks": "1", "architecture": str(CELLS[1]), "reward": "0.5"},
        **{"representation": "[[1. 0.]] [[1. 0.]] [[1. 0.]] [[0. 1.]]", "predicted": "nan", "seconds": "1.500"},
        **{
            "parameters": "10",
            "binary_weights": "8",
            "macs": "90",
            "epochs": "4",
            "seed": "7",
            "reused": "",
            "error": "",
        },
    }
    assert (first["reward"], fourth["number"], fourth["blocks"], fourth["predicted"]) == ("0.75", "4", "2", "0.5")
    points = [(row["number"], row["repeat"], row["epoch"], row["loss"], row["val_accuracy"]) for row in rows(CURVES)]
    trained = (("1", "0", "0.75"), ("2", "0", "0.5"), ("4", "0", "0.625"), ("1", "1", "0.25"), ("4", "1", "0.875"))
    assert points == [
        (number, repeat, str(epoch), "0.5", best) for number, repeat, best in trained for epoch in range(1, 5)
    ]
    assert QUALITIES.read_text() == "blocks,spearman\n2,0.125\n"


def test_tensorboard_has_every_child_fit_and_size():
    search()
    assert read(LOGS / "children" / "0004")[0]["child/val_accuracy"] == [(epoch, 0.625) for epoch in range(1, 5)]
    assert read(LOGS / "surrogate" / "after_2_children")[0]["surrogate/training_loss"] == [(1, 0.5), (2, 0.25)]
    assert read(LOGS / "surrogate" / "quality")[0]["surrogate/spearman"] == [(2, 0.125)]


def test_a_resumed_run_only_adds_a_header():
    search()
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert resumed() == []
    added = TEXT.read_bytes().removeprefix(before.pop(TEXT)).decode()
    assert added.startswith("# Continued ") and added.endswith("# LEARNING_RATE = [0.01, 0.001]\n\n")
    changes = [str(path) for path, content in before.items() if path.read_bytes() != content]
    assert all(path == "logs/trial/search.db" or "surrogate" in path for path in changes)
    assert {path for path in Path().rglob("*") if path.is_file()} == {*before, TEXT}


def test_everything_that_was_deleted_is_written_again():
    search()
    before = {path: path.read_bytes() for path in (TABLE, CURVES, QUALITIES, BEST)}
    events = sorted(LOGS.rglob("events.*"))
    entries = TEXT.read_text().partition("children ----\n\n")[2].partition("# ----")[0]
    for path in LOGS.iterdir():
        if path.name != "search.db":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree("architectures")
    BEST.unlink()
    assert resumed() == []
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sorted(LOGS.rglob("events.*")) == events and entries in TEXT.read_text()
    assert TEXT.read_text().count("Sr. No: ") == 3


@pytest.mark.parametrize("path", [TABLE, CURVES, QUALITIES, BEST], ids=str)
def test_a_file_that_somebody_has_edited_is_kept(path):
    search()
    before = path.read_bytes()
    path.write_bytes(before + b"my note")
    (warning,) = resumed()
    (copy,) = path.parent.glob(f"{path.stem}.2*{path.suffix}")
    assert path.read_bytes() == before and copy.read_bytes() == before + b"my note"
    assert warning == f"{path} was edited. It is written anew; as it was, it is kept as {copy}"
    assert resumed() == []


@pytest.mark.parametrize("moment", [0, 1, 2, 3, 4])
def test_a_file_is_not_taken_for_an_edited_one_after_a_kill(monkeypatch, moment):
    search()
    with Run() as run, monkeypatch.context() as patched:
        real, calls = Path.replace, []

        def killed(*paths):
            if len(calls) == moment:
                raise KeyboardInterrupt
            calls.append(paths)
            return real(*paths)

        run.store.add(child(3, 0.99))
        run.store.keep_ranking([3])
        patched.setattr(Path, "replace", killed)
        if moment < 4:  # the events of the child, the tables of children and epochs, and best.keras
            with pytest.raises(KeyboardInterrupt):
                run.files.on_search_end([])
        else:
            run.files.on_search_end([])
    assert resumed() == [] and not list(LOGS.glob("*.2*")) and len(rows(TABLE)) == 4
    assert BEST.read_bytes() == b"network 3"


def front(*children):
    return [{"macs": 90, "mean": 0.5, "number": number, "network": network} for number, network in children]


def test_the_networks_of_a_front_replace_those_of_another_front():
    with Run() as run:
        run.files.write_front(front((1, b"one"), (2, b"two"), (10_000, b"three"), (3, None)))
        kept = Path("weights/trial/front")
        assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
            "90_macs_child_0001.keras": b"one",
            "90_macs_child_0002.keras": b"two",
            "90_macs_child_10000.keras": b"three",
        }
        (kept / "90_macs_child_0002.keras").write_bytes(b"edited")
        run.files.write_front(front((2, b"two")))
        run.files.write_front(front((2, b"two")))
    assert sorted(path.read_bytes() for path in kept.iterdir()) == [b"edited", b"two"]  # what was edited stays
    assert rows(LOGS / "front.csv") == [{"macs": "90", "mean": "0.5", "number": "2"}]


def test_the_networks_of_a_front_are_moved_aside_with_the_search():
    with Run() as run:
        run.train(child(1, 0.75))
        run.files.write_front(front((1, b"one")))
    Store("trial", SETTINGS, restore=False).close()
    (aside,) = Path("weights/trial").glob("front.*")
    assert (aside / "90_macs_child_0001.keras").read_bytes() == b"one" and not Path("weights/trial/front").exists()


# ----------------------------------------------------------------------------------------------------------- the log


@pytest.mark.parametrize("cut", [1, 2, 30, 100])
def test_a_half_written_entry_is_completed(cut):
    with Run() as run:
        run.train(child(1, 0.75), child(2, 0.5))
    whole = TEXT.read_text()
    TEXT.write_text(whole[:-cut])
    warned = resumed()
    assert TEXT.read_text().startswith(whole) and TEXT.read_text().count("Sr. No: 2\n") == 1
    assert warned == [f"{TEXT}: the rest of a half-written entry is added"] * (cut > 1)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: content.replace(b"\n", b"\r"),
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: content[:-1],
        lambda content: content.rstrip(b"\n"),
        lambda content: content + b"My note without a blank line",
        lambda content: content + b"My note with a line end\n",
        lambda content: b"My note\n" + content + b"\xff",
    ],
)
def test_nothing_in_a_log_that_was_edited_is_lost(edit):
    search()
    edited = edit(TEXT.read_bytes())
    TEXT.write_bytes(edited)
    assert resumed() == []
    assert TEXT.read_bytes().startswith(edited)
    lines = TEXT.read_bytes()[len(edited) :].decode().split("\n")
    assert next(line for line in lines if line).startswith("# Continued ")
    assert not any(line.startswith("Sr. No") for line in lines)


def test_a_child_that_was_kept_but_not_written_is_added():
    with Run() as run:
        run.train(child(1, 0.75))
        run.store.add(child(2, 0.5))
    assert "Sr. No: 2\n" not in TEXT.read_text()
    resumed()
    assert TEXT.read_text().endswith(ENTRY) and [row["number"] for row in rows(TABLE)] == ["1", "2"]
    assert (LOGS / "children" / "0002").exists()


def test_a_child_that_was_stopped_early_is_marked():
    with Run() as run:
        run.train(child(2, 0.5, epochs=1))
    assert TEXT.read_text().endswith(f"{ENTRY[:-1]}Stopped early: after 1 of 4 epochs\n\n")


def test_a_reused_child_names_its_experiment_in_the_log_and_the_table():
    with Run() as run:
        run.train(child(1, 0.75), child(2, 0.5, reused="quick"))
        text = TEXT.read_text()
        run.train(child(3, 0.5, reused="quick", epochs=1))
    assert text.endswith(f"{ENTRY[:-1]}Reused: from experiment quick\n\n")
    assert TEXT.read_text().endswith("Reused: from experiment quick\nStopped early: after 1 of 4 epochs\n\n")
    assert [row["reused"] for row in rows(TABLE)] == ["", "quick", "quick"]


def test_a_table_takes_a_file_name_that_is_no_text():
    assert table(["retrain"], [{"retrain": "--DATASET caf\udce9.npz"}]) == b"retrain\n--DATASET caf?.npz\n"


# --------------------------------------------------------------------------------------------------- failed children


def test_a_failed_child_has_its_traceback_in_a_file_that_its_entry_names():
    with Run() as run:
        run.train(failed(3), failed(3, repeat=1))
    assert "Failed: MemoryError: no room (logs/trial/errors/0003.txt)\n\n" in TEXT.read_text()
    assert (LOGS / "errors" / "0003.txt").read_text() == "Traceback\nMemoryError: no room\n"
    assert (LOGS / "errors" / "0003_repeat_1.txt").exists()
    assert [(row["reward"], row["error"]) for row in rows(TABLE)] == [("", "MemoryError: no room")]
    assert not (LOGS / "children").exists() and not BEST.exists()


def test_a_failed_child_without_a_traceback_names_no_file():
    with Run() as run:
        run.train(failed(3, traceback=""))
    assert TEXT.read_text().endswith("Failed: MemoryError: no room\n\n") and not (LOGS / "errors").exists()


def test_a_failed_child_that_succeeds_gets_another_entry_and_events():
    with Run() as run:
        run.train(failed(3))
    with Run() as run:
        run.train(child(3, 0.9))
    assert resumed() == []
    assert (
        TEXT.read_text().count("Sr. No: 3\nReward: 0.9000\n") == 1 == TEXT.read_text().count("Sr. No: 3\nReward: 0.0")
    )
    assert [row["reward"] for row in rows(TABLE)] == ["0.9"] and (LOGS / "children" / "0003").exists()


# --------------------------------------------------------------------------------------------------- the best network


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1)])
def test_the_best_network_is_that_of_the_highest_reward_and_lowest_number(order):
    rewards = {1: 0.5, 2: 0.75, 3: 0.75}
    with Run() as run:
        for number in order:
            run.train(child(number, rewards[number]))
    assert BEST.read_bytes() == b"network 2"


def test_a_failed_child_is_never_the_best():
    with Run() as run:
        run.train(failed(1, network=b"failed"), child(2, 0.0))
    assert BEST.read_bytes() == b"network 2"


def test_at_the_end_the_best_network_is_the_winners_best_one():
    search()  # child 1 had 0.75, the winner 0.625 and 0.875
    assert BEST.read_bytes() == b"again 4"
    with Run() as run:
        run.store.keep_ranking([1])
        run.files.on_search_end([])
    assert BEST.read_bytes() == b"network 1"


def test_a_network_that_is_gone_is_warned_about():
    search()
    shutil.rmtree("weights/trial/children")
    assert resumed() == []  # best.keras is still there
    BEST.unlink()
    assert resumed() == [
        "weights/trial/children/0004_repeat_1.keras, the network of the best child, is gone; retrain it from the log"
    ]


def test_the_log_ends_with_a_command_whose_file_has_no_utf_8_name():
    with Run() as run:
        run.files.write_end(["python train.py --DATASET caf\udce9.npz"])  # as Python reads the byte E9
    assert TEXT.read_text("utf-8").endswith("# python train.py --DATASET caf?.npz\n\n")

"""A search resumes from files that a kill, an editor or a spreadsheet has changed, and keeps all their content."""

import csv
import io
import json
import warnings
import zipfile
from pathlib import Path

import pytest

from pnas.child import Child
from pnas.encoder import StateSpace
from pnas.journal.children import EARLIER, header, read_table, row
from pnas.journal.files import check_settings
from pnas.journal.journal import Journal

SPACE = StateSpace(2, ["3x3 bconv", "linear"])
CELLS = [[0, "3x3 bconv", 0, "3x3 bconv"], [0, "3x3 bconv", 0, "linear"], [0, "linear", 0, "linear"]]
SETTINGS = {"DATASET": "digits", "SEED": 0}
LOGS, TEXT, BEST = Path("logs/trial"), Path("architectures/trial.txt"), Path("weights/trial/best.keras")
TABLE, KEPT, CHOICES = LOGS / "children.csv", LOGS / "settings.json", LOGS / "choices.json"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def network():
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("weights", b"\x01" * 100)
    return content.getvalue()


def child(number, reward, error=""):
    return Child(number, CELLS[number - 1], 0.5, seed=7, reward=reward, network=network(), error=error)


def opened(settings=SETTINGS, **options):
    """(resumed Journal, its lock released; list of its warnings)."""
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        journal = Journal("trial", settings, True, SPACE, **options)
    journal.lock.close()
    return journal, [str(warning.message) for warning in given]


@pytest.fixture(autouse=True)
def two_children(empty_folder):
    """A search of two children, the second one better."""
    journal, _ = opened()
    journal.write_child(child(1, 0.5))
    journal.write_child(child(2, 0.75))
    journal.write_end(journal.best, [], "python train.py --train_arc")


def table_rows():
    return csv.reader(io.StringIO(TABLE.read_text()))


def quoted(content):
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(csv.reader(io.StringIO(content.decode())))
    return text.getvalue().encode()


@pytest.mark.parametrize("end", ["\n", ""])
def test_the_table_of_an_earlier_version_gets_the_new_column(end):
    rows = list(csv.DictReader(io.StringIO(TABLE.read_text())))
    earlier = io.StringIO()
    writer = csv.DictWriter(earlier, EARLIER, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    before = earlier.getvalue().removesuffix("\n") + end
    TABLE.write_text(before)
    journal, warned = opened()
    assert list(csv.DictReader(io.StringIO(TABLE.read_text()))) == rows and [row["epochs"] for row in rows] == [
        "0",
        "0",
    ]
    assert len(journal.finished) == 2 and journal.best.number == 2
    assert "an earlier version made it; it gets the column epochs, of zeros" in warned[-1]
    assert before in [path.read_text() for path in LOGS.glob("children.*.csv")]


EDITORS = {
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "CR": lambda content: content.replace(b"\n", b"\r"),
    "a BOM": lambda content: b"\xef\xbb\xbf" + content,
    "no final line end": lambda content: content[:-1],
    "all of it": lambda content: b"\xef\xbb\xbf" + quoted(content).replace(b"\n", b"\r\n")[:-2],
}


@pytest.mark.parametrize("editor", EDITORS)
def test_a_table_saved_by_a_spreadsheet_is_read(editor):
    saved = EDITORS[editor](TABLE.read_bytes())
    TABLE.write_bytes(saved)
    journal, (warning,) = opened()
    assert [found.reward for found in journal.finished.values()] == [0.5, 0.75] and journal.best.number == 2
    (copy,) = LOGS.glob("children.*.csv")
    assert copy.read_bytes() == saved
    assert warning.startswith(f"{TABLE}: ") and str(copy) in warning and "\n" not in warning
    journal.write_child(child(3, 0.25))
    assert [found.number for found in read_table(TABLE)[1]] == [1, 2, 3]
    assert opened()[1] == []


def test_quoted_cells_and_empty_rows_are_read():
    TABLE.write_bytes(quoted(TABLE.read_bytes()) + b",,,,,,,,,,,,\n\n")
    before = TABLE.read_bytes()
    journal, given = opened()
    assert len(journal.finished) == 2 and given == [] and TABLE.read_bytes() == before


def test_a_half_written_row_is_kept_in_a_copy():
    whole = TABLE.read_bytes()
    TABLE.write_bytes(whole + row(child(3, 0.9), "digits", "x").encode()[:40])
    half_written = TABLE.read_bytes()
    journal, (warning,) = opened()
    assert len(journal.finished) == 2 and TABLE.read_bytes() == whole
    assert "half-written" in warning
    assert [path.read_bytes() for path in LOGS.glob("children.*.csv")] == [half_written]


@pytest.mark.parametrize("end", ["# best so far: child 2", "3;digits;1", '"3'])
def test_a_last_line_that_is_not_a_row_is_refused(end):
    with open(TABLE, "a") as file:
        file.write(end)
    before = TABLE.read_bytes()
    with pytest.raises(
        ValueError, match="children.csv: row .* is damaged|children.csv: the part after row 2 is damaged"
    ):
        opened()
    assert TABLE.read_bytes() == before


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "its first line is ''"),
        (header().replace(",", ";").encode(), "its first line is 'number;dataset;blocks"),
        ((header() * 2).encode("utf-16"), "UnicodeDecodeError"),
    ],
)
def test_an_unreadable_table_is_refused_and_not_changed(content, reason):
    TABLE.write_bytes(content)
    with pytest.raises(ValueError, match=f"children.csv: the file is damaged .*{reason}"):
        opened()
    assert TABLE.read_bytes() == content


def test_nothing_is_repaired_when_another_file_is_damaged():
    CHOICES.write_text("{")
    table = TABLE.read_bytes()[:-30]
    TABLE.write_bytes(table)
    text = TEXT.read_bytes()[:-30]
    TEXT.write_bytes(text)
    with pytest.raises(ValueError, match="choices.json is damaged"):
        opened()
    assert TABLE.read_bytes() == table and TEXT.read_bytes() == text


@pytest.mark.parametrize(
    "edit",
    [
        *(EDITORS[editor] for editor in ("CRLF", "CR", "a BOM", "no final line end")),
        lambda content: content + b"My note without a blank line",
        lambda content: content + b"My note with a line end\n",
        lambda content: content.rstrip(b"\n"),
        lambda content: b"My note\n" + content,
    ],
)
def test_nothing_in_a_log_that_was_edited_is_lost(edit):
    edited = edit(TEXT.read_bytes())
    TEXT.write_bytes(edited)
    _, given = opened()
    assert TEXT.read_bytes().startswith(edited) and given == []
    lines = TEXT.read_bytes()[len(edited) :].decode().split("\n")
    assert next(line for line in lines if line).startswith("# Continued ")
    assert not any(line.startswith("Sr. No") for line in lines)


@pytest.mark.parametrize("cut", [2, 20, 130])
def test_a_half_written_entry_of_the_log_is_completed(cut):
    Path("architectures/trial.txt").unlink()
    opened()
    whole = TEXT.read_text()
    TEXT.write_text(whole[:-cut])
    _, given = opened()
    assert TEXT.read_text().startswith(whole)
    assert given == [f"{TEXT}: the rest of a half-written entry is added"]


def test_a_failed_child_is_trained_again_and_its_new_row_counts():
    journal, _ = opened()
    journal.write_child(child(3, 0.0, error="MemoryError: no room"))
    journal, given = opened()
    assert tuple(CELLS[2]) not in journal.finished
    assert given == ["child 3 failed in an earlier run and is trained again: MemoryError: no room"]
    journal.write_child(child(3, 0.9))
    journal, given = opened()
    assert journal.finished[tuple(CELLS[2])].reward == journal.best.reward == 0.9 and given == []
    assert TEXT.read_text().count("Sr. No: 3\nReward: 0.9000\n") == 1


def test_a_failed_child_that_fails_again_is_named_once():
    journal, _ = opened()
    journal.write_child(child(3, 0.0, error="MemoryError: first"))
    journal.write_child(child(3, 0.0, error="MemoryError: second"))
    assert opened()[1] == ["child 3 failed in an earlier run and is trained again: MemoryError: second"]


def test_missing_settings_are_refused_and_nothing_is_moved():
    KEPT.unlink()
    files = sorted(Path().rglob("*"))
    with pytest.raises(ValueError, match="settings.json is gone, .* RESTORE_CONTROLLER = False"):
        opened()
    assert sorted(Path().rglob("*")) == files


def test_a_run_killed_before_its_settings_starts_over():
    KEPT.unlink()
    TABLE.write_text(header())
    journal, (warning,) = opened()
    assert journal.finished == {} and "settings.json is missing. The search starts over; moved aside: " in warning
    assert "Sr. No: 2\n" in next(Path("architectures").glob("trial.*.txt")).read_text()


def test_older_settings_get_the_default_of_a_new_key():
    newer, defaults = {**SETTINGS, "THREADS_PER_CHILD": 1, "RATES": [1, 2]}, {"THREADS_PER_CHILD": 1, "RATES": (1, 2)}
    before = KEPT.read_bytes()
    journal, (warning,) = opened(newer, defaults=defaults)
    assert len(journal.finished) == 2
    assert "THREADS_PER_CHILD = 1, RATES = [1, 2]" in warning
    assert json.loads(KEPT.read_text()) == newer
    assert [path.read_bytes() for path in LOGS.glob("settings.*.json")] == [before]
    with pytest.raises(ValueError, match="THREADS_PER_CHILD was 1 and is 4"):
        opened({**newer, "THREADS_PER_CHILD": 4}, defaults=defaults)


def test_a_new_key_with_a_value_other_than_its_default_is_refused():
    with pytest.raises(ValueError, match="THREADS_PER_CHILD was 1 and is 4"):
        opened({**SETTINGS, "THREADS_PER_CHILD": 4}, defaults={"THREADS_PER_CHILD": 1})


def test_a_lost_key_and_an_unknown_one_are_named():
    with pytest.raises(ValueError, match="it lacks BACKEND"):
        opened({**SETTINGS, "BACKEND": "jax"}, defaults={"SEED": 0})
    with pytest.raises(ValueError, match="does not know: 'SEED'"):
        opened({"DATASET": "digits"})


def test_another_version_of_a_package_gives_only_a_warning():
    Path("settings.json").write_text(json.dumps({"SEED": 0, "keras version": "3.12"}))
    with pytest.warns(UserWarning, match="keras version was '3.12' and is '3.13'") as given:
        check_settings("settings.json", {"SEED": 0, "keras version": "3.13", "jax version": "0.9"}, "")
    assert len(given) == 1


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-20], lambda content: content.replace(b"\x01", b"\x02", 1)]
)
def test_a_damaged_best_network_is_noticed(damage):
    BEST.write_bytes(damage(BEST.read_bytes()))
    assert opened()[1] == [f"{BEST}, the network of child 2, is damaged; retrain it from the log"]


TWO_BLOCKS = CELLS[0] * 2


@pytest.mark.parametrize(
    "cells, reason",
    [
        ([], "it has 0 cells"),
        ([[]], "a cell is a list of 4 to 8 entries"),
        ([CELLS[0]], "another number of blocks"),
        ([TWO_BLOCKS, TWO_BLOCKS], "a cell twice"),
        ([CELLS[0] + CELLS[1], CELLS[1] + CELLS[0]], "a cell twice"),
    ],
)
def test_a_choice_without_cells_or_with_wrong_ones_is_refused(cells, reason):
    CHOICES.write_text(json.dumps({"2": [cells, [0.5] * len(cells)]}))
    with pytest.raises(ValueError, match=f"choices.json: the choice of 2 blocks is damaged .*{reason}"):
        opened()


def test_only_temporary_files_of_this_program_are_removed():
    ours, theirs = LOGS / "children.csv.7.tmp", LOGS / "notes.tmp"
    ours.write_text("")
    theirs.write_text("")
    opened()
    assert theirs.exists() and not ours.exists()

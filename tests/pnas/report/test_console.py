"""Console output of a search: plain lines in a file, a bar and colours on a terminal; time left counted by hand."""

import contextlib
import io
import os
import pty
import re
import struct
import sys
import termios
import threading
import time
from fcntl import ioctl
from types import SimpleNamespace

import pytest
from rich.text import Text
from searches import settings_of

from pnas.child import Child, in_short
from pnas.encoder import StateSpace
from pnas.report import console
from pnas.report.console import Progress, end_lines, hanging
from pnas.search import Finalist

A, B, C = "3x3 bconv", "5x5 sep-bconv", "linear"


def child(number, reward, seconds=10.0, blocks=1, error="", **facts):
    cell = [0, A, 0, C] * blocks
    return Child(number, cell, 0.5, seed=1, reward=reward, seconds=seconds, error=error, **facts)


def progress_of(workers=1, **changes):
    return Progress(settings_of(**changes), SimpleNamespace(count=workers))


def show(progress, results, known=(), later=()):
    """Tells of a block size."""
    blocks = results[0].blocks
    progress.on_round_begin(blocks, (1, 1), list(results), list(known), list(enumerate(later, start=blocks + 1)))
    for each in results:
        progress.on_child_end(each)


def shown(capsys, *arguments, **options):
    """The lines printed for a block size."""
    show(*arguments, **options)
    return capsys.readouterr().out.splitlines()


def left(lines):
    return [re.search(r"s  (.*) left", line)[1] for line in lines[1:]]


@pytest.mark.parametrize(
    "cell, short",
    [
        ([0, A, 0, A], "3x3 bconv ×2"),
        ([0, A, 0, B], "3x3 bconv + 5x5 sep-bconv"),
        ([0, A, 0, A, 0, A, 0, C], "3x3 bconv ×2 | 3x3 bconv + linear"),
        ([-1, A, -1, A, 1, C, 0, B], "-1:3x3 bconv ×2 | 1:linear + 5x5 sep-bconv"),
        ([0, C, -1, C], "linear + -1:linear"),
    ],
)
def test_a_cell_is_written_in_short(cell, short):
    assert in_short(cell) == short


def test_a_short_cell_contains_the_whole_cell():
    def half(text):
        source, colon, operator = text.rpartition(":")
        return [int(source) if colon else 0, operator]

    def in_full(short):
        blocks = [block.removesuffix(" ×2").split(" + ") * (1 + block.endswith(" ×2")) for block in short.split(" | ")]
        return [entry for block in blocks for text in block for entry in half(text)]

    space = StateSpace(2, [A, C], -1, None)
    cells = space.initial_children()
    cells += space.expand(cells)
    assert len(cells) > 100 and [in_full(in_short(cell)) for cell in cells] == cells


def test_a_child_is_ranked_among_all_so_far(capsys):
    progress = progress_of()
    lines = shown(capsys, progress, [child(1, 0.5), child(2, 0.7), child(3, 0.6)])
    lines += shown(capsys, progress, [child(5, 0.7, blocks=2), child(4, 0.4, blocks=2)])
    assert re.findall(r"reward (\S+) +rank (\d+)", "\n".join(lines)) == [
        ("0.5000", "1"),
        ("0.7000", "1"),
        ("0.6000", "2"),
        ("0.7000", "2"),
        ("0.4000", "5"),
    ]


@pytest.mark.parametrize("variables", [{}, {"FORCE_COLOR": "1"}, {"COLUMNS": "40"}])
def test_a_line_in_a_file_is_whole(capsys, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    error = "ValueError: [bold]" + 100 * " much"
    text = "\n".join(shown(capsys, progress_of(), [child(9, 0.125, 3, blocks=3), child(10, 0, error=error)]))
    assert re.search(COLOUR, text) or not variables.get("FORCE_COLOR")
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).split("\n")  # colours alone: any other code stays
    assert lines[0] == "3 blocks a cell: 2 children"
    assert lines[1] == (
        "   1/2  child 9     reward 0.1250  rank 1         3 s  about 0:00:03 left  "
        "3x3 bconv + linear | 3x3 bconv + linear | 3x3 bconv + linear"
    )
    assert lines[2].startswith(f"   2/2  child 10    failed: {error}") and lines[2].endswith("left  3x3 bconv + linear")


def test_a_failed_child_names_the_file_of_its_traceback(capsys):
    failed = [child(7, 0, error="ValueError: no", traceback="Traceback"), child(8, 0, error="its worker died")]
    _, first, second = shown(capsys, progress_of(EXPERIMENT_NAME="trial"), failed)
    assert "failed: ValueError: no (logs/trial/errors/0007.txt)  " in first
    assert "failed: its worker died  " in second


def test_a_child_that_was_stopped_early_says_so(capsys):
    children = [child(1, 0.5, 3, epochs=1), child(2, 0.25, 3, epochs=4)]
    lines = shown(capsys, progress_of(MAX_EPOCHS=4), children)
    assert "rank 1     stopped after 1 epoch      3 s" in lines[1] and "stopped" not in lines[2]


def test_a_reused_child_says_so_and_its_seconds_count_as_long_as_there_are_no_others(capsys):
    children = [
        child(1, 0.5, 100, reused="quick"),
        child(2, 0.5, 10),
        child(3, 0.5, 100, reused="quick"),
        child(4, 0.5),
    ]
    lines = shown(capsys, progress_of(), children)
    assert ["   reused  " in line for line in lines[1:]] == [True, False, True, False]
    assert "reward 0.5000  rank 1      reused  about 0:05:00 left" in lines[1]
    assert left([line.replace("reused", "s") for line in lines])[1:] == [
        "about 0:00:20",
        "about 0:00:10",
        "about 0:00:00",
    ]


def test_a_reused_child_is_not_in_training(monkeypatch):
    with terminal(monkeypatch) as result, progress_of() as progress:
        progress.on_round_begin(1, (1, 1), [child(1, 0.5), child(2, 0.5), child(3, 0.5)], [], [])
        progress.on_child_end(child(2, 0.5, reused="quick"))
        progress.on_child_end(child(1, 0.5))
        progress.console.print(progress._panel())
    assert "child 3     in training" in result.text and "child 2     in training" not in result.text


def test_the_time_left_is_counted_in_rounds_of_children(capsys):
    progress = progress_of(workers=2)
    # Three children of one block, two at a time. Then two rounds of at most four of two blocks, each twice as long.
    lines = shown(capsys, progress, [child(1, 0.5, 10), child(2, 0.5, 20), child(3, 0.5, 15)], later=[4])
    assert left(lines) == [
        "at most about 0:00:50",  # one round of 10 s, two of 20 s
        "at most about 0:01:15",  # one round of 15 s, two of 30 s
        "at most about 0:01:00",  # two rounds of 30 s
    ]
    # There are only three children of two blocks, and their own times replace the estimate.
    two = [child(4, 0.5, 40, blocks=2), child(5, 0.5, 50, blocks=2), child(6, 0.5, 60, blocks=2)]
    assert left(shown(capsys, progress, two)) == ["about 0:00:40", "about 0:00:45", "about 0:00:00"]


def test_the_time_left_counts_the_children_of_all_later_sizes(capsys):
    one = [child(number, 0.5, 10) for number in (1, 2, 3)]
    # 6 of 20 s and 8 of 30 s are 6 minutes. Where no cell fits any more, there is nothing left, not even of finalists.
    assert left(shown(capsys, progress_of(), one, later=[6, 8]))[2] == "at most about 0:06:00"
    assert left(shown(capsys, progress_of(), one, later=[0, 0]))[2] == "at most about 0:00:00"


def test_children_that_may_be_stopped_early_take_at_most_the_time_of_others(capsys):
    progress = progress_of(STOP_EARLY=True)
    lines = shown(capsys, progress, [child(1, 0.5, 10), child(2, 0.5, 10)])
    assert left(lines) == ["about 0:00:10", "about 0:00:00"]  # none of one block is stopped
    lines = shown(capsys, progress, [child(3, 0.5, 20, blocks=2), child(4, 0.5, 20, blocks=2)])
    assert left(lines) == ["at most about 0:00:20", "at most about 0:00:00"]


def test_finalists_take_as_long_as_children_that_were_not_stopped(capsys):
    progress = progress_of(STOP_EARLY=True, MAX_EPOCHS=4, FINALISTS=2, FINAL_SEEDS=1)
    whole, stopped = child(1, 0.5, 100, blocks=2, epochs=4), child(2, 0.4, 25, blocks=2, epochs=1)
    assert left(shown(capsys, progress, [whole, stopped])) == ["at most about 0:05:00", "at most about 0:03:20"]


def test_days_are_left(capsys):
    lines = shown(capsys, progress_of(), [child(1, 0.5, 50_000.0)], later=[1])
    assert left(lines) == ["at most about 1 day, 3:46:40"]  # 100,000 s


def test_time_left_counts_no_more_finalists_than_children(capsys):
    progress = progress_of(FINALISTS=5, FINAL_SEEDS=2)
    lines = shown(capsys, progress, [child(1, 0.5, 10), child(2, 0, error="OSError: full"), child(3, 0.5, 10)])
    # Two children of 10 s, then all three twice. The second one fails: one child, then two twice. Then two twice.
    assert left(lines) == ["about 0:01:20", "about 0:00:50", "about 0:00:40"]


def test_one_finalist_takes_no_time(capsys):
    lines = shown(capsys, progress_of(FINALISTS=1, FINAL_SEEDS=2), [child(1, 0.5, 10), child(2, 0.6, 10)])
    assert left(lines) == ["about 0:00:10", "about 0:00:00"]


def test_time_left_counts_the_rounds_of_each_seed(capsys):
    progress = progress_of(workers=2, FINALISTS=3, FINAL_SEEDS=3)
    lines = shown(capsys, progress, [child(1, 0.5, 10), child(2, 0.5, 10), child(3, 0.5, 10)])
    # Three finalists are two rounds of two workers, and a seed begins when the one before it has ended.
    assert left(lines)[2] == "about 0:01:00"


def test_finalists_take_as_long_as_the_largest_cells(capsys):
    progress = progress_of(FINALISTS=2, FINAL_SEEDS=1)
    lines = shown(capsys, progress, [child(1, 0.5, 10), child(2, 0.5, 10)], later=[1])
    assert left(lines)[1] == "at most about 0:01:00"  # 20 s, and two finalists of 20 s
    lines = shown(capsys, progress_of(FINALISTS=2), [child(1, 0.5, 10), child(2, 0.5, 10)], later=[0])
    assert left(lines)[1] == "at most about 0:00:20"  # there will be none of two blocks


def test_known_children_are_ranked_and_estimate_the_time_left(capsys):
    results = [child(2, 0.6, 5, error="OSError: full"), child(3, 0.6, 5)]
    lines = shown(capsys, progress_of(), results, known=[child(1, 0.9, 100)], later=[1])
    assert lines[0] == "1 block a cell: 3 children, 1 of them known"
    assert "at most about 0:05:00 left" in lines[1]  # one child of 100 s, one of 200 s
    assert "rank 2" in lines[2] and "at most about 0:00:10 left" in lines[2]


def test_a_failed_first_child_gives_no_time_left(capsys):
    assert "time left not known yet" in shown(capsys, progress_of(), [child(1, 0, error="OSError: full")])[1]


def test_a_child_without_a_result_for_ten_mean_times_is_named_once(capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    progress = progress_of(workers=3)
    progress.on_round_begin(1, (1, 1), [child(1, 0.5), child(2, 0.5), child(3, 0.5), child(4, 0.5)], [], [(2, 2)])
    now[0] += 500
    progress.name_slow()  # nothing is known of the mean yet
    progress.on_child_end(child(1, 0.5, 40))
    progress.on_child_end(child(2, 0.5, 60))  # child 4 was handed out when child 1 ended
    capsys.readouterr()
    progress.name_slow()
    assert capsys.readouterr().out == ""  # 500 s are not more than ten times 50 s
    now[0] += 1
    progress.name_slow()
    progress.name_slow()
    assert capsys.readouterr().out == (
        "child 3 has had no result for 0:08:21; children of its size take 0:00:50 on average. "
        "Set MAX_CHILD_MINUTES to end such children  3x3 bconv + linear\n"
    )
    progress.on_child_end(child(3, 0.5, 50))
    progress.on_child_end(child(4, 0.5, 50))
    progress.on_round_begin(2, (1, 1), [child(5, 0.5, blocks=2), child(6, 0.5, blocks=2)], [], [])
    capsys.readouterr()
    now[0] += 1000
    progress.name_slow()
    assert capsys.readouterr().out == ""  # by estimate, two blocks take twice as long as one
    now[0] += 1
    progress.name_slow()
    assert [line[:7] for line in capsys.readouterr().out.splitlines()] == ["child 5", "child 6"]


def test_a_search_looks_for_children_without_a_result(capsys, monkeypatch):
    monkeypatch.setattr(console, "LOOK", 0.01)
    found, deadline = "", time.monotonic() + 60
    with progress_of(workers=2) as progress:
        progress.on_round_begin(1, (1, 1), [child(1, 0.5), child(2, 0.5)], [], [])
        progress.on_child_end(child(1, 0.5, 0.001))
        while "no result" not in found and time.monotonic() < deadline:
            time.sleep(0.01)
            found += capsys.readouterr().out
    assert "child 2 has had no result for 0:00:00; children of its size take 0:00:00 on average. Set" in found


def test_no_child_is_named_because_another_machine_was_faster(capsys, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    progress = progress_of(workers=2)
    progress.on_round_begin(1, (1, 1), [child(2, 0.5)], [child(1, 0.5, 1)], [])
    capsys.readouterr()
    now[0] += 1000
    progress.name_slow()
    assert capsys.readouterr().out == ""


def test_the_quality_of_the_surrogate_stands_beside_that_of_macs(capsys):
    predicted, rewards = [0.5, 0.6, 0.7, 0.8, 0.9, 0.95], [0.4, 0.6, 0.8, 0.7, 0.9, 0.95]
    macs = [60, 50, 40, 30, 20, 10]
    children = [Child(n, [0, C] * 4, p, reward=r, macs=m) for n, (p, r, m) in enumerate(zip(predicted, rewards, macs))]
    failed = Child(7, [0, C] * 4, 0.1, error="OSError: full")
    progress = progress_of()
    progress.on_size_end(2, [*children, failed])
    # Errors: 0.1, 0, 0.1, 0.1, 0, 0. Ranks 1 2 3 4 5 6 against 1 2 4 3 5 6: 1 - 6 * 2 / (6 * 35); reversed: -0.94.
    line = (
        "Predicted before training: Spearman 0.94 (of MACs alone -0.94), mean absolute error 0.0500, top-5 recall 1.0"
    )
    assert capsys.readouterr().out == f"{line}\n"
    settings = progress.settings
    epochs = [settings.MAX_EPOCHS] * 4 + [settings.MAX_EPOCHS // 4] * 2
    progress.on_size_end(2, [each._replace(epochs=number) for each, number in zip(children, epochs)])
    assert capsys.readouterr().out == f"{line}; 2 of 6 children were stopped early\n"
    progress.on_size_end(2, children[1:])
    assert capsys.readouterr().out == "Predicted before training: too few to judge\n"
    progress.on_size_end(2, [each._replace(predicted=0.5) for each in children])
    assert "Spearman not defined (of MACs alone -0.94)" in capsys.readouterr().out
    progress.on_size_end(1, children)
    assert capsys.readouterr().out == ""


def test_a_search_without_a_cell_within_the_limits_says_so(capsys):
    progress = progress_of(MAX_MACS=300_000)
    progress.on_choice(2, [[0, A, 0, A] * 2])
    assert capsys.readouterr().out == ""
    progress.on_choice(2, [])
    line = "No expansion of a child is within MAX_MACS = 300,000: the search ends with 1 block a cell\n"
    assert capsys.readouterr().out == line
    progress_of(MAX_MACS=1, MAX_BINARY_WEIGHTS=2_000).on_choice(3, [])
    assert (
        "within MAX_MACS = 1 and MAX_BINARY_WEIGHTS = 2,000: the search ends with 2 blocks" in capsys.readouterr().out
    )


COLOUR = r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;\d]*m"


@contextlib.contextmanager
def terminal(monkeypatch, columns=120, **variables):
    """A terminal as standard output. Its content is in the `text` of what this yields, at the end."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **variables}.items():
        monkeypatch.setenv(name, value)
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    monkeypatch.setenv("COLUMNS", str(columns))
    parts, result = [], SimpleNamespace()

    def read():
        with contextlib.suppress(OSError):  # the other end was closed
            while True:
                parts.append(os.read(ours, 65536))

    reader = threading.Thread(target=read)
    reader.start()
    with monkeypatch.context() as patch, os.fdopen(theirs, "w") as stream:
        patch.setattr(sys, "stdout", stream)
        yield result
    reader.join()
    os.close(ours)
    result.text = b"".join(parts).decode()


def test_a_terminal_shows_a_bar_and_the_children_in_training(monkeypatch):
    with terminal(monkeypatch) as result, progress_of(workers=2) as progress:
        results = [child(1, 0.5, 1), child(2, 0.5, 1), child(3, 0.5, 1)]
        progress.on_round_begin(1, (1, 1), results, [], [])
        progress.on_child_end(results[0])
        time.sleep(0.7)  # the bar is drawn twice a second
        progress.on_child_end(results[1])
        progress.on_child_end(results[2])
    assert re.search(COLOUR, result.text)
    text = re.sub(r"\x1b\[[?;\d]*[A-Za-z]", "", result.text)
    assert "━" in text
    assert "child 1     in training for 0:00:0" in text and "child 2     in training for" in text
    # A worker is free after child 1.
    assert text.index("child 1     reward") < text.index("child 3     in training for")
    assert "1/3" in text and "best 0.5000" in text and "about 0:00:0" in text


def test_no_color_turns_colours_off(monkeypatch):
    with terminal(monkeypatch, NO_COLOR="1") as result, progress_of() as progress:
        show(progress, [child(3, 0.5)])
    assert "━" in result.text and "reward 0.5000" in result.text and not re.search(COLOUR, result.text)


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    with terminal(monkeypatch, TERM="dumb") as result, progress_of() as progress:
        show(progress, [child(3, 0.5)])
    assert "\x1b" not in result.text and "child 3     reward 0.5000  rank 1" in result.text
    assert "left  3x3 bconv + linear" in result.text


def test_nothing_moves_in_a_notebook(monkeypatch):
    with terminal(monkeypatch, JPY_PARENT_PID="1") as result, progress_of() as progress:
        show(progress, [child(3, 0.5, blocks=4)])
    text = re.sub(r"\x1b\[[\d;]*m", "", result.text)  # colours alone: any other code stays
    assert text.count("\n") == 2 and "\x1b" not in text and "━" not in text
    assert text.rstrip().endswith("left  " + " | ".join(4 * ["3x3 bconv + linear"]))


def test_the_bar_has_room_on_80_columns(monkeypatch):
    known = [child(number, 0.5, 100) for number in range(1, 201)]
    new = [child(number, 0.5, 100) for number in range(201, 301)]
    with terminal(monkeypatch, columns=80) as result, progress_of() as progress:
        progress.on_round_begin(1, (1, 1), new, known, [(2, 300)])
        progress.console.print(progress._panel())
    text = re.sub(r"\x1b\[[\d;]*m", "", result.text)
    (bar,) = {line.strip() for line in re.split(r"\x1b\[[?\d]*[A-Za-z]|[\r\n]", text) if "left" in line}
    assert re.fullmatch(r"1-block cells  [━╺╸]+  200/300  best 0.5000  at most about \S+ left", bar), bar
    assert len(bar) <= 80


def test_a_long_cell_goes_on_below_itself(monkeypatch):
    with terminal(monkeypatch, columns=80, NO_COLOR="1") as result, progress_of() as progress:
        show(progress, [child(3, 0.5, blocks=2)])
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[?;\d]*[A-Za-z]", "", result.text).splitlines()]
    place = lines.index("   1/1  child 3     reward 0.5000  rank 1        10 s  3x3 bconv + linear |")
    assert lines[place + 1] == 55 * " " + "3x3 bconv + linear"


@pytest.mark.parametrize("width", [60, 75])
def test_a_cell_without_room_is_broken_anywhere(width):
    line = Text("   1/1  child 3     reward 0.5000  rank 1        10 s  3x3 bconv + linear | 3x3 bconv + linear")
    assert (hanging(line, width) is line) == (width == 60)


def test_there_is_no_bar_after_the_last_child(monkeypatch):
    with terminal(monkeypatch) as result, progress_of() as progress:
        show(progress, [child(1, 0.5), child(2, 0.5)])
        progress.console.print("the surrogate learns")
    assert "\x1b[?25h" in result.text.partition("the surrogate learns")[0]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_the_cursor_is_shown_again_after_an_error(monkeypatch, error):
    with terminal(monkeypatch) as result, contextlib.suppress(error), progress_of() as progress:
        progress.on_round_begin(1, (1, 1), [child(1, 0.5), child(2, 0.5)], [], [])
        raise error
    assert result.text.rindex("\x1b[?25h") > result.text.rindex("\x1b[?25l")


def test_a_stream_that_lacks_a_character_gets_another_one(monkeypatch):
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(buffer, "ascii"))
    show(progress_of(), [Child(1, [0, A, 0, A], 0.5, reward=0.5)])
    sys.stdout.flush()
    assert re.search(rb"reward 0.5000 .* 3x3 bconv \?2\n", buffer.getvalue())


def test_a_finalist_is_shown_with_the_reward_of_its_first_training(capsys):
    progress = progress_of(FINALISTS=2, FINAL_SEEDS=2)
    show(progress, [child(3, 0.75), child(4, 0.7)])
    capsys.readouterr()
    again = [child(3, 0.5, repeat=1), child(4, 0.25, repeat=1)]
    progress.on_repeat_begin(1, [child(3, 0.75), child(4, 0.7)], again)
    for each in again:
        progress.on_child_end(each)
    heading, line, _ = capsys.readouterr().out.splitlines()
    assert heading == "Finalists, further seed 1 of 2: 2 children"
    # One more training of 10 s with this seed, two with the next one.
    assert line.startswith("   1/2  child 3     reward 0.5000  first 0.7500     10 s  about 0:00:30 left  ")
    progress.on_repeat_begin(2, [child(3, 0.75), child(4, 0.7)], again[:1])
    assert capsys.readouterr().out == "Finalists, further seed 2 of 2: 2 children, 1 of them known\n"


def test_a_repeat_is_not_the_best_child(monkeypatch):
    with terminal(monkeypatch) as result, progress_of(FINALISTS=1) as progress:
        show(progress, [child(3, 0.75)])
        progress.on_repeat_begin(1, [child(3, 0.75)], [child(3, 0.75)])
        progress.on_child_end(child(3, 0.875, repeat=1))
    assert "best 0.7500" in result.text.partition("Finalists")[2] and "best 0.8750" not in result.text


# Deviations of the first one's rewards from 0.75: -0.25, 0, 0.25; sqrt(0.125 / 2) = 0.25.
WINNER = child(3, 0.5, macs=4_000_000, binary_weights=500)
FINALISTS = [
    Finalist(WINNER, [WINNER, child(3, 0.75), child(3, 1.0)]),
    Finalist(child(4, 0.75), [child(4, 0.75), child(4, 0.5)]),
]


def test_a_search_ends_with_the_means_of_its_finalists():
    assert end_lines(FINALISTS, settings_of(MAX_MACS=5_000_000), "python train.py --train_arc") == [
        "mean reward 0.7500 ± 0.2500 of 3 trainings  child 3     3x3 bconv + linear",
        "mean reward 0.6250 ± 0.1768 of 2 trainings  child 4     3x3 bconv + linear",
        f"Best: mean reward 0.7500 ± 0.2500 of 3 trainings, child 3, {[0, A, 0, C]}",
        "Costs:       4,000,000 MACs (MAX_MACS = 5,000,000), 500 binary weights",
        "Retrain it:  python train.py --train_arc",
    ]


def test_a_search_ends_with_the_reward_of_a_winner_that_was_trained_once():
    once = child(3, 0.5)
    assert end_lines([Finalist(once, [once])], settings_of(MAX_BINARY_WEIGHTS=9), "again") == [
        f"Best: reward 0.5000, child 3, {[0, A, 0, C]}",
        "Costs:       0 MACs, 0 binary weights (MAX_BINARY_WEIGHTS = 9)",
        "Retrain it:  again",
    ]

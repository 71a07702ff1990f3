"""Console output of a search: plain lines in a file, a bar and colours on a terminal; time left counted by hand."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pnas.child import Child, in_short
from pnas.encoder import StateSpace
from pnas.report.console import Progress, finalist_lines
from pnas.search import Finalist

ROOT = Path(__file__).parents[3]


A, B, C = "3x3 bconv", "5x5 sep-bconv", "linear"


def child(number, reward, seconds=10.0, blocks=1, error=""):
    return Child(number, [0, A, 0, C] * blocks, 0.5, seed=1, reward=reward, seconds=seconds, error=error)


def shown(capsys, progress, blocks, results, known=()):
    """The lines printed for a block size."""
    for _ in progress.follow(blocks, [(c.number, c.cell, c.predicted) for c in results], list(known), results):
        pass
    return capsys.readouterr().out.splitlines()


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


def test_overhead_is_a_share_of_the_time_of_all_workers(capsys):
    progress = Progress(K=2, B=1, workers=2)
    shown(
        capsys, progress, 1, [child(number, 0.5, seconds=36.0)._replace(training_seconds=30.0) for number in (1, 2, 3)]
    )
    progress.show_times(wall=60.0)  # of 120 s, children take 108 s and their training 90 s
    line = "0:01:00 with 2 workers, 25.0% of it outside training steps and validation (10.0% without a child)\n"
    assert capsys.readouterr().out == line


def test_a_run_that_trained_nothing_shows_no_overhead(capsys):
    progress = Progress(K=2, B=1, workers=1)
    shown(capsys, progress, 1, [], known=[child(1, 0.5)])
    progress.show_times(wall=60.0)
    assert "outside" not in capsys.readouterr().out


def test_a_child_is_ranked_among_all_so_far(capsys):
    progress = Progress(K=2, B=2, workers=1)
    lines = shown(capsys, progress, 1, [child(1, 0.5), child(2, 0.7), child(3, 0.6)])
    lines += shown(capsys, progress, 2, [child(5, 0.7, blocks=2), child(4, 0.4, blocks=2)])
    assert re.findall(r"reward (\S+) +rank (\d+)", "\n".join(lines)) == [
        ("0.5000", "1"),
        ("0.7000", "1"),
        ("0.6000", "2"),
        ("0.7000", "2"),
        ("0.4000", "5"),
    ]


def test_a_line_in_a_file_is_whole_and_plain(capsys):
    error = "ValueError: [bold]" + 100 * " much"
    lines = shown(capsys, Progress(K=1, B=3, workers=1), 3, [child(9, 0.125, 3, blocks=3), child(10, 0, error=error)])
    assert lines[0] == "3 blocks a cell: 2 children"
    assert lines[1] == (
        "   1/2  child 9     reward 0.1250  rank 1         3 s  about 0:00:03 left  "
        "3x3 bconv + linear | 3x3 bconv + linear | 3x3 bconv + linear"
    )
    assert lines[2].startswith(f"   2/2  child 10    failed: {error}") and lines[2].endswith("left  3x3 bconv + linear")


def test_a_child_that_was_stopped_early_says_so(capsys):
    children = [child(1, 0.5, 3)._replace(epochs=1), child(2, 0.25, 3)._replace(epochs=4)]
    lines = shown(capsys, Progress(K=1, B=1, workers=1, epochs=4), 1, children)
    assert "rank 1     stopped after 1 epoch      3 s" in lines[1] and "stopped" not in lines[2]


def test_the_time_left_is_counted_in_rounds_of_children(capsys):
    def left(lines):
        return [re.search(r"s  (.*) left", line)[1] for line in lines[1:]]

    progress = Progress(K=4, B=2, workers=2)
    # Three children of one block, two at a time. Then two rounds of at most four of two blocks, each twice as long.
    lines = shown(capsys, progress, 1, [child(1, 0.5, 10), child(2, 0.5, 20), child(3, 0.5, 15)])
    assert left(lines) == [
        "at most about 0:00:50",  # one round of 10 s, two of 20 s
        "at most about 0:01:15",  # one round of 15 s, two of 30 s
        "at most about 0:01:00",  # two rounds of 30 s
    ]
    # There are only three children of two blocks, and their own times replace the estimate.
    two = [child(4, 0.5, 40, blocks=2), child(5, 0.5, 50, blocks=2), child(6, 0.5, 60, blocks=2)]
    assert left(shown(capsys, progress, 2, two)) == ["about 0:00:40", "about 0:00:45", "about 0:00:00"]


def test_time_left_counts_no_more_children_of_a_size_than_there_are(capsys):
    space = StateSpace(3, [A, C])  # 3 flat cells of one block, 6 of two and 10 of three
    progress = Progress(K=8, B=3, workers=1, most_expansions=space.most_expansions)
    lines = shown(capsys, progress, 1, [child(1, 0.5, 10), child(2, 0.5, 10), child(3, 0.5, 10)])
    # 6 of 20 s and 8, the K, of 30 s are 6 minutes.
    assert "at most about 0:06:20 left" in lines[1] and "at most about 0:06:00 left" in lines[3]


def test_time_left_counts_no_more_finalists_than_children(capsys):
    progress = Progress(K=4, B=1, workers=1, finalists=5, seeds=2)
    lines = shown(capsys, progress, 1, [child(1, 0.5, 10), child(2, 0, error="OSError: full"), child(3, 0.5, 10)])
    # Two children of 10 s, then all three twice. The second one fails: one child, then two twice. Then two twice.
    assert [re.search(r"about (\S+) left", line)[1] for line in lines[1:]] == ["0:01:20", "0:00:50", "0:00:40"]


def test_time_left_counts_the_rounds_of_each_seed(capsys):
    progress = Progress(K=4, B=1, workers=2, finalists=3, seeds=3)
    lines = shown(capsys, progress, 1, [child(1, 0.5, 10), child(2, 0.5, 10), child(3, 0.5, 10)])
    # Three finalists are two rounds of two workers, and a seed begins when the one before it has ended.
    assert "about 0:01:00 left" in lines[3]


def test_known_children_are_ranked_and_estimate_the_time_left(capsys):
    progress = Progress(K=1, B=2, workers=1)
    lines = shown(
        capsys, progress, 1, [child(2, 0.6, 5, error="OSError: full"), child(3, 0.6, 5)], [child(1, 0.9, 100)]
    )
    assert lines[0] == "1 block a cell: 3 children, 1 of them known"
    assert "at most about 0:05:00 left" in lines[1]  # one child of 100 s, one of 200 s
    assert "rank 2" in lines[2] and "at most about 0:00:10 left" in lines[2]


def test_a_failed_first_child_gives_no_time_left(capsys):
    assert "time left not known yet" in shown(capsys, Progress(1, 1, 1), 1, [child(1, 0, error="OSError: full")])[1]


def test_a_child_is_saved_before_it_is_shown(capsys):
    kept = []
    for result in Progress(K=1, B=1, workers=1).follow(1, [(1, [0, A, 0, A], 0.5)], [], [child(1, 0.25)]):
        assert "0.2500" not in capsys.readouterr().out
        kept.append(result)
    assert len(kept) == 1 and "0.2500" in capsys.readouterr().out


SEARCH = """
import sys, time
from pnas.child import Child
from pnas.report.console import Progress

def results():
    for number, cell, predicted in new:
        time.sleep(0.8)
        yield Child(number, cell, predicted, 0, reward=0.5, seconds=0.8)

def search():
    for child in Progress(1, 1, 2).follow(1, new, [], results()):
        if child.number == {stop}:
            raise OSError("the disk is full")

new = [(number, [0, "3x3 bconv", 0, "linear"], 0.5) for number in (1, 2, 3)]
try:
    search()
except OSError as error:
    sys.exit(str(error))
"""


COLOUR = r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[;\d]*m"


def on_a_terminal(stop=0, **environment):
    """Terminal output for three children, two at a time; the search fails after child `stop`."""
    ours, theirs = pty.openpty()
    variables = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    variables.update(
        {"PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", **environment}
    )
    process = subprocess.Popen(
        [sys.executable, "-c", SEARCH.format(stop=stop)], stdout=theirs, stderr=theirs, env=variables
    )
    os.close(theirs)
    content = b""
    while True:
        try:
            content += os.read(ours, 65536)
        except OSError:  # the process has ended
            break
    os.close(ours)
    assert process.wait() == (1 if stop else 0)
    return content.decode()


def test_a_terminal_shows_a_bar_and_the_children_in_training():
    coloured = on_a_terminal()
    assert re.search(COLOUR, coloured)
    text = re.sub(r"\x1b\[[?;\d]*[A-Za-z]", "", coloured)
    assert "━" in text
    assert "child 1     in training for 0:00:0" in text and "child 2     in training for" in text
    assert text.index("child 1     reward") < text.index(
        "child 3     in training for"
    )  # a worker is free after child 1
    assert "1/3" in text and "best 0.5000" in text and "about 0:00:0" in text


def test_no_color_turns_colours_off():
    text = on_a_terminal(NO_COLOR="1")
    assert "━" in text and "child 3     reward 0.5000" in text and not re.search(COLOUR, text)


def test_a_stream_that_lacks_a_character_gets_another_one():
    search = SEARCH.format(stop=0).replace('0, "linear"', '0, "3x3 bconv"')
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"}
    result = subprocess.run([sys.executable, "-c", search], env=environment, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    assert len(re.findall(rb"reward 0.5000 .* 3x3 bconv \?2\n", result.stdout)) == 3


def test_a_dumb_terminal_gets_plain_lines():
    text = on_a_terminal(TERM="dumb")
    assert "\x1b" not in text and "child 3     reward 0.5000  rank 3" in text and "left  3x3 bconv + linear" in text


def test_the_cursor_is_shown_again_after_an_error():
    text = on_a_terminal(stop=2)
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l") and "the disk is full" in text


def test_a_finalist_is_shown_with_the_reward_of_its_first_training(capsys):
    first, again = child(3, 0.75), child(3, 0.5)
    progress = Progress(K=2, B=1, workers=1)
    list(progress.follow_finalists(1, 2, [first], [(3, again.cell, 0.5)], [again]))
    heading, line = capsys.readouterr().out.splitlines()
    assert heading == "Finalists, further seed 1 of 2: 1 child"
    # One more training of 10 s is left, with the second seed.
    assert line.startswith("   1/1  child 3     reward 0.5000  first 0.7500     10 s  about 0:00:10 left  ")


def test_finalists_are_listed_with_mean_and_standard_deviation():
    finalist = Finalist(child(3, 0.5), [child(3, 0.75), child(3, 1.0)])
    # Deviations from 0.75: -0.25, 0, 0.25; sqrt(0.125 / 2) = 0.25.
    (line,) = finalist_lines([finalist])
    assert line == f"mean 0.7500 ± 0.2500 of 3 trainings  child 3     {in_short(finalist.child.cell)}"

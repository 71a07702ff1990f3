"""What a search will take, counted by hand."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tiny_training import settings_of
from train_constants import settings_of_train

from pnas import UsageError
from pnas.costs import Cost
from pnas.report import forecast
from pnas.report.forecast import Measured, Size, child_seconds, disk, range_in_words, sizes_of, time_range
from pnas.training.speed import Images, Speed

SHAPE = 8, 8, 1
WORKERS = SimpleNamespace(count=2, pool=object())


def size_of(blocks, macs, trained, count=None):
    return Size(blocks, count or len(macs), trained, [Cost(each, each // 10) for each in macs], [], [])


def measured_of(blocks, macs, seconds, network=0):
    return Measured(blocks, Cost(macs, macs // 10), Speed(seconds, 5 * 10**8, network))


def test_all_cells_within_the_budget_are_counted():
    # README: 38 of the 285 cells, the ten one-block cells but one; 3,103,680 MACs are those of `1x7-7x1 bconv ×2`.
    sizes = sizes_of(settings_of_train(MAX_MACS=3_000_000), (28, 28, 1))
    assert [(size.blocks, size.count, size.trained) for size in sizes] == [(1, 9, 9), (2, 19, 19), (3, 10, 10)]
    assert sizes[0].costs[0] == (209352, 39186) and sizes[0].cheapest == [0, "3x3 sep-bconv"] * 2
    assert all(size.costs == sorted(size.costs) and size.costs[-1].macs <= 3_000_000 for size in sizes)


def test_at_most_k_cells_of_a_size_are_trained():
    # Three operators make 6 blocks, and these 6 * 7 / 2 pairs.
    assert [(size.count, size.trained) for size in sizes_of(settings_of(K_=2), SHAPE)] == [(6, 6), (21, 2)]
    with pytest.raises(UsageError, match="no cell of one block is within MAX_MACS = 1"):
        sizes_of(settings_of(MAX_MACS=1), SHAPE)


def test_many_cells_are_represented_by_the_cheapest_to_the_costliest(monkeypatch):
    every = sizes_of(settings_of(B=3), SHAPE)
    monkeypatch.setattr(forecast, "MOST_CELLS", 5)
    monkeypatch.setattr(forecast, "SPREAD", 1)
    few = sizes_of(settings_of(B=3), SHAPE)
    assert [size.count for size in few] == [6, 21, 56]  # 6 * 7 * 8 / 6
    for size, all_of_it in zip(few[1:], every[1:]):
        assert len(size.costs) < size.count == len(all_of_it.costs)
        assert (size.costs[0], size.costs[-1]) == (all_of_it.costs[0], all_of_it.costs[-1])


def test_blocks_and_macs_take_time():
    seconds = child_seconds([measured_of(1, 1_000_000, 12), measured_of(3, 10_000_000, 50)])
    # 10 s a block and 2 s a million MACs
    assert seconds(1, 1_000_000) == pytest.approx(12) and seconds(2, 5_000_000) == pytest.approx(30)
    assert child_seconds([measured_of(2, 1_000_000, 7)])(2, 1_000_000) == pytest.approx(7)


def test_no_part_of_the_time_is_negative():
    seconds = child_seconds([measured_of(1, 1_000_000, 50), measured_of(3, 10_000_000, 20)])
    assert 0 <= seconds(1, 1) <= seconds(1, 10**9) and seconds(3, 1) >= 0


def test_the_range_is_that_of_the_cheapest_and_the_costliest_cells():
    sizes = [size_of(1, [1, 3], 2), size_of(2, [5, 9, 7, 11], 2)]
    # One worker: 1 + 3; 5 + 7 or 9 + 11; two finalists as the mean of these, 6 or 10, with 3 seeds.
    settings = settings_of(FINALISTS=2, FINAL_SEEDS=3)
    assert time_range(sizes, lambda blocks, macs: macs, settings, 1) == (4 + 12 + 36, 4 + 20 + 60)
    # Three side by side: a round of each size and seed, as long as the mean child.
    assert time_range(sizes, lambda blocks, macs: macs, settings, 3) == (2 + 6 + 18, 2 + 10 + 30)
    # One finalist is not trained again. The 4 cells stand for 8, of which a quarter is trained.
    sizes[1] = sizes[1]._replace(count=8)
    assert time_range(sizes, lambda blocks, macs: macs, settings_of(FINALISTS=1), 1) == (4 + 10, 4 + 22)


def test_the_least_time_is_that_of_children_that_are_all_stopped_but_the_pioneers():
    sizes = [size_of(1, [4, 4], 2), size_of(2, [4] * 8, 8)]
    # All of one block: 2 * 4. Of two: 2 pioneers, and 6 that take a quarter of 4. No round waits for a worker.
    settings = settings_of(STOP_EARLY=True, MAX_EPOCHS=4, K_=8, FINALISTS=0)
    assert time_range(sizes, lambda blocks, macs: macs, settings, 1) == (8 + 2 * 4 + 6, 8 + 8 * 4)
    settings = settings_of(STOP_EARLY=True, MAX_EPOCHS=3, K_=8, FINALISTS=0)
    assert time_range(sizes, lambda blocks, macs: macs, settings, 1) == (8 + 8 * 4, 8 + 8 * 4)


def test_the_other_children_wait_for_the_pioneers():
    sizes = [size_of(1, [4, 4], 2), size_of(2, [4] * 8, 8)]
    # On eight workers: those of one block, 2 pioneers, the other 2 of the first round, 4 of the second.
    settings = settings_of(STOP_EARLY=True, MAX_EPOCHS=4, K_=8, ROUNDS=2, FINALISTS=0)
    assert time_range(sizes, lambda blocks, macs: macs, settings, 8)[1] == 4 + 4 + 4 + 4


def test_every_network_is_counted_as_the_largest_of_its_size():
    sizes = [size_of(1, [1000, 3000], 2), size_of(2, [2000, 5000], 4)]
    measured = [measured_of(1, 1000, 1, network=2000), measured_of(2, 5000, 1, network=4000)]
    # 300 weights are half the way from 100 to 500. The 4 children are followed by 3 finalists with 2 seeds.
    assert disk(sizes, measured, settings_of(FINALISTS=3, FINAL_SEEDS=2)) == (12, 2 * 3000 + (4 + 6) * 4000)


@pytest.mark.parametrize(
    "low, high, words",
    [
        (95.2, 95.4, "95 s"),
        (30, 36, "30 to 36 s"),
        (99, 3600, "99 s to 60 min"),
        (100, 119, "1.7 to 2 min"),
        (45 * 60, 87 * 60, "45 to 87 min"),
        (99.4 * 60, 25 * 3600, "99 min to 25 h"),
        (50 * 3600, 300 * 3600, "50 h to 12 days"),
        (300 * 86400, 4000 * 86400, "300 to 4000 days"),
    ],
)
def test_a_range_of_time_has_two_digits(low, high, words):
    assert range_in_words(low, high) == words


def test_constants_of_the_command_line_come_first(capsys):
    forecast.print_constants(settings_of_train(B=2, NUM_EPOCHS=3), settings_of_train())
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "Constants of the command line, and train.py's:",
        "  B = 2, not 3",
        "All other constants are train.py's:",
    ]
    assert lines[3].startswith("  search: K_ = 128, operators = ['3x3 sep-bconv', ") and "NUM_EPOCHS" not in "".join(
        lines
    )
    assert max(map(len, lines)) <= 78 and not any(line.endswith("=") for line in lines)
    forecast.print_constants(settings_of_train(), settings_of_train())
    assert capsys.readouterr().out.startswith("All constants are train.py's:\n  search: B = 3, K_ = 128, ")


@pytest.fixture
def measuring(monkeypatch):
    """List of the cells that were measured. A child of n blocks takes n hours, its network n MB."""
    cells = []

    def measure(measured, *_):
        cells.extend(measured)
        return [Speed(3600 * (len(cell) // 4), 5 * 10**8, 10**6 * (len(cell) // 4)) for cell in measured]

    monkeypatch.setattr(forecast, "measure_speeds", measure)
    return cells


def test_a_forecast_names_time_memory_and_disk(measuring, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    forecast.print_forecast(settings_of(FINALISTS=2, FINAL_SEEDS=1), Images(900, 100, (100, 100, 1)), WORKERS)
    *table, trainings, time, memory, space = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in table[-2:]] == [["1", "6", "6"], ["2", "21", "2"]]
    assert trainings == "Trainings: 8 children and 2 finalists with 1 further seed, each of 1 epoch on 900 images"
    assert measuring == [[0, "3x3 maxpool", 0, "3x3 maxpool"], [0, "3x3 bconv"] * 4]
    assert time.endswith(", 2 side by side; a child takes 60 min to 2 h")
    # 2 * 500 MB, and twice 1,000 images of 40,000 bytes
    assert memory == "Memory:    about 1.1 GB for 2 workers of 500 MB and twice the images"
    assert space.endswith(" for 10 networks") and not [*tmp_path.iterdir()]


@pytest.mark.parametrize("error", [OSError("no room"), ValueError("wrong operator")])
def test_what_cannot_be_measured_has_no_time(error, monkeypatch, capsys):
    def measure(*_):
        raise error

    monkeypatch.setattr(forecast, "measure_speeds", measure)
    forecast.print_forecast(settings_of(), Images(900, 100, SHAPE), WORKERS)
    assert capsys.readouterr().out.endswith(f"not measured ({type(error).__name__}: {error})\n")
    forecast.announce(settings_of(MAX_EPOCHS=10**6), Images(900, 100, SHAPE), WORKERS, known=0)
    assert capsys.readouterr().out == f"Time to expect: not known yet ({type(error).__name__}: {error})\n"


def test_the_workers_of_ray_are_not_measured(measuring, capsys):
    ray = SimpleNamespace(count=2, pool=None)
    forecast.print_forecast(settings_of(), Images(900, 100, SHAPE), ray)
    assert capsys.readouterr().out.endswith("not measured (Ray's workers cannot be asked)\n")
    forecast.announce(settings_of(MAX_EPOCHS=10**6), Images(900, 100, SHAPE), ray, known=0)
    assert not measuring and capsys.readouterr().out == ""


def test_a_search_that_is_there_is_named(measuring, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("logs", "pnas").mkdir(parents=True)
    Path("logs", "pnas", "search.db").touch()
    forecast.print_forecast(settings_of(), Images(900, 100, SHAPE), WORKERS)
    assert "logs/pnas already has a search. The figures above are for a whole one" in capsys.readouterr().out


def test_a_long_search_begins_with_its_time(measuring, capsys):
    images, long = Images(100_000, 100, SHAPE), settings_of(MAX_EPOCHS=100)
    forecast.announce(long, images, WORKERS, known=1)  # the known children tell the time
    forecast.announce(settings_of(MAX_EPOCHS=9), images, WORKERS, known=0)  # (6 + 2) * 9 * 100,000 images are few
    forecast.announce(settings_of(MAX_EPOCHS=3, K_=1000), images, WORKERS, known=0)  # so are (6 + 21) * 3 * 100,000
    assert not measuring and capsys.readouterr().out == ""
    forecast.announce(long, images, WORKERS, known=0)
    # An hour a block: three rounds of two children of one block, and one of two of two blocks.
    assert capsys.readouterr().out == "Time to expect: about 5 h for 8 children\n" and len(measuring) == 2

"""A search on a Dask cluster."""

import pytest
import tiny_search

pytest.importorskip("distributed")


def test_a_worker_that_is_killed_in_the_middle_changes_nothing(cluster, uninterrupted, tmp_path):
    machines = cluster()
    process = tiny_search.start(tmp_path, "--PARALLEL_BACKEND", "dask", "--SCHEDULER", machines.address)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.lstrip().startswith("1/6"):  # the first child is done, the next ones are being trained
            machines.kill(1)
    assert process.wait() == 0, "".join(lines)
    assert tiny_search.results(tmp_path) == tiny_search.results(uninterrupted)

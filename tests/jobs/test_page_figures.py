"""Ranks share the figures of a page; the pictures are those of one rank."""

from pathlib import Path

import pytest

CASE = str(Path(__file__).with_name("page_figures_case.py"))


@pytest.mark.mpi
def test_pictures_do_not_depend_on_who_draws_them_and_heavy_ones_stay_on_rank_0(mpirun):
    found = {}
    for n in (1, 2, 3):
        run = mpirun(n, CASE)
        assert run.returncode == 0, run.stderr
        found[n] = dict(line.split(": ") for line in run.stdout.splitlines() if ": " in line)
    assert len(set(found[1]["pictures"].split())) == 6
    assert found[1]["pictures"] == found[2]["pictures"] == found[3]["pictures"]
    # the last of six is heavy
    assert [found[n]["drawn"] for n in (1, 2, 3)] == ["6", "4 2", "3 2 1"]

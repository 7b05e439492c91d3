"""`select` on randomly damaged STAR files: it works, or a StaMpiError says why."""

import shutil
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from select_sets import save_project

from sta_mpi.errors import StaMpiError
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.jobs import select
from sta_mpi.jobs.folder import NEW, JobFolder
from sta_mpi.jobs.parameters.select import SelectParameters

BAD_INPUT = Path(__file__).resolve().parents[1] / "bad_input"
FILES = ("particles.star", "tomograms.star", "tilt_series/TS_1.star", "second.star")


@pytest.fixture
def mutated(monkeypatch):
    """The damage of the tests of bad input."""
    monkeypatch.setattr(sys, "path", [str(BAD_INPUT), *sys.path])
    import test_mutated_star_files

    return test_mutated_star_files


def run_select(folder, output):
    """All kinds of steps, in this process and without a launcher."""
    parameters = SelectParameters(
        output=output, particles=folder / "particles.star", tomograms=folder / "tomograms.star",
        join=(folder / "second.star",), keep_range=("rlnAngleTilt:5:175",), min_distance_A=20,
        duplicate_angle_deg=30, symmetry="C3", lattice_spacing_A=90, min_neighbours=0,
        fill_holes=True, hole_votes=1, max_per_tomogram=18, halves="clusters",
        compare=folder / "second.star", split_parts=2)
    select.input_files(parameters)
    made = select.run(parameters, JobFolder(output, "select", "0", NEW),
                      SimpleNamespace(is_root=True))
    assert made.results["particles"] > 0
    return made


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_set_is_selected_from_or_refused_with_a_reason(mutated, tmp_path, name):
    (tmp_path / "set").mkdir()
    save_project(tmp_path / "set")
    second = read_star(tmp_path / "set/particles.star").first.select(range(10))
    write_star(tmp_path / "set/second.star", [second])
    path = tmp_path / "set" / name
    good = path.read_text()
    assert run_select(tmp_path / "set", tmp_path / "good").results["particles_in"] == 50
    count = {"worked": 0, "refused": 0}

    @settings(max_examples=120, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))
    @given(mutated.DAMAGE)
    def check(faults):
        text = good
        for fault in faults:
            text = mutated.damage(text, *fault) if text.strip() else text
        path.write_bytes(text.encode("latin-1", "replace"))
        output = tmp_path / "out"
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                run_select(tmp_path / "set", output)
                count["worked"] += 1
            except StaMpiError as error:
                message = str(error)
                assert message.endswith((".", ")")), message
                assert len(message) > 20, message
                count["refused"] += 1

    check()
    assert count["worked"] > 10
    assert count["refused"] > 10

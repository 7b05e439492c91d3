"""One particle, or one half-set alone, gives a map but no FSC, and the run says so."""

import json

import mrcfile
import numpy as np
import pytest
from bad_projects import ALIGN, AVERAGE, Project

PARTICLES = "particles.star"
SEARCH = (*ALIGN[:-1], "out", "--angle-range-deg", "5", "--shift-range-A", "8",
          "--iterations", "2")
REFINE = ("refine", "--optimisation-set", "optimisation_set.star", "--box-px", "24",
          "--lowpass-A", "40", "--reference", "maps/merged.mrc", "--quiet", "-o", "out")


def one_particle(project: Project) -> None:
    project.set_rows(PARTICLES, "particles", [0])


def one_half(project: Project) -> None:
    project.set_column(PARTICLES, "particles", "rlnRandomSubset", "2")


@pytest.mark.parametrize(("breaking", "empty", "command"), [
    pytest.param(one_particle, None, AVERAGE, id="average"),
    pytest.param(one_particle, None, SEARCH, id="local"),
    pytest.param(one_particle, None, (*SEARCH, "--search", "grid"), id="grid"),
    pytest.param(one_particle, None, (*SEARCH, "--search", "global", "--global-order", "1"),
                 id="global"),
    pytest.param(one_particle, None, (*SEARCH, "--score", "fsc"), id="fsc_score"),
    pytest.param(one_half, "half1", (*AVERAGE, "--symmetry", "C2"), id="average_one_half"),
    pytest.param(one_half, "half1", (*SEARCH, "--band-schedule", "fsc"), id="local_one_half")])
def test_run_without_a_second_half_makes_a_map_and_claims_no_resolution(
        project, breaking, empty, command):
    breaking(project)
    project.accepts(command)
    text = project.path("out/job.json").read_text()
    job = json.loads(text)
    assert "NaN" not in text
    assert job["results"]["resolution_A"] is None
    said = [w for w in job["warnings"] if "no FSC and no resolution" in w]
    assert len(said) == 1
    maps = {name: mrcfile.read(project.path(f"out/{name}.mrc")) for name in ("half1", "half2")}
    left = [name for name, data in maps.items() if not data.any()]
    assert left == [empty] if empty else len(left) == 1
    full = maps[{"half1": "half2", "half2": "half1"}[left[0]]]
    merged = mrcfile.read(project.path("out/merged.mrc"))
    # nothing is known to filter the merged map by: it is the half map there is
    assert merged.std() > 0
    assert np.corrcoef(merged.ravel(), full.ravel())[0, 1] > 0.99


def test_one_particle_moves_where_two_half_sets_would_put_it(project):
    """The pose of a particle does not depend on there being others (given reference and noise)."""
    words = (*SEARCH[:-2], "--iterations", "1", "--noise", "flat", "--noise-from", "images")
    project.accepts(words)
    everyone = project.path("out/particles.star").read_text()
    row = next(line for line in everyone.splitlines() if "TS_01/1 " in line)
    project.path("out").rename(project.path("all"))
    one_particle(project)
    project.accepts(words)
    alone = project.path("out/particles.star").read_text()
    assert row.split() == next(
        line for line in alone.splitlines() if "TS_01/1 " in line).split()


@pytest.mark.parametrize("breaking", [one_particle, one_half])
def test_refinement_without_a_second_half_is_refused(project, breaking):
    breaking(project)
    project.refuses(REFINE, 3, "particles are in half-set", "--halves random", faults=1)

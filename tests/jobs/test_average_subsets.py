"""`average --splits --reslog`: FSC of other half-sets and of fewer particles in one run."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.relion_fsc import read_postprocess
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.jobs.average import AverageJob, prepare_setup
from sta_mpi.jobs.average_subsets import further_passes
from sta_mpi.jobs.inputs import assign_halves
from sta_mpi.jobs.parameters.average import AverageParameters
from sta_mpi.parallel.engine import run_job
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.signal.fsc import resolution_A

pytestmark = [pytest.mark.mpi, pytest.mark.usefixtures("empty_figures")]

NUMBERS = ("splits", "resolution_splits_mean_A", "resolution_splits_sd_A", "reslog_b_factor_A2",
           "reslog_doubling_A", "predicted_doubling_A")


def words(small_set, out, *more):
    return ["average", "--tomograms", str(small_set.with_name("tomograms.star")), "--particles",
            str(small_set.with_name("particles_truth.star")), "--box-px", "32", "--noise", "flat",
            "--quiet", "-o", str(out), *more]


def run(small_set, out, *more):
    result = CliRunner().invoke(cli, words(small_set, out, *more))
    assert result.exit_code == 0, result.output
    return json.loads((out / "job.json").read_text())["results"]


def between_shells(out):
    """Resolution of a finished average, interpolated between shells."""
    curve = read_postprocess(out / "fsc.star").curves["corrected"]
    return resolution_A(curve, 6.0, 32, 0.143, "interpolated")


@pytest.fixture(scope="module")
def both(small_set, tmp_path_factory):
    """Results of one run with both options."""
    out = tmp_path_factory.mktemp("both") / "out"
    return run(small_set, out, "--splits", "2", "--reslog")


def test_spread_is_that_of_separate_runs_with_these_half_sets(small_set, both, tmp_path):
    tomograms = read_tomograms(small_set.with_name("tomograms.star"))
    particles = read_particles(small_set.with_name("particles_truth.star"), tomograms)
    particles.half = assign_halves(particles, "random", 1001, 100.0)
    write_particles(tmp_path / "other.star", particles, tomograms)
    run(small_set, tmp_path / "first")
    run(small_set, tmp_path / "second", "--particles", str(tmp_path / "other.star"))
    found = [between_shells(tmp_path / name) for name in ("first", "second")]
    assert found[0] != found[1]
    assert both["splits"] == 2
    # the curves of files have six decimals
    assert both["resolution_splits_mean_A"] == pytest.approx(np.mean(found), rel=1e-5)
    assert both["resolution_splits_sd_A"] == pytest.approx(np.std(found, ddof=1), rel=1e-3)


def test_a_subset_is_the_average_of_its_particles_alone(small_set, tmp_path):
    parameters = AverageParameters(
        particles=small_set.with_name("particles_truth.star"), reslog=True,
        tomograms=small_set.with_name("tomograms.star"), box_px=32, noise="flat",
        output=tmp_path / "none")
    setup = prepare_setup(parameters)
    passes = further_passes(parameters, setup)
    # 24 particles: an eighth leaves one or two in a half-set
    assert [p.name for p in passes][-2:] == ["subset 0.25", "subset 0.5"]
    kept = [set(np.flatnonzero(p.half)) for p in passes]
    assert kept[-2] < kept[-1]
    for further in passes:
        chosen = further.half > 0
        assert np.array_equal(further.half[chosen], setup.half[chosen])
    tomograms = read_tomograms(small_set.with_name("tomograms.star"))
    particles = read_particles(small_set.with_name("particles_truth.star"), tomograms)
    write_particles(tmp_path / "half.star", particles.select(passes[-1].half > 0), tomograms)
    run(small_set, tmp_path / "alone", "--particles", str(tmp_path / "half.star"))
    job = AverageJob(replace(setup, half=passes[-1].half), "test")
    maps, _ = run_job(job, Runtime()).outputs
    alone = read_mrc(tmp_path / "alone/half1.mrc").data
    # the rewritten file has angles of six decimals, turned to matrices and back
    assert np.abs(maps.halves.half1.data - alone).max() < 1e-4 * np.abs(alone).max()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["split 2", "subset 0.5"])
def test_a_run_killed_after_a_pass_goes_on_to_the_same_numbers(
        command, small_set, both, tmp_path, stage):
    out = tmp_path / "out"
    more = ["--splits", "2", "--reslog", "--checkpoint-minutes", "0.001"]
    units = {"split 2": 1, "subset 0.5": 6}[stage]
    killed = command(2, *words(small_set, out, *more), plant={
        "fail": "kill", "rank": 1, "units": units, "sleep_s": 0.1})
    assert killed.returncode != 0
    done = command(3, *words(small_set, out, *more))
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "job.json").read_text())["results"]
    assert {name: found[name] for name in NUMBERS} == {name: both[name] for name in NUMBERS}

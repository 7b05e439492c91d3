"""`refine` on simulated particles with planted poses."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.formats.star import read_star
from sta_mpi.geometry.rotations import angular_distance_deg

OUTPUTS = ("run_half1_class001_unfil.mrc", "run_half2_class001_unfil.mrc", "run_class001.mrc",
           "poses.h5", "run_data.star", "run_model.star", "scores.h5")


def run(*words):
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two series of 16 particles with poses up to 6 degrees and 8 Å wrong."""
    folder = tmp_path_factory.mktemp("refine")
    run("simulate", "--n-series", 2, "--n-particles", 16, "--pixel-A", 5, "--image-width-px", 288,
        "--image-height-px", 288, "--tilt-step-deg", 4, "--thickness-A", 600, "--snr", 0.3,
        "--phantom-detail-A", 4, "--perturb-angle-deg", 6, "--perturb-shift-A", 8,
        "--min-distance-A", 150, "--truth-box-px", 40, "--quiet", "-o", folder / "sim")
    run(*words(folder), "-o", folder / "one")
    return folder


def words(folder):
    return ["refine", "--optimisation-set", folder / "sim/optimisation_set.star", "--reference",
            folder / "sim/truth.mrc", "--box-px", 40, "--lowpass-A", 40, "--noise", "flat",
            "--oracle-particles", 10, "--iterations", 3, "--quiet"]


def results(folder):
    return json.loads((folder / "job.json").read_text())["results"]


def test_refinement_betters_the_given_poses_and_says_so(project):
    found = results(project / "one")
    # a shell or two: the FSC at the given poses falls off slowly
    assert found["resolution_A"] < 0.95 * found["resolution_of_given_poses_A"]
    tomograms = read_tomograms(project / "sim/tomograms.star")
    truth = read_particles(project / "sim/particles_truth.star", tomograms)
    poses, _ = read_poses(project / "one/poses.h5")
    angle = angular_distance_deg(truth.R_p2t, poses.R_p2t)
    shift = np.linalg.norm(poses.position_A - truth.position_A, axis=1)
    # from a median of 4.5 degrees and 6 Å
    assert 0.01 < np.median(angle) < 1.5
    assert 0.01 < np.median(shift) < 2.0


def test_output_has_the_tables_that_readers_of_relions_model_look_for(project):
    model = read_star(project / "one/run_model.star")
    assert [t.name for t in model] == ["model_general", "model_classes", "model_class_1"]
    general, _, shells = model
    assert not general.is_loop
    assert shells.is_loop
    assert float(general.value("rlnPixelSize")) == 5.0
    fsc = shells.columns["rlnGoldStandardFsc"].astype(float)
    assert len(fsc) == 21
    assert fsc[0] == 1.0
    assert float(general.value("rlnCurrentResolution")) == pytest.approx(
        results(project / "one")["resolution_A"], abs=1e-4)


def test_the_set_of_a_refinement_goes_into_the_next_command(project, tmp_path):
    run("average", "--optimisation-set", project / "one/run_optimisation_set.star", "--box-px", 40,
        "--noise", "flat", "--quiet", "-o", tmp_path / "again")
    again = results(tmp_path / "again")
    assert again["resolution_A"] == pytest.approx(results(project / "one")["resolution_A"])


def test_a_refinement_that_begins_at_the_fsc_of_its_poses_needs_no_round_to_reach_it(
        project, tmp_path):
    base = ["refine", "--optimisation-set", project / "one/run_optimisation_set.star", "--box-px",
            40, "--noise", "flat", "--oracle-particles", 0, "--iterations", 6, "--quiet"]
    run(*base, "--lowpass-A", 40, "-o", tmp_path / "coarse")
    run(*base, "--start-at-fsc", "-o", tmp_path / "fine")
    coarse, fine = results(tmp_path / "coarse"), results(tmp_path / "fine")
    assert (coarse["converged"], fine["converged"]) == (True, True)
    assert fine["resolution_A"] == coarse["resolution_A"]
    assert fine["rounds"] == 2 < coarse["rounds"]


@pytest.mark.parametrize("option", [["--reference", "sim/truth.mrc"], ["--search", "global"],
                                    ["--halves", "random"]])
def test_start_at_the_fsc_is_refused_where_the_average_is_not_the_reference(
        project, tmp_path, option):
    option = [project / word if word.startswith("sim/") else word for word in option]
    result = CliRunner().invoke(cli, list(map(str, [
        "refine", "--optimisation-set", project / "one/run_optimisation_set.star", "--box-px", 40,
        "--start-at-fsc", *option, "-o", tmp_path / "refused"])))
    assert result.exit_code == 2
    assert ("half-sets" if "random" in option else "without --reference") in result.output


@pytest.mark.mpi
def test_a_refinement_gives_the_same_bits_on_one_and_three_ranks(project, tmp_path, mpirun):
    done = mpirun(3, "-m", "sta_mpi", *map(str, words(project)), "-o", str(tmp_path / "three"),
                  timeout=240)
    assert done.returncode == 0, done.stderr
    for name in OUTPUTS:
        one, three = (folder / name for folder in (project / "one", tmp_path / "three"))
        assert one.read_bytes() == three.read_bytes(), name


def test_a_refinement_that_cannot_reach_the_given_poses_keeps_them(project, tmp_path):
    """From the true poses, with a reference of noise."""
    from sta_mpi.formats.mrc_write import write_mrc

    noise = np.random.default_rng(1).normal(size=(40, 40, 40)).astype(np.float32)
    write_mrc(tmp_path / "noise.mrc", noise, 5.0)
    run("refine", "--particles", project / "sim/particles_truth.star", "--tomograms",
        project / "sim/tomograms.star", "--reference", tmp_path / "noise.mrc", "--box-px", 40,
        "--lowpass-A", 20, "--noise", "flat", "--oracle-particles", 0, "--iterations", 1,
        "--quiet", "-o", tmp_path / "refine")
    found = results(tmp_path / "refine")
    warnings = json.loads((tmp_path / "refine/job.json").read_text())["warnings"]
    assert found["given_poses_kept"] is True
    assert found["resolution_A"] == pytest.approx(found["resolution_of_given_poses_A"])
    assert any("the given poses were kept" in text for text in warnings)


def test_a_prior_does_not_pull_particles_back_when_limits_shrink(project, tmp_path):
    """All particles 15 Å from where they were picked, a wide prior about the picks.

    Limits of later rounds (10 Å here) are centred at the prior.
    """
    tomograms = read_tomograms(project / "sim/tomograms.star")
    truth = read_particles(project / "sim/particles_truth.star", tomograms)
    away = truth.with_poses(truth.R_p2t, truth.offset_A + [15.0, 0.0, 0.0])
    write_particles(tmp_path / "away.star", away, tomograms)
    run(*words(project), "--particles", tmp_path / "away.star", "--shift-prior-A", 30,
        "--no-accept-if-better", "--no-early-stop", "--oracle-particles", 0, "-o",
        tmp_path / "out")
    poses, _ = read_poses(tmp_path / "out/poses.h5")
    shift = np.linalg.norm(poses.position_A - truth.position_A, axis=1)
    assert 0.01 < np.median(shift) < 2.0


def test_two_references_are_refused_with_the_command_to_use(project, tmp_path):
    truth = project / "sim/truth.mrc"
    result = CliRunner().invoke(cli, list(map(str, [
        "refine", "--optimisation-set", project / "sim/optimisation_set.star", "--reference", truth,
        "--reference", truth, "--box-px", 40, "-o", tmp_path / "refused"])))
    assert result.exit_code == 2
    assert "classify" in result.output

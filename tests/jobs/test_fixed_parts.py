"""`--fix` and `--fix-tomograms`: what is fixed keeps its bits, the rest goes to its optimum."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles, write_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import angular_distance_deg, rotation_from_vector

pytestmark = [pytest.mark.mpi, pytest.mark.usefixtures("empty_figures")]

@pytest.fixture(scope="module")
def planted(small_set, tmp_path_factory):
    """True poses, and particles turned 5 degrees about their own Z axes and nothing else."""
    tomograms = read_tomograms(small_set.with_name("tomograms.star"))
    truth = read_particles(small_set.with_name("particles_truth.star"), tomograms)
    turn = rotation_from_vector(np.radians([[0.0, 0.0, 5.0]]))[0]
    path = tmp_path_factory.mktemp("turned") / "particles.star"
    write_particles(path, truth.with_poses(truth.R_p2t @ turn, truth.offset_A), tomograms)
    return small_set.parent, truth, read_particles(path, tomograms), path


def search(folder, particles, out, *more, command="align"):
    words = [command, "--tomograms", folder / "tomograms.star", "--particles", particles,
             "--reference", folder / "truth.mrc", "--box-px", 40, "--lowpass-A", 15, "--search",
             "local", "--iterations", 1, "--noise", "flat", "--oracle-particles", 0, "--quiet",
             "-o", out, *more]
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == 0, result.output
    return read_poses(out / "poses.h5")[0]


def twist_deg(before, after):
    """Turn about the particle's own Z axis once the axis itself is swung back."""
    M = np.swapaxes(before, 1, 2) @ after
    return np.degrees(np.arctan2(M[:, 1, 0] - M[:, 0, 1], M[:, 0, 0] + M[:, 1, 1]))


def axis_deg(before, after):
    return np.degrees(np.arccos(np.clip((before[:, :, 2] * after[:, :, 2]).sum(axis=1), -1, 1)))


def test_fixed_shifts_keep_their_values_and_rotations_find_the_truth(planted, tmp_path):
    folder, truth, given, path = planted
    found = search(folder, path, tmp_path / "out", "--fix", "shifts")
    assert np.array_equal(found.offset_A, given.offset_A)
    error = angular_distance_deg(found.R_p2t, truth.R_p2t)
    assert 0.01 < np.median(error) < 1.5


def test_fixed_rotations_keep_their_values(planted, tmp_path):
    folder, _, given, path = planted
    found = search(folder, path, tmp_path / "out", "--fix", "rotations")
    assert np.array_equal(found.R_p2t, given.R_p2t)
    assert (np.linalg.norm(found.offset_A - given.offset_A, axis=1) > 0.05).mean() > 0.5


def test_a_fixed_axis_leaves_the_in_plane_turn_that_is_wrong_to_be_found(planted, tmp_path):
    """One free parameter: nearer to the truth than with six."""
    folder, truth, given, path = planted
    found = search(folder, path, tmp_path / "out", "--fix", "axis", "--fix", "shifts",
                   "--oracle-particles", 12)
    # the arc cosine of a number near 1 has half of the digits
    assert axis_deg(given.R_p2t, found.R_p2t).max() < 1e-5
    assert np.array_equal(found.offset_A, given.offset_A)
    error = angular_distance_deg(found.R_p2t, truth.R_p2t)
    free = angular_distance_deg(search(folder, path, tmp_path / "free").R_p2t, truth.R_p2t)
    assert 0.005 < np.median(error) < np.median(free)
    # the exhaustive search keeps to the same axis
    warnings = json.loads((tmp_path / "out/job.json").read_text())["warnings"]
    assert not [w for w in warnings if "found better poses" in w]


def test_a_fixed_in_plane_turn_stays_wrong(planted, tmp_path):
    folder, truth, given, path = planted
    found = search(folder, path, tmp_path / "out", "--fix", "in-plane")
    assert np.abs(twist_deg(given.R_p2t, found.R_p2t)).max() < 0.1
    assert np.median(twist_deg(truth.R_p2t, found.R_p2t)) == pytest.approx(5.0, abs=0.5)


@pytest.mark.parametrize("name", ["refine", "classify"])
def test_particles_of_a_fixed_tomogram_are_averaged_where_they_are(planted, tmp_path, name):
    folder, _, given, path = planted
    more = {"refine": ["--no-accept-if-better"], "classify": ["--classes", 1]}[name]
    found = search(folder, path, tmp_path / "out", "--fix-tomograms", "TS_01", *more,
                   command=name)
    kept = np.array(given.tomo_names)[given.i_tomo] == "TS_01"
    assert 0 < kept.sum() < len(kept)
    assert np.array_equal(found.R_p2t[kept], given.R_p2t[kept])
    assert np.array_equal(found.offset_A[kept], given.offset_A[kept])
    assert (angular_distance_deg(found.R_p2t, given.R_p2t)[~kept] > 0.5).mean() > 0.8


@pytest.mark.parametrize(("options", "code", "told"), [
    (("--fix", "rotations", "--fix", "shifts"), 2, "--fix leaves nothing to search"),
    (("--fix", "axis", "--search", "global"), 2, "this search is global"),
    (("--fix", "shifts", "--search", "grid"), 2, "this one is grid"),
    (("--fix", "axis", "--relax-symmetry", "C2"), 2, "Leave one of them out"),
    (("--fix", "position"), 2, "'position' is not"),
    (("--fix-tomograms", "TS_09"), 3, "TS_09: no particle is in this tomogram"),
    (("--fix-tomograms", "TS_01", "--fix-tomograms", "TS_02"), 2, "names all tomograms")])
def test_what_cannot_be_fixed_is_refused(planted, tmp_path, options, code, told):
    folder, _, _, path = planted
    words = ["align", "--tomograms", folder / "tomograms.star", "--particles", path,
             "--reference", folder / "truth.mrc", "--box-px", 40, "--lowpass-A", 30, "-o",
             tmp_path / "out", *options]
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == code
    assert told in result.output
    assert "Traceback" not in result.output

"""`align --search local` and `global` on simulated particles, against the planted poses."""

import functools

import numpy as np
import pytest
from click.testing import CliRunner

from sta_mpi.cli.main import cli
from sta_mpi.formats.containers import read_h5
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import angular_distance_deg

SEARCH = {"local": ["--angle-range-deg", "15", "--shift-range-A", "20"],
          "global": ["--shift-range-A", "20"]}


def run(*words):
    result = CliRunner().invoke(cli, list(map(str, words)))
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Two series of 16 particles with poses up to 6 degrees and 8 Å wrong, and the truth map."""
    folder = tmp_path_factory.mktemp("polish")
    run("simulate", "--n-series", 2, "--n-particles", 16, "--pixel-A", 5, "--image-width-px", 288,
        "--image-height-px", 288, "--tilt-step-deg", 4, "--thickness-A", 600, "--snr", 0.3,
        "--phantom-detail-A", 4, "--perturb-angle-deg", 6, "--perturb-shift-A", 8,
        "--min-distance-A", 150, "--truth-box-px", 40, "--quiet", "-o", folder / "sim")
    return folder


def align(project, search, output, *more):
    run("align", "--search", search, "--optimisation-set",
        project / "sim/optimisation_set.star", "--reference", project / "sim/truth.mrc",
        "--box-px", 40, "--lowpass-A", 11, "--noise", "flat", "--oracle-particles", 0,
        *SEARCH[search], "--quiet", *more, "-o", output)


@pytest.fixture(scope="module")
def aligned(project):
    """Folder of an alignment on one rank, run once for each kind of search."""
    @functools.cache
    def folder(search):
        align(project, search, project / search)
        return project / search

    return folder


def errors(project, output):
    """Angle and shift errors of every particle, and what was written of them."""
    tomograms = read_tomograms(project / "sim/tomograms.star")
    truth = read_particles(project / "sim/particles_truth.star", tomograms)
    found, _ = read_poses(output / "poses.h5")
    sigma = read_h5(output / "scores.h5").arrays
    angle = angular_distance_deg(truth.R_p2t, found.R_p2t)
    shift = np.linalg.norm(found.position_A - truth.position_A, axis=1)
    return angle, shift, sigma


@pytest.mark.parametrize("search", ["local", "global"])
def test_search_finds_the_planted_poses_to_its_own_uncertainty(project, aligned, search):
    angle, shift, written = errors(project, aligned(search))
    assert angle.max() < 5.0
    assert np.median(angle) > 1e-3
    # three components each; neighbours in projection add to the noise, and at this signal what the
    # model leaves of it counts as noise as well (docs/decisions/0094)
    normalised = np.array([angle**2 / (3 * written["sigma_angle_deg"] ** 2),
                           shift**2 / (3 * written["sigma_shift_A"] ** 2)])
    assert 0.4 < normalised[0].mean() < 2.0
    assert 0.4 < normalised[1].mean() < 2.5


def test_global_search_does_not_use_the_given_orientations(project, tmp_path):
    """With all input orientations turned by 90 degrees the planted ones are found."""
    tomograms = read_tomograms(project / "sim/tomograms.star")
    particles = read_particles(project / "sim/particles.star", tomograms)
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turned = particles.with_poses(particles.R_p2t @ quarter, particles.offset_A)
    from sta_mpi.formats.relion_particles import write_particles

    write_particles(tmp_path / "turned.star", turned, tomograms)
    align(project, "global", tmp_path / "align", "--particles", tmp_path / "turned.star",
          "--starts", 12)
    angle, _, _ = errors(project, tmp_path / "align")
    assert np.mean(angle < 5.0) >= 0.9


@pytest.mark.mpi
def test_poses_of_the_global_search_are_the_same_bits_on_one_and_two_ranks(
        project, aligned, tmp_path, mpirun):
    words = ["align", "--search", "global", "--optimisation-set",
             project / "sim/optimisation_set.star", "--reference", project / "sim/truth.mrc",
             "--box-px", 40, "--lowpass-A", 11, "--noise", "flat", "--oracle-particles", 0,
             *SEARCH["global"], "--quiet", "-o", tmp_path / "two"]
    done = mpirun(2, "-m", "sta_mpi", *map(str, words), timeout=120)
    assert done.returncode == 0, done.stderr
    for name in ("half1.mrc", "half2.mrc", "poses.h5", "scores.h5"):
        assert (aligned("global") / name).read_bytes() == (tmp_path / "two" / name).read_bytes()

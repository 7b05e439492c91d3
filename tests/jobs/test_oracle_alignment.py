"""The exhaustive search recovers planted poses down to what its grid can say.

The best that a cubic grid of step d can do: the error is uniform in a cube of edge d about the
grid point, of variance d^2 / 12 along each of three axes, so its rms length is d / 2. That holds
for rotation vectors [degrees], which near the identity are rotations, and for shifts [Å].

The two grids are alike in what they do to the particle (3 degrees are 2.6 Å at its radius):
a coarse shift grid would be made up for by turns. Particles keep apart on all tilts and the noise
is low, so that the grid is what limits; 30 particles a half-set keep the second round, whose
reference is their own average, from holding each particle where the first one left it.
"""

import numpy as np
import pytest

from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.poses_h5 import read_poses
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_tomograms import read_tomograms
from sta_mpi.geometry.rotations import angular_distance_deg

pytestmark = pytest.mark.mpi

PIXEL_A = 5.0
ANGLE_STEP_DEG, SHIFT_STEP_A = 3.0, 2.5
REFINE = 0.5

SET = ["simulate", "--n-series", "3", "--n-particles", "20", "--pixel-A", PIXEL_A,
       "--image-width-px", "400", "--image-height-px", "400", "--thickness-A", "200",
       "--min-distance-A", "240", "--tilt-step-deg", "10", "--phantom-radius-A", "50",
       "--phantom-detail-A", "5", "--defocus-A", "20000", "--snr", "10", "--truth-box-px", "32",
       "--perturb-angle-deg", "6", "--perturb-shift-A", 2 * PIXEL_A, "--quiet"]
ALIGN = ["align", "--box-px", "32", "--unit-particles", "4", "--search", "grid",
         "--lowpass-A", "14", "--angle-range-deg", "7", "--angle-step-deg", ANGLE_STEP_DEG,
         "--shift-range-A", 2 * PIXEL_A + SHIFT_STEP_A, "--shift-step-A", SHIFT_STEP_A,
         "--refine-factor", REFINE, "--quiet"]


@pytest.fixture(scope="module")
def folder(command, tmp_path_factory):
    """The simulated project and three alignments of it, in one start of the program."""
    folder = tmp_path_factory.mktemp("oracle")
    made = command(2, *SET, "-o", folder / "project")
    assert made.returncode == 0, made.stderr
    truth = read_mrc(folder / "project/truth.mrc")
    write_mrc(folder / "bright.mrc", 10 * truth.data, truth.voxel_A)
    align = [*ALIGN, "--optimisation-set", folder / "project/optimisation_set.star",
             "--reference-mask", folder / "project/truth_mask.mrc"]
    run = command(
        2, *align, "--reference", folder / "project/truth.mrc", "-o", folder / "one",
        "++", *align, "--reference", folder / "project/truth.mrc", "--iterations", "2",
        "-o", folder / "two",
        "++", *align, "--reference", folder / "bright.mrc", "-o", folder / "bright")
    assert run.returncode == 0, run.stderr
    return folder


def errors(found, folder):
    """Rms of the angles [degrees] and distances [Å] to the truth."""
    project = folder / "project"
    truth = read_particles(project / "particles_truth.star",
                           read_tomograms(project / "tomograms.star"))
    assert found.names.tolist() == truth.names.tolist()
    angle = angular_distance_deg(found.R_p2t, truth.R_p2t)
    distance = np.linalg.norm(found.position_A - truth.position_A, axis=1)
    return np.sqrt(np.mean(angle**2)), np.sqrt(np.mean(distance**2))


def poses(folder, name):
    return read_poses(folder / name / "poses.h5")[0]


def test_starts_are_as_wrong_as_asked_for(folder):
    project = folder / "project"
    angle, distance = errors(read_particles(
        project / "particles.star", read_tomograms(project / "tomograms.star")), folder)
    assert 2.5 < angle < 6.0
    assert 4.0 < distance < 2 * PIXEL_A


@pytest.mark.parametrize(("name", "factor"), [("one", 1.0), ("two", REFINE)])
def test_poses_are_recovered_within_one_and_a_half_of_the_grids_own_limit(folder, name, factor):
    angle, distance = errors(poses(folder, name), folder)
    angle_limit, shift_limit = factor * ANGLE_STEP_DEG / 2, factor * SHIFT_STEP_A / 2
    # a grid cannot do much better than its limit either: 0 would be a test of nothing
    assert 0.5 * angle_limit < angle < 1.5 * angle_limit
    assert 0.5 * shift_limit < distance < 1.5 * shift_limit


def test_reference_of_ten_times_the_grey_scale_gives_the_same_poses(folder):
    found, expected = poses(folder, "bright"), poses(folder, "one")
    assert np.array_equal(found.R_p2t, expected.R_p2t)
    assert np.array_equal(found.offset_A, expected.offset_A)

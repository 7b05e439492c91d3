"""When a polish ends: good poses cost a look or two, and a step that leaves little is the last."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.marching import marching_radii
from sta_mpi.align.multi_start import polish_best
from sta_mpi.align.polish import (
    CONTRADICTED,
    PolishSettings,
    Pose,
    PoseState,
    bands_of,
    run_steps,
)
from sta_mpi.align.pose import Restraint
from sta_mpi.kernels.gather import prepare_gather
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.kernels.polish.climb import CONVERGED
from sta_mpi.kernels.polish.restraint import step_between
from sta_mpi.kernels.polish.step import step_length
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom

N = 48
PHANTOM = chiral_phantom(13.0, 1.6)
TILT = Rotation.from_euler("y", np.linspace(-60, 60, 41)[:, None], degrees=True).as_matrix()
LAYOUT = make_layout(N, marching_radii(20))
SETTINGS = PolishSettings()


@pytest.fixture(scope="module")
def volume():
    plans = FftPlans(effort="estimate")
    return prepare_gather(plans.rfft3(PHANTOM.truth_map(N, 1.0)), plans, 2.0)


def noisy_particle(volume, seed, sd=3.0):
    """(function of the pose, true pose) of a particle with white noise."""
    rng = np.random.default_rng(seed)
    R = Rotation.random(rng=rng).as_matrix()
    seen = PHANTOM.views_rft(TILT @ R, N, 1.0) + np.fft.rfft2(
        rng.normal(scale=sd, size=(41, N, N)), norm="ortho")
    packed = pack_samples((seen / sd**2).astype(np.complex64),
                          np.full(seen.shape, 1 / sd**2, np.float32), LAYOUT)
    return PoseProblem(volume, packed, LAYOUT, TILT, N), Pose(R, np.zeros(3))


FIRST, LAST = 0, len(LAYOUT.band_start) - 2


def distance(problem, band, pose, other):
    """Between two poses in standard deviations of a band."""
    state = run_steps(problem, bands_of(problem, SETTINGS, None).look(
        band, pose, Restraint(pose, SETTINGS)))
    step = step_between(pose.R_p2t, pose.shift_xyz_px, other.R_p2t, other.shift_xyz_px)
    return float(step_length(step, state.record["information"][0]))


def climbed(problem, settings, band, start, restraint):
    """State after a climb in one band alone."""
    asked = next(bands_of(problem, settings, None).climb_on(band, start, restraint))
    problem.climb(asked.state, asked.rules[:1], asked.used[:1])
    return PoseState(asked.state)


def pose_away(optimum, sds, seed):
    """A pose some standard deviations from an optimum, in a direction drawn at random."""
    information = optimum.record["information"][0]
    direction = np.linalg.solve(np.linalg.cholesky(information).T,
                                np.random.default_rng(seed).normal(size=6))
    direction *= sds / float(step_length(direction, information))
    turn = Rotation.from_rotvec(direction[:3]).as_matrix()
    return Pose(optimum.pose.R_p2t @ turn, optimum.pose.shift_xyz_px + direction[3:])


@pytest.mark.parametrize("seed", range(6))
def test_polishing_a_polished_pose_again_costs_few_looks_and_hardly_moves_it(volume, seed):
    problem, truth = noisy_particle(volume, seed)
    first = polish_best(problem, [truth], SETTINGS)[0]
    again = polish_best(problem, [Pose(first.R_p2t, first.shift_xyz_px)], SETTINGS)[0]
    moved = distance(problem, LAST, Pose(again.R_p2t, again.shift_xyz_px),
                     Pose(first.R_p2t, first.shift_xyz_px))
    assert 0 < moved < SETTINGS.tolerance
    # a look a band, and one more where the first look's step was not short enough
    assert again.n_evaluations <= len(LAYOUT.band_start) - 1 + 1


@pytest.mark.parametrize("seed", range(6))
def test_a_low_band_leaves_a_start_that_it_does_not_contradict_and_moves_another(volume, seed):
    problem, truth = noisy_particle(volume, seed)
    strict = PolishSettings(tolerance=1e-3, max_steps=40, bands=(1,))
    optimum = climbed(problem, strict, FIRST, truth, Restraint(truth, strict))

    def climbed_from(sds):
        start = pose_away(optimum, sds, seed)
        state = climbed(problem, SETTINGS, FIRST, start, Restraint(start, SETTINGS))
        assert state.record["stage"][0] == CONVERGED
        return start, state.pose

    near, end = climbed_from(0.6 * CONTRADICTED)
    np.testing.assert_array_equal(end.R_p2t, near.R_p2t)
    np.testing.assert_array_equal(end.shift_xyz_px, near.shift_xyz_px)
    _, end = climbed_from(2.0 * CONTRADICTED)
    assert distance(problem, FIRST, optimum.pose, end) < 0.5 * CONTRADICTED


@pytest.mark.parametrize("seed", range(6))
def test_the_step_expected_to_leave_little_is_the_last_and_its_gain_is_foreseen(volume, seed):
    problem, truth = noisy_particle(volume, seed)
    strict = PolishSettings(tolerance=1e-3, max_steps=40, prior_angle_deg=3.0)
    around = Restraint(truth, strict)
    optimum = climbed(problem, strict, LAST, truth, around)
    end = climbed(problem, SETTINGS, LAST, pose_away(optimum, 6.0, seed), around)
    assert end.record["stage"][0] == CONVERGED
    # the start, a long step, and one of some tenths of a standard deviation that is not looked at
    assert end.n_evaluations == 2
    assert 0 < distance(problem, LAST, optimum.pose, end.pose) < SETTINGS.tolerance
    look = run_steps(problem, bands_of(problem, SETTINGS, None).look(LAST, end.pose, around))
    # half the square of what may be left to go, twice over
    assert 0 < abs(end.score - look.score) < SETTINGS.tolerance**2
    assert end.record["log_prior"] == look.record["log_prior"] < 0

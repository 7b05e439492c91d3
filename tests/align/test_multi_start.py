"""Staged polish from several starts: as good as polishing all of them, for less work.

Particles are analytic views of a blob phantom with white noise; starts are the true pose
displaced and decoys anywhere.
"""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sta_mpi.align.multi_start import polish_best
from sta_mpi.align.polish import PolishSettings, Pose, polish_pose
from sta_mpi.errors import InputError
from sta_mpi.geometry.rotations import angular_distance_deg, random_rotations
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.kernels.gather import prepare_gather
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.kernels.polish.climb import climb_by_sums
from sta_mpi.kernels.polish.restraint import step_between
from sta_mpi.kernels.polish.step import step_length
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom, symmetric_phantom

N, R_MAX = 32, 14
PHANTOM = chiral_phantom(9.0, 1.3)
TILT = Rotation.from_euler("y", np.linspace(-60, 60, 21)[:, None], degrees=True).as_matrix()
LAYOUT = make_layout(N, [R_MAX / 4, R_MAX / 2, R_MAX])
PLANS = FftPlans(effort="estimate")


def volume_of(phantom):
    return prepare_gather(PLANS.rfft3(phantom.truth_map(N, 1.0)), PLANS, 2.0)


@pytest.fixture(scope="module")
def volume():
    return volume_of(PHANTOM)


class Counted(PoseProblem):
    """A problem that counts the samples it is asked for."""

    n_samples_read = 0

    def climb(self, state, rules, used):
        climb_by_sums(state, rules, lambda R, shift, band: self.sums(R, shift, used[band]))

    def sums(self, R_p2t, shift_xyz_px, count):
        self.n_samples_read += int(count.sum())
        return super().sums(R_p2t, shift_xyz_px, count)


def particle(volume, R, shift, sd, rng, phantom=PHANTOM, score_scale=1.0):
    k_y, k_x = np.fft.fftfreq(N, 1 / N)[:, None], np.arange(N // 2 + 1)
    xy = (TILT @ shift)[:, :2, None, None]
    X = phantom.views_rft(TILT @ R, N, 1.0) * np.exp(
        -2j * np.pi / N * (xy[:, 0] * k_x + xy[:, 1] * k_y))
    X = X + np.fft.rfft2(rng.normal(scale=sd, size=(len(TILT), N, N)), norm="ortho")
    weight = score_scale / sd**2
    packed = pack_samples((X * weight).astype(np.complex64),
                          np.full(X.shape, weight, np.float32), LAYOUT)
    return Counted(volume, packed, LAYOUT, TILT, N)


def near(R, shift, degrees, rng):
    turn = Rotation.from_rotvec(np.radians(degrees) * _unit(rng.normal(size=3))).as_matrix()
    return Pose(R @ turn, shift + rng.uniform(-1, 1, 3))


def _unit(v):
    return v / np.linalg.norm(v)


def trials(volume, sd, n, seed, score_scale=1.0):
    """(found by polishing all, found in stages, samples read by each) of n particles."""
    rng = np.random.default_rng(seed)
    counts, read = np.zeros(2, int), np.zeros(2)
    for R in random_rotations(n, rng):
        shift = rng.normal(size=3)
        starts = [near(R, shift, 10.0, rng)]
        starts += [Pose(Q, rng.uniform(-2, 2, 3)) for Q in random_rotations(5, rng)]
        rng.shuffle(starts)
        problem = particle(volume, R, shift, sd, rng, score_scale=score_scale)
        everyone = max((polish_pose(problem, s) for s in starts), key=lambda r: r.score)
        first, problem.n_samples_read = problem.n_samples_read, 0
        staged = polish_best(problem, starts)[0]
        read += first, problem.n_samples_read
        counts += [angular_distance_deg(R, r.R_p2t) < 10 for r in (everyone, staged)]
    return counts, read


# from particles that are always found to particles that are mostly lost
@pytest.mark.parametrize(("sd", "n"), [(2.0, 12), (8.0, 16), (20.0, 24), (32.0, 24)])
def test_stages_lose_no_more_particles_than_polishing_every_start(volume, sd, n):
    (everyone, staged), _ = trials(volume, sd, n, seed=int(sd))
    # one particle may go either way where two modes are equally likely
    assert staged >= everyone - (1 if everyone < n else 0)


@pytest.mark.slow
@pytest.mark.parametrize("sd", [8.0, 20.0, 26.0, 32.0, 40.0, 50.0])
def test_stages_lose_no_more_of_many_particles_than_polishing_every_start(volume, sd):
    (everyone, staged), (read_all, read_staged) = trials(volume, sd, 150, seed=int(sd) + 100)
    # measured 150, 147, 132, 113, 75, 45 of 150 for all starts; 1 % may go either way
    assert staged >= everyone - 2
    assert read_staged < 0.75 * read_all


@pytest.mark.slow
@pytest.mark.parametrize("sd", [8.0, 20.0, 32.0])
def test_stages_lose_no_particle_when_reference_and_noise_are_wrong(sd):
    rng = np.random.default_rng(1)
    truth = PHANTOM.truth_map(N, 1.0)
    error = gaussian_filter(rng.normal(size=truth.shape), 0.7)
    wrong = truth + (0.7 * truth.std() / error.std() * error).astype(np.float32)
    volume = prepare_gather(PLANS.rfft3(wrong), PLANS, 2.0)
    # scores twice too large, as from a noise spectrum that is half the true one
    everyone, staged = trials(volume, sd, 80, seed=int(sd) + 7, score_scale=2.0)[0]
    # measured 78, 47, 33 for all starts and 78, 48, 42 in stages: the low band is misled least
    assert staged >= everyone - 1


def test_stages_read_a_fraction_of_the_samples_where_the_signal_tells_starts_apart(volume):
    _, (everyone, staged) = trials(volume, 2.0, 8, seed=3)
    assert staged < 0.4 * everyone


def test_without_a_margin_every_start_is_polished_to_the_end(volume):
    rng = np.random.default_rng(4)
    R = random_rotations(1, rng)[0]
    problem = particle(volume, R, np.zeros(3), 4.0, rng)
    starts = [near(R, np.zeros(3), 8.0, rng)] + [
        Pose(Q, np.zeros(3)) for Q in random_rotations(4, rng)]
    kept = polish_best(problem, starts, margin=np.inf)
    cut = polish_best(problem, starts)
    assert len(kept) > len(cut)
    assert [r.score for r in kept] == sorted((r.score for r in kept), reverse=True)
    # of starts that meet at one optimum another may be the best, a step's tolerance away at most
    step = step_between(kept[0].R_p2t, kept[0].shift_xyz_px, cut[0].R_p2t, cut[0].shift_xyz_px)
    assert step_length(step, kept[0].information) < PolishSettings().tolerance


def test_one_start_ends_in_the_bits_of_a_plain_polish(volume):
    rng = np.random.default_rng(5)
    R = random_rotations(1, rng)[0]
    problem = particle(volume, R, np.zeros(3), 4.0, rng)
    start, settings = near(R, np.zeros(3), 6.0, rng), PolishSettings(grey_scale=1.0)
    plain, staged = polish_pose(problem, start, settings), polish_best(problem, [start], settings)
    assert len(staged) == 1
    np.testing.assert_array_equal(staged[0].R_p2t, plain.R_p2t)
    np.testing.assert_array_equal(staged[0].information, plain.information)
    assert staged[0].n_evaluations == plain.n_evaluations
    assert staged[0].is_converged == plain.is_converged


def test_starts_that_come_to_one_optimum_are_one_mode(volume):
    rng = np.random.default_rng(6)
    R = random_rotations(1, rng)[0]
    problem = particle(volume, R, np.zeros(3), 4.0, rng)
    starts = [near(R, np.zeros(3), d, rng) for d in (3.0, 5.0, 7.0, 8.0)]
    assert len(polish_best(problem, starts, margin=np.inf)) == 1


def test_symmetry_mates_are_one_mode_and_without_symmetry_several():
    rng = np.random.default_rng(7)
    group = symmetry_matrices("C3")
    phantom = symmetric_phantom(group, 9.0, 1.5)
    R = random_rotations(1, rng)[0]
    problem = particle(volume_of(phantom), R, np.zeros(3), 4.0, rng, phantom)
    starts = [near(R @ S, np.zeros(3), 4.0, rng) for S in group]
    assert len(polish_best(problem, starts, operators=group)) == 1
    assert len(polish_best(problem, starts)) == 3


def test_equal_modes_of_a_particle_with_little_signal_are_all_kept(volume):
    rng = np.random.default_rng(8)
    problem = particle(volume, np.eye(3), np.zeros(3), 400.0, rng)
    starts = [Pose(Q, np.zeros(3)) for Q in random_rotations(4, rng)]
    settings = PolishSettings(max_angle_deg=5.0, max_shift_px=1.0)
    modes = polish_best(problem, starts, settings)
    assert len(modes) >= 3
    assert modes[0].score - modes[-1].score < 12


def test_limits_hold_around_one_centre_for_all_starts(volume):
    rng = np.random.default_rng(9)
    R = random_rotations(1, rng)[0]
    problem = particle(volume, R, np.zeros(3), 4.0, rng)
    centre = Pose(R, np.full(3, 2.0))
    settings = PolishSettings(max_shift_px=1.0)
    starts = [near(R, np.zeros(3), 5.0, rng) for _ in range(3)]
    for mode in polish_best(problem, starts, settings, around=centre):
        assert np.linalg.norm(mode.shift_xyz_px - 2.0) <= 1.0
        assert mode.has_hit_limit


def test_a_particle_without_samples_keeps_its_first_start(volume):
    rng = np.random.default_rng(10)
    problem = particle(volume, np.eye(3), np.zeros(3), 4.0, rng)
    starts = [Pose(Q, np.zeros(3)) for Q in random_rotations(3, rng)]
    found = polish_best(problem, starts, count=np.zeros(len(TILT), int))
    assert len(found) == 1
    np.testing.assert_array_equal(found[0].R_p2t, starts[0].R_p2t)
    assert not found[0].is_converged


def test_no_start_is_refused(volume):
    problem = particle(volume, np.eye(3), np.zeros(3), 4.0, np.random.default_rng(0))
    with pytest.raises(InputError, match="no start"):
        polish_best(problem, [])

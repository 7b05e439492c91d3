"""Pose polish of simulated particles against the Cramer-Rao bound, its own uncertainty, limits.

Particles are analytic views of a blob phantom with white noise of known standard deviation.
The bound comes from finite differences of the analytic views, not from the kernel.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.marching import marching_radii
from sta_mpi.align.polish import PolishSettings, Pose, polish_pose
from sta_mpi.kernels.gather import prepare_gather
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom

N, R_MAX = 48, 20
PHANTOM = chiral_phantom(13.0, 1.6)
TILT = Rotation.from_euler("y", np.linspace(-60, 60, 41)[:, None], degrees=True).as_matrix()
LAYOUT = make_layout(N, marching_radii(R_MAX))


@pytest.fixture(scope="module")
def volume():
    plans = FftPlans(effort="estimate")
    return prepare_gather(plans.rfft3(PHANTOM.truth_map(N, 1.0)), plans, 2.0)


def views(R, shift):
    """Transforms (41, n, n//2+1) of the particle in a pose."""
    k_y, k_x = np.fft.fftfreq(N, 1 / N)[:, None], np.arange(N // 2 + 1)
    xy = (TILT @ shift)[:, :2, None, None]
    phase = np.exp(-2j * np.pi / N * (xy[:, 0] * k_x + xy[:, 1] * k_y))
    return PHANTOM.views_rft(TILT @ R, N, 1.0) * phase


def moved(R, shift, step):
    return R @ Rotation.from_rotvec(step[:3]).as_matrix(), shift + step[3:]


def bound(R, shift, sd):
    """(6, 6) Cramer-Rao bound of rotation vector [rad] and shift [px]."""
    derivatives = []
    for j in range(6):
        step = np.zeros(6)
        step[j] = 2e-3
        above, below = (pack(views(*moved(R, shift, s * step)), 1.0) for s in (1, -1))
        difference = (above.dre - below.dre) + 1j * (above.dim - below.dim)
        derivatives.append(difference.astype(complex).ravel() / (2 * step[j]))
    A = np.array(derivatives)
    return np.linalg.inv(2 / sd**2 * (A.conj() @ A.T).real)


def pack(transforms, sd):
    weight = np.full(transforms.shape, 1 / sd**2, np.float32)
    return pack_samples((transforms / sd**2).astype(np.complex64), weight, LAYOUT)


def noise(rng, sd):
    return np.fft.rfft2(rng.normal(scale=sd, size=(41, N, N)), norm="ortho")


def error_of(pose, R, shift):
    turn = Rotation.from_matrix(R.T @ pose.R_p2t).as_rotvec()
    return np.concatenate([turn, pose.shift_xyz_px - shift])


@dataclass
class Trials:
    """Errors, bounds and written information of polished particles."""

    error: np.ndarray
    bound: np.ndarray
    information: np.ndarray
    converged: int

    def ratio(self, part) -> float:
        """Rms error over the rms bound of rotation or shift."""
        expected = np.mean([np.trace(b[part, part]) for b in self.bound])
        return float(np.sqrt(np.mean((self.error[:, part] ** 2).sum(axis=1)) / expected))

    def normalised(self) -> float:
        """Mean square of the errors in units of the uncertainty that was written."""
        return float(np.mean([e @ i @ e for e, i in zip(self.error, self.information,
                                                        strict=True)]) / 6)


def run_trials(volume, sd, n_poses, n_each, settings, seed=0, start=(4.0, 1.0), dtype=np.float32):
    rng = np.random.default_rng(seed)
    errors, bounds, information, converged = [], [], [], 0
    for _ in range(n_poses):
        R, shift = Rotation.random(rng=rng).as_matrix(), rng.normal(size=3)
        clean, limit = views(R, shift), bound(R, shift, sd)
        for _ in range(n_each):
            packed = pack_samples(
                ((clean + noise(rng, sd)) / sd**2).astype(np.complex64),
                np.full(clean.shape, 1 / sd**2, np.float32), LAYOUT, dtype)
            away = rng.uniform(-1, 1, 6) * np.repeat([np.radians(start[0]), start[1]], 3)
            problem = PoseProblem(volume, packed, LAYOUT, TILT, N)
            found = polish_pose(problem, Pose(*moved(R, shift, away)), settings)
            errors.append(error_of(found, R, shift))
            bounds.append(limit)
            information.append(found.information)
            converged += found.is_converged
    return Trials(np.array(errors), np.array(bounds), np.array(information), converged)


def assert_at_the_bound(trials):
    """Limits of issue 3.

    For n particles the ratios scatter by 1 / sqrt(2 x 3 n) or a little more, normalised
    errors by sqrt(2 / 6 n): 5 % and 6 % for 80 particles, so 15 % is three times the scatter.
    """
    turn, move = slice(0, 3), slice(3, 6)
    degrees = np.degrees(np.sqrt(np.mean([np.trace(b[turn, turn]) for b in trials.bound])))
    assert degrees < 3
    for part in (turn, move):
        assert 0.85 < trials.ratio(part) < 1.15
    assert 0.8 < trials.normalised() < 1.25
    assert trials.converged >= 0.98 * len(trials.error)


# noise with bounds of 0.07, 1.1 and 2.8 degrees; below 0.05 degrees the interpolation of the
# reference (pad 2) is no longer small against the bound
@pytest.mark.parametrize(("sd", "grey_scale"), [(1.0, 1.0), (16.0, 1.0), (16.0, None), (40.0, 1.0)])
def test_errors_reach_the_cramer_rao_bound_and_match_their_uncertainty(volume, sd, grey_scale):
    assert_at_the_bound(run_trials(volume, sd, 8, 10, PolishSettings(grey_scale=grey_scale)))


@pytest.mark.slow
@pytest.mark.parametrize("sd", [2.0, 8.0, 24.0, 40.0])
def test_errors_of_many_particles_reach_the_cramer_rao_bound(volume, sd):
    trials = run_trials(volume, sd, 40, 15, PolishSettings(grey_scale=1.0), seed=1)
    assert_at_the_bound(trials)
    assert trials.normalised() == pytest.approx(1.0, abs=0.1)


def test_half_precision_samples_reach_the_bound(volume):
    settings = PolishSettings(grey_scale=1.0)
    assert_at_the_bound(run_trials(volume, 16.0, 8, 10, settings, dtype=np.float16))


def test_a_start_at_the_truth_ends_at_the_bound_not_at_the_truth(volume):
    settings = PolishSettings(grey_scale=1.0)
    trials = run_trials(volume, 16.0, 8, 10, settings, start=(0.0, 0.0))
    assert_at_the_bound(trials)
    assert (np.abs(trials.error) > 0).all()


@dataclass
class Particle:
    problem: PoseProblem
    R: np.ndarray
    shift: np.ndarray

    def off(self, degrees, px) -> Pose:
        step = np.array([np.radians(degrees), 0, 0, 0, px, 0])
        return Pose(*moved(self.R, self.shift, step))

    def error(self, found) -> tuple[float, float]:
        error = error_of(found, self.R, self.shift)
        return np.degrees(np.linalg.norm(error[:3])), np.linalg.norm(error[3:])


def make_particle(volume, sd=4.0, seed=5, scale=1.0):
    """A particle with a bound of about 0.3 degrees and 0.05 px."""
    rng = np.random.default_rng(seed)
    R, shift = Rotation.random(rng=rng).as_matrix(), rng.normal(size=3)
    packed = pack(scale * (views(R, shift) + noise(rng, sd)), sd)
    return Particle(PoseProblem(volume, packed, LAYOUT, TILT, N), R, shift)


def test_limits_are_honoured_and_told(volume):
    particle = make_particle(volume)
    start = particle.off(5.0, 2.0)
    settings = PolishSettings(grey_scale=1.0, max_angle_deg=3.0, max_shift_px=1.0)
    found = polish_pose(particle.problem, start, settings)
    turn = Rotation.from_matrix(start.R_p2t.T @ found.R_p2t).magnitude()
    move = np.linalg.norm(found.shift_xyz_px - start.shift_xyz_px)
    assert found.has_hit_limit
    assert 2.9 < np.degrees(turn) <= 3.0
    assert 0.95 < move <= 1.0
    wide = PolishSettings(grey_scale=1.0, max_angle_deg=8.0, max_shift_px=4.0)
    free = polish_pose(particle.problem, start, wide)
    assert not free.has_hit_limit
    assert free.score > found.score
    assert particle.error(free)[0] < 1.0


def test_a_start_outside_the_limits_is_moved_onto_them(volume):
    particle = make_particle(volume)
    centre = Pose(particle.R, particle.shift)
    settings = PolishSettings(grey_scale=1.0, max_angle_deg=2.0, max_shift_px=0.5, max_steps=0)
    found = polish_pose(particle.problem, particle.off(6.0, 3.0), settings, around=centre)
    assert particle.error(found) == pytest.approx((2.0, 0.5), rel=1e-6)


def test_priors_pull_towards_their_centre_by_the_share_of_their_information(volume):
    particle = make_particle(volume)
    free = polish_pose(particle.problem, particle.off(0.3, 0.1), PolishSettings(grey_scale=1.0))
    centre = particle.off(1.0, 0.2)
    settings = PolishSettings(grey_scale=1.0, prior_angle_deg=0.5, prior_shift_px=0.1)
    found = polish_pose(particle.problem, centre, settings)
    prior = np.diag(np.repeat([np.radians(0.5) ** -2, 0.1**-2], 3))
    towards = error_of(centre, free.R_p2t, free.shift_xyz_px)
    expected = np.linalg.solve(free.information + prior, prior @ towards)
    pulled = error_of(found, free.R_p2t, free.shift_xyz_px)
    # the log-likelihood is not quite quadratic over a degree
    assert np.linalg.norm(pulled - expected) < 0.3 * np.linalg.norm(expected)
    assert found.score < free.score
    assert found.log_prior < 0
    strong = PolishSettings(grey_scale=1.0, prior_angle_deg=1e-4, prior_shift_px=1e-5)
    held = polish_pose(particle.problem, centre, strong)
    assert np.abs(error_of(held, centre.R_p2t, centre.shift_xyz_px)).max() < 1e-4


@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_a_profiled_grey_scale_gives_the_same_pose_whatever_the_reference_scale(volume, scale):
    one, other = make_particle(volume), make_particle(volume, scale=scale)
    start = one.off(3.0, 1.0)
    found = [polish_pose(x.problem, start, PolishSettings(tolerance=0.05)) for x in (one, other)]
    np.testing.assert_allclose(found[0].R_p2t, found[1].R_p2t, atol=1e-4)
    assert found[0].grey_scale == pytest.approx(1.0, rel=0.05)
    assert found[1].grey_scale == pytest.approx(scale, rel=0.05)


def test_an_inverted_reference_fits_worse_and_with_a_small_grey_scale(volume):
    right, inverted = make_particle(volume), make_particle(volume, scale=-1.0)
    found = [polish_pose(x.problem, right.off(0.5, 0.1), PolishSettings())
             for x in (right, inverted)]
    assert found[1].score < 0.2 * found[0].score
    assert found[1].grey_scale < 0.5 * found[0].grey_scale


def test_the_score_is_highest_at_the_polished_pose_and_the_gradient_is_gone(volume):
    particle = make_particle(volume)
    found = polish_pose(particle.problem, particle.off(3.0, 1.0), PolishSettings(grey_scale=1.0))
    unit = 1 / np.sqrt(np.diag(found.information))
    count = np.full(41, LAYOUT.n_samples)
    for j in range(6):
        for sign in (-1, 1):
            step = np.zeros(6)
            step[j] = sign * unit[j]
            cross, power = particle.problem.score(
                *moved(found.R_p2t, found.shift_xyz_px, step), count)
            # half a unit is lost one standard deviation away; kinks and rounding blur that
            assert found.score - (2 * cross - power) == pytest.approx(0.5, abs=0.25)


def test_tilts_without_samples_count_nothing(volume):
    particle = make_particle(volume)
    start, settings = particle.off(2.0, 0.5), PolishSettings(grey_scale=1.0)
    count = np.full(41, LAYOUT.n_samples)
    count[::2] = 0
    count[1::4] = LAYOUT.band_start[2]
    found = polish_pose(particle.problem, start, settings, count)
    full = polish_pose(particle.problem, start, settings)
    assert particle.error(found)[0] < 1.5
    assert found.power < full.power
    assert np.trace(found.information) < np.trace(full.information)


def test_a_particle_without_samples_keeps_its_pose_and_does_not_converge(volume):
    particle = make_particle(volume)
    start = particle.off(2.0, 0.5)
    found = polish_pose(particle.problem, start, None, np.zeros(41, int))
    np.testing.assert_array_equal(found.R_p2t, start.R_p2t)
    assert not found.is_converged
    assert found.score == 0


def test_without_noise_polish_converges_to_the_error_of_interpolation(volume):
    # pad 2 leaves 0.02 degrees and 0.001 px here (pad 1.5: 0.07 degrees)
    rng = np.random.default_rng(6)
    for _ in range(10):
        R, shift = Rotation.random(rng=rng).as_matrix(), rng.normal(size=3)
        particle = Particle(PoseProblem(volume, pack(views(R, shift), 0.05), LAYOUT, TILT, N),
                            R, shift)
        found = polish_pose(particle.problem, particle.off(4.0, 1.0))
        assert found.is_converged
        angle, px = particle.error(found)
        assert 0 < angle < 0.06
        assert 0 < px < 0.005


def test_polish_gives_the_same_bits_twice(volume):
    particle = make_particle(volume)
    first, again = (polish_pose(particle.problem, particle.off(3.0, 1.0)) for _ in range(2))
    np.testing.assert_array_equal(first.R_p2t, again.R_p2t)
    np.testing.assert_array_equal(first.information, again.information)

"""3D boxes (pseudo-subtomograms) through polish and oracle, against analytic boxes of a phantom.

A box holds d = w V + noise with E|noise|^2 = w. V of a turned particle is the transform of the
phantom with its blobs turned, so nothing is interpolated; the Cramer-Rao bound comes from
finite differences of such boxes, not from the kernel.
"""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.grid_search import Band, score_candidates, shift_phase_matrix, take_band
from sta_mpi.align.observation import BoxSamples
from sta_mpi.align.observe import observe_box
from sta_mpi.align.oracle import oracle_search, score_pose
from sta_mpi.align.polish import PolishSettings, Pose, polish_pose
from sta_mpi.align.reference import prepare_reference, shell_means
from sta_mpi.align.scores import flat_gain, with_gain
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.geometry.sampling import local_rotations, shift_grid
from sta_mpi.kernels.voxels import VoxelProblem, make_voxel_layout, pack_voxels
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom
from sta_mpi.simulate.phantom import GaussianPhantom

N, R_MAX = 32, 13
PHANTOM = chiral_phantom(7.0, 1.1)
PLANS = FftPlans(effort="estimate")
LAYOUT = make_voxel_layout(N, [R_MAX / 4, R_MAX / 2, R_MAX])
R_BOX = Rotation.from_euler("zyz", [20, 35, -50], degrees=True).as_matrix()
FREQUENCY = np.fft.fftfreq(N, 1 / N)
KZ, KY, KX = np.meshgrid(FREQUENCY, FREQUENCY, np.arange(N // 2 + 1.0), indexing="ij")
GREY = PolishSettings(grey_scale=1.0)


@pytest.fixture(scope="module")
def reference():
    return prepare_reference(PHANTOM.truth_map(N, 1.0), None, R_MAX, PLANS, pad=3.0)


def box_problem(samples, volume, layout, dtype=np.float32) -> VoxelProblem:
    packed = pack_voxels(samples.data_rft, samples.weight_rft, layout, dtype)
    return VoxelProblem(volume, packed, samples.R_box2t, N)


def wedge_weight(R_box2t) -> np.ndarray:
    """Weights of a tilt series to 60 degrees about y, fading with frequency, in box axes."""
    x, _, z = np.einsum("ij,jabc->iabc", R_box2t, np.stack([KX, KY, KZ]))
    seen = np.abs(z) <= np.tan(np.radians(60)) * np.abs(x)
    return (seen * np.exp(-((KX**2 + KY**2 + KZ**2) / 15**2))).astype(np.float32)


def transform(R_p2t, shift_xyz, R_box2t) -> np.ndarray:
    """Exact transform (N, N, N//2+1) of the particle in a pose, in box axes."""
    M = R_box2t.T @ R_p2t
    turned = GaussianPhantom(PHANTOM.centre_A @ M.T, PHANTOM.sigma_A, PHANTOM.mass)
    x, y, z = R_box2t.T @ shift_xyz
    phase = np.exp(-2j * np.pi / N * (KX * x + KY * y + KZ * z))
    return PLANS.rfft3(turned.truth_map(N, 1.0)) * phase


def noisy_box(clean, sd, rng=None, R_box2t=R_BOX) -> BoxSamples:
    """Samples of a transform with white noise of variance sd^2 a voxel that is seen once."""
    weight = wedge_weight(R_box2t) / np.float32(sd**2)
    data = weight * clean
    if rng is not None:
        white = PLANS.rfft3(rng.normal(size=(N, N, N)).astype(np.float32)) / np.sqrt(N)
        data = data + np.sqrt(weight) * white
    return BoxSamples(data.astype(np.complex64), weight, R_box2t)


def make_box(R_p2t, shift_xyz, sd, rng=None) -> BoxSamples:
    return noisy_box(transform(R_p2t, shift_xyz, R_BOX), sd, rng)


def moved(R, shift, step):
    return R @ Rotation.from_rotvec(step[:3]).as_matrix(), shift + step[3:]


def bound(R, shift, sd, R_box2t) -> np.ndarray:
    """(6, 6) Cramer-Rao bound of rotation vector [rad] and shift [px]."""
    own = (KX > 0) | ((KX == 0) & ((KY > 0) | ((KY == 0) & (KZ > 0))))
    own &= KX**2 + KY**2 + KZ**2 <= R_MAX**2
    weight = wedge_weight(R_box2t)[own] / sd**2
    slopes = []
    for step in 2e-3 * np.eye(6):
        above, below = (transform(*moved(R, shift, s * step), R_box2t)[own] for s in (1, -1))
        slopes.append((above - below) / 4e-3)
    A = np.array(slopes).astype(complex)
    return np.linalg.inv(2 * ((A.conj() * weight) @ A.T).real)


def error_of(pose, R, shift):
    turn = Rotation.from_matrix(R.T @ pose.R_p2t).as_rotvec()
    return np.concatenate([turn, pose.shift_xyz_px - shift])


def random_pose(rng):
    return Rotation.random(rng=rng).as_matrix(), rng.normal(size=3)


# noise with bounds of 0.2 to 2 degrees
@pytest.mark.parametrize(("sd", "R_box2t", "dtype"), [
    (0.3, R_BOX, np.float32), (1.0, R_BOX, np.float32), (2.5, np.eye(3), np.float32),
    (1.0, R_BOX, np.float16)])
def test_poses_of_boxes_reach_the_cramer_rao_bound(reference, sd, R_box2t, dtype):
    """Ratios of 84 particles scatter by 1 / sqrt(504) = 5 %: 15 % is three times that."""
    rng = np.random.default_rng(1)
    errors, bounds, normalised = [], [], []
    for _ in range(6):
        R, shift = random_pose(rng)
        limit, clean = bound(R, shift, sd, R_box2t), transform(R, shift, R_box2t)
        for _ in range(14):
            problem = box_problem(
                noisy_box(clean, sd, rng, R_box2t), reference.volume, LAYOUT, dtype)
            away = rng.uniform(-1, 1, 6) * np.repeat([np.radians(4.0), 1.0], 3)
            found = polish_pose(problem, Pose(*moved(R, shift, away)), GREY)
            errors.append(error_of(found, R, shift))
            bounds.append(np.diag(limit))
            normalised.append(errors[-1] @ found.information @ errors[-1] / 6)
    degrees = np.degrees(np.sqrt(np.sum(np.mean(bounds, axis=0)[:3])))
    assert 0.1 < degrees < 3
    for part in (slice(0, 3), slice(3, 6)):
        ratio = np.sqrt(np.square(errors)[:, part].sum() / np.sum(bounds, axis=0)[part].sum())
        assert 0.85 < ratio < 1.15
    assert 0.8 < np.mean(normalised) < 1.25


def test_without_noise_a_box_gives_its_pose_to_the_error_of_interpolation(reference):
    rng = np.random.default_rng(2)
    R, shift = random_pose(rng)
    problem = box_problem(make_box(R, shift, 0.1), reference.volume, LAYOUT)
    found = polish_pose(problem, Pose(*moved(R, shift, np.array([0.06, 0, 0, 0, 1.0, 0]))))
    error = error_of(found, R, shift)
    assert 0 < np.degrees(np.linalg.norm(error[:3])) < 0.1
    assert 0 < np.linalg.norm(error[3:]) < 0.01
    assert found.grey_scale == pytest.approx(1.0, abs=0.02)


def test_an_observed_box_is_centred_on_its_offset(reference):
    """Real-space data as RELION writes them, a refined offset, a noise power not of 1."""
    rng, voxel_A = np.random.default_rng(3), 4.0
    R, offset_px, left_px = random_pose(rng)[0], np.array([2.0, -1.0, 0.5]), np.array([0, 0.6, 0])
    weight = wedge_weight(R_BOX)
    data = PLANS.irfft3(
        (weight * transform(R, offset_px + left_px, R_BOX)).astype(np.complex64))
    samples = observe_box(data, weight, R_BOX, offset_px * voxel_A, voxel_A, 0.25, PLANS, "1")
    problem = box_problem(samples, reference.volume, LAYOUT)
    found = polish_pose(problem, Pose(R, np.zeros(3)))
    assert np.linalg.norm(found.shift_xyz_px - left_px) < 0.05
    assert found.grey_scale == pytest.approx(1.0, abs=0.05)
    # the mask takes a little of the data that the wedge spreads over so small a box
    assert 0 < angular_distance_deg(found.R_p2t, R) < 0.6


def test_the_oracle_and_the_polish_score_a_box_alike(reference):
    rng = np.random.default_rng(4)
    R, shift = random_pose(rng)
    samples = make_box(R, shift, 0.5, rng)
    shifts = shift + np.array([[0.0, 0, 0], [0.8, -0.3, 0.5]])
    candidates = R @ local_rotations(8.0, 8.0)
    band = take_band(samples, Band(0.0, R_MAX))
    scores = score_candidates(band, shift_phase_matrix(band, shifts, N), reference, candidates)
    problem = box_problem(samples, reference.volume, LAYOUT)
    count = np.array([problem.layout.n_samples])
    for i in range(3):
        for j in range(2):
            cross, power = problem.score(candidates[i], shifts[j], count)
            assert scores.cross[i, j] == pytest.approx(cross, rel=1e-3)
            assert scores.power[i] == pytest.approx(power, rel=1e-4)
            assert scores.power[i] != power


def test_the_oracle_finds_the_planted_pose_of_a_box(reference):
    rng = np.random.default_rng(5)
    truth, shifts, turns = random_pose(rng)[0], shift_grid(2.0, 1.0), local_rotations(12.0, 6.0)
    samples = make_box(truth, shifts[17], 0.5, rng)
    band = take_band(samples, Band(1.0, R_MAX))
    candidates = truth @ turns[11].T @ turns
    scores = score_candidates(band, shift_phase_matrix(band, shifts, N), reference, candidates)
    i, j = np.unravel_index(scores.loglik(1.0).argmax(), scores.cross.shape)
    assert (i, j) == (11, 17)
    assert scores.ncc().argmax() == scores.loglik(1.0).argmax()


def test_the_refined_oracle_ends_at_the_polished_pose_of_a_box(reference):
    rng = np.random.default_rng(11)
    R, shift = random_pose(rng)
    samples, band = make_box(R, shift, 0.5, rng), Band(0.0, R_MAX)
    turns = R @ Rotation.from_rotvec([0.05, -0.04, 0.03]).as_matrix() @ local_rotations(12.0, 6.0)
    oracle = oracle_search(samples, reference, band, turns, 6.0, shift + shift_grid(1.0, 1.0), 1.0,
                           lambda R, shifts: np.zeros((len(R), len(shifts))))
    found = polish_pose(box_problem(samples, reference.volume, LAYOUT),
                        Pose(turns[0], shift), PolishSettings())
    assert angular_distance_deg(found.R_p2t, oracle.pose.R_p2t) < 1.5
    assert oracle.score <= found.score * (1 + 1e-4)
    assert score_pose(samples, reference, band, Pose(
        found.R_p2t, found.shift_xyz_px)) == pytest.approx(found.score, rel=1e-3)


def test_a_flat_gain_makes_the_shells_of_a_box_count_alike(reference):
    samples = make_box(np.eye(3), np.zeros(3), 2.0)
    gain = flat_gain(samples, reference.shell_power)
    flat = with_gain(samples, gain)
    expected = shell_means(flat.weight_rft.astype(float)) * reference.shell_power
    before = shell_means(samples.weight_rft.astype(float)) * reference.shell_power
    # steep curves are interpolated between shells
    assert 0.5 < expected[2:R_MAX].min() < expected[2:R_MAX].max() < 2.0
    assert before[2:R_MAX].max() > 100 * before[2:R_MAX].min()
    np.testing.assert_allclose(flat.data_rft[0, 3, 4], gain[5] * samples.data_rft[0, 3, 4],
                               rtol=1e-5)


def test_band_of_a_box_holds_one_of_each_pair_of_mates():
    band = take_band(make_box(np.eye(3), np.zeros(3), 1.0), Band(1.0, 6.0))
    k = {tuple(x) for x in band.k.astype(int)}
    assert len(k) == len(band.k)
    assert not any((-x, -y, -z) in k for x, y, z in k)
    span = range(-6, 7)
    n_ball = sum(x * x + y * y + z * z <= 36 for x in span for y in span for z in span) - 1
    assert 2 * len(k) == n_ball

"""First maps from particles alone: evidence, starts in competition, trees of pairs."""

import numpy as np
import pytest
from planted_particles import BOX, CHIRAL, PLANS, particle

from sta_mpi.align.band_em import expect, insert_at
from sta_mpi.align.band_maps import band_of_map, map_of_band, particle_band
from sta_mpi.align.band_set import BandSet, PoseLists
from sta_mpi.align.denovo import (
    StartSettings,
    axial_average,
    default_stages,
    map_of_sums,
    radial_average,
    reference_of,
    run_start,
)
from sta_mpi.align.first_maps import particle_map, random_map, signal_power
from sta_mpi.align.map_fit import fit_map
from sta_mpi.align.reference_tree import best_pair, fair_reference
from sta_mpi.align.support import judge_starts
from sta_mpi.align.voxel_band import make_voxel_band
from sta_mpi.geometry.rotations import (
    angular_distance_deg,
    random_rotations,
    rotation_from_vector,
)
from sta_mpi.signal.fft import crop_rft3

R_MAX = 5.0
BAND = make_voxel_band(BOX, R_MAX)
NO_SHIFT = np.zeros((1, 3))


def settings(cone_deg=None, shift_px=0.0, n=40):
    lists = PoseLists(cone_deg, shift_px)
    return StartSettings(lists, default_stages(R_MAX, n, cone_deg is not None), 0.4 * BOX)


def planted(R, shift_px, sd, seed, frames=None):
    """Particles of the chiral object at known poses, in their frames."""
    rng = np.random.default_rng(seed)
    bands = []
    for i, (turn, move) in enumerate(zip(R, shift_px, strict=True)):
        frame = np.eye(3) if frames is None else frames[i]
        bands.append(particle_band(particle(turn, move, sd, rng), frame, BAND))
    return BandSet(BAND, np.stack([b.data for b in bands]), np.stack([b.weight for b in bands]))


def true_map(grid=BAND.grid_px):
    """The object on the grid of the band."""
    return PLANS.irfft3(crop_rft3(PLANS.rfft3(CHIRAL.truth_map(BOX, 1.0)), grid))


@pytest.fixture(scope="module")
def crowd():
    """64 particles at random poses in noise: rotations, set, halves, train and test rows."""
    R = random_rotations(64, np.random.default_rng(11))
    bands = planted(R, np.zeros((64, 3)), 6.0, 12)
    half = (np.arange(64) % 2 + 1).astype(np.int8)
    return R, bands, half, np.arange(48), np.arange(48, 64)


def test_true_map_has_evidence_and_its_inverse_costs_some(crowd):
    _, bands, *_ = crowd
    rotations = settings().lists.rotations(1, None)
    found = expect(bands, reference_of(true_map(), R_MAX, PLANS), rotations, NO_SHIFT, None)
    assert found.log_evidence.mean() > 3
    assert found.inverted.mean() < -1


def test_most_likely_pose_is_the_one_of_the_list_that_is_nearest_to_the_truth():
    R = random_rotations(6, np.random.default_rng(2))
    move = np.random.default_rng(3).uniform(-2, 2, (6, 3))
    bands = planted(R, move, 0.5, 4)
    lists = PoseLists(None, 3.0)
    rotations, shifts = lists.rotations(2, None), lists.shifts_px(BOX, R_MAX)
    found = expect(bands, reference_of(true_map(), R_MAX, PLANS), rotations, shifts, None)
    away = angular_distance_deg(rotations[found.best[:, 0]], R)
    nearest = np.array([angular_distance_deg(rotations, r).min() for r in R])
    # the list is 15 degrees apart, and a neighbour may win by its shift
    assert (away < nearest + 8.0).all()
    step = BOX / (4 * R_MAX)
    assert np.abs(shifts[found.best[:, 1]] - move).max() < step


def test_pose_in_a_frame_is_the_pose_in_the_tomogram_seen_from_it():
    R = random_rotations(3, np.random.default_rng(5))
    frames = random_rotations(3, np.random.default_rng(6))
    bands = planted(R, np.zeros((3, 3)), 0.5, 7, frames)
    rotations = PoseLists(None, 0.0).rotations(2, None)
    found = expect(bands, reference_of(true_map(), R_MAX, PLANS), rotations, NO_SHIFT, None)
    assert angular_distance_deg(frames @ rotations[found.best[:, 0]], R).max() < 16.0


def test_average_at_the_true_poses_is_the_object_and_its_expectation_as_well(crowd):
    R, bands, half, *_ = crowd
    sums = insert_at(bands, R, np.zeros((64, 3)), half)
    data, fsc = map_of_sums(sums, R_MAX, settings(), BOX, PLANS)
    truth = true_map()
    band = make_voxel_band(BAND.grid_px, R_MAX)
    a, b = band_of_map(data, band), band_of_map(truth, band)
    assert (a @ b.conj()).real / np.linalg.norm(a) / np.linalg.norm(b) > 0.97
    assert fsc[1:5].min() > 0.5
    reference = reference_of(data, R_MAX, PLANS)
    found = expect(bands, reference, settings().lists.rotations(2, None), NO_SHIFT, half)
    assert found.sums is not None
    # all of a particle's weight is dealt out among the poses
    assert found.sums[..., 2].sum() == pytest.approx(sums[..., 2].sum(), rel=0.02)


def test_particles_that_are_not_there_weigh_less(crowd):
    """Half of a set is noise, as where seeds miss the lattice."""
    _, bands, *_ = crowd
    rng = np.random.default_rng(71)
    noise = rng.normal(size=(2, 16, len(BAND.index))) * np.sqrt(bands.weight[:16] / 2)
    mixed = BandSet(BAND, np.concatenate([bands.data[:16], noise[0] + 1j * noise[1]]).astype(
        np.complex64), np.concatenate([bands.weight[:16]] * 2))
    half = np.repeat([1, 2], 16).astype(np.int8)
    found = expect(mixed, reference_of(true_map(), R_MAX, PLANS),
                   settings().lists.rotations(1, None), NO_SHIFT, half)
    assert found.sums is not None
    real, missed = found.sums[..., 2].sum(axis=(1, 2, 3))
    assert missed < 0.7 * real


def test_start_from_random_poses_finds_object_and_hand(crowd):
    _, bands, half, train, test = crowd
    s, rng = settings(n=48), np.random.default_rng([1, 0])
    first = random_map(bands, half, train, s, rng, PLANS)
    found = run_start(bands, first, half, train, test, s, rng, PLANS)
    truth = true_map()
    mirror = np.roll(found.map[:, :, ::-1], 1, 2)
    score = fit_map(found.map, truth, None, R_MAX, 2.0, PLANS)[1]
    assert score > 0.9
    # five shells show little of the hand; the start has found it from random poses all the same
    assert score > fit_map(mirror, truth, None, R_MAX, 2.0, PLANS)[1] + 0.005
    verdict = judge_starts(found.gain[None], found.inverted[None], found.blob[None])
    assert verdict.has_signal
    assert verdict.has_shape


def test_mirrored_map_explains_unseen_particles_worse(crowd):
    """Tilt geometry is known, so hand is: the mirror image of the object is another object."""
    _, bands, *_ = crowd
    truth = true_map()
    rotations = settings().lists.rotations(2, None)
    own, mirrored = (
        expect(bands, reference_of(m, R_MAX, PLANS), rotations, NO_SHIFT, None).log_evidence
        for m in (truth, np.ascontiguousarray(np.roll(truth[:, :, ::-1], 1, 2))))
    d = own - mirrored
    assert d.mean() > 3 * d.std() / np.sqrt(len(d))


def test_start_on_noise_is_not_supported():
    rng = np.random.default_rng(21)
    n = 48
    weight = np.full((n, len(BAND.index)), 2.0, np.float32)
    noise = rng.normal(size=(2, n, len(BAND.index)))
    bands = BandSet(BAND, (noise[0] + 1j * noise[1]).astype(np.complex64), weight)
    half = (np.arange(n) % 2 + 1).astype(np.int8)
    s = settings(n=36)
    gains = []
    for k in range(2):
        own = np.random.default_rng([k, 5])
        first = random_map(bands, half, np.arange(36), s, own, PLANS)
        gains.append(run_start(bands, first, half, np.arange(36), np.arange(36, n), s, own, PLANS))
    verdict = judge_starts(*(np.stack([getattr(g, name) for g in gains])
                             for name in ("gain", "inverted", "blob")))
    assert not verdict.has_signal
    assert np.abs(verdict.z_signal).max() < 4
    # the particles that made the map agree with it all the same: that is no proof of anything
    assert all(g.course[-6:].mean() > g.gain.mean() for g in gains)


def test_same_random_numbers_give_the_same_bits(crowd):
    _, bands, half, train, test = crowd
    s = settings(cone_deg=20.0, n=48)
    made = []
    for _ in range(2):
        rng = np.random.default_rng([9, 1])
        first = random_map(bands, half, train, s, rng, PLANS)
        made.append(run_start(bands, first, half, train, test, s, rng, PLANS))
    assert made[0].map.tobytes() == made[1].map.tobytes()
    assert made[0].gain.tobytes() == made[1].gain.tobytes()


def test_cone_of_a_known_normal_holds_all_twists_and_no_far_tilts():
    lists = PoseLists(20.0, 0.0)
    rotations = lists.rotations(2, None)
    tilt = np.degrees(np.arccos(np.clip(rotations[:, 2, 2], -1, 1)))
    assert tilt.max() < 20.1
    assert len(rotations) < len(PoseLists(None, 0.0).rotations(2, None)) / 10
    twist = np.degrees(np.arctan2(rotations[:, 1, 0], rotations[:, 0, 0]))[tilt < 1] % 360
    assert len(np.unique(np.round(twist))) == 24


@pytest.mark.slow
def test_tree_joins_pairs_into_one_average_with_the_true_relative_poses():
    R = random_rotations(8, np.random.default_rng(31))
    move = np.random.default_rng(32).uniform(-1.5, 1.5, (8, 3))
    bands = planted(R, move, 0.5, 33)
    tree = fair_reference(bands, np.arange(8), settings(shift_px=1.7), 2, PLANS)
    assert len(tree.maps) == 4
    assert [len(g) for g in tree.gains] == [4, 2, 1]
    assert sorted(tree.root.rows.tolist()) == list(range(8))
    # R_tree = R_true C with one C for all particles
    constant = np.swapaxes(R[tree.root.rows], 1, 2) @ tree.root.R
    spread = angular_distance_deg(constant[:, None], constant[None])
    # 15 degree lists, three levels of them
    assert np.median(spread) < 25
    score = fit_map(tree.maps[-1], true_map(), None, R_MAX, 2.0, PLANS)[1]
    assert score > 0.85
    assert score > fit_map(tree.maps[0], true_map(), None, R_MAX, 2.0, PLANS)[1]


def test_pair_finds_the_turn_and_shift_between_two_particles_with_other_wedges():
    R = random_rotations(2, np.random.default_rng(41))
    move = np.array([[0.0, 0.0, 0.0], [1.6, -1.6, 0.0]])
    bands = planted(R, move, 0.3, 42)
    s = settings(shift_px=1.7)
    shell = np.rint(np.linalg.norm(BAND.K_xyz, axis=1)).astype(int)
    tau2 = signal_power(bands)[shell]
    from sta_mpi.align.reference_tree import Node

    a, b = (Node(np.array([i]), np.eye(3)[None], np.zeros((1, 3)), bands.data[i], bands.weight[i])
            for i in (0, 1))
    turn, shift, gain = best_pair(a, b, bands, tau2, s, 2, PLANS)
    assert angular_distance_deg(turn, R[1] @ R[0].T) < 16
    assert np.linalg.norm(shift - move[1]) < BOX / (4 * R_MAX) + 0.1
    assert gain > 0


@pytest.mark.parametrize("n", [1, 3, 6])
def test_tree_of_a_number_that_is_no_power_of_two_is_refused(crowd, n):
    with pytest.raises(ValueError, match="2, 4, 8"):
        fair_reference(crowd[1], np.arange(n), settings(), 1, PLANS)


def test_particle_as_a_map_is_empty_where_its_tilts_measured_nothing():
    R = random_rotations(1, np.random.default_rng(51))
    bands = planted(R, np.zeros((1, 3)), 1.0, 52)
    wide = StartSettings(PoseLists(None, 0.0), default_stages(R_MAX, 12, False), 10 * BOX)
    data = particle_map(bands, 0, wide, PLANS)
    band = make_voxel_band(BAND.grid_px, R_MAX)
    spectrum = np.abs(band_of_map(data, band))
    empty = bands.weight[0] == 0
    assert empty.sum() > 5
    assert spectrum[empty].max() < 1e-5 * spectrum[~empty].mean()


def test_averages_over_directions_and_turns_keep_what_is_round():
    grid = np.arange(16) - 8.0
    z, y, x = np.meshgrid(grid, grid, grid, indexing="ij")
    ball = np.exp(-(x**2 + y**2 + z**2) / 18).astype(np.float32)
    disc = np.exp(-(x**2 + y**2) / 18 - (z - 2) ** 2 / 4).astype(np.float32)
    # binned one voxel wide and interpolated between: a twentieth of the height at the top
    assert np.abs(radial_average(ball) - ball).max() < 0.05
    assert np.abs(axial_average(disc) - disc).max() < 0.05
    assert np.abs(radial_average(disc) - disc).max() > 0.2


def test_shape_is_denied_to_a_round_map_and_signal_is_not():
    rng = np.random.default_rng(61)
    gain = rng.normal(2.0, 1.0, (2, 100))
    verdict = judge_starts(gain, gain - 3.0 - rng.normal(size=(2, 100)),
                           gain + 0.1 * rng.normal(size=(2, 100)))
    assert verdict.has_signal
    assert not verdict.has_shape


def test_turn_of_a_list_about_the_normal_leaves_the_normals():
    lists = PoseLists(20.0, 0.0)
    turned = lists.rotations(2, np.random.default_rng(3))
    still = lists.rotations(2, None)
    assert np.allclose(turned[:, :, 2], still[:, :, 2])
    assert np.abs(turned - still).max() > 1e-3


def test_band_vector_of_a_map_is_the_spectrum_that_starts_work_on():
    vector = np.zeros(len(BAND.index), complex)
    vector[3] = 1.0 + 0.5j
    small = make_voxel_band(BAND.grid_px, R_MAX)
    assert np.allclose(band_of_map(map_of_band(vector, small), small), vector, atol=1e-5)
    assert np.allclose(rotation_from_vector([0, 0, 0]), np.eye(3))

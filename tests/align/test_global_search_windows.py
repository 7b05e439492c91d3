"""Windows on the pose: the same candidates as a prior of minus infinity, at the cost of the cone.

Merged bands are random numbers or views of a phantom; a window is a statement about
rotations alone.
"""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.align.global_search import (
    make_voxel_band,
    rotate_reference,
    search_batch,
    shift_phases_of_band,
    work_share,
)
from sta_mpi.align.reference import prepare_reference
from sta_mpi.align.rotation_list import (
    PoseWindow,
    SearchList,
    make_search_list,
    n_fold_about_z,
    nearest_mates,
    normal_rotations,
    plan_search_list,
    random_subset,
    unfold,
)
from sta_mpi.align.voxel_band import MergedBand
from sta_mpi.errors import InputError
from sta_mpi.geometry.rotations import angular_distance_deg, random_rotations
from sta_mpi.geometry.sampling import healpix_rotations, shift_grid
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.signal.fft import FftPlans
from sta_mpi.simulate.builtin_phantoms import chiral_phantom, symmetric_phantom

BOX = 24
BAND = make_voxel_band(BOX, 4.0)
PHASES = shift_phases_of_band(BAND, shift_grid(2.0, 2.0))
PLANS = FftPlans(effort="estimate")


def noise_bands(n, seed=0):
    """Particles that prefer nothing in particular."""
    rng = np.random.default_rng(seed)
    k = len(BAND.index)
    return [MergedBand((rng.normal(size=k) + 1j * rng.normal(size=k)).astype(np.complex64),
                       rng.uniform(0.5, 2, k).astype(np.float32)) for _ in range(n)]


def reference_of(volume):
    return prepare_reference(volume.astype(np.float32), None, 8.0, PLANS)


@pytest.fixture(scope="module")
def reference():
    return reference_of(chiral_phantom(6.0, 1.5).truth_map(BOX, 1.0))


def tilt_and_turn_deg(centre, R):
    """Angle of the normals and turn about them, by scipy's swing and twist."""
    tilt = np.degrees(np.arccos(np.clip(centre[:, 2] @ R[:, 2], -1, 1)))
    z, w = Rotation.from_matrix(centre.T @ R).as_quat()[2:]
    turn = np.degrees(2 * np.arctan2(z, w))
    return tilt, (turn + 180) % 360 - 180


def test_normals_of_a_list_are_even_and_their_turns_fill_the_circle():
    rotations = normal_rotations(1)
    normals = np.unique(np.round(rotations[:, :, 2], 9), axis=0)
    assert len(normals) == 48
    assert np.abs(normals.mean(axis=0)).max() < 1e-9
    for R in (rotations[0], rotations[100]):
        own = rotations[np.abs(rotations[:, :, 2] - R[:, 2]).max(axis=1) < 1e-9]
        turns = sorted(tilt_and_turn_deg(R, other)[1] % 360 for other in own)
        np.testing.assert_allclose(np.diff(turns), 30.0, atol=1e-6)


def test_sorting_a_list_loses_no_rotation_and_blocks_hold_neighbours():
    rotations = random_rotations(700, np.random.default_rng(1))
    found = make_search_list(rotations, direction_order=1)
    np.testing.assert_array_equal(found.rotations, rotations[found.order])
    assert sorted(found.order) == list(range(700))
    assert found.block_start[0] == 0
    assert found.block_start[-1] == 700
    for start, stop in zip(found.block_start[:-1], found.block_start[1:], strict=True):
        normals = found.rotations[start:stop, :, 2]
        # 48 directions are 29 degrees apart: no two normals of a cell are further than two radii
        assert np.degrees(np.arccos(np.clip(normals @ normals.T, -1, 1))).max() < 50


@pytest.mark.parametrize(("max_tilt", "max_inplane"), [(25.0, None), (50.0, 40.0), (180.0, 15.0)])
def test_window_allows_what_swing_and_twist_allow(max_tilt, max_inplane):
    rng = np.random.default_rng(2)
    rotations, centres = random_rotations(400, rng), random_rotations(3, rng)
    allowed = PoseWindow(centres, max_tilt, max_inplane).allows(rotations)
    expected = np.empty((400, 3), bool)
    for i, R in enumerate(rotations):
        for j, centre in enumerate(centres):
            tilt, turn = tilt_and_turn_deg(centre, R)
            expected[i, j] = tilt <= max_tilt and (max_inplane is None or abs(turn) <= max_inplane)
    np.testing.assert_array_equal(allowed, expected)
    assert 0 < expected.sum() < expected.size


@pytest.mark.parametrize(("max_inplane", "n_sectors"), [(None, 1), (45.0, 6)])
def test_window_gives_the_candidates_of_a_prior_of_minus_infinity(reference, max_inplane,
                                                                  n_sectors):
    found = make_search_list(normal_rotations(1), direction_order=0, n_sectors=n_sectors)
    rotated = rotate_reference(reference, BAND, found.rotations)
    merged = noise_bands(5)
    window = PoseWindow(random_rotations(5, np.random.default_rng(3)), 40.0, max_inplane)
    log_prior = np.where(window.allows(found.rotations), 0.0, -np.inf).T
    full = search_batch(merged, rotated, PHASES, 6, 20.0, log_prior)
    cut = search_batch(merged, rotated, PHASES, 6, 20.0, search_list=found, window=window)
    for a, b in zip(full, cut, strict=True):
        assert 0 < len(a.i_rotation) <= 6
        np.testing.assert_array_equal(a.i_rotation, b.i_rotation)
        np.testing.assert_array_equal(a.i_shift, b.i_shift)
        # products of other shapes may round differently
        np.testing.assert_allclose(a.loglik, b.loglik, rtol=1e-4)


def test_work_grows_with_the_cone_not_with_the_list():
    found = make_search_list(normal_rotations(2))
    centres = random_rotations(16, np.random.default_rng(4))
    for cone, most in ((15.0, 0.15), (30.0, 0.25), (60.0, 0.5)):
        window = PoseWindow(centres, cone)
        inside = float(window.allows(found.rotations).mean())
        assert inside == pytest.approx((1 - np.cos(np.radians(cone))) / 2, rel=0.2)
        # blocks that the cone's edge cuts are multiplied whole
        assert inside < work_share(found, window) < most
    assert work_share(found, PoseWindow(centres)) == 1.0


def test_limits_in_the_plane_save_work_where_the_list_has_sectors():
    window = PoseWindow(random_rotations(8, np.random.default_rng(5)), 30.0, 20.0)
    whole = make_search_list(normal_rotations(2))
    sectors = make_search_list(normal_rotations(2), n_sectors=8)
    assert work_share(sectors, window) < 0.6 * work_share(whole, window)


def test_a_ring_of_six_is_found_in_its_cone_with_a_sixth_of_the_orientations():
    volume = symmetric_phantom(symmetry_matrices("C6"), 12.0, 2.0).truth_map(32, 1.0)
    reference, band = reference_of(volume), make_voxel_band(32, 7.0)
    phases = np.ones((len(band.index), 1), np.complex64)
    rng = np.random.default_rng(6)
    truth = random_rotations(6, rng)
    merged = [_view(reference, band, R) for R in truth]
    # the centre's turn is anything: only its normal is known, to 15 degrees
    tips = Rotation.from_rotvec(np.radians(15) * np.array([0.6, 0.8, 0])).as_matrix()
    spins = Rotation.from_euler("z", rng.uniform(0, 360, 6)[:, None], degrees=True).as_matrix()
    window = PoseWindow(truth @ tips @ spins, 30.0)
    best = {}
    for symmetry in ("C1", "C6"):
        found = make_search_list(normal_rotations(2, symmetry), symmetry)
        rotated = rotate_reference(reference, band, found.rotations)
        candidates = search_batch(merged, rotated, phases, 1, 20.0, search_list=found,
                                  window=window)
        best[symmetry] = [c.loglik[0] for c in candidates]
        for R, c in zip(truth, candidates, strict=True):
            mates = found.rotations[c.i_rotation[0]] @ symmetry_matrices("C6")
            assert angular_distance_deg(R, mates).min() < 15.0
    assert len(normal_rotations(2)) == 6 * len(normal_rotations(2, "C6"))
    np.testing.assert_allclose(best["C6"], best["C1"], rtol=0.05)


@pytest.mark.parametrize("symmetry", ["C6", "D3", "T"])
def test_every_pose_with_a_mate_in_the_cone_is_near_an_unfolded_rotation_there(symmetry):
    reduced = healpix_rotations(2, symmetry)
    found = make_search_list(unfold(reduced, symmetry), symmetry)
    rng = np.random.default_rng(7)
    centre = random_rotations(1, rng)[0]
    allowed = PoseWindow(centre[None], 35.0).allows(found.rotations, found.n_fold)[:, 0]
    fold = n_fold_about_z(symmetry)
    steps = np.arange(fold)[:, None] * 360 / fold
    spins = Rotation.from_euler("z", steps, degrees=True).as_matrix()
    for _ in range(20):
        tip = np.radians(rng.uniform(0, 20)) * np.array([*_unit(rng.normal(size=2)), 0])
        turn = Rotation.from_euler("z", rng.uniform(0, 360), degrees=True)
        pose = centre @ (Rotation.from_rotvec(tip) * turn).as_matrix()
        # turns about the own Z axis leave the normal where it is; no other mate is asked
        nearest = angular_distance_deg((pose @ spins)[:, None], found.rotations[allowed]).min()
        assert nearest < 14.5  # 0.93 steps of 15 degrees


def test_in_plane_limits_repeat_with_the_symmetry():
    centre = np.eye(3)[None]
    turns = np.array([0.0, 10.0, 25.0, 55.0, 65.0, 130.0])
    rotations = Rotation.from_euler("z", turns[:, None], degrees=True).as_matrix()
    allowed = PoseWindow(centre, 10.0, 12.0).allows(rotations, n_fold=6)[:, 0]
    np.testing.assert_array_equal(allowed, [True, True, False, True, True, True])


@pytest.mark.parametrize("symmetry", ["C1", "C6", "D2"])
def test_planned_lists_are_reduced_as_far_as_their_window_allows(symmetry):
    group, fold = symmetry_matrices(symmetry), n_fold_about_z(symmetry)
    free = plan_search_list(2, symmetry)
    assert len(free) == len(healpix_rotations(2, symmetry)) < 1.2 * 4608 / len(group)
    cone = plan_search_list(2, symmetry, max_tilt_deg=30.0)
    assert len(cone) == 4608 / fold
    limited = plan_search_list(2, symmetry, 30.0, 20.0)
    assert len(limited) == len(cone)
    window = PoseWindow(random_rotations(8, np.random.default_rng(9)), 30.0, 20.0)
    assert work_share(limited, window) < work_share(cone, window)
    # turns of 30 degrees either way are all there are for a ring of six
    assert len(plan_search_list(2, "C6", max_inplane_deg=30.0)) == len(plan_search_list(2, "C6"))


def test_the_mate_near_the_centre_stands_for_its_candidate():
    rng = np.random.default_rng(11)
    group = symmetry_matrices("D3")
    rotations, centre = random_rotations(30, rng), random_rotations(1, rng)[0]
    found = nearest_mates(rotations, centre, group)
    for R, mate in zip(rotations, found, strict=True):
        angles = angular_distance_deg(centre, R @ group)
        assert angular_distance_deg(centre, mate) == pytest.approx(angles.min(), abs=1e-6)
        assert np.abs(R @ group - mate).max(axis=(1, 2)).min() < 1e-12


def test_a_subset_of_a_list_keeps_its_blocks(reference):
    found = make_search_list(normal_rotations(1))
    rows = random_subset(len(found), 0.3, seed=1, i_round=0)
    part = found.subset(rows)
    np.testing.assert_array_equal(part.rotations, found.rotations[rows])
    assert part.block_start[-1] == len(rows)
    window = PoseWindow(random_rotations(3, np.random.default_rng(8)), 50.0)
    rotated = rotate_reference(reference, BAND, found.rotations)
    some = search_batch(noise_bands(3), rotated.subset(rows), PHASES, 4, 20.0,
                        search_list=part, window=window)
    log_prior = np.full((3, len(found)), -np.inf)
    log_prior[:, rows] = 0
    full = search_batch(noise_bands(3), rotated, PHASES, 4, 20.0, log_prior, found, window)
    for a, b in zip(some, full, strict=True):
        np.testing.assert_array_equal(rows[a.i_rotation], b.i_rotation)


def test_random_subsets_are_the_same_everywhere_and_try_every_rotation_in_turn():
    first = random_subset(1000, 0.3, seed=3, i_round=0)
    np.testing.assert_array_equal(first, random_subset(1000, 0.3, seed=3, i_round=0))
    assert len(first) == 300
    assert (np.diff(first) > 0).all()
    assert len(np.intersect1d(first, random_subset(1000, 0.3, seed=4, i_round=0))) < 150
    rounds = [random_subset(1000, 0.3, seed=3, i_round=i) for i in range(7)]
    assert len(np.unique(np.concatenate(rounds[:3]))) == 900
    assert len(np.unique(np.concatenate(rounds))) == 1000
    # a round that begins a new pack may draw a row twice
    assert all(250 <= len(rows) <= 300 for rows in rounds)
    assert len(random_subset(5, 0.01, seed=0, i_round=9)) == 1
    assert len(random_subset(7, 1.0, seed=0, i_round=2)) == 7


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(InputError, match="share of orientations"):
        random_subset(10, share, 0, 0)


def test_a_window_without_its_list_or_of_another_size_is_refused(reference):
    found = make_search_list(normal_rotations(0))
    rotated = rotate_reference(reference, BAND, found.rotations)
    window = PoseWindow(np.eye(3)[None], 20.0)
    with pytest.raises(ValueError, match="search list"):
        search_batch(noise_bands(1), rotated, PHASES, 1, 20.0, window=window)
    with pytest.raises(ValueError, match="1 particles, expected 2"):
        search_batch(noise_bands(2), rotated, PHASES, 1, 20.0, search_list=found, window=window)


def test_an_empty_list_is_refused():
    with pytest.raises(InputError, match="list of orientations is empty"):
        make_search_list(np.empty((0, 3, 3)))


def test_a_window_that_meets_no_rotation_gives_no_candidate(reference):
    found = SearchList(np.eye(3)[None], np.zeros(1, np.intp), np.array([0, 1]))
    rotated = rotate_reference(reference, BAND, found.rotations)
    window = PoseWindow(Rotation.from_euler("x", [[90.0]], degrees=True).as_matrix(), 20.0)
    candidates = search_batch(noise_bands(1), rotated, PHASES, 3, 20.0, search_list=found,
                              window=window)[0]
    assert len(candidates.i_rotation) == 0


def _unit(v):
    return v / np.linalg.norm(v)


def _view(reference, band, R):
    """A noiseless particle in orientation R, merged with even weights."""
    row = rotate_reference(reference, band, R[None]).values[0, 0]
    k = len(band.index)
    return MergedBand((row[:k] + 1j * row[k:]).astype(np.complex64), np.ones(k, np.float32))

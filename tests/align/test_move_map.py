"""Moved and symmetrised maps against blobs written down at the moved places."""

import numpy as np
import pytest
from blobs import blob_map, random_points

from sta_mpi.align.expand import expand_poses, helical_turns
from sta_mpi.align.move_map import (
    RigidMove,
    centre_of_mass,
    helical_map,
    move_map,
    move_poses,
    shift_move,
    symmetrise_map,
    turn_about,
)
from sta_mpi.geometry.rotations import random_rotations, rotation_from_vector
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.signal.fft import FftPlans

PLANS = FftPlans(effort="estimate")
N = 40
POINTS = random_points(12, 9.0, 1)


@pytest.fixture
def move():
    return RigidMove(random_rotations(1, np.random.default_rng(7))[0], np.array([2.3, -1.4, 0.6]))


def test_blobs_of_a_moved_map_lie_at_the_moved_points(move):
    moved = move_map(blob_map(N, POINTS), move, PLANS)
    truth = blob_map(N, POINTS @ move.R.T + move.t_px)
    # trilinear reading of a doubly padded transform: 1 % of the peak
    assert 0 < np.abs(moved - truth).max() < 0.02


def test_pure_shift_is_exact():
    shift = np.array([1.7, -0.4, 3.1])
    moved = move_map(blob_map(N, POINTS, 2.0), shift_move(shift), PLANS)
    assert np.abs(moved - blob_map(N, POINTS + shift, 2.0)).max() < 1e-4


def test_whole_voxel_shift_is_a_roll():
    data = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    moved = move_map(data, shift_move(np.array([3.0, -2.0, 1.0])), PLANS)
    assert np.abs(moved - np.roll(data, (1, -2, 3), (0, 1, 2))).max() < 1e-5


def test_move_and_its_inverse_and_chains_agree_with_points(move):
    other = turn_about(rotation_from_vector([0.2, 0.5, -0.1]), [3.0, 1.0, -2.0])
    through = (POINTS @ move.R.T + move.t_px) @ other.R.T + other.t_px
    both = move.then(other)
    assert np.allclose(POINTS @ both.R.T + both.t_px, through)
    back = both.inverse()
    assert np.allclose(through @ back.R.T + back.t_px, POINTS)
    assert np.allclose(other.R @ [3.0, 1.0, -2.0] + other.t_px, [3.0, 1.0, -2.0])


def test_poses_keep_every_point_of_the_map_where_it_is_in_the_tomogram(move):
    rng = np.random.default_rng(2)
    R, offset = random_rotations(5, rng), rng.normal(size=(5, 3))
    voxel_A = 3.0
    new_R, new_offset = move_poses(R, offset, move, voxel_A)
    before = np.einsum("nij,pj->npi", R, POINTS * voxel_A) + offset[:, None]
    moved_points = (POINTS @ move.R.T + move.t_px) * voxel_A
    after = np.einsum("nij,pj->npi", new_R, moved_points) + new_offset[:, None]
    assert np.allclose(before, after)


def test_recentring_is_relions_formula_for_a_shift():
    """star_handler --center: new origin = old - A(rot, tilt, psi) c px, origin = -offset."""
    R = random_rotations(1, np.random.default_rng(3))
    c = np.array([1.0, -2.0, 2.75])
    _, offset = move_poses(R, np.zeros((1, 3)), shift_move(-c), 1.35)
    assert np.allclose(-offset[0], 0.0 - R[0] @ c * 1.35)


@pytest.mark.parametrize("symmetry", ["C3", "C6", "D2", "T"])
def test_symmetrised_blobs_are_the_mean_of_all_mates(symmetry):
    operators = symmetry_matrices(symmetry)
    symmetric = symmetrise_map(blob_map(N, POINTS), operators, PLANS)
    mates = np.concatenate([POINTS @ S.T for S in operators])
    truth = blob_map(N, mates) / len(operators)
    assert 0 < np.abs(symmetric - truth).max() < 0.02


def test_helix_is_continued_from_its_central_part():
    rise, twist = 6.0, 50.0
    steps = np.arange(-12, 13)
    angle = np.radians(twist * steps)
    points = np.stack([6 * np.cos(angle), 6 * np.sin(angle), rise * steps], axis=1)
    whole = blob_map(48, points)
    damaged = whole.copy()
    damaged[:10] = 0
    damaged[-10:] = 0
    mended = helical_map(damaged, rise, twist, 0.4, PLANS)
    assert np.abs(mended - whole)[4:-4].max() < 0.1
    assert np.abs(damaged - whole)[4:-4].max() > 0.9


def test_centre_of_mass_counts_from_the_centre_voxel():
    point = np.array([[3.2, -1.1, 4.6]])
    assert np.allclose(centre_of_mass(blob_map(N, point)), point[0], atol=1e-3)
    with pytest.raises(ValueError, match="nothing of the map is positive"):
        centre_of_mass(-blob_map(N, point))


def test_expansion_holds_every_mate_once_and_the_given_pose_first():
    R = random_rotations(3, np.random.default_rng(5))
    offset = np.random.default_rng(6).normal(size=(3, 3))
    operators = symmetry_matrices("D2")
    rows, new_R, new_offset = expand_poses(R, offset, operators, *helical_turns(1, 0.0, 0.0))
    assert rows.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert np.allclose(new_R[::4], R)
    assert np.allclose(new_offset, offset[rows])
    assert np.allclose(new_R[4:8], R[1] @ operators)


def test_helical_copies_lie_along_the_particles_own_axis():
    R = random_rotations(1, np.random.default_rng(8))
    turns, rises = helical_turns(5, 30.0, 14.0)
    rows, new_R, new_offset = expand_poses(R, np.zeros((1, 3)), np.eye(3)[None], turns, rises)
    assert len(rows) == 5
    steps = [0, -1, 1, -2, 2]
    assert np.allclose(new_offset, np.outer(14.0 * np.array(steps), R[0] @ [0, 0, 1.0]))
    assert np.allclose(new_R[2], R[0] @ rotation_from_vector([0, 0, np.radians(30.0)]))

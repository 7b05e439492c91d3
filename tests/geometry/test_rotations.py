"""Rotations: drawing, distances and vector forms against scipy and hand-made cases."""

import numpy as np
from scipy.spatial.transform import Rotation

from sta_mpi.geometry.rotations import (
    angular_distance_deg,
    nearest_rotation,
    random_rotations,
    rotation_from_vector,
    vector_from_rotation,
)


def test_random_rotations_are_proper_and_orthogonal():
    R = random_rotations(500, np.random.default_rng(1))
    assert np.allclose(R @ R.transpose(0, 2, 1), np.eye(3), atol=1e-14)
    assert np.allclose(np.linalg.det(R), 1.0, atol=1e-14)


def test_random_rotations_have_the_angle_distribution_of_the_haar_measure():
    # Density of the rotation angle w under the Haar measure: (1 - cos w) / pi, so its mean
    # is pi / 2 + 2 / pi. Spread of w is 0.65 rad, so 40000 draws fix the mean to 0.0033.
    R = random_rotations(40000, np.random.default_rng(2))
    mean = np.radians(angular_distance_deg(R, np.eye(3))).mean()
    assert abs(mean - (np.pi / 2 + 2 / np.pi)) < 5 * 0.0033
    # Columns are even on the sphere: second moments are I / 3.
    moments = np.einsum("ni,nj->ij", R[:, :, 2], R[:, :, 2]) / len(R)
    assert np.allclose(moments, np.eye(3) / 3, atol=5 * 0.3 / np.sqrt(len(R)))


def test_same_seed_gives_the_same_rotations():
    first, second = (random_rotations(3, np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)


def test_quarter_turn_about_z_takes_x_to_y():
    R = rotation_from_vector([0.0, 0.0, np.pi / 2])
    assert np.allclose(R @ [1, 0, 0], [0, 1, 0], atol=1e-15)


def test_rotation_vector_round_trips_for_any_leading_shape():
    vectors = np.random.default_rng(3).uniform(-1.7, 1.7, (4, 5, 3))  # length below pi
    R = rotation_from_vector(vectors)
    assert R.shape == (4, 5, 3, 3)
    assert np.allclose(vector_from_rotation(R), vectors, atol=1e-13)


def test_angular_distance_matches_scipy():
    a, b = (random_rotations(300, np.random.default_rng(s)) for s in (4, 5))
    expected = np.degrees((Rotation.from_matrix(a).inv() * Rotation.from_matrix(b)).magnitude())
    assert np.allclose(angular_distance_deg(a, b), expected, atol=1e-10)


def test_angular_distance_keeps_its_digits_at_both_ends():
    for angle in (1e-7, 1e-3, 180.0 - 1e-5, 180.0):
        R = rotation_from_vector(np.radians([angle, 0.0, 0.0]))
        # 180 degrees less a little is limited by the trace: error about sqrt(eps).
        assert abs(angular_distance_deg(R, np.eye(3)) - angle) < max(1e-5 * angle * 1e-3, 1e-12)


def test_angular_distance_broadcasts_to_a_table():
    R = random_rotations(6, np.random.default_rng(6))
    table = angular_distance_deg(R[:, None], R[None])
    assert table.shape == (6, 6)
    assert np.allclose(table, table.T)
    assert np.allclose(np.diag(table), 0.0, atol=1e-12)


def test_nearest_rotation_undoes_scale_and_never_reflects():
    R = random_rotations(50, np.random.default_rng(8))
    assert np.allclose(nearest_rotation(1.01 * R), R, atol=1e-13)
    mirrored = nearest_rotation(R @ np.diag([1.0, 1.0, -0.5]))
    assert np.allclose(np.linalg.det(mirrored), 1.0)


def test_nearest_rotation_beats_its_neighbours():
    rng = np.random.default_rng(9)
    M = random_rotations(1, rng)[0] + 0.05 * rng.standard_normal((3, 3))
    best = np.linalg.norm(M - nearest_rotation(M))
    nudged = nearest_rotation(M) @ rotation_from_vector(0.02 * rng.standard_normal((200, 3)))
    assert (np.linalg.norm(M - nudged, axis=(1, 2)) > best).all()

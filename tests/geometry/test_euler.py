"""RELION's Euler convention against scipy, hand-computed turns and gimbal cases."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.geometry.euler import (
    euler_from_matrix,
    matrix_from_euler,
    matrix_from_relion_angles,
    relion_angles_from_matrix,
)
from sta_mpi.geometry.rotations import angular_distance_deg, random_rotations


def random_angles(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [rng.uniform(-180, 180, n), rng.uniform(0.1, 179.9, n), rng.uniform(-180, 180, n)])


def test_relion_matrix_is_the_inverse_of_scipys_intrinsic_zyz():
    angles = random_angles(1000, 1)
    expected = Rotation.from_euler("ZYZ", angles, degrees=True).inv().as_matrix()
    assert np.abs(matrix_from_relion_angles(angles) - expected).max() < 1e-15 * 4


@pytest.mark.parametrize(("angles", "row_of_reference_z"), [
    # Third column of A: where the reference z axis points, (-cos psi sin t, sin psi sin t, cos t).
    ((0.0, 90.0, 0.0), (-1.0, 0.0, 0.0)),
    ((50.0, 90.0, 90.0), (0.0, 1.0, 0.0)),
    ((10.0, 180.0, 20.0), (0.0, 0.0, -1.0)),
])
def test_reference_z_axis_goes_where_relion_says(angles, row_of_reference_z):
    A = matrix_from_relion_angles(angles)
    assert np.allclose(A @ [0, 0, 1], row_of_reference_z, atol=1e-15)


def test_relion_angles_round_trip():
    angles = random_angles(2000, 2)
    back = relion_angles_from_matrix(matrix_from_relion_angles(angles))
    assert np.abs(back - angles).max() < 1e-9


def test_matrix_of_angles_of_matrix_is_the_matrix():
    A = random_rotations(2000, np.random.default_rng(3))
    assert np.abs(matrix_from_relion_angles(relion_angles_from_matrix(A)) - A).max() < 2e-15


@pytest.mark.parametrize("tilt", [0.0, 1e-12, 1e-10, 1e-8, 1e-6, 1e-3,
                                  180 - 1e-3, 180 - 1e-7, 180 - 1e-10, 180.0])
def test_angles_near_the_gimbal_give_the_same_matrix(tilt):
    A = matrix_from_relion_angles([33.0, tilt, -71.0])
    back = relion_angles_from_matrix(A)
    assert angular_distance_deg(matrix_from_relion_angles(back), A) < 1e-7  # the 1e-9 rad cut


def test_noisy_matrix_near_the_gimbal_keeps_the_in_plane_angle():
    # Matrices from text files carry 1e-7 of rounding: phi is then noise, phi + psi is not.
    noise = 1e-7 * np.random.default_rng(4).standard_normal((100, 3, 3))
    A = matrix_from_relion_angles([0.0, 0.0, 25.0]) + noise
    back = matrix_from_relion_angles(relion_angles_from_matrix(A))
    assert np.abs(back - A).max() < 1e-6


def test_rot_is_zero_at_the_gimbal_as_in_relion():
    assert np.allclose(
        relion_angles_from_matrix(matrix_from_relion_angles([30.0, 0.0, 20.0])), [0, 0, 50])
    assert np.allclose(
        relion_angles_from_matrix(matrix_from_relion_angles([30.0, 180.0, 20.0])), [0, 180, -10])


def test_leading_shapes_are_kept():
    angles = random_angles(6, 5).reshape(2, 3, 3)
    assert matrix_from_relion_angles(angles).shape == (2, 3, 3, 3)
    assert relion_angles_from_matrix(matrix_from_relion_angles(angles)).shape == (2, 3, 3)
    assert euler_from_matrix(matrix_from_euler(angles)).shape == (2, 3, 3)


@pytest.mark.parametrize("axes", ["ZYZ", "ZXZ", "xyz", "ZYX"])
def test_generic_euler_round_trips(axes):
    angles = np.array([[10.0, 20.0, 30.0], [-100.0, 70.0, 5.0]])
    assert np.allclose(euler_from_matrix(matrix_from_euler(angles, axes), axes), angles)


def test_capital_axes_turn_about_the_moving_frame():
    # Z by 90 then the new X by 90: the old z axis ends on R z = Z(90) X(90) z = (1, 0, 0).
    R = matrix_from_euler([90.0, 90.0, 0.0], "ZXZ")
    assert np.allclose(R @ [0, 0, 1], [1, 0, 0], atol=1e-15)

"""Orientation grids: HEALPix against healpix libraries, even covering, local grids."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from sta_mpi.errors import InputError
from sta_mpi.geometry.rotations import angular_distance_deg, random_rotations
from sta_mpi.geometry.sampling import (
    cone_rotations,
    healpix_directions,
    healpix_rotations,
    healpix_step_deg,
    local_rotations,
    shift_grid,
)
from sta_mpi.geometry.symmetry import symmetry_matrices


def nearest_deg(query: np.ndarray, grid: np.ndarray, symmetry: str, k: int = 1) -> np.ndarray:
    """Distance of each query rotation to the k-th nearest of grid x symmetry [degrees]."""
    mates = grid[:, None] @ symmetry_matrices(symmetry)
    quaternions = Rotation.from_matrix(mates.reshape(-1, 3, 3)).as_quat()
    tree = cKDTree(np.concatenate([quaternions, -quaternions]))
    distance, _ = tree.query(Rotation.from_matrix(query).as_quat(), k=[k])
    return np.degrees(4 * np.arcsin(distance[:, 0] / 2))


def test_healpix_directions_are_those_of_the_reference_library():
    healpy = pytest.importorskip("healpy", reason="healpy, an independent HEALPix, not installed")
    for order in (0, 2, 4):
        nside = 2**order
        theta, phi = healpy.pix2ang(nside, np.arange(12 * nside**2), nest=True)
        ours = healpix_directions(order)
        assert np.abs(ours[:, 1] - np.degrees(theta)).max() < 1e-10
        assert np.abs(ours[:, 0] - np.degrees(phi)).max() < 1e-10


def test_first_healpix_directions_are_known():
    # Base pixels of order 0: 4 at z = 2/3 and odd multiples of 45, 4 on the equator, 4 below.
    tilt = np.degrees(np.arccos(2 / 3))
    ours = healpix_directions(0)
    assert np.allclose(ours[:4, 0], [45, 135, 225, 315])
    assert np.allclose(ours[:, 1], [tilt] * 4 + [90] * 4 + [180 - tilt] * 4)


def test_step_of_an_order_is_relions():
    assert [healpix_step_deg(o) for o in (1, 2, 3, 4, 5)] == [30, 15, 7.5, 3.75, 1.875]


def test_full_grid_has_all_directions_times_all_turns():
    assert len(healpix_rotations(1)) == 48 * 12
    assert len(healpix_rotations(2, psi_step_deg=10.0)) == 192 * 36


@pytest.mark.parametrize("symmetry", ["C1", "C2", "C6", "D2", "D7", "T", "O", "I1", "I2", "I4"])
@pytest.mark.parametrize("order", [2, 3])
def test_grid_covers_all_orientations_evenly_under_symmetry(symmetry, order):
    grid = healpix_rotations(order, symmetry)
    step = healpix_step_deg(order)
    distance = nearest_deg(random_rotations(3000, np.random.default_rng(1)), grid, symmetry)
    assert distance.max() < 1.0 * step
    # A cubic lattice of spacing s has its points 0.48 s away on average.
    assert 0.43 * step < distance.mean() < 0.50 * step


@pytest.mark.parametrize("symmetry", ["C2", "C6", "D2", "D7", "T", "O", "I1", "I2", "I3", "I4"])
def test_number_times_volume_fills_one_asymmetric_unit(symmetry):
    n_group = len(symmetry_matrices(symmetry))
    full = 192 * 4 * 48  # order 3
    # The smallest unit holds 12.8 directions; a border decides about one of them either way.
    assert 0.90 < len(healpix_rotations(3, symmetry)) * n_group / full < 1.10


@pytest.mark.parametrize("symmetry", ["C1", "C2", "C4", "C6", "D2", "T", "O", "I1", "I3"])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_no_orientation_occurs_twice_under_symmetry(symmetry, order):
    grid = healpix_rotations(order, symmetry)
    # The nearest is the orientation itself; on-axis directions would put a mate at distance 0.
    second = nearest_deg(grid, grid, symmetry, k=2)
    assert second.min() > 0.05 * healpix_step_deg(order)


def test_coarsest_grid_of_the_largest_group_is_not_empty():
    grid = healpix_rotations(0, "I1")
    far = nearest_deg(random_rotations(500, np.random.default_rng(2)), grid, "I1")
    assert far.max() < 60.0


def test_impossible_grids_are_refused():
    with pytest.raises(InputError, match="order"):
        healpix_rotations(9)
    with pytest.raises(InputError, match="psi_step_deg"):
        healpix_rotations(2, psi_step_deg=0.0)
    with pytest.raises(InputError, match="step_deg"):
        local_rotations(5.0, 0.0)
    with pytest.raises(InputError, match="cone_deg"):
        cone_rotations(-1.0, 1.0, 5.0, 1.0)
    with pytest.raises(InputError, match="range_px"):
        shift_grid(-1.0, 1.0)


def test_local_grid_starts_at_the_identity_and_stays_in_the_ball():
    R = local_rotations(6.0, 2.0)
    angles = angular_distance_deg(R, np.eye(3))
    assert np.array_equal(R[0], np.eye(3))
    assert (np.diff(angles) > -1e-9).all()
    assert abs(angles.max() - 6.0) < 1e-9
    assert len(R) == 123  # integer points within radius 3


def test_local_grid_leaves_no_hole_wider_than_its_step():
    rng = np.random.default_rng(3)
    R = local_rotations(10.0, 2.0)
    vectors = rng.standard_normal((2000, 3))
    vectors *= (8.0 * rng.random((2000, 1)) ** (1 / 3)) / np.linalg.norm(
        vectors, axis=1, keepdims=True)
    query = Rotation.from_rotvec(vectors, degrees=True).as_matrix()
    # Half the diagonal of a grid cell, 0.87 steps; the curvature of SO(3) only shrinks it.
    assert nearest_deg(query, R, "C1").max() < 0.88 * 2.0


def test_cone_tips_z_within_the_cone_and_turns_within_the_range():
    D = cone_rotations(9.0, 3.0, 6.0, 3.0)
    assert np.array_equal(D[0], np.eye(3))
    tip = np.degrees(np.arccos(np.clip(D[:, 2, 2], -1, 1)))
    assert abs(tip.max() - 9.0) < 1e-6
    n_directions = 1 + 7 + 13 + 19  # ceil(360 sin(t) / 3) on rings 3, 6, 9
    assert len(D) == n_directions * 5
    second = nearest_deg(D, D, "C1", k=2)
    assert second.min() > 0.9 * 3.0 * 0.95  # ring spacing is at most one step, rounded down


def test_cone_without_extent_is_the_identity():
    assert np.array_equal(cone_rotations(0.0, 1.0, 0.0, 1.0), np.eye(3)[None])


def test_whole_turn_in_plane_has_no_double():
    D = cone_rotations(0.0, 1.0, 180.0, 45.0)
    assert len(D) == 8
    assert nearest_deg(D, D, "C1", k=2).min() > 44.9


def test_cone_covers_every_direction_in_it():
    rng = np.random.default_rng(4)
    D = cone_rotations(20.0, 4.0, 0.0, 1.0)
    z = 1 - rng.random(1000) * (1 - np.cos(np.radians(20.0)))
    azimuth = rng.uniform(0, 2 * np.pi, 1000)
    r = np.sqrt(1 - z**2)
    directions = np.column_stack([r * np.cos(azimuth), r * np.sin(azimuth), z])
    cosine = (directions @ D[:, :, 2].T).max(axis=1)
    assert np.degrees(np.arccos(cosine)).max() < 0.75 * 4.0  # half diagonal of a square cell


def test_shift_grid_is_a_ball_with_zero_first():
    shifts = shift_grid(5.0, 2.0)
    assert np.array_equal(shifts[0], [0, 0, 0])
    assert np.linalg.norm(shifts, axis=1).max() <= 5.0
    assert len(shifts) == 81  # integer points within radius 2.5
    assert len(np.unique(shifts, axis=0)) == 81
    assert np.array_equal(shift_grid(0.0, 1.0), np.zeros((1, 3)))


def test_geometry_imports_without_astropy():
    code = ("import sys; import sta_mpi.geometry.sampling; "
            "sys.exit(any(m.startswith('astropy') for m in sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Point groups, axes and lattices found in maps whose symmetry is written down."""

import numpy as np
import pytest
from blobs import blob_map, random_points

from sta_mpi.align.angular_orders import AngularOrders, angular_orders
from sta_mpi.align.lattice_direction import lattice_direction
from sta_mpi.align.move_map import RigidMove, move_map
from sta_mpi.align.point_group import find_point_group
from sta_mpi.geometry.rotations import rotation_from_vector
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.filters import lowpass_map
from sta_mpi.signal.masks import soft_sphere

N, R_MAX = 32, 9.0
PLANS = FftPlans(effort="estimate")
MASK = soft_sphere(N, 13.0, 2.0)
Q = rotation_from_vector([0.5, -0.7, 0.4])
CENTRE = np.array([1.3, -0.8, 0.6])


def group_map(symmetry, seed=4, unit=7):
    """Blobs off the axes, copied by a group whose axes are turned by Q and meet at CENTRE."""
    points = random_points(unit, 5.0, seed) + [5.0, 1.5, 3.0]
    copies = np.concatenate([points @ S.T for S in symmetry_matrices(symmetry)])
    return blob_map(N, copies @ Q.T + CENTRE, 1.3)


def noisy_halves(data, level=1.0, seed=8):
    """Two half maps with noise of `level` standard deviations of the map, low-passed."""
    rng = np.random.default_rng(seed)
    return [lowpass_map((data + rng.normal(scale=level * data.std(), size=data.shape)
                         ).astype(np.float32), 1.0, N / R_MAX) for _ in range(2)]


@pytest.mark.parametrize("symmetry", [
    "C6", *(pytest.param(s, marks=pytest.mark.slow)
            for s in ("C1", "C2", "C3", "C4", "C5", "D2", "D3", "T", "O", "I"))])
def test_group_of_a_turned_and_shifted_map_is_found_with_its_axes(symmetry):
    # smaller units where there are many
    unit = max(1, 21 // len(symmetry_matrices(symmetry)))
    half1, half2 = noisy_halves(group_map(symmetry, unit=unit))
    found = find_point_group(half1, half2, MASK, R_MAX, 5.0, PLANS)
    assert found.symmetry == symmetry
    if symmetry == "C1":
        assert found.fit is None
        return
    assert found.fit is not None
    moved = move_map(half1, found.fit.move, PLANS)
    # the map that is brought to the standard setting is its own image there
    for S in symmetry_matrices(symmetry)[1:4]:
        turned = move_map(moved, RigidMove(S, np.zeros(3)), PLANS)
        assert np.corrcoef((moved * MASK).ravel(), (turned * MASK).ravel())[0, 1] > 0.8
    if symmetry[0] == "C":
        axis = found.fit.Q[:, 2]
        assert np.degrees(np.arccos(min(1.0, abs(axis @ Q[:, 2])))) < 1.5
        assert np.linalg.norm(np.cross(found.fit.centre_px - CENTRE, axis)) < 0.4


def test_map_that_is_round_about_its_axis_gets_no_order():
    angle = np.radians(np.arange(0, 360, 5.0))
    ring = np.stack([8 * np.cos(angle), 8 * np.sin(angle), np.zeros_like(angle)], axis=1)
    data = blob_map(N, np.concatenate([ring, [[0, 0, 5.0], [0, 0, 8.0]]]), 1.5)
    half1, half2 = noisy_halves(data, 0.3)
    found = find_point_group(half1, half2, MASK, R_MAX, 4.0, PLANS, cone_deg=20.0)
    assert found.symmetry == "C1"
    assert found.is_round


@pytest.mark.slow
def test_axis_stays_on_the_side_of_the_known_normal():
    tip = rotation_from_vector([0.1, 0.05, 0.0])
    points = random_points(4, 4.0, 2) + [6.0, 0.0, 4.0]
    copies = np.concatenate([points @ S.T for S in symmetry_matrices("C6")])
    half1, half2 = noisy_halves(blob_map(N, copies @ tip.T, 1.3))
    found = find_point_group(half1, half2, MASK, R_MAX, 5.0, PLANS, cone_deg=20.0)
    assert found.symmetry == "C6"
    assert found.fit is not None
    assert np.degrees(np.arccos(min(1.0, found.fit.Q[:, 2] @ tip[:, 2]))) < 1.5
    assert found.shares == {}


def orders(power):
    """Angular orders of a power, each known as well as any."""
    power = np.array(power, float)
    return AngularOrders(power, np.where(power > 0, 0.9, 0.0))


@pytest.mark.parametrize(("power", "fold"), [
    ([9, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 2], 6),
    ([9, 0, 0, 1.5, 0, 0, 5, 0, 0, 0, 0, 0, 2], 3),       # C3, nearly C6
    ([9, 0.8, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 2], 6),       # neighbours that differ
    ([9, 0, 0.15, 0.05, 0.2, 0.1, 5, 0.1, 0.2, 0.05, 0.2, 0.05, 1.9], 6),   # of a missing wedge
    ([9, 5, 4, 3, 2, 1, 5, 0, 0, 0, 0, 0, 2], 1),
    ([9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], 12),
    ([9, 0, 5, 0, 3, 0, 1, 0, 0, 0, 0, 0, 0], 2),
    ([9, 1.6, 5, 0.4, 1, 0, 0.6, 0, 0, 0, 0, 0, 0], 1),    # even orders of a map without symmetry
    ([9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0)])
def test_fold_is_what_the_orders_with_signal_have_in_common(power, fold):
    assert orders(power).fold() == fold


def test_orders_of_three_blobs_are_multiples_of_three_and_of_noise_none():
    angle = np.radians([0.0, 120.0, 240.0])
    data = blob_map(N, np.stack([7 * np.cos(angle), 7 * np.sin(angle), 0 * angle], axis=1), 1.5)
    found = angular_orders(data, data, MASK, np.array([0, 0, 1.0]), np.zeros(3))
    assert found.explained(3) > 0.99
    rng = np.random.default_rng(1)
    noise = [lowpass_map(rng.normal(size=(N,) * 3).astype(np.float32), 1.0, N / R_MAX)
             for _ in range(2)]
    assert not len(angular_orders(*noise, MASK, np.array([0, 0, 1.0]), np.zeros(3)).carries())


def lattice_map(angle_deg, spacing_px, seed=3):
    """A hexagonal lattice of units of three unequal blobs, C6 about the centre."""
    rng = np.random.default_rng(seed)
    unit = np.array([[2.0, 0.4, 0.0], [1.2, 1.0, 1.5]])
    six = np.concatenate([unit @ S.T for S in symmetry_matrices("C6")])
    a, b = (spacing_px * np.array([np.cos(t), np.sin(t), 0.0]) for t in np.radians(
        [angle_deg, angle_deg + 60]))
    sites = [i * a + j * b for i in range(-4, 5) for j in range(-4, 5)]
    turn = rotation_from_vector([0, 0, np.radians(angle_deg + 13)])
    data = blob_map(40, np.concatenate([six @ turn.T + s for s in sites]), 1.0)
    return (data + rng.normal(scale=0.2, size=data.shape)).astype(np.float32)


@pytest.mark.parametrize("angle_deg", [0.0, 22.0, 41.5])
@pytest.mark.parametrize("known", [True, False])
def test_direction_and_spacing_of_a_lattice_are_found(angle_deg, known):
    spacing = 11.0
    found = lattice_direction(lattice_map(angle_deg, spacing), soft_sphere(40, 18.0, 2.0), 6,
                              spacing if known else None)
    assert found is not None
    assert found.is_lattice
    away = (found.angle_deg - angle_deg + 30) % 60 - 30
    # angles are read every degree, on voxels that are 5 degrees wide at this distance
    assert abs(away) < 1.5
    assert abs(found.spacing_px - spacing) < 0.8


def test_ring_of_six_units_alone_is_no_lattice():
    six = np.concatenate([np.array([[6.0, 1.0, 0.0], [5.0, 0.0, 3.0]]) @ S.T
                          for S in symmetry_matrices("C6")])
    found = lattice_direction(blob_map(40, six, 1.2), soft_sphere(40, 18.0, 2.0), 6)
    assert found is None or not found.is_lattice

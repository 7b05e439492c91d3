"""Hexagonal lattices on a sphere with known outliers and holes."""

import numpy as np
import pytest

from sta_mpi.geometry.rotations import random_rotations, rotation_from_vector
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.pick.lattice import LatticeRule, consistent, fill_holes, find_lattice
from sta_mpi.pick.poses import pose_distance_deg

SPACING_A, RADIUS_A = 75.0, 500.0
C6 = symmetry_matrices("C6")


def patch(rings=4, phase_deg=13.0, seed=0):
    """A hexagonal patch around the pole of a sphere: positions, orientations with random mates."""
    rng = np.random.default_rng(seed)
    points = []
    for i in range(-rings, rings + 1):
        for j in range(-rings, rings + 1):
            if abs(i + j) <= rings:
                points.append(SPACING_A * np.array([i + 0.5 * j, np.sqrt(0.75) * j]))
    flat = np.array(points)
    flat = flat @ np.array([[np.cos(a := np.radians(phase_deg)), np.sin(a)],
                            [-np.sin(a), np.cos(a)]])
    R, position = [], []
    for x, y in flat:
        # roll the plane onto the sphere: distances from the pole stay
        r = np.hypot(x, y)
        axis = np.array([-y, x, 0.0]) / max(r, 1e-9)
        turn = rotation_from_vector(axis * r / RADIUS_A)
        position.append(turn @ [0, 0, RADIUS_A])
        R.append(turn)
    mates = C6[rng.integers(0, 6, len(R))]
    return np.array(position), np.array(R) @ mates, flat


@pytest.fixture
def rule():
    return LatticeRule(SPACING_A, 6, None, 0.3, 25.0)


def test_every_inner_site_of_a_patch_has_six_neighbours(rule):
    position, R, flat = patch()
    lattice = find_lattice(position, R, np.zeros(len(R), np.int32), rule, C6)
    inner = np.hypot(*flat.T) < 3.2 * SPACING_A
    assert (lattice.count[inner] == 6).all()
    assert (lattice.count[~inner] < 6).any()
    assert lattice.patch_size.tolist() == [len(R)] * len(R)


def test_direction_of_the_lattice_is_found_modulo_its_symmetry(rule):
    position, R, _ = patch(phase_deg=13.0)
    lattice = find_lattice(position, R, np.zeros(len(R), np.int32), rule, C6)
    off = (lattice.phase_deg - 13.0 + 30.0) % 60.0 - 30.0
    # neighbours on the sphere are not quite at multiples of 60 degrees
    assert abs(off) < 1.5


def test_outliers_between_sites_or_of_wrong_orientation_are_inconsistent(rule):
    position, R, _ = patch()
    rng = np.random.default_rng(2)
    n = len(R)
    wrong_place = position[:8] * 1.0 + rng.normal(0, 1, (8, 3))
    wrong_place += 0.5 * SPACING_A * R[:8, :, 0]
    tipped = R[20:24] @ rotation_from_vector([np.radians(60.0), 0, 0])
    all_R = np.concatenate([R, random_rotations(8, rng)])
    all_R[20:24] = tipped
    all_position = np.concatenate([position, wrong_place])
    lattice = find_lattice(all_position, all_R, np.zeros(n + 8, np.int32), rule, C6)
    keep = consistent(lattice, min_neighbours=2, min_patch=10)
    assert not keep[n:].any()
    assert not keep[20:24].any()
    assert keep[:n].sum() == n - 4


def test_particles_of_other_tomograms_are_no_neighbours(rule):
    position, R, _ = patch()
    each_alone = np.arange(len(R), dtype=np.int32)
    lattice = find_lattice(position, R, each_alone, rule, C6)
    assert lattice.count.sum() == 0
    assert (lattice.patch == -1).all()


def test_holes_are_filled_where_they_are_and_as_they_face(rule):
    position, R, flat = patch()
    inner = np.flatnonzero(np.hypot(*flat.T) < 3.2 * SPACING_A)
    gone = inner[[3, 12, 22]]
    left = np.setdiff1d(np.arange(len(R)), gone)
    i_tomo = np.zeros(len(left), np.int32)
    lattice = find_lattice(position[left], R[left], i_tomo, rule, C6)
    where, turn, parent = fill_holes(position[left], R[left], i_tomo, lattice, rule, C6,
                                     min_votes=4)
    assert len(where) == 3
    assert len(parent) == 3
    distance = np.linalg.norm(where[:, None] - position[gone][None], axis=-1)
    match = distance.argmin(axis=1)
    assert sorted(match) == [0, 1, 2]
    # a mean neighbour of a sphere that is not flat: a few percent of the spacing, a few degrees
    assert distance.min(axis=1).max() < 0.06 * SPACING_A
    assert pose_distance_deg(turn, R[gone[match]], C6).max() < 5.0


def test_a_full_lattice_has_no_holes(rule):
    position, R, _ = patch()
    i_tomo = np.zeros(len(R), np.int32)
    lattice = find_lattice(position, R, i_tomo, rule, C6)
    assert len(fill_holes(position, R, i_tomo, lattice, rule, C6, min_votes=4)[0]) == 0

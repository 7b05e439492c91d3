"""Half-sets of whole clusters."""

import numpy as np
import pytest

from sta_mpi.align.half_sets import (
    cluster_labels,
    collapsed_share,
    halves_of_clusters,
    shared_share,
)


def sphere_lattices(n_spheres, rng, n=60):
    """Points on spheres of radius 400 Å, far apart from each other; (positions, sphere)."""
    points = rng.normal(size=(n_spheres, n, 3))
    points *= 400 / np.linalg.norm(points, axis=2, keepdims=True)
    points[..., 0] += 3000.0 * np.arange(n_spheres)[:, None]
    return points.reshape(-1, 3), np.repeat(np.arange(n_spheres), n)


def test_each_particle_on_a_sphere_shares_the_half_of_its_sphere():
    positions, sphere = sphere_lattices(12, np.random.default_rng(1))
    labels = cluster_labels(positions, np.zeros(len(positions), int), 250.0)
    half = halves_of_clusters(labels, seed=3)
    for s in range(12):
        assert len(np.unique(half[sphere == s])) == 1
    assert np.bincount(half)[1:].tolist() == [360, 360]


def test_random_halves_have_neighbours_across_and_halves_of_clusters_have_none():
    positions, _ = sphere_lattices(12, np.random.default_rng(2))
    group = np.zeros(len(positions), int)
    random = np.random.default_rng(3).integers(1, 3, len(positions)).astype(np.int8)
    clusters = halves_of_clusters(cluster_labels(positions, group, 250.0), seed=1)
    assert shared_share(positions, group, random, 200.0) > 0.8
    assert shared_share(positions, group, clusters, 200.0) == 0.0


def test_clusters_do_not_cross_tomograms():
    positions = np.zeros((4, 3))
    positions[:, 0] = [0.0, 10.0, 20.0, 30.0]
    labels = cluster_labels(np.repeat(positions, 10, axis=0), np.tile([0, 1], 20), 15.0)
    assert not set(labels[::2]) & set(labels[1::2])


def test_one_large_cluster_is_cut_into_balanced_compact_patches():
    grid = np.stack(np.meshgrid(np.arange(40.0), np.arange(10.0), [0.0]), -1).reshape(-1, 3)
    group = np.zeros(len(grid), int)
    half = halves_of_clusters(cluster_labels(grid, group, 1.1), seed=1)
    assert (half == 1).sum() == (half == 2).sum() == 200
    # only particles along the one cut have a neighbour in the other half: 2 rows of 10
    assert shared_share(grid, group, half, 1.1) == 0.05


@pytest.mark.parametrize("seed", [1, 2])
def test_halves_depend_on_the_seed_alone(seed):
    labels = np.arange(30) // 3
    assert np.array_equal(halves_of_clusters(labels, seed), halves_of_clusters(labels, seed))


def test_particles_that_slid_onto_a_neighbour_are_counted_and_those_in_other_tomograms_are_not():
    grid = np.stack(np.meshgrid(np.arange(10.0), np.arange(10.0), [0.0]), -1).reshape(-1, 3) * 75.0
    rng = np.random.default_rng(4)
    moved = grid + rng.normal(scale=4.0, size=grid.shape)
    group = np.zeros(100, int)
    assert collapsed_share(grid, moved, group) == 0.0
    moved[[11, 15, 77]] = moved[[12, 16, 78]] + [5.0, 0.0, 0.0]
    assert collapsed_share(grid, moved, group) == 0.06
    # the three that moved in a tomogram of their own
    group[[11, 15, 77]] = 1
    assert collapsed_share(grid, moved, group) == 0.0


def test_a_particle_alone_in_its_tomogram_has_no_neighbour_to_move_onto():
    assert collapsed_share(np.zeros((2, 3)), np.ones((2, 3)), np.arange(2)) == 0.0

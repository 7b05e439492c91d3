"""Particles that judge a map share no pixels with those that made it."""

import doctest

import numpy as np
import pytest
from scipy.spatial import cKDTree

from sta_mpi.align import unseen
from sta_mpi.align.unseen import unseen_regions


@pytest.fixture(scope="module")
def dense():
    """Two spheres of 200 seeds, one in each tomogram."""
    rng = np.random.default_rng(4)
    points = rng.normal(size=(400, 3))
    points *= 500 / np.linalg.norm(points, axis=1, keepdims=True)
    return points, np.repeat([0, 1], 200).astype(np.int32)


def test_judges_are_a_region_apart_from_the_makers_in_every_tomogram(dense):
    position, tomogram = dense
    makers, judges = unseen_regions(position, tomogram, 0.25, 120.0, np.random.default_rng(2))
    assert len(judges) == 100
    assert not set(makers) & set(judges)
    for t in (0, 1):
        a, b = (position[rows[tomogram[rows] == t]] for rows in (makers, judges))
        assert len(b) == 50
        assert cKDTree(a).query(b)[0].min() >= 120.0
        # a cap of a sphere, not a scatter: some of its points are far from all makers
        assert cKDTree(a).query(b)[0].max() > 300.0
    assert len(makers) > 200


def test_without_a_gap_every_particle_has_a_part(dense):
    makers, judges = unseen_regions(*dense, 0.25, 0.0, np.random.default_rng(2))
    assert sorted([*makers, *judges]) == list(range(400))


def test_a_particle_alone_in_its_tomogram_judges():
    makers, judges = unseen_regions(
        np.zeros((3, 3)), np.arange(3, dtype=np.int32), 0.25, 10.0, np.random.default_rng(1))
    assert len(makers) == 0
    assert judges.tolist() == [0, 1, 2]


def test_example_of_the_docstring_is_true():
    assert doctest.testmod(unseen).failed == 0

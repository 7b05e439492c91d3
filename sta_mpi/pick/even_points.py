"""Points spread evenly over a surface, in the number that a lattice asks for.

A hexagonal lattice of constant a holds one unit in (sqrt 3 / 2) a^2, so a surface of area A at
d times its density gets d A / ((sqrt 3 / 2) a^2) points. On a sphere they follow the golden
spiral. On other surfaces they are the centres of their own Voronoi cells (Lloyd's iteration)
over a dense cloud of surface points that carry area.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]

GOLDEN_TURN = np.pi * (3.0 - np.sqrt(5.0))
"""Turn from one point of the golden spiral to the next [rad]."""

CLOUD_PER_POINT = 24
ROUNDS = 30
MOST_DISTANCES = 10**9
"""Distances computed for an even start, a few seconds; beyond, the start is random."""


def number_of_points(area_A2: float, lattice_A: float, density: float = 1.0) -> int:
    """Points on an area at `density` times a hexagonal lattice, at least one.

    >>> number_of_points(4 * np.pi * 450.0**2, lattice_A=80.0, density=2.0)
    918
    """
    return max(1, round(density * area_A2 / (0.5 * np.sqrt(3.0) * lattice_A**2)))


def golden_spiral(n: int) -> Floats:
    """Unit vectors (n, 3), evenly spread: equal steps in z, golden turns about it."""
    z = 1.0 - (2.0 * np.arange(n) + 1.0) / n
    turn = GOLDEN_TURN * np.arange(n)
    ring = np.sqrt(np.maximum(0.0, 1.0 - z * z))
    return np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)


def even_points(cloud: Floats, area: Floats, n: int, rng: np.random.Generator) -> Floats:
    """Centres of n cells of a surface that stand for equal areas, near the surface.

    Parameters
    ----------
    cloud : (m, 3) float64     points on the surface, many more than n
    area : (m,) float64        area that each stands for, any unit
    n : int
    rng : numpy Generator      of the start

    Returns
    -------
    (n, 3) float64   below a curved surface by a fraction of a cell; to be moved onto it. The
        cloud itself where n is not less than m.

    Notes
    -----
    The start is the farthest point from all chosen ones, again and again; cost n m.
    """
    if n >= len(cloud):
        return cloud.copy()
    weight = area / area.sum()
    points = cloud[_farthest_points(cloud, n, rng)] if n * len(cloud) <= MOST_DISTANCES else \
        cloud[rng.choice(len(cloud), n, replace=False, p=weight)]
    for _ in range(ROUNDS):
        cell = cKDTree(points).query(cloud)[1]
        mass = np.bincount(cell, weight, n)
        centre = np.stack([np.bincount(cell, weight * cloud[:, i], n) for i in range(3)], axis=1)
        points = np.where(mass[:, None] > 0, centre / np.maximum(mass, 1e-300)[:, None], points)
    return points


def _farthest_points(cloud: Floats, n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Rows of n points, each the farthest from those before it."""
    rows = np.empty(n, np.intp)
    rows[0] = rng.integers(len(cloud))
    distance2 = ((cloud - cloud[rows[0]]) ** 2).sum(axis=1)
    for i in range(1, n):
        rows[i] = np.argmax(distance2)
        np.minimum(distance2, ((cloud - cloud[rows[i]]) ** 2).sum(axis=1), out=distance2)
    return rows

"""The phantoms that ship with the program: chiral, ribosome-sized, symmetric, and crowding.

All are deterministic: blob centres come from a low-discrepancy sequence, not from a random
generator, so that a phantom is the same object on every machine and in every version.
Density is about 1 inside; coordinates are xyz in Å from the centre of mass.
"""

from collections.abc import Callable

import numpy as np

from sta_mpi.simulate.phantom import Floats, GaussianPhantom, SpherePhantom

GOLD_DENSITY = 8.0
"""Density of gold relative to protein in ice, in a model where contrast stays linear."""


def chiral_phantom(radius_A: float = 60.0, detail_A: float = 3.0) -> GaussianPhantom:
    """Make a compact asymmetric, chiral object: a rising helix, three unequal domains, detail.

    Parameters
    ----------
    radius_A : float   about the radius of the object [Å]
    detail_A : float   standard deviation of the finest blobs [Å]; their amplitude has fallen
                       to 1/e at a spacing of 4.4 × detail_A
    """
    turn = np.linspace(0.0, 1.6 * 2 * np.pi, 40)
    reach = 0.55 - 0.15 * turn / turn[-1]
    helix = np.stack([reach * np.cos(turn), reach * np.sin(turn), -0.6 + 1.2 * turn / turn[-1]], 1)
    domains = np.array([[0.45, 0.10, -0.45], [-0.30, 0.42, 0.20], [0.05, -0.35, 0.58]])
    domain_size = np.array([0.34, 0.26, 0.19])
    detail = [centre + size * _ball_points(30, skip=97 * i)
              for i, (centre, size) in enumerate(zip(domains, domain_size, strict=True))]
    centres = np.concatenate([helix, *detail]) * radius_A
    fine = detail_A * (1.0 + 0.4 * _sequence(len(centres), 1, skip=11)[:, 0])
    weight = 0.6 + 0.8 * _sequence(len(centres), 1, skip=37)[:, 0]
    fine_peak = weight * (radius_A / 60.0) ** 1.0
    coarse = GaussianPhantom(domains * radius_A, 0.5 * domain_size * radius_A, np.ones(3))
    return _centred(np.concatenate([centres, coarse.centre_A]),
                    np.concatenate([fine, coarse.sigma_A]),
                    np.concatenate([fine_peak, np.full(3, 0.35)]))


def ribosome_phantom(detail_A: float = 4.0) -> GaussianPhantom:
    """Make an object of the size and outline of a 70S ribosome (about 250 Å, two subunits).

    The large subunit is a half ball with three protuberances, the small one an elongated body
    with a head, a shoulder and a platform; 900 blobs of `detail_A` or wider fill both.
    """
    large = 105.0 * _ball_points(520, skip=0)
    large[:, 0] = 0.75 * np.abs(large[:, 0]) + 8.0
    stalks = [_segment(np.array(a), np.array(b), 14) for a, b in (
        ((55, 60, 70), (35, 105, 85)), ((60, -15, 95), (40, -10, 125)),
        ((50, -70, 60), (25, -115, 80)))]
    body = _ball_points(220, skip=1000) * [32, 48, 70] + [-42, -5, -25]
    head = _ball_points(90, skip=2000) * [28, 42, 30] + [-45, 8, 70]
    spurs = [_segment(np.array(a), np.array(b), 8) for a, b in (
        ((-40, 45, 20), (-30, 75, 40)), ((-50, -40, 10), (-20, -72, 25)))]
    centres = np.concatenate([large, *stalks, body, head, *spurs]).astype(float)
    draw = _sequence(len(centres), 2, skip=5)
    return _centred(centres, detail_A * (1.0 + 0.9 * draw[:, 0]), 0.5 + draw[:, 1])


def symmetric_phantom(matrices: Floats, radius_A: float = 60.0,
                      detail_A: float = 3.0) -> GaussianPhantom:
    """Make an object with the point group `matrices` (g, 3, 3): copies of a chiral unit.

    The unit sits off every axis, so the object has no symmetry beyond the group.
    """
    unit = chiral_phantom(0.5 * radius_A, detail_A)
    away = np.array([0.50, 0.17, 0.31]) * radius_A
    centres = np.concatenate([(unit.centre_A + away) @ turn.T for turn in matrices])
    n = len(matrices)
    return GaussianPhantom(centres, np.tile(unit.sigma_A, n), np.tile(unit.mass, n))


def cyclic_matrices(order: int) -> Floats:
    """Rotations (order, 3, 3) of C_n about z."""
    return np.stack([_about_z(2 * np.pi * i / order) for i in range(order)])


def dihedral_matrices(order: int) -> Floats:
    """Rotations (2 order, 3, 3) of D_n: n-fold about z, two-fold about x."""
    flip = np.diag([1.0, -1.0, -1.0])
    cyclic = cyclic_matrices(order)
    return np.concatenate([cyclic, cyclic @ flip])


def crowder_phantom(radius_A: float) -> GaussianPhantom:
    """Make a lumpy globular neighbour that is none of the particles of interest."""
    centres = 0.8 * radius_A * _ball_points(40, skip=333)
    return _centred(centres, np.full(40, 0.14 * radius_A),
                    0.5 + _sequence(40, 1, skip=71)[:, 0])


def gold_bead(diameter_A: float = 100.0) -> SpherePhantom:
    """Make a gold bead."""
    return SpherePhantom(diameter_A / 2, GOLD_DENSITY)


BUILT_IN: dict[str, Callable[[float, float], GaussianPhantom]] = {
    "chiral": chiral_phantom,
    "70S": lambda radius_A, detail_A: ribosome_phantom(detail_A),
    "C6": lambda radius_A, detail_A: symmetric_phantom(cyclic_matrices(6), radius_A, detail_A),
    "D2": lambda radius_A, detail_A: symmetric_phantom(dihedral_matrices(2), radius_A, detail_A),
}
"""Built-in phantoms by name, as functions of radius and detail [Å]; 70S has its own radius."""


def _centred(centres: Floats, sigma_A: Floats, peak: Floats) -> GaussianPhantom:
    """Blobs with given peak density, moved so that the centre of mass is the origin."""
    mass = peak * (2 * np.pi * sigma_A**2) ** 1.5
    return GaussianPhantom(centres - mass @ centres / mass.sum(), sigma_A, mass)


def _sequence(n: int, dimensions: int, skip: int) -> Floats:
    """(n, dimensions) points of the additive-recurrence sequence in the unit cube.

    The steps are powers of the root of x^(d+1) = x + 1 (M. Roberts' R_d sequence).
    """
    root = 2.0
    for _ in range(60):
        root = (1.0 + root) ** (1.0 / (dimensions + 1))
    step = root ** -np.arange(1.0, dimensions + 1)
    return np.asarray((0.5 + (skip + np.arange(1.0, n + 1))[:, None] * step) % 1.0)


def _ball_points(n: int, skip: int) -> Floats:
    """(n, 3) points that fill the unit ball evenly."""
    u = _sequence(n, 3, skip)
    z, angle, r = 2 * u[:, 0] - 1, 2 * np.pi * u[:, 1], np.cbrt(u[:, 2])
    ring = np.sqrt(1 - z * z)
    return r[:, None] * np.stack([ring * np.cos(angle), ring * np.sin(angle), z], 1)


def _segment(start: Floats, end: Floats, n: int) -> Floats:
    """(n, 3) points on a line."""
    return start + np.linspace(0, 1, n)[:, None] * (end - start)


def _about_z(angle_rad: float) -> Floats:
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])

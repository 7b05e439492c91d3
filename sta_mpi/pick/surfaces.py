"""Spheres and ellipsoids in tomograms: seeds on them with outward normals, and fits to points.

Coordinates are xyz in Å from the tomogram centre. An ellipsoid is |D^-1 R^T (x - c)| = 1 with the
half axes in D and their directions as the columns of R.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import InputError
from sta_mpi.geometry.rotations import random_rotations
from sta_mpi.pick.even_points import CLOUD_PER_POINT, even_points, golden_spiral, number_of_points

Floats = NDArray[np.float64]

_AREA_POINTS = 20_000


@dataclass(frozen=True)
class Seeds:
    """Points with outward unit normals.

    Parameters
    ----------
    xyz_A, normal : (n, 3) float64
    area_A2 : float          of the whole surface they are on; NaN for lines
    """

    xyz_A: Floats
    normal: Floats
    area_A2: float = np.nan


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid; a sphere has three equal half axes.

    Parameters
    ----------
    centre_A : (3,)
    half_axes_A : (3,)      all positive
    R : (3, 3)              columns are the directions of the axes
    """

    centre_A: Floats
    half_axes_A: Floats
    R: Floats

    @classmethod
    def sphere(cls, centre_A: ArrayLike, radius_A: float) -> "Ellipsoid":
        """A sphere."""
        return cls(np.asarray(centre_A, float), np.full(3, float(radius_A)), np.eye(3))

    @property
    def is_sphere(self) -> bool:
        """Whether all half axes are equal."""
        return bool(np.ptp(self.half_axes_A) <= 1e-9 * self.half_axes_A.max())

    def point(self, unit: Floats) -> Floats:
        """Surface points (n, 3) of unit vectors in the axes of the ellipsoid."""
        return np.asarray(self.centre_A + (unit * self.half_axes_A) @ self.R.T)

    def normal(self, xyz_A: Floats) -> Floats:
        """Outward unit normals (n, 3) at surface points: the gradient of the implicit form."""
        own = (xyz_A - self.centre_A) @ self.R
        gradient = own / self.half_axes_A**2
        gradient /= np.linalg.norm(gradient, axis=1, keepdims=True)
        return np.asarray(gradient @ self.R.T)

    def area_element(self, unit: Floats) -> Floats:
        """Area (n,) of the surface per solid angle of the unit vectors [Å²]."""
        product = float(np.prod(self.half_axes_A))
        return np.asarray(product * np.linalg.norm(unit / self.half_axes_A, axis=1))

    def area_A2(self) -> float:
        """Surface area."""
        if self.is_sphere:
            return float(4.0 * np.pi * self.half_axes_A[0] ** 2)
        return float(4.0 * np.pi * self.area_element(golden_spiral(_AREA_POINTS)).mean())


def seed_ellipsoid(shape: Ellipsoid, lattice_A: float, density: float,
                   rng: np.random.Generator) -> Seeds:
    """Seeds evenly on an ellipsoid or sphere.

    Parameters
    ----------
    lattice_A : float     constant of a hexagonal lattice
    density : float       seeds per unit of that lattice
    rng : numpy Generator   turns the spiral of a sphere; start of an ellipsoid
    """
    area = shape.area_A2()
    n = number_of_points(area, lattice_A, density)
    if shape.is_sphere:
        unit = golden_spiral(n) @ random_rotations(1, rng)[0].T
    else:
        cloud = golden_spiral(CLOUD_PER_POINT * n)
        near = even_points(shape.point(cloud), shape.area_element(cloud), n, rng)
        unit = (near - shape.centre_A) @ shape.R / shape.half_axes_A
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    xyz = shape.point(unit)
    return Seeds(xyz, shape.normal(xyz), area)


def fit_sphere(xyz_A: Floats, what: str) -> Ellipsoid:
    """The sphere nearest to at least 4 surface points (least squares of |x|^2); `what` names them.

    Raises
    ------
    InputError   too few points, or points in a plane
    """
    _need(xyz_A, 4, "sphere", what)
    middle = xyz_A.mean(axis=0)
    x = xyz_A - middle
    design = np.column_stack([2.0 * x, np.ones(len(x))])
    solution, _, rank, _ = np.linalg.lstsq(design, (x * x).sum(axis=1), rcond=1e-9)
    radius2 = solution[3] + (solution[:3] ** 2).sum()
    if rank < 4 or not radius2 > 0:
        raise InputError(f"{what}: the {len(x)} points lie in a plane, so no sphere follows from "
                         "them. Mark points all over the surface.")
    return Ellipsoid.sphere(middle + solution[:3], float(np.sqrt(radius2)))


def fit_ellipsoid(xyz_A: Floats, what: str) -> Ellipsoid:
    """The ellipsoid nearest to at least 9 surface points (algebraic least squares).

    Raises
    ------
    InputError   too few points, or a quadric that is no ellipsoid
    """
    _need(xyz_A, 9, "ellipsoid", what)
    middle, scale = xyz_A.mean(axis=0), float(np.abs(xyz_A - xyz_A.mean(axis=0)).max())
    x, y, z = ((xyz_A - middle) / max(scale, 1e-9)).T
    # trace fixed to 3: x^2 + y^2 + z^2 + a (x^2 + y^2 - 2 z^2) + ... = 0
    design = np.column_stack([
        x * x + y * y - 2 * z * z, x * x + z * z - 2 * y * y, 2 * x * y, 2 * x * z, 2 * y * z,
        2 * x, 2 * y, 2 * z, np.ones_like(x)])
    p, _, rank, _ = np.linalg.lstsq(design, x * x + y * y + z * z, rcond=1e-9)
    A = np.array([[1 - p[0] - p[1], -p[2], -p[3]], [-p[2], 1 - p[0] + 2 * p[1], -p[4]],
                  [-p[3], -p[4], 1 + 2 * p[0] - p[1]]])
    values, vectors = np.linalg.eigh(A)
    if rank < 9 or not (values > 1e-6).all():
        raise InputError(f"{what}: the surface through its {len(x)} points is no ellipsoid. Mark "
                         "points all over the surface, or use --shape sphere.")
    centre = np.linalg.solve(A, p[5:8])
    level = p[8] + centre @ A @ centre
    if not level > 0:
        raise InputError(f"{what}: no ellipsoid goes through its {len(x)} points. Check them.")
    if np.linalg.det(vectors) < 0:
        vectors = vectors * [1.0, 1.0, -1.0]
    return Ellipsoid(middle + scale * centre, scale * np.sqrt(level / values), vectors)


def _need(xyz_A: Floats, n: int, shape: str, what: str) -> None:
    if len(xyz_A) < n:
        raise InputError(f"{what}: {len(xyz_A)} points, expected at least {n} to fit a {shape}. "
                         "Mark more points.")

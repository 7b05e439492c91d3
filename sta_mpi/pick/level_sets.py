"""Seeds on the surface of a mask or segmentation, with normals that point out of it.

The mask is blurred and its surface is where it falls through 1/2. The gradient there gives the
normal, and its length the area that a voxel stands for: the integral of |grad m| is the mean area
of all level sets (coarea formula), so no mesh is needed. Coordinates are voxel indices xyz.
"""

import numpy as np
import scipy.ndimage
import scipy.special
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.pick.even_points import CLOUD_PER_POINT, even_points, number_of_points
from sta_mpi.pick.surfaces import Seeds

Floats = NDArray[np.float64]

BLUR_VOXELS = 2.0
_BAND = 0.45
"""Voxels whose value is this near to 1/2 stand for the surface."""
_NEWTON = 6


def seed_mask(mask: NDArray, voxel_A: float, lattice_A: float, density: float,
              rng: np.random.Generator, blur_voxels: float = BLUR_VOXELS, what: str = "mask"
              ) -> tuple[Seeds, Floats]:
    """Seeds evenly on the surface of a mask.

    Parameters
    ----------
    mask : (nz, ny, nx)       inside from 0.5 on; faces of the box are no surface
    voxel_A : float
    lattice_A, density        as in `number_of_points`
    blur_voxels : float       standard deviation of the blur

    Returns
    -------
    seeds : Seeds             positions in Å from voxel 0
    index_xyz : (n, 3)        the same as voxel indices

    Raises
    ------
    InputError                a mask that is empty or full
    """
    inside = (np.asarray(mask) >= 0.5).astype(np.float32)
    if not 0 < inside.mean() < 1:
        raise InputError(f"{what}: {'no' if not inside.any() else 'every'} voxel is inside (0.5 or "
                         "more), so it has no surface. Check the mask or --label.")
    first, part = _cropped(inside, blur_voxels)
    field = _blurred(part, blur_voxels)
    total = voxel_A**2 * np.sqrt(sum(g.astype(np.float64) ** 2 for g in field[1:])).sum()
    cloud, area = _cloud(field, blur_voxels)
    n = number_of_points(float(total), lattice_A, density)
    most = CLOUD_PER_POINT * n
    if len(cloud) > most:
        used = np.sort(rng.choice(len(cloud), most, replace=False))
        cloud, area = cloud[used], area[used]
    at, out = _onto_surface(field, even_points(cloud, area, n, rng))
    at = at + first
    return Seeds(at * voxel_A, out, float(total)), at


def _cropped(inside: NDArray[np.float32], blur_voxels: float
             ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """First voxel xyz and content of the part of a mask that holds its surface."""
    margin = int(np.ceil(5.0 * blur_voxels))
    ranges = []
    for axis in range(3):
        used = np.flatnonzero(inside.any(axis=tuple(i for i in range(3) if i != axis)))
        ranges.append((max(0, used[0] - margin), min(inside.shape[axis], used[-1] + 1 + margin)))
    part = inside[tuple(slice(*r) for r in ranges)]
    return np.array([r[0] for r in ranges[::-1]]), part


def _blurred(inside: NDArray[np.float32], blur_voxels: float) -> list[NDArray[np.float32]]:
    """The blurred mask, and its derivatives along x, y and z."""
    orders = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)]
    return [scipy.ndimage.gaussian_filter(inside, blur_voxels, order=order, mode="nearest")
            for order in orders]


def _cloud(field: list[NDArray[np.float32]], blur_voxels: float) -> tuple[Floats, Floats]:
    """Points near the surface, one a voxel: index xyz, and the area that each stands for.

    A flat surface at a distance of d blurs to the normal distribution of d, which tells how far
    the surface is from a voxel.
    """
    near = np.abs(field[0] - 0.5) < _BAND
    slope = np.stack([g[near].astype(np.float64) for g in field[1:]], axis=1)
    area = np.linalg.norm(slope, axis=1)
    depth = blur_voxels * scipy.special.ndtri(field[0][near].astype(np.float64))
    z, y, x = np.nonzero(near)
    outward = -slope / np.maximum(area, 1e-9)[:, None]
    return np.stack([x, y, z], axis=1) + depth[:, None] * outward, area


def _onto_surface(field: list[NDArray[np.float32]], index_xyz: Floats) -> tuple[Floats, Floats]:
    """Points moved to where the blurred mask is 1/2, and the outward normals there."""
    at = index_xyz.copy()
    for _ in range(_NEWTON):
        slope = np.stack([_at(g, at) for g in field[1:]], axis=1)
        square = np.maximum((slope**2).sum(axis=1), 1e-4)
        step = ((0.5 - _at(field[0], at)) / square)[:, None] * slope
        at = at + np.clip(step, -1.0, 1.0)
    slope = np.stack([_at(g, at) for g in field[1:]], axis=1)
    length = np.linalg.norm(slope, axis=1, keepdims=True)
    return at, -slope / np.maximum(length, 1e-9)


def _at(volume: NDArray[np.float32], index_xyz: Floats) -> Floats:
    return np.asarray(scipy.ndimage.map_coordinates(
        volume, index_xyz.T[::-1], order=1, mode="nearest"), np.float64)

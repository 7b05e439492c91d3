"""Soft masks: spheres, circles, cylinders, shells, and soft edges around any shape.

Every mask is 1 inside its shape, 0 beyond the edge, and between them falls with the distance
d from the shape as 1/2 + 1/2 cos(pi d / edge): the edge lies *outside* the named radius, as in
RELION. Arrays are [z, y, x] or [y, x], float32; the centre voxel is n // 2. Distances are
in voxels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from sta_mpi.errors import InputError

Mask = NDArray[np.float32]
Floats = NDArray[np.float64]


def soft_sphere(
    n: int, radius_px: float, edge_px: float, centre_xyz_px: Sequence[float] | None = None
) -> Mask:
    """Sphere in a box of n voxels.

    Parameters
    ----------
    n : int
    radius_px : float                   the mask is 1 up to here
    edge_px : float                     and 0 from radius_px + edge_px on; 0: a hard edge
    centre_xyz_px : (3,) or None        None: (n // 2, n // 2, n // 2)

    Returns
    -------
    (n, n, n) float32

    Examples
    --------
    >>> soft_sphere(16, 3.0, 2.0)[8, 8, 8:].tolist()
    [1.0, 1.0, 1.0, 1.0, 0.5, 0.0, 0.0, 0.0]
    """
    return _raised_cosine(_radius(n, 3, centre_xyz_px) - radius_px, edge_px)


def soft_circle(
    n: int, radius_px: float, edge_px: float, centre_xy_px: Sequence[float] | None = None
) -> Mask:
    """Circle in an image of n x n pixels: (n, n) float32; parameters as `soft_sphere`."""
    return _raised_cosine(_radius(n, 2, centre_xy_px) - radius_px, edge_px)


def soft_shell(n: int, inner_radius_px: float, outer_radius_px: float, edge_px: float) -> Mask:
    """Spherical shell (n, n, n) float32, with soft edges inward and outward."""
    if not 0.0 <= inner_radius_px < outer_radius_px:
        raise InputError(
            f"shell radii are {inner_radius_px} and {outer_radius_px} px: "
            "use 0 <= inner < outer.")
    radius = _radius(n, 3, None)
    return _raised_cosine(np.maximum(inner_radius_px - radius, radius - outer_radius_px), edge_px)


def soft_cylinder(
    n: int, radius_px: float, height_px: float, edge_px: float, axis: str = "z"
) -> Mask:
    """Cylinder about one axis through the centre voxel.

    Parameters
    ----------
    n : int
    radius_px : float
    height_px : float    full height along the axis
    edge_px : float
    axis : "x", "y" or "z"

    Returns
    -------
    (n, n, n) float32
    """
    if axis not in ("x", "y", "z"):
        raise InputError(f"cylinder axis is '{axis}': use x, y or z.")
    offsets = _offsets(n, 3, None)
    along = np.abs(offsets.pop("zyx".index(axis)))
    across = np.sqrt(offsets[0] ** 2 + offsets[1] ** 2)
    outside = np.hypot(
        np.maximum(across - radius_px, 0.0), np.maximum(along - height_px / 2.0, 0.0))
    return _raised_cosine(outside, edge_px)


def soft_edge(binary: NDArray[np.bool_], edge_px: float) -> Mask:
    """Add a soft edge outside a binary shape, by a distance transform.

    Parameters
    ----------
    binary : array of bool
    edge_px : float

    Returns
    -------
    float32, the shape of `binary`; 1 on the shape

    Notes
    -----
    One Euclidean distance transform, O(number of voxels), however wide the edge.
    """
    if not binary.any():
        return np.zeros(binary.shape, np.float32)
    return _raised_cosine(ndimage.distance_transform_edt(~binary), edge_px)


def extend(binary: NDArray[np.bool_], by_px: float) -> NDArray[np.bool_]:
    """Grow a binary shape by all voxels nearer than `by_px` to it, or shrink it (negative) by all
    its voxels nearer than that to what is outside."""
    if by_px > 0.0 and binary.any():
        return np.asarray(ndimage.distance_transform_edt(~binary) < by_px)
    if by_px < 0.0 and not binary.all():
        return np.asarray(ndimage.distance_transform_edt(binary) >= -by_px)
    return binary.copy()


def mask_from_map(
    map_: NDArray[np.float32], threshold: float, extend_px: float, edge_px: float
) -> Mask:
    """Soft mask around all density of at least `threshold`.

    Parameters
    ----------
    map_ : (nz, ny, nx) float32   low-passed before, usually to 15 A
    threshold : float             in the units of the map
    extend_px : float             growth of the thresholded shape
    edge_px : float               soft edge beyond that

    Returns
    -------
    (nz, ny, nx) float32

    Raises
    ------
    InputError
        When no voxel reaches the threshold, or all do.
    """
    binary = np.asarray(map_) >= threshold
    if not binary.any() or binary.all():
        raise InputError(
            f"{'no' if not binary.any() else 'every'} voxel reaches the threshold {threshold:g}: "
            f"the map runs from {float(map_.min()):g} to {float(map_.max()):g}. "
            "Choose a threshold in between.")
    return soft_edge(extend(binary, extend_px), edge_px)


def apply_mask(array: NDArray[np.float32], mask: Mask) -> NDArray[np.float32]:
    """Remove the mean of what lies outside the mask, then multiply by the mask.

    Parameters
    ----------
    array : (..., y, x) or (..., z, y, x) float32, one or more images or volumes
    mask : (y, x) or (z, y, x), values in [0, 1]

    Notes
    -----
    The mean is weighted by 1 - mask. Without it the edge of the mask would be a step.
    """
    axes = tuple(range(-mask.ndim, 0))
    outside = 1.0 - mask.astype(np.float64)
    total = outside.sum()
    mean = (array * outside).sum(axis=axes, keepdims=True) / total if total > 0.0 else 0.0
    return np.asarray((array - mean) * mask, np.float32)


def _raised_cosine(distance: ArrayLike, edge_px: float) -> Mask:
    """1 at distance <= 0, 0 at distance >= edge, a cosine between."""
    d = np.asarray(distance, np.float64)
    if edge_px <= 0.0:
        return np.asarray(d <= 0.0, np.float32)
    return np.asarray(
        0.5 + 0.5 * np.cos(np.pi * np.clip(d / edge_px, 0.0, 1.0)), np.float32)


def _radius(n: int, n_axes: int, centre_px: Sequence[float] | None) -> Floats:
    return np.asarray(np.sqrt(sum(d**2 for d in _offsets(n, n_axes, centre_px))))


def _offsets(n: int, n_axes: int, centre_px: Sequence[float] | None) -> list[Floats]:
    """Open grids of the offsets from the centre (given xyz), in array order (z, y, x)."""
    centre = [float(n // 2)] * n_axes if centre_px is None else list(centre_px)[::-1]
    if len(centre) != n_axes:
        raise ValueError(f"centre has {len(centre)} coordinates, expected {n_axes}")
    grids = np.ogrid[(slice(0, n),) * n_axes]
    return [grid.astype(np.float64) - c for grid, c in zip(grids, centre, strict=True)]

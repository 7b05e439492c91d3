"""PEET's masks of a reference: spherical shells, cylinders, files, with a Gaussian edge.

All are in PEET's axes, [z, y, x], centre voxel n // 2. The edge is what a Gaussian of the given
standard deviation makes of the hard mask: it reaches about 2.5 of them to both sides.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

Mask = NDArray[np.float32]
Floats = NDArray[np.float64]

_ROUNDING = 1e-6
"""Voxels on the border belong to a mask whatever its axis rounds to."""


def shell_mask(n: int, inside_px: float, outside_px: float) -> Mask:
    """1 between two radii; `inside_px` 0: a sphere, `outside_px` NaN: no outer limit."""
    z, y, x = _offsets(n)
    return _between(np.sqrt(x**2 + y**2 + z**2), inside_px, outside_px)


def cylinder_mask(n: int, inside_px: float, outside_px: float, height_px: float,
                  z_y_deg: tuple[float, float] | None = None) -> Mask:
    """1 between two distances from an axis through the centre.

    Parameters
    ----------
    height_px : float       full height along the axis; NaN: endless
    z_y_deg : (2,) or None  the axis is +y turned about z, then about y; None: y
    """
    axis = np.array([0.0, 1.0, 0.0])
    if z_y_deg is not None:
        axis = Rotation.from_euler("zy", z_y_deg, degrees=True).apply(axis)
    z, y, x = _offsets(n)
    along = x * axis[0] + y * axis[1] + z * axis[2]
    across = np.sqrt(np.maximum(x**2 + y**2 + z**2 - along**2, 0.0))
    mask = _between(across, inside_px, outside_px)
    if np.isfinite(height_px):
        mask *= np.abs(along) <= height_px / 2.0 + _ROUNDING
    return mask


def file_mask(data: Mask, n: int) -> Mask:
    """A mask of a file: non-zero keeps; centred, cropped, or extended with the majority of its
    corners."""
    kept = (data != 0).astype(np.float32)
    corners = kept[:: max(len(kept) - 1, 1), :: max(kept.shape[1] - 1, 1),
                   :: max(kept.shape[2] - 1, 1)]
    out = np.full((n, n, n), np.float32(corners.mean() > 0.5))
    source, target = [], []
    for size in kept.shape:
        offset = n // 2 - size // 2
        source.append(slice(max(-offset, 0), min(size, n - offset)))
        target.append(slice(max(offset, 0), max(offset, 0) + source[-1].stop - source[-1].start))
    out[tuple(target)] = kept[tuple(source)]
    return out


def blurred(mask: Mask, sd_px: float) -> Mask:
    """The mask with a Gaussian edge, 0 to 1; NaN or 0: as it is."""
    if not sd_px > 0:
        return mask
    smooth = ndimage.gaussian_filter(mask, sd_px, mode="nearest", truncate=2.5)
    return np.clip(smooth, 0.0, 1.0).astype(np.float32)


def _between(distance: Floats, inside_px: float, outside_px: float) -> Mask:
    keep = np.ones(distance.shape, bool)
    if np.isfinite(outside_px):
        keep &= distance <= outside_px + _ROUNDING
    if np.isfinite(inside_px) and inside_px > 0:
        keep &= distance >= inside_px - _ROUNDING
    return keep.astype(np.float32)


def _offsets(n: int) -> list[Floats]:
    return [grid.astype(np.float64) - n // 2 for grid in np.ogrid[:n, :n, :n]]

"""Cut boxes around particles out of a reconstructed tomogram.

A box is a window of whole voxels around the rounded position; the remainder of the rounding is
given back for a phase shift. What lies beyond the tomogram is never taken from its other side:
it is filled with the mean of what lies inside, and how much that is is told.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Floats = NDArray[np.float64]
Box = NDArray[np.float32]


class Voxels(Protocol):
    """A volume that can be sliced: an array, a memory map, or a reader of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(nz, ny, nx)."""

    def __getitem__(self, index: tuple[slice, slice, slice]) -> NDArray[np.generic]:
        """The voxels of a window."""


@dataclass(frozen=True)
class CutBox:
    """A box out of a tomogram.

    Parameters
    ----------
    data : (n, n, n) float32       voxel n // 2 is the rounded position
    remainder_px : (3,) float64    xyz, position minus rounded position, in [-0.5, 0.5)
    inside : float                 share of the box that lies in the tomogram
    """

    data: Box
    remainder_px: Floats
    inside: float


def cut_box(volume: Voxels, position_xyz_px: Floats, size_px: int) -> CutBox:
    """Cut the box of `size_px` voxels around a position.

    Parameters
    ----------
    volume : (nz, ny, nx)            any real dtype
    position_xyz_px : (3,) float64   array index, voxel centres at whole numbers
    size_px : int                    edge of the box
    """
    rounded = np.floor(position_xyz_px + 0.5).astype(np.int64)
    low = rounded[::-1] - size_px // 2
    start = np.maximum(low, 0)
    stop = np.maximum(np.minimum(low + size_px, volume.shape), start)
    inside = float(np.prod(stop - start)) / size_px**3
    remainder = position_xyz_px - rounded
    if inside == 0:
        return CutBox(np.zeros((size_px,) * 3, np.float32), remainder, 0.0)
    window = (slice(start[0], stop[0]), slice(start[1], stop[1]), slice(start[2], stop[2]))
    found = np.asarray(volume[window], np.float32)
    if inside == 1:
        return CutBox(np.ascontiguousarray(found), remainder, 1.0)
    data = np.full((size_px,) * 3, np.float32(found.mean(dtype=np.float64)))
    data[tuple(slice(a, b) for a, b in zip(start - low, stop - low, strict=True))] = found
    return CutBox(data, remainder, inside)


def inside_share(position_xyz_px: Floats, size_px: int, volume_shape_zyx: tuple[int, ...]
                 ) -> Floats:
    """Share (n,) of the boxes around positions (n, 3) that lies in the volume."""
    low = np.floor(position_xyz_px + 0.5)[:, ::-1] - size_px // 2
    length = np.minimum(low + size_px, np.asarray(volume_shape_zyx)) - np.maximum(low, 0.0)
    return np.asarray(np.prod(np.clip(length, 0.0, None), axis=1) / float(size_px) ** 3)


def clear_places(position_xyz_px: Floats, size_px: int, least_px: float,
                 volume_shape_zyx: tuple[int, ...], n_most: int, seed: int = 0) -> Floats:
    """Places (m, 3) of boxes that lie in the volume and hold no particle; m <= n_most.

    Parameters
    ----------
    position_xyz_px : (n, 3)    all particles of the volume
    size_px : int               edge of the boxes
    least_px : float            distance of their centres from all particles
    n_most, seed : int

    Notes
    -----
    Random places among the particles (within their bounding box, a box wider), not much over one
    another. None in a crowded tomogram.
    """
    size = np.asarray(volume_shape_zyx[::-1], np.float64)
    low = np.maximum(position_xyz_px.min(axis=0) - size_px, size_px // 2)
    high = np.minimum(position_xyz_px.max(axis=0) + size_px, size - size_px + size_px // 2)
    if (low > high).any():
        return np.zeros((0, 3))
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x1C3]))
    drawn = np.floor(low + rng.random((64 * n_most, 3)) * (high - low + 1))
    drawn = np.minimum(drawn, high)
    distance, _ = cKDTree(position_xyz_px).query(drawn)
    kept: list[Floats] = []
    for place in drawn[distance >= least_px]:
        if all(np.linalg.norm(place - other) >= 0.5 * size_px for other in kept):
            kept.append(place)
        if len(kept) == n_most:
            break
    return np.array(kept).reshape(-1, 3)

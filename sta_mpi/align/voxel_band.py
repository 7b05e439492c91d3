"""The data of a particle in a low band, merged into Fourier voxels of the tomogram frame.

D = sum over tilts of a X / sigma^2 and W = sum of a^2 / sigma^2, by trilinear insertion, on the
independent half of a ball of frequencies. It is what all orientations of all particles
have in common: the reference is turned, not the data.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.geometry.sampling import shift_grid
from sta_mpi.kernels.insert import insert_box, insert_slices

Floats = NDArray[np.float64]
Reals = NDArray[np.float32]

_REACH = 1.75
"""Samples up to the diagonal of a voxel beyond the band are spread to voxels inside."""


@dataclass(frozen=True)
class VoxelBand:
    """Independent Fourier voxels of a low band.

    Parameters
    ----------
    box_px : int                box whose index units are used
    grid_px : int               edge of the small grid that holds the band
    r_max : float               largest |K|
    index : (k,) int            flat places in a (g, g, g//2+1) half transform
    K_xyz : (k, 3) float64      their frequencies
    """

    box_px: int
    grid_px: int
    r_max: float
    index: NDArray[np.intp]
    K_xyz: Floats


def make_voxel_band(box_px: int, r_max: float, r_min: float = 0.0) -> VoxelBand:
    """The half space of voxels with r_min <= |K| <= r_max, without the origin."""
    grid = min(2 * (int(np.ceil(r_max + _REACH)) + 1), box_px)
    full = np.fft.fftfreq(grid, 1.0 / grid)
    half = np.arange(grid // 2 + 1, dtype=float)
    z, y, x = np.meshgrid(full, full, half, indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    own = (x > 0) | ((x == 0) & ((y > 0) | ((y == 0) & (z > 0))))
    inside = own & (radius >= r_min) & (radius <= r_max)
    index = np.flatnonzero(inside)
    K_xyz = np.stack([x.ravel()[index], y.ravel()[index], z.ravel()[index]], axis=1)
    return VoxelBand(box_px, grid, float(r_max), index, K_xyz)


def shifts_of_band(box_px: int, r_max: float, range_px: float) -> Floats:
    """(S, 3) shifts within `range_px`, a quarter of the band's finest wave apart, zero first.

    No place is further from its nearest shift than 0.22 of that wave; a finer grid finds no
    more particles, since candidates are polished (docs/accuracy.md, candidates).
    """
    return shift_grid(range_px, box_px / (4.0 * r_max))


def shift_phases_of_band(band: VoxelBand, shifts_px: Floats) -> NDArray[np.complex64]:
    """exp(+2 pi i K.t / n), (k, S), of shifts (S, 3) in tomogram axes."""
    phase = band.K_xyz @ shifts_px.T * (2 * np.pi / band.box_px)
    return np.exp(1j * phase).astype(np.complex64)


@dataclass(frozen=True)
class MergedBand:
    """One particle's data and weights on the voxels of a band.

    Parameters
    ----------
    data : (k,) complex64
    weight : (k,) float32
    """

    data: NDArray[np.complex64]
    weight: Reals


def merge_band(samples: TiltSamples | BoxSamples, band: VoxelBand) -> MergedBand:
    """Merge the slices, or the box, of a particle into the voxels of the tomogram frame."""
    grid, n = band.grid_px, samples.data_rft.shape[1]
    rows = np.r_[0 : (grid + 1) // 2, n - grid // 2 : n]
    columns = slice(0, grid // 2 + 1)
    sums = np.zeros((grid, grid, grid // 2 + 1, 4), np.float32)
    r_max = min(band.r_max + _REACH, grid // 2 - 1)
    if isinstance(samples, BoxSamples):
        corner = rows[:, None], rows, columns
        insert_box(sums, np.ascontiguousarray(samples.data_rft[corner]),
                   np.ascontiguousarray(samples.weight_rft[corner]), samples.R_box2t, r_max)
    else:
        insert_slices(sums, np.ascontiguousarray(samples.data_rft[:, rows, columns]),
                      np.ascontiguousarray(samples.weight_rft[:, rows, columns]),
                      np.ascontiguousarray(samples.rotation[:, :2]), r_max)
    flat = sums.reshape(-1, 4)[band.index]
    return MergedBand((flat[:, 0] + 1j * flat[:, 1]).astype(np.complex64), flat[:, 2].copy())

"""Voxels of one box in the order the polish reads them: struct of arrays, band by band.

Of the half transform the independent half space is kept: kx > 0, or kx = 0 and ky > 0, or
kx = ky = 0 and kz > 0. Voxels are sorted by band, then by tile of 8^3 and row. All boxes of
one size share a layout; a packed box keeps the part of it that holds weight or data, or all of
it where that is nearly all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.polish.samples import TILE_PX, checked_bands, half_scale
from sta_mpi.kernels.voxels.pick import pick_voxels
from sta_mpi.kernels.whitened import power_of_stored

EMPTY = 1e-3
"""Voxels with less than this share of their band's mean weight, and of its rms data, are left
out. Masking a box spreads data into its missing wedge, and these belong to the sums as well:
without them poses are turned by half a degree."""

MOST = 0.95
"""Share of voxels that count from which all are kept: the rest is cheaper than a list of one's
own."""


@dataclass(frozen=True)
class VoxelLayout:
    """Which frequencies exist, and in which order.

    Parameters
    ----------
    kx, ky, kz : (p,) int16            frequencies [index units of the box]
    band_start : (n_bands + 1,) int    band i is voxels band_start[i] to band_start[i + 1]
    r_bands : (n_bands,) float64       outer radius of each band [index units]
    """

    kx: NDArray[np.int16]
    ky: NDArray[np.int16]
    kz: NDArray[np.int16]
    band_start: NDArray[np.int64]
    r_bands: NDArray[np.float64]

    @property
    def n_samples(self) -> int:
        """Voxels of a box."""
        return len(self.kx)

    @property
    def r_max_px(self) -> float:
        """Largest |k| of the last band [index units]."""
        return float(self.r_bands[-1])

    def keep(self, chosen: NDArray[np.bool_]) -> "VoxelLayout":
        """The layout of the chosen (p,) voxels alone, in the same order."""
        start = np.concatenate([[0], np.cumsum(chosen)])[self.band_start]
        return VoxelLayout(self.kx[chosen], self.ky[chosen], self.kz[chosen],
                           start.astype(np.int64), self.r_bands)


@dataclass(frozen=True)
class PackedVoxels:
    """Data and weights of one box, and the voxels that they belong to.

    Parameters
    ----------
    dre, dim, w : (p,) float32 or float16   sum of a X / sigma^2 and of a^2 / sigma^2
    data_scale, weight_scale : float        stored values are to be multiplied by these powers
                                            of two (1 in float32)
    layout : VoxelLayout                    of these p voxels
    """

    dre: NDArray[Any]
    dim: NDArray[Any]
    w: NDArray[Any]
    data_scale: float
    weight_scale: float
    layout: VoxelLayout

    @property
    def nbytes(self) -> int:
        """Memory that the voxels take, their frequencies included [bytes]."""
        return self.dre.nbytes + self.dim.nbytes + self.w.nbytes + 3 * self.layout.kx.nbytes

    @property
    def norm(self) -> float:
        """Signal-to-noise power of the data, noise included: see `whitened_power`."""
        return power_of_stored(self.dre[None], self.dim[None], self.w[None], self.data_scale,
                               self.weight_scale)


def make_voxel_layout(n: int, r_bands: Sequence[float], r_min: float = 0.0) -> VoxelLayout:
    """Sort the independent half space of an n^3 box into bands and tiles.

    Parameters
    ----------
    n : int                         box edge [px]
    r_bands : increasing floats     outer radius of each band, the last at most n // 2 - 1
                                    [index units]
    r_min : float                   voxels of smaller radius are left out [index units]

    Examples
    --------
    >>> layout = make_voxel_layout(8, [1, 1.5])
    >>> layout.band_start
    array([0, 3, 9])
    >>> list(zip(layout.kx.tolist(), layout.ky.tolist(), layout.kz.tolist()))[:3]
    [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    """
    r = checked_bands(n, r_bands)
    last = int(r[-1])
    both, half = np.arange(-last, last + 1, dtype=np.int16), np.arange(last + 1, dtype=np.int16)
    kz, ky, kx = (k.ravel() for k in np.meshgrid(both, both, half, indexing="ij"))
    k2 = kx.astype(np.float64) ** 2 + ky.astype(np.float64) ** 2 + kz.astype(np.float64) ** 2
    own = (kx > 0) | ((kx == 0) & ((ky > 0) | ((ky == 0) & (kz > 0))))
    own &= (k2 <= r[-1] * r[-1]) & (k2 >= r_min * r_min)
    kx, ky, kz = kx[own], ky[own], kz[own]
    band = np.searchsorted(r * r, k2[own])
    order = np.lexsort(
        (kx, ky, kz, kx // TILE_PX, ky // TILE_PX, kz // TILE_PX, band))
    start = np.searchsorted(band[order], np.arange(len(r) + 1))
    return VoxelLayout(kx[order], ky[order], kz[order], start.astype(np.int64), r)


def pack_voxels(data_rft: NDArray[np.complex64], weight_rft: NDArray[np.float32],
                layout: VoxelLayout, dtype: type = np.float32) -> PackedVoxels:
    """Pick the voxels of a layout that hold weight or data from a half transform.

    Parameters
    ----------
    data_rft : (g, g, g//2+1) complex64    sum of a X / sigma^2, origin at index 0; g may be
                                           smaller than the box (cropped transform)
    weight_rft : (g, g, g//2+1) float32    sum of a^2 / sigma^2
    layout : VoxelLayout
    dtype : float32 or float16             float16 halves the memory; values are rounded to
                                           11 bits after scaling the largest to 2^15
    """
    g = data_rft.shape[0]
    if data_rft.shape != (g, g, g // 2 + 1) or weight_rft.shape != data_rft.shape:
        raise ValueError(f"data {data_rft.shape} and weight {weight_rft.shape}, "
                         "expected both (g, g, g//2+1)")
    if layout.r_max_px > g // 2 - 1:
        raise ValueError(
            f"layout reaches {layout.r_max_px:g}, but a grid of {g} allows {g // 2 - 1}")
    re, im, weight = np.empty((3, layout.n_samples), np.float32)
    seen = np.empty(layout.n_samples, bool)
    n_seen = pick_voxels(data_rft.reshape(-1), weight_rft.reshape(-1), g, layout.kx, layout.ky,
                         layout.kz, layout.band_start, EMPTY, re, im, weight, seen)
    if n_seen < MOST * layout.n_samples:
        weight, re, im, layout = weight[seen], re[seen], im[seen], layout.keep(seen)
    if dtype == np.float32:
        return PackedVoxels(re, im, weight, 1.0, 1.0, layout)
    if dtype != np.float16:
        raise ValueError(f"dtype is {dtype}, expected float32 or float16")
    data_scale = float(half_scale(np.maximum(np.abs(re), np.abs(im))[None])[0])
    weight_scale = float(half_scale(np.abs(weight)[None])[0])
    return PackedVoxels(
        (re / data_scale).astype(np.float16), (im / data_scale).astype(np.float16),
        (weight / weight_scale).astype(np.float16), data_scale, weight_scale, layout)

"""From local frequencies on a lattice to maps: resolution of every voxel, locally filtered map.

The filtered map is a blend of low-passed maps: cutoffs even in frequency, and in each voxel the two
around its own cutoff, weighted linearly. Every band is one inverse transform; only the running
sum and one band are held.
"""

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from scipy import ndimage

from sta_mpi.signal.filters import raised_cosine_lowpass
from sta_mpi.signal.fourier_grid import radius_rft

Map = NDArray[np.float32]
Floats = NDArray[np.float64]

LARGEST_STEP_SHELLS = 3.0
"""Bands lie no further apart than this, so that a blend of two is close to the filter between."""


def frequency_map(s_per_A: Floats, points_zyx: NDArray[np.intp], step_px: int,
                  shape: tuple[int, int, int]) -> Map:
    """Interpolate lattice values to every voxel.

    Parameters
    ----------
    s_per_A : (m,) float64          at the points; NaN is left out
    points_zyx : (m, 3) intp        points of `lattice_points` with that step
    shape : (3,) int                of the map

    Returns
    -------
    (nz, ny, nx) float32            trilinear between points; beyond them, the nearest one's value
    """
    lattice = tuple(
        len(range((edge // 2) % step_px, edge, step_px)) for edge in shape)
    values = np.full(lattice, np.nan)
    start = np.array([(edge // 2) % step_px for edge in shape])
    index = (points_zyx - start) // step_px
    values[tuple(index.T)] = s_per_A
    missing = ~np.isfinite(values)
    if missing.all():
        raise ValueError("no point has a finite value")
    nearest = ndimage.distance_transform_edt(missing, return_distances=False, return_indices=True)
    values = values[tuple(nearest)]
    axes = [(np.arange(edge) - first) / step_px for edge, first in zip(shape, start, strict=True)]
    out = np.empty(shape, np.float32)
    for z, at in enumerate(axes[0]):
        grid = np.meshgrid(np.array([at]), axes[1], axes[2], indexing="ij")
        out[z] = ndimage.map_coordinates(values, grid, order=1, mode="nearest")[0]
    return out


def filter_locally(map_: Map, s_per_A: Map, voxel_A: float, edge_shells: float = 2.0) -> Map:
    """Low-pass every voxel at its own frequency.

    Parameters
    ----------
    map_ : (n, n, n) float32       sharpened before
    s_per_A : (n, n, n) float32    cutoff of each voxel [1/A]
    voxel_A : float
    edge_shells : float            width of the raised-cosine edge

    Returns
    -------
    (n, n, n) float32
    """
    n = map_.shape[0]
    shell = s_per_A.astype(np.float32) * np.float32(n * voxel_A)
    low, high = float(shell.min()), float(shell.max())
    n_bands = 1 + int(np.ceil((high - low) / LARGEST_STEP_SHELLS)) if high > low else 1
    cutoffs = np.linspace(low, high, n_bands)
    step = cutoffs[1] - cutoffs[0] if n_bands > 1 else 1.0
    rft = np.asarray(scipy.fft.rfftn(np.asarray(map_, np.float32), workers=1), np.complex64)
    k = radius_rft(rft.shape).astype(np.float32)
    out = np.zeros(map_.shape, np.float32)
    for cutoff in cutoffs:
        factor = raised_cosine_lowpass(k, cutoff, edge_shells).astype(np.float32)
        band = scipy.fft.irfftn(rft * factor, s=map_.shape, workers=1)
        share = np.clip(1.0 - np.abs(shell - np.float32(cutoff)) / np.float32(step), 0.0, 1.0)
        out += share * np.asarray(band, np.float32)
    return out

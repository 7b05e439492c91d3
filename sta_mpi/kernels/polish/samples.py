"""Samples of one particle in the order the polish reads them: struct of arrays, band by band.

Of each tilt's half transform the independent half plane is kept: kx > 0, or kx = 0 and
ky > 0, without the origin. Samples are sorted by band (frequency marching uses the first
bands alone), then by 8 x 8 tile and row, so that neighbours in the list are neighbours in
the volume. All particles of one box share a layout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.polish.pick import pick_samples
from sta_mpi.kernels.whitened import power_of_stored

Floats = NDArray[np.float64]

TILE_PX = 8


@dataclass(frozen=True)
class SampleLayout:
    """Which frequencies exist, and in which order.

    Parameters
    ----------
    kx, ky : (p,) int16                frequencies [index units of the box]
    band_start : (n_bands + 1,) int    band i is samples band_start[i] to band_start[i + 1]
    r_max_px : float                   largest |k| of the last band [index units]
    """

    kx: NDArray[np.int16]
    ky: NDArray[np.int16]
    band_start: NDArray[np.int64]
    r_max_px: float

    @property
    def n_samples(self) -> int:
        """Samples of a tilt."""
        return len(self.kx)

    @cached_property
    def running_radius(self) -> Floats:
        """(p,) largest |k| up to each sample [index units]."""
        radius: Floats = np.maximum.accumulate(np.hypot(self.kx, self.ky, dtype=np.float64))
        return radius


class PackedSamples(NamedTuple):
    """Data and weights of one particle, tilt after tilt in the order of a layout.

    Parameters
    ----------
    dre, dim, w : (m, p) float32 or float16, C order   a X / sigma^2 and a^2 / sigma^2
    data_scale, weight_scale : (m,) float64            stored values are to be multiplied by
                                                       these powers of two (1 in float32)
    """

    dre: NDArray[Any]
    dim: NDArray[Any]
    w: NDArray[Any]
    data_scale: Floats
    weight_scale: Floats

    @property
    def nbytes(self) -> int:
        """Memory that the samples take [bytes]."""
        return self.dre.nbytes + self.dim.nbytes + self.w.nbytes

    @property
    def norm(self) -> float:
        """Signal-to-noise power of the data, noise included: see `whitened_power`."""
        data, weight = self.data_scale[:, None], self.weight_scale[:, None]
        return power_of_stored(self.dre, self.dim, self.w, data, weight)


def checked_bands(n: int, r_bands: Sequence[float]) -> Floats:
    """The radii of bands; ValueError unless they increase from above 0 to n // 2 - 1 at most."""
    r = np.asarray(r_bands, np.float64)
    if r.ndim != 1 or len(r) == 0 or not (np.diff(r) > 0).all() or not r[0] > 0:
        raise ValueError(f"r_bands is {list(r_bands)}, expected increasing radii above 0")
    if r[-1] > n // 2 - 1:
        raise ValueError(
            f"the last band ends at {r[-1]:g}, but a box of {n} px allows {n // 2 - 1}")
    return r


def make_layout(n: int, r_bands: Sequence[float], r_min: float = 0.0) -> SampleLayout:
    """Sort the independent half plane of an n x n image into bands and tiles.

    Parameters
    ----------
    n : int                         box edge [px]
    r_bands : increasing floats     outer radius of each band, the last at most n // 2 - 1
                                    [index units]
    r_min : float                   samples of smaller radius are left out [index units]

    Examples
    --------
    >>> layout = make_layout(8, [1, 2])
    >>> layout.band_start
    array([0, 2, 6])
    >>> list(zip(layout.kx.tolist(), layout.ky.tolist()))
    [(1, 0), (0, 1), (1, -1), (2, 0), (1, 1), (0, 2)]
    """
    r = checked_bands(n, r_bands)
    last = int(r[-1])
    ky, kx = (k.ravel() for k in np.mgrid[-last : last + 1, 0 : last + 1])
    k2 = (kx * kx + ky * ky).astype(np.float64)
    band = np.searchsorted(r * r, k2)
    own = ((kx > 0) | (ky > 0)) & (band < len(r)) & (k2 >= r_min * r_min)
    kx, ky, band = kx[own], ky[own], band[own]
    order = np.lexsort((kx, ky, kx // TILE_PX, ky // TILE_PX, band))
    start = np.searchsorted(band[order], np.arange(len(r) + 1))
    return SampleLayout(kx[order].astype(np.int16), ky[order].astype(np.int16),
                        start.astype(np.int64), float(r[-1]))


def pack_samples(data_rft: NDArray[np.complex64], weight_rft: NDArray[np.float32],
                 layout: SampleLayout, dtype: type = np.float32) -> PackedSamples:
    """Pick the samples of a layout from half transforms.

    Parameters
    ----------
    data_rft : (m, n, n//2+1) complex64    a X / sigma^2, origin at index 0
    weight_rft : (m, n, n//2+1) float32    a^2 / sigma^2
    layout : SampleLayout
    dtype : float32 or float16             float16 halves the memory; values are rounded to
                                           11 bits after scaling each tilt's largest to 2^15

    Returns
    -------
    PackedSamples
    """
    n = data_rft.shape[1] if data_rft.ndim == 3 else 0
    if data_rft.shape[1:] != (n, n // 2 + 1) or weight_rft.shape != data_rft.shape:
        raise ValueError(f"data {data_rft.shape} and weight {weight_rft.shape}, "
                         "expected both (m, n, n//2+1)")
    if layout.r_max_px > n // 2 - 1:
        raise ValueError(
            f"layout reaches {layout.r_max_px:g}, but images of {n} px allow {n // 2 - 1}")
    m = len(data_rft)
    re, im, weight = np.empty((3, m, layout.n_samples), np.float32)
    pick_samples(data_rft.reshape(m, -1), weight_rft.reshape(m, -1), n, layout.kx, layout.ky,
                 re, im, weight)
    if dtype == np.float32:
        one = np.empty(m)
        one.fill(1.0)
        return PackedSamples(re, im, weight, one, one)
    if dtype != np.float16:
        raise ValueError(f"dtype is {dtype}, expected float32 or float16")
    data_scale = half_scale(np.maximum(np.abs(re), np.abs(im)))
    weight_scale = half_scale(np.abs(weight))
    per_data, per_weight = 1.0 / data_scale[:, None], 1.0 / weight_scale[:, None]
    return PackedSamples(
        (re * per_data).astype(np.float16), (im * per_data).astype(np.float16),
        (weight * per_weight).astype(np.float16), data_scale, weight_scale)


def half_scale(size: NDArray[np.floating]) -> Floats:
    """Powers of two (m,) that bring the largest of each row of (m, p) below 2^15."""
    largest = size.max(axis=1, initial=0.0).astype(np.float64)
    exponent = np.frexp(np.where(largest > 0, largest, 1.0))[1] - 15
    return np.asarray(np.ldexp(1.0, exponent))

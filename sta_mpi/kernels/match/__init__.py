"""The inner loop of template matching on one tile: turn, multiply, keep the best.

    turned      T(k) = V(R^T k) inside the band, by trilinear interpolation of a packed transform
    product     P(k) = conj(T(k)) G(k), or the same for the template turned by another half turn
                about z, whose transform is conj(T(kx, ky, -kz)): one turned template, two rotations
    scores      c2r transform of P, one value a voxel (by FFTW, not here)
    best so far the largest score of every voxel and the rotation it belongs to; of equal scores
                the lowest rotation. The smallest score as well: it is what a template of inverted
                contrast would have found.

Tiles need not be cubes. The band is given as the number of samples kx that each row (kz, ky) of
the half transform has inside it.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.match import cpu

__all__ = ["band_rows", "keep_best", "multiply_band", "turn_band"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]
Rows = NDArray[np.int32]
Floats = NDArray[np.float64]
Shape = tuple[int, int, int]


def band_rows(shape: Shape, voxel_zyx_A: Floats, end_per_A: float) -> Rows:
    """Samples kx = 0 ... of each row (nz, ny) with |s| <= end_per_A [1/Å] and below every Nyquist.

    Examples
    --------
    >>> import numpy as np
    >>> band_rows((4, 4, 8), np.ones(3), 0.25)
    array([[3, 1, 0, 1],
           [1, 0, 0, 0],
           [0, 0, 0, 0],
           [1, 0, 0, 0]], dtype=int32)
    """
    nz, ny, nx = shape
    kz, ky = np.fft.fftfreq(nz, 1 / nz), np.fft.fftfreq(ny, 1 / ny)
    z2 = (kz / (nz * voxel_zyx_A[0])) ** 2
    y2 = (ky / (ny * voxel_zyx_A[1])) ** 2
    room = end_per_A**2 * (1 + 1e-9) - z2[:, None] - y2
    rows = np.floor(np.sqrt(np.maximum(room, 0)) * nx * voxel_zyx_A[2]).astype(np.int32) + 1
    rows = np.minimum(rows, (nx + 1) // 2)
    rows[(room < 0) | (2 * np.abs(kz)[:, None] == nz) | (2 * np.abs(ky) == ny)] = 0
    return np.asarray(rows, np.int32)


def turn_band(volume: GatherVolume, R_p2t: Floats, steps_zyx: Floats, rows: Rows, out: Complex
              ) -> None:
    """Write the transform of the turned template inside the band; the rest is left as it was.

    Parameters
    ----------
    volume : GatherVolume               packed transform of the template
    R_p2t : (3, 3) float64              frequency k is read at R_p2t^T k
    steps_zyx : (3,) float64            stored index units of the volume per index unit of `out`
    rows : (nz, ny) int32               from `band_rows`
    out : (nz, ny, nx//2+1) complex64   modified
    """
    if rows.shape != out.shape[:2]:
        raise ValueError(f"band of {rows.shape} rows for a transform {out.shape}")
    ends = np.array([rows.shape[0] / 2, rows.shape[1] / 2, float(rows.max(initial=0))])
    if np.min(ends * steps_zyx) < 0 or rows.max(initial=0) > out.shape[2]:
        raise ValueError("the band does not fit the transform")
    cpu.turn_band(volume.floats, volume.row, volume.plane, volume.reach,
                  np.ascontiguousarray(R_p2t.T), np.asarray(steps_zyx, np.float64), rows, out)


def multiply_band(template_rft: Complex, tile_rft: Complex, rows: Rows, out: Complex,
                  is_half_turned: bool = False) -> None:
    """Write conj(template) * tile within the band, 0 beyond it.

    Parameters
    ----------
    template_rft, tile_rft, out : (nz, ny, nx//2+1) complex64   half transforms, origin at index 0
    rows : (nz, ny) int32                                       from `band_rows`
    is_half_turned : bool     of the template turned by 180 degrees about z in addition

    Examples
    --------
    >>> import numpy as np
    >>> one = np.full((4, 4, 3), 1 + 1j, np.complex64)
    >>> out = np.empty_like(one)
    >>> multiply_band(one, 2 * one, band_rows((4, 4, 4), np.ones(3), 0.25), out)
    >>> out[0, 0].real
    array([4., 4., 0.], dtype=float32)
    """
    if not template_rft.shape == tile_rft.shape == out.shape or rows.shape != out.shape[:2]:
        raise ValueError(f"transforms {template_rft.shape}, {tile_rft.shape} and {out.shape}, band "
                         f"{rows.shape}: expected three of one shape and its rows")
    cpu.multiply_band(template_rft, tile_rft, rows, out, bool(is_half_turned))


def keep_best(scores: Real, first: tuple[int, int, int], scale: float, index: int, best: Real,
              best_index: NDArray[np.int32], worst: Real) -> None:
    """Raise the largest and lower the smallest score of every voxel inside a tile, in place.

    Parameters
    ----------
    scores : (nz, ny, nx) float32                 of one rotation
    first : (3,) int                              first voxel zyx of the part that is kept
    scale : float                                 factor of the scores
    index : int                                   number of the rotation
    best, worst : (mz, my, mx) float32            modified
    best_index : (mz, my, mx) int32               modified
    """
    fits = all(f >= 0 and f + m <= n for f, m, n in
               zip(first, best.shape, scores.shape, strict=True))
    if not (fits and best.shape == best_index.shape == worst.shape):
        raise ValueError(f"best scores {best.shape} from {first} of a tile {scores.shape}")
    cpu.keep_best(scores, *first, np.float32(scale), np.int32(index), best, best_index, worst)

"""The inner loop of template matching on one tile: a product over a band, and the best so far.

    product     P(k) = conj(T(k)) G(k)   for |k| <= r, else 0
    scores      c2r transform of P, one value a voxel (by FFTW, not here)
    best so far the largest score of every voxel and the rotation it belongs to; of equal scores
                the rotation that came first stays. The smallest score as well: it is what a
                template of inverted contrast would have found.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.match import cpu

__all__ = ["keep_best", "multiply_band"]

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]


def multiply_band(template_rft: Complex, tile_rft: Complex, r_max_px: float, out: Complex) -> None:
    """Write conj(template) * tile within the band, 0 beyond it.

    Parameters
    ----------
    template_rft, tile_rft, out : (n, n, n//2+1) complex64   half transforms, origin at index 0
    r_max_px : float                                         largest |k| [index units]

    Examples
    --------
    >>> import numpy as np
    >>> one = np.full((4, 4, 3), 1 + 1j, np.complex64)
    >>> out = np.empty_like(one)
    >>> multiply_band(one, 2 * one, 1.0, out)
    >>> out[0, 0].real
    array([4., 4., 0.], dtype=float32)
    """
    if not template_rft.shape == tile_rft.shape == out.shape:
        raise ValueError(f"transforms {template_rft.shape}, {tile_rft.shape} and {out.shape}: "
                         "expected three of one shape")
    cpu.multiply_band(template_rft, tile_rft, float(r_max_px) ** 2, out)


def keep_best(scores: Real, margin_px: int, scale: float, index: int, best: Real,
              best_index: NDArray[np.int32], worst: Real) -> None:
    """Raise the largest and lower the smallest score of every voxel inside a tile, in place.

    Parameters
    ----------
    scores : (n, n, n) float32                  of one rotation
    margin_px : int                             voxels at each end of an axis that are left out
    scale : float                               factor of the scores
    index : int                                 number of the rotation
    best, worst : (m, m, m) float32             m = n - 2 margin_px; modified
    best_index : (m, m, m) int32                modified
    """
    m = scores.shape[0] - 2 * margin_px
    if not best.shape == best_index.shape == worst.shape == (m, m, m):
        raise ValueError(f"best scores {best.shape}, expected {(m, m, m)}")
    cpu.keep_best(scores, margin_px, np.float32(scale), np.int32(index), best, best_index, worst)

"""Fourier samples of images at a finer spacing: those of the same images padded with zeros."""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.half_filter import resize_stack
from sta_mpi.signal.fft import FftPlans, Padding

Complex = NDArray[np.complex64]


def finer_rft2(plans: FftPlans, rft: Complex, size_px: int, band_px: int | None = None) -> Complex:
    """Orthonormal half transforms of images padded about their centre to `size_px`.

    A few images at a time in the buffers of the transforms, which a cache holds.

    Parameters
    ----------
    rft : (m, n, n//2+1) complex64    as `FftPlans.rfft2` gives them
    size_px : int                     at least n, or band_px
    band_px : int or None             edge that transforms are cropped to first, as by `crop_rft2`:
                                      images of as many, larger pixels; None: n

    Returns
    -------
    (m, size, size//2+1) complex64
    """
    m, n = len(rft), band_px or rft.shape[1]
    if size_px < n:
        raise ValueError(f"images of {n} px cannot be padded to {size_px}")
    one, several = plans.padding(Padding(n, size_px))
    out = np.empty((m, size_px, size_px // 2 + 1), np.complex64)
    scale, at = np.float32(1.0 / (n * size_px)), 0
    while at < m:
        part = several if m - at >= len(several.half) else one
        stop = at + len(part.half)
        resize_stack(rft[at:stop], scale, part.half)
        part.execute()
        out[at:stop] = part.padded
        at = stop
    return out

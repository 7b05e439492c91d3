"""Fourier samples of images at a finer spacing: those of the same images padded with zeros."""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.signal.fft import FftPlans, parts_about_origin

Complex = NDArray[np.complex64]


def finer_rft2(plans: FftPlans, rft: Complex, size_px: int) -> Complex:
    """Orthonormal half transforms of images padded about their centre to `size_px`.

    Image after image in the buffers of the two transforms: no stack of padded images is made.

    Parameters
    ----------
    rft : (m, n, n//2+1) complex64    as `FftPlans.rfft2` gives them
    size_px : int                     at least n

    Returns
    -------
    (m, size, size//2+1) complex64
    """
    m, n = rft.shape[:2]
    if size_px < n:
        raise ValueError(f"images of {n} px cannot be padded to {size_px}")
    small, large = plans.box((n, n)), plans.box((size_px, size_px))
    parts = [(own, padded) for (_, own), (_, padded) in zip(
        parts_about_origin(n, n), parts_about_origin(n, size_px), strict=True)]
    out = np.empty((m, size_px, size_px // 2 + 1), np.complex64)
    scale = np.float32(1.0 / (n * size_px))
    large.real[...] = 0.0
    for image, found in zip(rft, out, strict=True):
        small.half[...] = image
        small.to_real()
        for own, padded in parts:
            large.real[padded] = small.real[own]
        large.to_half()
        # as floats: numpy would do a complex product
        np.multiply(large.half.view(np.float32), scale, out=found.view(np.float32))
    return out

"""CTF images from the polynomial of their phase; what the coefficients mean: `signal.ctf`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.ctf import cpu
from sta_mpi.kernels.options import check_device

__all__ = ["ctf_image_stack"]

Real = NDArray[np.float32]
Floats = NDArray[np.float64]


def ctf_image_stack(coefficients: Floats, n: int, extra_cycles: Floats | None = None,
                    damping: Real | None = None, out: Real | None = None,
                    device: str = "cpu") -> Real:
    """Evaluate -sin(gamma) * damping on half transforms of n x n images.

    Parameters
    ----------
    coefficients : (m, 5) float64               cxx, cxy, cyy, c4, c0 of the phase in cycles,
        gamma / (2 pi) = cxx kx^2 + cxy kx ky + cyy ky^2 + c4 |k|^4 + c0, k in index units
    n : int                                     image size [px]
    extra_cycles : (n, n//2+1) float64 or None  further phase, common to all images
    damping : (m, n, n//2+1) float32 or None    factor of each pixel
    out : (m, n, n//2+1) float32                written when given
    device : "cpu" or "gpu"

    Returns
    -------
    (m, n, n//2+1) float32, at least 1e-8 in magnitude, exact to 3e-7
    """
    coefficients = np.ascontiguousarray(coefficients, np.float64)
    shape = (len(coefficients), n, n // 2 + 1)
    if coefficients.shape != (len(coefficients), 5):
        raise ValueError(f"coefficients have shape {coefficients.shape}, expected (m, 5)")
    if extra_cycles is not None and extra_cycles.shape != shape[1:]:
        raise ValueError(f"extra_cycles has shape {extra_cycles.shape}, expected {shape[1:]}")
    if damping is not None and damping.shape != shape:
        raise ValueError(f"damping has shape {damping.shape}, expected {shape}")
    if out is None:
        out = np.empty(shape, np.float32)
    elif out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}, expected C-ordered float32 {shape}")
    kernel: Any = cpu.ctf_images
    if check_device(device):
        from sta_mpi.kernels.ctf import cuda

        kernel = cuda.ctf_images
    extra = np.zeros((0, 0)) if extra_cycles is None else extra_cycles
    damp = np.zeros((0, 0, 0), np.float32) if damping is None else damping
    kernel(coefficients, np.ascontiguousarray(extra, np.float64),
           np.ascontiguousarray(damp, np.float32), out)
    return out

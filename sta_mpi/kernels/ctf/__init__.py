"""CTF images from the polynomial of their phase; what the coefficients mean: `signal.ctf`."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.ctf import cpu
from sta_mpi.kernels.options import check_device

__all__ = ["ctf_image_stack", "weigh_masked_samples"]

Real = NDArray[np.float32]
Complex = NDArray[np.complex64]
Floats = NDArray[np.float64]
Parts = tuple[Real, Real, Real]


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
    coefficients, extra = _phase(coefficients, n, extra_cycles)
    shape = (len(coefficients), n, n // 2 + 1)
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
    damp = np.zeros((0, 0, 0), np.float32) if damping is None else damping
    kernel(coefficients, extra, np.ascontiguousarray(damp, np.float32), out)
    return out


def weigh_masked_samples(coefficients: Floats, parts: Parts, tilts: NDArray[np.intp],
                         data: Complex, extra_cycles: Floats | None = None,
                         share: Real | None = None, data_scale: float = 1.0,
                         reach_px: Floats | float = np.inf) -> tuple[Complex, Real]:
    """The samples of masked patches times their factor, and their weights.

    With q = CTF^2 - 1/2, signal b = 1/2 + particle q and noise p = 1/2 + noise q the factor is
    b / p and the weight is static b^2 / p. One pass, on the CPU alone: samples are made there.

    Parameters
    ----------
    coefficients : (m, 5) float64               of the CTF, see `ctf_image_stack`
    parts : three (n_tilts, n, n//2+1) float32  static, noise and particle of every tilt
    tilts : (m,) int                            whose tilts these are
    data : (m, n, n//2+1) complex64             C-ordered
    extra_cycles : (n, n//2+1) float64 or None  further phase, common to all tilts
    share : (n, n//2+1) float32 or None         factor of samples and weights
    data_scale : float                          further factor of the samples, used with a share
    reach_px : float or (m,)                    largest |k| of interest [index units]: samples and
                                                weights beyond are 0

    Returns
    -------
    (m, n, n//2+1) complex64 and float32
    """
    n = data.shape[1]
    coefficients, extra = _phase(coefficients, n, extra_cycles)
    shape = (len(coefficients), n, n // 2 + 1)
    if data.shape != shape or data.dtype != np.complex64 or not data.flags.c_contiguous:
        raise ValueError(f"data are {data.dtype} {data.shape}, expected C-ordered complex64 "
                         f"{shape}")
    n_tilts = len(parts[0])
    if any(part.shape != (n_tilts, *shape[1:]) for part in parts):
        raise ValueError(f"parts have shapes {[part.shape for part in parts]}, expected "
                         f"{(n_tilts, *shape[1:])}")
    if len(tilts) != shape[0] or (len(tilts) and not 0 <= tilts.min() <= tilts.max() < n_tilts):
        raise ValueError(f"tilts are {tilts}, expected {shape[0]} from 0 to {n_tilts - 1}")
    if share is None:
        share = np.zeros((0, 0), np.float32)
    elif share.shape != shape[1:]:
        raise ValueError(f"share has shape {share.shape}, expected {shape[1:]}")
    samples, weight = np.empty(shape, np.complex64), np.empty(shape, np.float32)
    reach = np.empty(shape[0])
    reach[:] = reach_px
    cpu.weigh_masked(coefficients, extra, tilts, *parts, share, np.float32(data_scale), reach,
                     data.view(np.float32), samples.view(np.float32), weight)
    return samples, weight


def _phase(coefficients: Floats, n: int, extra_cycles: Floats | None) -> tuple[Floats, Floats]:
    """Checked coefficients, and the further phase, empty for none."""
    coefficients = np.ascontiguousarray(coefficients, np.float64)
    if coefficients.shape != (len(coefficients), 5):
        raise ValueError(f"coefficients have shape {coefficients.shape}, expected (m, 5)")
    if extra_cycles is None:
        return coefficients, np.zeros((0, 0))
    if extra_cycles.shape != (n, n // 2 + 1):
        raise ValueError(f"extra_cycles has shape {extra_cycles.shape}, expected "
                         f"{(n, n // 2 + 1)}")
    return coefficients, np.ascontiguousarray(extra_cycles, np.float64)

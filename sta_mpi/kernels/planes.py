"""Slices and boxes as one thing: planes of Fourier samples, turned and shifted along a normal.

Plane p holds samples (kx, ky) that lie at kx a0 + ky a1 + kz[p] a2, with a0, a1, a2 the rows
of axes[p]. A central slice has kz = 0; a box of n planes has kz = its z frequencies.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.options import cpu_kernel

Floats = NDArray[np.float64]

STRETCH = 1e-3
"""How much longer than 1 an axis may be: rotations read from text files are not exact."""


def slice_planes(slice_axes: Floats) -> tuple[Floats, Floats]:
    """(axes (m, 3, 3), kz (m,)) of central slices with axes (m, 2, 3)."""
    slice_axes = np.ascontiguousarray(slice_axes, np.float64)
    if slice_axes.ndim != 3 or slice_axes.shape[1:] != (2, 3):
        raise ValueError(f"slice_axes has shape {slice_axes.shape}, expected (m, 2, 3)")
    axes, kz, stretch = _with_normal(slice_axes)
    _check_length(stretch)
    return axes, kz


def box_planes(R: Floats, n: int) -> tuple[Floats, Floats]:
    """(axes (n, 3, 3), kz (n,)) of a box of n planes whose frequency k lies at R @ k.

    The Nyquist plane of an even n is given an infinite kz, and so never passes a radius limit.
    """
    R = np.asarray(R, np.float64)
    if R.shape != (3, 3):
        raise ValueError(f"R has shape {R.shape}, expected (3, 3)")
    axes = np.repeat(R.T[None], n, axis=0)
    _check_length(_largest_stretch(axes))
    kz = np.asarray(np.fft.fftfreq(n, 1.0 / n))
    kz[np.abs(kz) * 2 == n] = np.inf
    return axes, kz


def _check_length(stretch: float) -> None:
    if not stretch <= (1 + STRETCH) ** 2:
        raise ValueError("axes of slices must be perpendicular and of unit length (rotations)")


@cpu_kernel
def _largest_stretch(axes):
    """Bound of the squared stretch of the matrices: largest row sum of |A A^T|; NaN if any is."""
    largest = 0.0
    for a in axes:
        for i in range(3):
            total = 0.0
            for j in range(3):
                total += abs(a[i, 0] * a[j, 0] + a[i, 1] * a[j, 1] + a[i, 2] * a[j, 2])
            if not total <= largest:
                largest = total
            if total != total:
                return total
    return largest


@cpu_kernel
def _with_normal(slice_axes):
    """Axes (m, 3, 3) with a third row of 0, kz (m,) of 0, and their largest stretch."""
    axes = np.zeros((len(slice_axes), 3, 3))
    axes[:, :2] = slice_axes
    return axes, np.zeros(len(axes)), _largest_stretch(axes)

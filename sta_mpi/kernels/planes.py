"""Slices and boxes as one thing: planes of Fourier samples, turned and shifted along a normal.

Plane p holds samples (kx, ky) that lie at kx a0 + ky a1 + kz[p] a2, with a0, a1, a2 the rows
of axes[p]. A central slice has kz = 0; a box of n planes has kz = its z frequencies.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.options import cpu_kernel

Floats = NDArray[np.float64]

_NO_LIMITS = np.zeros(0)

STRETCH = 1e-3
"""How much longer than 1 an axis may be: rotations read from text files are not exact."""


def slice_planes(slice_axes: Floats) -> tuple[Floats, Floats]:
    """(axes (m, 3, 3), kz (m,)) of central slices with axes (m, 2, 3)."""
    return limited_slices(slice_axes, 0.0)[:2]


def limited_slices(slice_axes: Floats, r_max_px: float, limits_px: Floats | None = None
                   ) -> tuple[Floats, Floats, Floats, float]:
    """Central slices, each with a radius that its samples may have.

    Parameters
    ----------
    slice_axes : (m, 2, 3) float64
    r_max_px : float                  largest radius of all
    limits_px : (m,) float64 or None  and of each slice

    Returns
    -------
    axes (m, 3, 3), kz (m,), squares of the radii (m,) and the largest radius, NaN where one is
    below 0 or NaN
    """
    slice_axes = np.ascontiguousarray(slice_axes, np.float64)
    if slice_axes.ndim != 3 or slice_axes.shape[1:] != (2, 3):
        raise ValueError(f"slice_axes has shape {slice_axes.shape}, expected (m, 2, 3)")
    if limits_px is None:
        limits_px = _NO_LIMITS
    elif limits_px.shape != (len(slice_axes),):
        raise ValueError(f"limits have shape {limits_px.shape}, expected ({len(slice_axes)},)")
    axes, kz, squares, largest, stretch = _with_normal(slice_axes, float(r_max_px), limits_px)
    _check_length(stretch)
    return axes, kz, squares, largest


def axes_of_slices(rotation: Floats, R_p2t: Floats) -> Floats:
    """Image axes x, y (m, 2, 3) of tilts in a particle's own axes.

    Parameters
    ----------
    rotation : (m, 3, 3) float64    tomogram axes to image axes
    R_p2t : (3, 3) float64          particle axes to tomogram axes
    """
    if rotation.shape[1:] != (3, 3) or R_p2t.shape != (3, 3):
        raise ValueError(f"rotation has shape {rotation.shape} and R_p2t {R_p2t.shape}, expected "
                         "(m, 3, 3) and (3, 3)")
    axes: Floats = _turned(rotation, np.ascontiguousarray(R_p2t, np.float64))
    return axes


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
def _turned(rotation, R):
    axes = np.zeros((len(rotation), 2, 3))
    for f in range(len(rotation)):
        for i in range(2):
            for j in range(3):
                for k in range(3):
                    axes[f, i, j] += rotation[f, i, k] * R[k, j]
    return axes


@cpu_kernel
def _with_normal(slice_axes, r_max_px, limits_px):
    """What `limited_slices` returns, axes with a third row of 0, and their largest stretch."""
    m = len(slice_axes)
    axes = np.zeros((m, 3, 3))
    for i in range(m):
        for j in range(2):
            for k in range(3):
                axes[i, j, k] = slice_axes[i, j, k]
    squares, largest = np.empty(m), 0.0 if r_max_px >= 0.0 else np.nan
    for i in range(m):
        radius = r_max_px
        if len(limits_px) > 0 and not limits_px[i] >= radius:    # so that NaN is not hidden
            radius = limits_px[i]
        squares[i] = radius * radius
        largest = max(largest, radius) if radius >= 0.0 and largest == largest else np.nan
    return axes, np.zeros(m), squares, largest, _largest_stretch(axes)

"""Radial filters of images and maps, and grey-scale normalisation.

Factors are functions of |k|, in shells (index units of the box) or 1/A as each says. Those
named `_rft` multiply half transforms, with the origin at index 0; `n_axes` says whether the
last two axes are one image or the last three one volume. The `_map` functions filter
volumes in real space by scipy.fft, one thread, single precision.
"""

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import InputError
from sta_mpi.signal.fourier_grid import radius_rft

Complex = NDArray[np.complex64]
Real = NDArray[np.float32]
Floats = NDArray[np.float64]


def raised_cosine_lowpass(k: ArrayLike, cutoff: float, edge: float) -> Floats:
    """Factor that is 1 below the cutoff, 1/2 at it, 0 above it, with a cosine edge.

    Parameters
    ----------
    k : array            frequencies
    cutoff, edge : float   in the unit of k; the edge runs from cutoff - edge / 2 to
                           cutoff + edge / 2; 0: a hard edge, the cutoff itself kept

    Examples
    --------
    >>> raised_cosine_lowpass([9.0, 10.0, 11.0], cutoff=10.0, edge=2.0).round(3).tolist()
    [1.0, 0.5, 0.0]
    """
    frequency = np.asarray(k, np.float64)
    if edge <= 0.0:
        return np.asarray(frequency <= cutoff, np.float64)
    x = np.clip((frequency - cutoff) / edge + 0.5, 0.0, 1.0)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * x))


def raised_cosine_highpass(k: ArrayLike, cutoff: float, edge: float) -> Floats:
    """1 - `raised_cosine_lowpass`: the two filters of one cutoff add up to the input."""
    return np.asarray(1.0 - raised_cosine_lowpass(k, cutoff, edge))


def gaussian_lowpass(k: ArrayLike, sigma: float) -> Floats:
    """exp(-k^2 / (2 sigma^2)); sigma in the unit of k."""
    return np.asarray(np.exp(-0.5 * (np.asarray(k, np.float64) / sigma) ** 2))


def b_factor_damping(s_per_A: ArrayLike, b_factor_A2: float) -> Floats:
    """exp(-B s^2 / 4) of amplitudes: a positive B blurs, a negative one sharpens."""
    return np.asarray(np.exp(-0.25 * b_factor_A2 * np.asarray(s_per_A, np.float64) ** 2))


def lowpass_rft(
    rft: Complex, cutoff_shell: float, edge_shells: float = 2.0, *, n_axes: int
) -> Complex:
    """Half transforms of images (n_axes 2) or volumes (3) low-passed at a shell."""
    k = radius_rft(_grid_shape(rft, n_axes))
    return _multiply(rft, raised_cosine_lowpass(k, cutoff_shell, edge_shells))


def highpass_rft(
    rft: Complex, cutoff_shell: float, edge_shells: float = 2.0, *, n_axes: int
) -> Complex:
    """Half transforms of images (n_axes 2) or volumes (3) high-passed at a shell."""
    k = radius_rft(_grid_shape(rft, n_axes))
    return _multiply(rft, raised_cosine_highpass(k, cutoff_shell, edge_shells))


def radial_rft(rft: Complex, curve: ArrayLike, *, n_axes: int) -> Complex:
    """Half transforms times a curve over shells.

    Parameters
    ----------
    rft : (..., n, n//2+1) or (..., n, n, n//2+1) complex64
    curve : (m,) factors of shells 0 to m - 1, linear in between, the last one beyond
    n_axes : 2 for images, 3 for volumes
    """
    factors = np.asarray(curve, np.float64)
    k = radius_rft(_grid_shape(rft, n_axes))
    return _multiply(rft, np.interp(k, np.arange(len(factors)), factors))


def whiten_rft(rft: Complex, spectrum: ArrayLike, *, n_axes: int) -> Complex:
    """Half transforms of images (n_axes 2) or volumes (3) over the root of a noise spectrum.

    Noise of that spectrum then has power 1 in every shell. Shells of power 0 become 0.
    """
    power = np.asarray(spectrum, np.float64)
    if (power < 0.0).any() or not np.isfinite(power).all():
        raise InputError("the noise spectrum has negative or non-finite values: estimate it again.")
    root = np.sqrt(power)
    inverse = np.divide(1.0, root, out=np.zeros_like(root), where=root > 0.0)
    return radial_rft(rft, inverse, n_axes=n_axes)


def lowpass_map(map_: Real, voxel_A: float, resolution_A: float, edge_shells: float = 2.0) -> Real:
    """Cubic map (n, n, n) low-passed at a resolution [A], with a raised-cosine edge."""
    cutoff = map_.shape[0] * voxel_A / resolution_A
    return _filter_map(map_, lambda k: raised_cosine_lowpass(k, cutoff, edge_shells))


def highpass_map(map_: Real, voxel_A: float, resolution_A: float, edge_shells: float = 2.0) -> Real:
    """Cubic map (n, n, n) high-passed at a resolution [A], with a raised-cosine edge."""
    cutoff = map_.shape[0] * voxel_A / resolution_A
    return _filter_map(map_, lambda k: raised_cosine_highpass(k, cutoff, edge_shells))


def b_factor_map(map_: Real, voxel_A: float, b_factor_A2: float) -> Real:
    """Cubic map damped by exp(-B s^2 / 4); a negative B sharpens."""
    edge_A = map_.shape[0] * voxel_A
    return _filter_map(map_, lambda k: b_factor_damping(k / edge_A, b_factor_A2))


def radial_map(map_: Real, curve: ArrayLike) -> Real:
    """Cubic map filtered by factors of shells 0 to m - 1, linear in between (an FSC weight)."""
    factors = np.asarray(curve, np.float64)
    return _filter_map(map_, lambda k: np.interp(k, np.arange(len(factors)), factors))


def normalise(array: Real, mask: NDArray[np.float32] | None = None) -> Real:
    """Bring the background to mean 0 and standard deviation 1.

    Parameters
    ----------
    array : (..., y, x) or, with a 3D mask, (..., z, y, x) float32
    mask : (y, x) or (z, y, x) or None
        1 on the particle, 0 on the background, which is weighted by 1 - mask. None: all
        of each 2D image is background.

    Raises
    ------
    InputError
        When the background is flat or empty.
    """
    axes = (-2, -1) if mask is None else tuple(range(-mask.ndim, 0))
    shape = array.shape[axes[0]:]
    weight = np.ones(shape) if mask is None else 1.0 - mask.astype(np.float64)
    total = weight.sum()
    if total <= 0.0:
        raise InputError("the mask leaves no background to normalise by: use a smaller mask.")
    mean = (array * weight).sum(axis=axes, keepdims=True) / total
    variance = ((array - mean) ** 2 * weight).sum(axis=axes, keepdims=True) / total
    if not (variance > 0.0).all():
        raise InputError("the background has no variance (an empty image?): leave the image out.")
    return np.asarray((array - mean) / np.sqrt(variance), np.float32)


def _filter_map(map_: Real, factor: Callable[[Floats], Floats]) -> Real:
    if map_.ndim != 3 or len(set(map_.shape)) != 1:
        raise InputError(f"the map is {map_.shape} (z, y, x): a radial filter needs a cubic map.")
    rft = scipy.fft.rfftn(np.asarray(map_, np.float32), workers=1)
    rft *= factor(radius_rft(rft.shape)).astype(np.float32)
    return np.asarray(scipy.fft.irfftn(rft, s=map_.shape, workers=1), np.float32)


def _grid_shape(rft: Complex, n_axes: int) -> tuple[int, ...]:
    n = rft.shape[-2]
    shape = (n,) * (n_axes - 1) + (n // 2 + 1,)
    if n_axes not in (2, 3) or rft.shape[-n_axes:] != shape:
        raise ValueError(f"{rft.shape} does not end in the half transform of {n_axes} equal axes")
    return shape


def _multiply(rft: Complex, factor: Floats) -> Complex:
    return np.asarray(rft * factor.astype(np.float32), np.complex64)

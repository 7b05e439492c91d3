"""What a box out of a tomogram holds of its particle: transfer and noise on its Fourier grid.

A tomogram is a sum of filtered tilt images. With trilinear weights S_f(k) of the central slices,
transfer a_f (scale, dose damping, CTF at the particle's depth) and the weight p_f that the
tomogram gave to tilt f, a voxel k of the box's transform holds, but for the radial filter r,

    T(k) = r [ V sum S p a  +  noise of variance sum S p^2 ]

in units of the noise of a tilt image. So its signal-to-noise weight, which is what averaging and
search need (`observation`), is

    W = (sum S p a)^2 / sum S p^2        = sum S a^2 where p goes as a, or one slice hits k

and does not depend on r; the data that belong to it are T whitened,

    D = sign sqrt(W) T / sqrt(N)         N: noise power of the box's transform, measured

which takes any filter of the tomogram into account, with its angular dependence. The theoretical
N of a back-projection whose radial filter undoes the density of slices is sum S p^2 / (sum S)^2.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sta_mpi.kernels.insert import insert_slices
from sta_mpi.signal.fft import radius_rft

Floats = NDArray[np.float64]
Grid = NDArray[np.float32]
"""(n, n, n//2+1) over the half transform of a box, origin at index 0."""

SEEN = 0.1
"""Slices through a voxel from which on it counts as measured."""


@dataclass(frozen=True)
class Seen:
    """What tilts measured of a box.

    Parameters
    ----------
    signal : (n, n, n//2+1) float32   sum S p a, with the sign of the CTF
    noise : (n, n, n//2+1) float32    sum S p^2
    count : (n, n, n//2+1) float32    sum S
    """

    signal: Grid
    noise: Grid
    count: Grid

    def weight(self) -> Grid:
        """W = signal^2 / noise."""
        return np.divide(self.signal**2, self.noise, out=np.zeros_like(self.signal),
                         where=self.noise > 0)

    def theoretical_noise(self) -> Grid:
        """N of a ramp-filtered back-projection; 0 where nothing was measured."""
        return np.divide(self.noise, self.count**2, out=np.zeros_like(self.noise),
                         where=self.count > 0)

    def filter(self, noise_power: Grid) -> Grid:
        """The factors sign sqrt(W / N) that make D of T; 0 where nothing was measured."""
        ratio = np.divide(self.weight(), noise_power, out=np.zeros_like(self.signal),
                          where=(noise_power > 0) & (self.count > 0))
        return np.asarray(np.sign(self.signal) * np.sqrt(ratio), np.float32)


def seen_by_tilts(transfer: Grid, tomogram_weight: Grid, slice_axes: Floats) -> Seen:
    """Sums over the central slices of tilts.

    Parameters
    ----------
    transfer : (m, n, n//2+1) float32          a of each tilt
    tomogram_weight : (m, n, n//2+1) float32   p of each tilt
    slice_axes : (m, 2, 3) float64             image axes x, y in the axes of the box
    """
    n = transfer.shape[1]
    sums = np.zeros((n, n, n // 2 + 1, 4), np.float32)
    product = transfer * tomogram_weight
    insert_slices(sums, product.astype(np.complex64), tomogram_weight * tomogram_weight,
                  np.ascontiguousarray(slice_axes), float(n // 2))
    return Seen(sums[..., 0].copy(), sums[..., 2].copy(), sums[..., 3].copy())


def seen_of_mask(mask: Grid) -> Seen:
    """A region of the transform, 0 to 1, that was measured with noise alike everywhere."""
    inside = radius_rft(mask.shape) <= mask.shape[0] // 2
    kept = np.where(inside, mask, 0).astype(np.float32)
    return Seen(kept, kept, kept)


def binary_wedge(n: int, tilt_min_deg: float, tilt_max_deg: float, edge_shift_px: float = 1.0,
                 is_graded: bool = False) -> Grid:
    """1 where tilts about y from `tilt_min_deg` to `tilt_max_deg` measured, else 0.

    Parameters
    ----------
    edge_shift_px : float    the region is widened by this many Fourier voxels
    is_graded : bool         voxels on the border hold the share of them that was measured,
                             as it grows from 0 to 1 over the width of a voxel

    Notes
    -----
    The slice of a tilt by t holds kz = kx tan t (`geometry.projection`), as in IMOD, and tilts
    are about y. The line kx = kz = 0 is always measured.
    """
    kz, kx = np.fft.fftfreq(n) * n, np.arange(n // 2 + 1)
    z, x = np.meshgrid(kz, kx, indexing="ij")
    low, high = np.radians(tilt_min_deg), np.radians(tilt_max_deg)
    # signed distances from the slices at both ends of the range, positive inside
    above, below = z * np.cos(low) - x * np.sin(low), x * np.sin(high) - z * np.cos(high)
    # the second: near the origin the widened region reaches its own Friedel mates
    depth = np.maximum(np.minimum(above, below), np.minimum(-above, -below)) + edge_shift_px
    share = np.clip(depth + 0.5, 0, 1) if is_graded else (depth >= -1e-9).astype(np.float64)
    share[0, 0] = 1.0
    if tilt_max_deg - tilt_min_deg >= 180:
        share[:] = 1.0
    return np.ascontiguousarray(
        np.broadcast_to(share[:, None, :], (n, n, n // 2 + 1)), np.float32)


def half_of_mask(mask: NDArray[np.floating]) -> Grid:
    """The half transform of a centred Fourier mask (n, n, n) as files hold it, origin at n // 2."""
    n = len(mask)
    shifted = np.fft.ifftshift(mask)
    return np.ascontiguousarray(shifted[:, :, : n // 2 + 1], np.float32)


def smooth_power(power: Floats, seen: NDArray[np.bool_], width_px: int) -> Floats:
    """Mean of power (n, n, n//2+1) over cubes of measured voxels; 0 where nothing was measured.

    Noise is smooth over a few Fourier voxels, and one voxel of few boxes is not known.
    """
    modes = ("wrap", "wrap", "nearest")
    inside = seen.astype(np.float64)
    total = ndimage.uniform_filter(np.where(seen, power, 0.0), width_px, mode=modes)
    count = ndimage.uniform_filter(inside, width_px, mode=modes)
    smooth = np.divide(total, count, out=np.zeros_like(total), where=seen & (count > 0))
    floor = 1e-4 * float(smooth.max(initial=0.0))
    return np.asarray(np.where(seen, np.maximum(smooth, floor), 0.0))


def on_finer_grid(weight: Grid, size_px: int) -> Grid:
    """Weights (n, n, n//2+1) of a box, interpolated (linear) to those of the box padded to
    `size_px` >= n."""
    n = len(weight)
    if size_px == n:
        return weight
    step = n / size_px
    full = np.fft.fftfreq(size_px) * size_px * step
    rows = _linear(full, n, is_half=False)
    columns = _linear(np.arange(size_px // 2 + 1) * step, n, is_half=True)
    out = np.einsum("az,zyx->ayx", rows, weight, optimize=True)
    out = np.einsum("by,ayx->abx", rows, out, optimize=True)
    return np.ascontiguousarray(out @ columns.T, np.float32)


def _linear(k: NDArray[np.floating], n: int, is_half: bool) -> Grid:
    """(len(k), n or n//2+1) matrix of linear interpolation between whole frequencies."""
    low = np.floor(k).astype(np.int64)
    share = (k - low).astype(np.float32)
    matrix = np.zeros((len(k), n // 2 + 1 if is_half else n), np.float32)
    for column, part in ((low, 1 - share), (low + 1, share)):
        at = np.minimum(column, n // 2) if is_half else column % n
        np.add.at(matrix, (np.arange(len(k)), at), part)
    return matrix

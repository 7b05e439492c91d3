"""Template matching: the power that a turned template has after all filters of a tile.

A tomogram holds, at frequency k, V(k) H(k) and noise, H being what the tilts let through at the
place of a tile: CTF, dose damping and scale, 0 in the missing wedge. The data of a tile are
multiplied by H (G = F H), and the power of a turned template is summed with W = H^2 B^4 / N: then a
score is the sum of data and template over its standard deviation in noise alone.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.pick.match_volume import MatchFilter, on_frequencies
from sta_mpi.signal.fourier_grid import radius_rft

Real = NDArray[np.float32]
Floats = NDArray[np.float64]


def power_weights(H: Real, voxel_A: float, rule: MatchFilter, noise_power: Floats,
                  shell_per_A: float) -> Real:
    """W (n, n, n//2+1) of a box from its H.

    Parameters
    ----------
    H : (n, n, n//2+1) float32      transfer of the tilts
    voxel_A : float                 of the search
    noise_power : (n_shells,)       N in shells of shell_per_A, of `match_volume.prepare_volume`
    """
    s_per_A = (radius_rft(H.shape) / (H.shape[0] * voxel_A)).astype(np.float32)
    noise = on_frequencies(noise_power, s_per_A, shell_per_A)
    return (H**2 * rule.band(s_per_A) ** 4 / noise).astype(np.float32)


def on_grid(H: Real, voxel_A: float, shape: tuple[int, int, int], voxel_zyx_A: Floats) -> Real:
    """H of a box (b, b, b//2+1) on the finer grid of a tile, linear between its samples.

    Parameters
    ----------
    voxel_A : float          of the box
    shape : (3,) int         of the tile
    voxel_zyx_A : (3,)       of the tile

    Returns
    -------
    (nz, ny, nx//2+1) float32
    """
    b = H.shape[0]
    edge_A = b * voxel_A
    z, y = (np.fft.fftfreq(n, v) * edge_A for n, v in zip(shape[:2], voxel_zyx_A[:2], strict=True))
    x = np.fft.rfftfreq(shape[2], voxel_zyx_A[2]) * edge_A
    out = _between(H, z, 0, is_half=False)
    out = _between(out, y, 1, is_half=False)
    return np.ascontiguousarray(_between(out, x, 2, is_half=True), np.float32)


def _between(H: Real, at: Floats, axis: int, is_half: bool) -> Real:
    """Linear interpolation along one axis at frequencies in its index units."""
    n = H.shape[axis]
    low = np.floor(at).astype(np.intp)
    share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])

    def place(i: NDArray[np.intp]) -> NDArray[np.intp]:
        return np.minimum(i, n - 1) if is_half else np.mod(np.clip(i, -(n // 2), n // 2 - 1), n)

    return np.asarray((1 - share) * H.take(place(low), axis) + share * H.take(place(low + 1), axis))

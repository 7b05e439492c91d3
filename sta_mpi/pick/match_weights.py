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

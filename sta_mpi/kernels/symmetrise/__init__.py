"""Fourier sums averaged over turns of the particle, channel by channel, as they lie in memory.

All channels of a sample are read at once, by trilinear interpolation on the periodic, Hermitian
grid, and nothing is packed or copied: ranks that share the sums need no memory of their own for
them. It runs on the host, where the reduced sums are.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.planes import box_planes
from sta_mpi.kernels.symmetrise import cpu

__all__ = ["mean_over_turns"]

Floats = NDArray[np.float64]


def mean_over_turns(sums: NDArray[np.floating], turns: Floats, phases: NDArray[np.complex128],
                    planes: slice = slice(None)) -> Floats:
    """Mean over turns S of the sums at S k, times a phase.

    Parameters
    ----------
    sums : (n, n, n//2+1, 4) float32 or float64    re, im, weight, multiplicity
    turns : (m, 3, 3) float64           rotations S, acting on xyz columns
    phases : (m, n) complex128          factor of re + i im on each z plane, in fft order
    planes : slice                      z planes wanted, all by default

    Returns
    -------
    (n, n, n//2+1, 3) float64, or the planes asked for: re, im, weight; zero beyond index n//2 - 1
    """
    n = len(sums)
    if sums.shape != (n, n, n // 2 + 1, 4):
        raise ValueError(f"sums {sums.shape}, expected (n, n, n//2+1, 4)")
    if phases.shape != (len(turns), n):
        raise ValueError(f"phases {phases.shape}, expected ({len(turns)}, {n})")
    axes = np.stack([box_planes(turn, n)[0][0] for turn in turns])
    kz = box_planes(np.eye(3), n)[1][planes]
    out = np.empty((len(kz), n, n // 2 + 1, 3))
    cpu.mean_over_turns(np.ascontiguousarray(sums, np.float32).reshape(-1), axes,
                        np.ascontiguousarray(phases[:, planes]), kz, float(n // 2 - 1) ** 2, out)
    return out

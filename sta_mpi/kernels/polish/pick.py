"""Samples of a layout: read from half transforms, and counted; on the CPU alone."""

import numpy as np

from sta_mpi.kernels.options import cpu_kernel


@cpu_kernel
def pick_samples(data, weight, edge, kx, ky, dre, dim, w):
    """Fill dre, dim, w (m, p) from data and weight (m, n * (n//2+1)), n the edge."""
    row = edge // 2 + 1
    at = np.empty(len(kx), np.uint64)  # unsigned: numba would look for indices from the end
    for i in range(len(kx)):
        at[i] = (np.int64(ky[i]) + (edge if ky[i] < 0 else 0)) * row + np.int64(kx[i])
    for f in range(len(data)):
        for i in range(len(at)):
            sample = data[f, at[i]]
            dre[f, i], dim[f, i] = sample.real, sample.imag
            w[f, i] = weight[f, at[i]]


@cpu_kernel
def used_in_bands(ends, limits):
    """Samples (b, m) used of each tilt in bands that end at ends (b,), and the most of each band.

    At most limits (m,); the third output is whether none of them is below 0.
    """
    used, most = np.empty((len(ends), len(limits)), np.int64), np.zeros(len(ends), np.int64)
    is_valid = True
    for f in range(len(limits)):
        is_valid &= limits[f] >= 0
        for i in range(len(ends)):
            used[i, f] = min(ends[i], limits[f])
            most[i] = max(most[i], used[i, f])
    return used, most, is_valid

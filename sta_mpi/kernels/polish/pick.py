"""Samples of a layout read from half transforms; on the CPU alone."""

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

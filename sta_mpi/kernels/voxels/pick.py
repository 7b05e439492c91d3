"""Voxels of a layout read from a half transform, and which of them count; on the CPU alone."""

import numpy as np

from sta_mpi.kernels.options import cpu_kernel


@cpu_kernel
def pick_voxels(data, weight, edge, kx, ky, kz, band_start, empty, re, im, w, seen):
    """Fill re, im, w (p,) from flat data and weight (g * g * (g//2+1),), g the edge.

    Returns how many voxels count; seen (p,) is False where weight and data are less than `empty`
    of their band's mean weight and rms data. Sums are float64 in the layout's order.
    """
    row = edge // 2 + 1
    for i in range(len(kx)):
        # unsigned: numba would look for indices from the end
        y = np.int64(ky[i]) + (edge if ky[i] < 0 else 0)
        z = np.int64(kz[i]) + (edge if kz[i] < 0 else 0)
        at = np.uint64((z * edge + y) * row + np.int64(kx[i]))
        re[i], im[i], w[i] = data[at].real, data[at].imag, weight[at]
    n_seen = 0
    for band in range(len(band_start) - 1):
        start, stop = band_start[band], band_start[band + 1]
        size = power = 0.0
        for i in range(start, stop):
            size += abs(w[i])
            power += re[i] * re[i] + im[i] * im[i]
        least_size = np.float32(empty * size / max(stop - start, 1))
        least_power = np.float32(empty * empty * power / max(stop - start, 1))
        for i in range(start, stop):
            seen[i] = (abs(w[i]) > least_size) | (re[i] * re[i] + im[i] * im[i] > least_power)
            n_seen += np.int64(seen[i])
    return n_seen

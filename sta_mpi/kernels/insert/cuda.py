"""Insertion on a CUDA GPU: one thread a sample, atomic float32 sums.

The order of the sums, and so their last bits, change from run to run.
"""

import numpy as np
from numba import cuda

from sta_mpi.kernels import inline
from sta_mpi.kernels.insert import inline as insert_inline
from sta_mpi.kernels.options import cuda_inline, cuda_kernel

last_kx = cuda_inline(inline.last_kx)
signed_frequency = cuda_inline(inline.signed_frequency)
plane_axis = cuda_inline(inline.plane_axis)
fold = cuda_inline(inline.fold)
split = cuda_inline(inline.split)
corner_weights = cuda_inline(inline.corner_weights)
wrap = cuda_inline(insert_inline.wrap)
mate = cuda_inline(insert_inline.mate)

THREADS = 128


@cuda_inline
def _add(sums, n, n_half, iz, iy, ix, w, re, im, weight, count):
    o = 4 * ((iz * n + iy) * n_half + ix)
    cuda.atomic.add(sums, o, w * re)
    cuda.atomic.add(sums, o + 1, w * im)
    cuda.atomic.add(sums, o + 2, w * weight)
    cuda.atomic.add(sums, o + 3, w * count)


@cuda_kernel
def _insert(sums, n_sums, data, weights, scale, axes, kz, r2):
    m, n, n_data_half = data.shape
    i = cuda.grid(1)
    if i >= m * n * n_data_half:
        return
    kx = i % n_data_half
    iy = (i // n_data_half) % n
    p = i // (n_data_half * n)
    ky = signed_frequency(iy, n)
    if kx > last_kx(r2 - ky * ky - kz[p] * kz[p], n) or 2 * ky == -n:
        return
    n_half = n_sums // 2 + 1
    centre = n_sums // 2 + 1
    k = np.float32(kx)
    x0, ux = plane_axis(ky, kz[p], axes[p, 0, 0], axes[p, 1, 0], axes[p, 2, 0], scale)
    y0, uy = plane_axis(ky, kz[p], axes[p, 0, 1], axes[p, 1, 1], axes[p, 2, 1], scale)
    z0, uz = plane_axis(ky, kz[p], axes[p, 0, 2], axes[p, 1, 2], axes[p, 2, 2], scale)
    sign, x, y, z = fold(x0 + k * ux, y0 + k * uy, z0 + k * uz)
    jx, fx = split(x, 0)
    if jx > n_half - 2:
        fx += np.float32(jx - (n_half - 2))
        jx = n_half - 2
    jy, fy = split(y, centre)
    jz, fz = split(z, centre)
    corner = corner_weights(fy, fz)
    share = np.float32(0.5) if kx == 0 else np.float32(1.0)
    re = data[p, iy, kx].real * share
    im = data[p, iy, kx].imag * share * sign
    weight = weights[p, iy, kx] * share
    for c in range(4):
        iz = wrap(jz - centre + c // 2, n_sums)
        ky_sums = wrap(jy - centre + c % 2, n_sums)
        near, far = corner[c] * (np.float32(1.0) - fx), corner[c] * fx
        _add(sums, n_sums, n_half, iz, ky_sums, jx, near, re, im, weight, share)
        _add(sums, n_sums, n_half, iz, ky_sums, jx + 1, far, re, im, weight, share)
        mz, my = mate(iz, n_sums), mate(ky_sums, n_sums)
        if jx == 0:
            _add(sums, n_sums, n_half, mz, my, 0, near, re, -im, weight, share)
        if 2 * (jx + 1) == n_sums:
            _add(sums, n_sums, n_half, mz, my, jx + 1, far, re, -im, weight, share)


def insert(sums, n_sums, data, weights, scale, axes, kz, r2):
    """Add planes to the flat accumulator, host or device arrays; see `reference.insert`."""
    blocks = (data.size + THREADS - 1) // THREADS
    _insert[blocks, THREADS](sums, n_sums, data, weights, scale, axes, kz, r2)

"""Insertion on a CUDA GPU: one thread a sample, atomic sums of 64-bit integers.

Additions of integers may come in any order, so the sums are the same bits every run; those of
floating-point numbers would not be. A contribution is rounded once, to a unit of the sum.
"""

import math

import numpy as np
from numba import cuda

from sta_mpi.kernels.cuda_planes import (
    corner_weights,
    indices,
    is_left_out,
    place,
    signed_frequency,
    split,
)
from sta_mpi.kernels.insert import inline
from sta_mpi.kernels.options import cuda_inline, cuda_kernel

wrap = cuda_inline(inline.wrap)
mate = cuda_inline(inline.mate)


@cuda_inline
def _units(value, per_unit):
    """A contribution in units of the sum, to the nearest one."""
    return np.int64(math.floor(value * per_unit + 0.5))


@cuda_inline
def _add(sums, n, n_half, iz, iy, ix, w, re, im, weight, count, per_unit, per_count):
    o = 4 * ((iz * n + iy) * n_half + ix)
    cuda.atomic.add(sums, o, _units(w * re, per_unit))
    cuda.atomic.add(sums, o + 1, _units(w * im, per_unit))
    cuda.atomic.add(sums, o + 2, _units(w * weight, per_unit))
    cuda.atomic.add(sums, o + 3, _units(w * count, per_count))


@cuda_kernel
def insert_kernel(sums, n_sums, data, weights, scale, axes, kz, r2, largest, per_unit, per_count,
                  refused):
    """Add planes (m, n, n//2+1) to the flat sums (int64); see `reference.insert`.

    Samples that are not finite, or larger than `largest`, are counted in refused[0] instead.
    """
    m, n, n_data_half = data.shape
    i = cuda.grid(1)
    if i >= m * n * n_data_half:
        return
    p, iy, kx = indices(i, n, n_data_half)
    ky = signed_frequency(iy, n)
    if is_left_out(kx, ky, kz[p], n, r2[p]):
        return
    value, weight = data[p, iy, kx], weights[p, iy, kx]
    if not (abs(value.real) <= largest and abs(value.imag) <= largest and abs(weight) <= largest):
        cuda.atomic.add(refused, 0, np.int64(1))
        return
    n_half = n_sums // 2 + 1
    centre = n_sums // 2 + 1
    sign, x, y, z = place(axes[p], kx, ky, kz[p], scale)
    jx, fx = split(x, 0)
    if jx > n_half - 2:
        fx += np.float32(jx - (n_half - 2))
        jx = n_half - 2
    jy, fy = split(y, centre)
    jz, fz = split(z, centre)
    corner = corner_weights(fy, fz)
    # the column kx = 0 holds both mates, so each of them counts half
    share = np.float32(0.5) if kx == 0 else np.float32(1.0)
    re, im, weight = value.real * share, value.imag * share * sign, weight * share
    for c in range(4):
        iz = wrap(jz - centre + c // 2, n_sums)
        ky_sums = wrap(jy - centre + c % 2, n_sums)
        near, far = corner[c] * (np.float32(1.0) - fx), corner[c] * fx
        _add(sums, n_sums, n_half, iz, ky_sums, jx, near, re, im, weight, share,
             per_unit, per_count)
        _add(sums, n_sums, n_half, iz, ky_sums, jx + 1, far, re, im, weight, share,
             per_unit, per_count)
        mz, my = mate(iz, n_sums), mate(ky_sums, n_sums)
        if jx == 0:
            _add(sums, n_sums, n_half, mz, my, 0, near, re, -im, weight, share,
                 per_unit, per_count)
        if 2 * (jx + 1) == n_sums:
            _add(sums, n_sums, n_half, mz, my, jx + 1, far, re, -im, weight, share,
                 per_unit, per_count)


@cuda_kernel
def clear_kernel(array):
    """Set a flat array to zero; each thread takes several elements."""
    for i in range(cuda.grid(1), array.size, cuda.gridsize(1)):
        array[i] = 0

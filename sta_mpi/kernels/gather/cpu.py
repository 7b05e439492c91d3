"""Gathering on the CPU.

A row is done in two passes: cells and fractions of its samples are found first, in a loop
that LLVM vectorises; then the cells, asked for ahead of time, are read, neighbours along x
as one vector. Large volumes are bound by the latency of memory, which this hides.
"""

import numpy as np

from sta_mpi.kernels import inline
from sta_mpi.kernels.options import cpu_inline, cpu_kernel
from sta_mpi.kernels.simd import AHEAD, gather_pairs, prefetch

last_kx = cpu_inline(inline.last_kx)
signed_frequency = cpu_inline(inline.signed_frequency)
plane_axis = cpu_inline(inline.plane_axis)
fold = cpu_inline(inline.fold)
split = cpu_inline(inline.split)
corner_weights = cpu_inline(inline.corner_weights)


@cpu_kernel
def gather(volume, row, plane, reach, scale, axes, kz, r2, out):
    """Fill out (m, n, n//2+1) from the packed volume; see `reference.gather`."""
    m, n, n_half = out.shape
    cells = np.zeros(n_half + AHEAD, np.int64)
    fractions = np.empty((3, n_half), np.float32)
    signs = np.empty(n_half, np.float32)
    for p in range(m):
        a = axes[p]
        for iy in range(n):
            ky = signed_frequency(iy, n)
            last = last_kx(r2 - ky * ky - kz[p] * kz[p], n)
            if 2 * ky == -n:
                last = -1
            x0, ux = plane_axis(ky, kz[p], a[0, 0], a[1, 0], a[2, 0], scale)
            y0, uy = plane_axis(ky, kz[p], a[0, 1], a[1, 1], a[2, 1], scale)
            z0, uz = plane_axis(ky, kz[p], a[0, 2], a[1, 2], a[2, 2], scale)
            for kx in range(last + 1):
                k = np.float32(kx)
                sign, x, y, z = fold(x0 + k * ux, y0 + k * uy, z0 + k * uz)
                jx, fractions[0, kx] = split(x, 0)
                jy, fractions[1, kx] = split(y, reach)
                jz, fractions[2, kx] = split(z, reach)
                cells[kx] = jz * plane + jy * row + 2 * jx
                signs[kx] = sign
            # beyond the row's end, cells of earlier rows are asked for, which does no harm
            for kx in range(last + 1):
                o = cells[kx + AHEAD]
                prefetch(volume, o, o + row, o + plane, o + plane + row)
                w00, w01, w10, w11 = corner_weights(fractions[1, kx], fractions[2, kx])
                o = cells[kx]
                re, im = gather_pairs(volume, o, o + row, o + plane, o + plane + row,
                                      fractions[0, kx], w00, w01, w10, w11)
                out[p, iy, kx] = np.complex64(complex(re, im * signs[kx]))
            for kx in range(last + 1, n_half):
                out[p, iy, kx] = 0

"""Insertion on the CPU: 8 floats (two neighbours along x, four channels) at once.

As in gathering, a row's cells and fractions are found first, and cells are asked for ahead
of their use.
"""

import numpy as np

from sta_mpi.kernels import inline
from sta_mpi.kernels.insert import inline as insert_inline
from sta_mpi.kernels.options import cpu_inline, cpu_kernel
from sta_mpi.kernels.simd import AHEAD, prefetch, spread_pairs

last_kx = cpu_inline(inline.last_kx)
signed_frequency = cpu_inline(inline.signed_frequency)
plane_axis = cpu_inline(inline.plane_axis)
fold = cpu_inline(inline.fold)
split = cpu_inline(inline.split)
corner_weights = cpu_inline(inline.corner_weights)
wrap = cpu_inline(insert_inline.wrap)
mate = cpu_inline(insert_inline.mate)


@cpu_inline
def _add_mate(sums, n, n_half, jx, cell, part, re, im, weight, count, w00, w01, w10, w11):
    """Add the conjugate at minus the frequency, on the plane jx, which holds both mates."""
    row = cell // (4 * n_half)
    y0, z0 = mate(row % n, n), mate(row // n, n)
    y1, z1 = y0 - 1 if y0 > 0 else n - 1, z0 - 1 if z0 > 0 else n - 1
    for iz, iy, w in ((z0, y0, w00), (z0, y1, w01), (z1, y0, w10), (z1, y1, w11)):
        o = 4 * ((iz * n + iy) * n_half + jx)
        w = w * part
        sums[o] += w * re
        sums[o + 1] -= w * im
        sums[o + 2] += w * weight
        sums[o + 3] += w * count


@cpu_kernel
def insert(sums, n_sums, data, weights, scale, axes, kz, r2):
    """Add planes (m, n, n//2+1) to the flat accumulator; see `reference.insert`."""
    m, n, n_data_half = data.shape
    n_half = n_sums // 2 + 1
    centre = n_sums // 2 + 1
    row, plane = 4 * n_half, 4 * n_half * n_sums
    one, half = np.float32(1.0), np.float32(0.5)
    # offset of a cell's first corner, steps from there to its next y and z, which wrap, its x
    cells = np.zeros((4, n_data_half + AHEAD), np.int64)
    fractions = np.empty((3, n_data_half), np.float32)
    signs = np.empty(n_data_half, np.float32)
    for p in range(m):
        a = axes[p]
        for iy in range(n):
            ky = signed_frequency(iy, n)
            last = last_kx(r2[p] - ky * ky - kz[p] * kz[p], n)
            if 2 * ky == -n:
                last = -1
            x0, ux = plane_axis(ky, kz[p], a[0, 0], a[1, 0], a[2, 0], scale)
            y0, uy = plane_axis(ky, kz[p], a[0, 1], a[1, 1], a[2, 1], scale)
            z0, uz = plane_axis(ky, kz[p], a[0, 2], a[1, 2], a[2, 2], scale)
            for kx in range(last + 1):
                k = np.float32(kx)
                sign, x, y, z = fold(x0 + k * ux, y0 + k * uy, z0 + k * uz)
                jx, fx = split(x, 0)
                jy, fractions[1, kx] = split(y, centre)
                jz, fractions[2, kx] = split(z, centre)
                # at the last frequency the cell below is used, with a fraction of 1
                beyond = jx - (n_half - 2) if jx > n_half - 2 else 0
                fractions[0, kx] = fx + np.float32(beyond)
                ya, za = wrap(jy - centre, n_sums), wrap(jz - centre, n_sums)
                cells[0, kx] = za * plane + ya * row + 4 * (jx - beyond)
                cells[1, kx] = row if ya < n_sums - 1 else row - plane
                cells[2, kx] = plane if za < n_sums - 1 else plane - plane * n_sums
                cells[3, kx] = jx - beyond
                signs[kx] = sign
            # beyond the row's end, cells of earlier rows are asked for, which does no harm
            for kx in range(last + 1):
                o, dy, dz = cells[0, kx + AHEAD], cells[1, kx + AHEAD], cells[2, kx + AHEAD]
                prefetch(sums, o, o + dy, o + dz, o + dz + dy)
                o, dy, dz = cells[0, kx], cells[1, kx], cells[2, kx]
                fx = fractions[0, kx]
                w00, w01, w10, w11 = corner_weights(fractions[1, kx], fractions[2, kx])
                # the column kx = 0 holds both mates, so each of them counts half
                share = half if kx == 0 else one
                value = data[p, iy, kx]
                re = value.real * share
                im = value.imag * share * signs[kx]
                weight = weights[p, iy, kx] * share
                spread_pairs(sums, o, o + dy, o + dz, o + dz + dy,
                             re, im, weight, share, fx, w00, w01, w10, w11)
                jx = cells[3, kx]
                if jx == 0:
                    _add_mate(sums, n_sums, n_half, 0, o, one - fx,
                              re, im, weight, share, w00, w01, w10, w11)
                if 2 * (jx + 1) == n_sums:
                    _add_mate(sums, n_sums, n_half, jx + 1, o, fx,
                              re, im, weight, share, w00, w01, w10, w11)

"""Insertion on the CPU: 8 floats (two neighbours along x, four channels) at once."""

import numpy as np

from sta_mpi.kernels import inline
from sta_mpi.kernels.insert import inline as insert_inline
from sta_mpi.kernels.options import cpu_inline, cpu_kernel
from sta_mpi.kernels.simd import spread_pairs

last_kx = cpu_inline(inline.last_kx)
signed_frequency = cpu_inline(inline.signed_frequency)
plane_axis = cpu_inline(inline.plane_axis)
fold = cpu_inline(inline.fold)
split = cpu_inline(inline.split)
corner_weights = cpu_inline(inline.corner_weights)
wrap = cpu_inline(insert_inline.wrap)
mate = cpu_inline(insert_inline.mate)


@cpu_inline
def _add_mate(sums, n, n_half, jx, y0, y1, z0, z1, part, re, im, weight, count,
              w00, w01, w10, w11):
    """Add the conjugate at minus the frequency, on the plane jx, which holds both mates."""
    y0, y1, z0, z1 = mate(y0, n), mate(y1, n), mate(z0, n), mate(z1, n)
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
    m, n, _ = data.shape
    n_half = n_sums // 2 + 1
    centre = n_sums // 2 + 1
    plane = n_sums * n_half * 4
    row = n_half * 4
    one = np.float32(1.0)
    half = np.float32(0.5)
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
                jx, fx = split(x, 0)
                if jx > n_half - 2:
                    fx += np.float32(jx - (n_half - 2))
                    jx = n_half - 2
                jy, fy = split(y, centre)
                jz, fz = split(z, centre)
                w00, w01, w10, w11 = corner_weights(fy, fz)
                ya, yb = wrap(jy - centre, n_sums), wrap(jy - centre + 1, n_sums)
                za, zb = wrap(jz - centre, n_sums), wrap(jz - centre + 1, n_sums)
                # the column kx = 0 holds both mates, so each of them counts half
                share = half if kx == 0 else one
                value = data[p, iy, kx]
                re = value.real * share
                im = value.imag * share * sign
                weight = weights[p, iy, kx] * share
                oz, o1z, oy, o1y = za * plane, zb * plane, ya * row, yb * row
                o = 4 * jx
                spread_pairs(sums, o + oz + oy, o + oz + o1y, o + o1z + oy, o + o1z + o1y,
                             re, im, weight, share, fx, w00, w01, w10, w11)
                if jx == 0:
                    _add_mate(sums, n_sums, n_half, 0, ya, yb, za, zb, one - fx,
                              re, im, weight, share, w00, w01, w10, w11)
                if 2 * (jx + 1) == n_sums:
                    _add_mate(sums, n_sums, n_half, jx + 1, ya, yb, za, zb, fx,
                              re, im, weight, share, w00, w01, w10, w11)

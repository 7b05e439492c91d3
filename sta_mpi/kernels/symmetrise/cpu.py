"""Turned sums on the CPU: 8 floats (two neighbours along x, four channels) at once.

As in gathering, a row's cells and fractions are found first, and cells are asked for ahead of
their use. As in insertion, steps to the next y and z wrap around.
"""

import numpy as np

from sta_mpi.kernels import inline
from sta_mpi.kernels.insert import inline as insert_inline
from sta_mpi.kernels.options import cpu_inline, cpu_kernel
from sta_mpi.kernels.simd import AHEAD, gather_channels, prefetch

last_kx = cpu_inline(inline.last_kx)
signed_frequency = cpu_inline(inline.signed_frequency)
plane_axis = cpu_inline(inline.plane_axis)
fold = cpu_inline(inline.fold)
split = cpu_inline(inline.split)
corner_weights = cpu_inline(inline.corner_weights)
wrap = cpu_inline(insert_inline.wrap)


@cpu_inline
def _place_row(cells, fractions, signs, a, ky, kz, last, n):
    """Cells (offset, step to the next y, to the next z), fractions and signs of a turned row."""
    row, centre = 4 * (n // 2 + 1), n // 2 + 1
    plane = row * n
    x0, ux = plane_axis(ky, kz, a[0, 0], a[1, 0], a[2, 0], 1.0)
    y0, uy = plane_axis(ky, kz, a[0, 1], a[1, 1], a[2, 1], 1.0)
    z0, uz = plane_axis(ky, kz, a[0, 2], a[1, 2], a[2, 2], 1.0)
    for kx in range(last + 1):
        k = np.float32(kx)
        signs[kx], x, y, z = fold(x0 + k * ux, y0 + k * uy, z0 + k * uz)
        jx, fractions[0, kx] = split(x, 0)
        jy, fractions[1, kx] = split(y, centre)
        jz, fractions[2, kx] = split(z, centre)
        iy, iz = wrap(jy - centre, n), wrap(jz - centre, n)
        cells[0, kx] = iz * plane + iy * row + 4 * jx
        cells[1, kx] = row if iy < n - 1 else row - plane
        cells[2, kx] = plane if iz < n - 1 else plane - plane * n


@cpu_kernel
def mean_over_turns(sums, axes, phases, kz, r2, out):
    """Fill out (planes, n, n//2+1, 3); see `reference.mean_over_turns`."""
    n_planes, n, n_half, _ = out.shape
    n_turns = len(axes)
    cells = np.zeros((3, n_half + AHEAD), np.int64)
    fractions = np.empty((3, n_half), np.float32)
    signs = np.empty(n_half, np.float32)
    for p in range(n_planes):
        for iy in range(n):
            ky = signed_frequency(iy, n)
            last = last_kx(r2 - ky * ky - kz[p] * kz[p], n)
            if 2 * ky == -n:
                last = -1
            for kx in range(n_half):
                for channel in range(3):
                    out[p, iy, kx, channel] = 0.0
            for t in range(n_turns if last >= 0 else 0):
                _place_row(cells, fractions, signs, axes[t], ky, kz[p], last, n)
                c, s = phases[t, p].real / n_turns, phases[t, p].imag / n_turns
                # beyond the row's end, cells of earlier rows are asked for, which does no harm
                for kx in range(last + 1):
                    o, dy, dz = cells[0, kx + AHEAD], cells[1, kx + AHEAD], cells[2, kx + AHEAD]
                    prefetch(sums, o, o + dy, o + dz, o + dz + dy)
                    o, dy, dz = cells[0, kx], cells[1, kx], cells[2, kx]
                    w00, w01, w10, w11 = corner_weights(fractions[1, kx], fractions[2, kx])
                    re, im, weight, _ = gather_channels(
                        sums, o, o + dy, o + dz, o + dz + dy, fractions[0, kx],
                        w00, w01, w10, w11)
                    im *= signs[kx]
                    out[p, iy, kx, 0] += c * re - s * im
                    out[p, iy, kx, 1] += s * re + c * im
                    out[p, iy, kx, 2] += weight / n_turns

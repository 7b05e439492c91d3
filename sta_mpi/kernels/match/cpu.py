"""Template matching on the CPU: passes over a tile that stays in the cache of a core."""

import numpy as np

from sta_mpi.kernels import inline
from sta_mpi.kernels.options import cpu_inline, cpu_kernel
from sta_mpi.kernels.simd import AHEAD, gather_pairs, prefetch

signed_frequency = cpu_inline(inline.signed_frequency)
fold = cpu_inline(inline.fold)
split = cpu_inline(inline.split)
corner_weights = cpu_inline(inline.corner_weights)


@cpu_kernel
def turn_band(volume, row, plane, reach, turn, steps, rows, out):
    """See `match.turn_band`; `turn` is R_p2t transposed, acting on xyz columns."""
    nz, ny, n_half = out.shape
    cells = np.zeros(n_half + AHEAD, np.int64)
    fractions = np.empty((3, n_half), np.float32)
    signs = np.empty(n_half, np.float32)
    ux = np.float32(turn[0, 0] * steps[2])
    uy = np.float32(turn[1, 0] * steps[2])
    uz = np.float32(turn[2, 0] * steps[2])
    for iz in range(nz):
        kz = signed_frequency(iz, nz) * steps[0]
        for iy in range(ny):
            ky = signed_frequency(iy, ny) * steps[1]
            x0 = np.float32(ky * turn[0, 1] + kz * turn[0, 2])
            y0 = np.float32(ky * turn[1, 1] + kz * turn[1, 2])
            z0 = np.float32(ky * turn[2, 1] + kz * turn[2, 2])
            for kx in range(rows[iz, iy]):
                k = np.float32(kx)
                sign, x, y, z = fold(x0 + k * ux, y0 + k * uy, z0 + k * uz)
                jx, fractions[0, kx] = split(x, 0)
                jy, fractions[1, kx] = split(y, reach)
                jz, fractions[2, kx] = split(z, reach)
                cells[kx] = jz * plane + jy * row + 2 * jx
                signs[kx] = sign
            for kx in range(rows[iz, iy]):
                o = cells[kx + AHEAD]
                prefetch(volume, o, o + row, o + plane, o + plane + row)
                w00, w01, w10, w11 = corner_weights(fractions[1, kx], fractions[2, kx])
                o = cells[kx]
                re, im = gather_pairs(volume, o, o + row, o + plane, o + plane + row,
                                      fractions[0, kx], w00, w01, w10, w11)
                out[iz, iy, kx] = np.complex64(complex(re, im * signs[kx]))


@cpu_kernel
def multiply_band(template_rft, tile_rft, rows, out, is_half_turned):
    """See `match.multiply_band`."""
    nz, ny, n_half = out.shape
    for iz in range(nz):
        source = (nz - iz) % nz if is_half_turned else iz
        # conj(T), and of the half-turned template T itself at -kz
        sign = np.float32(1.0) if is_half_turned else np.float32(-1.0)
        for iy in range(ny):
            last = rows[iz, iy]
            for kx in range(last):
                a, b = template_rft[source, iy, kx], tile_rft[iz, iy, kx]
                im = sign * a.imag
                out[iz, iy, kx] = np.complex64(complex(
                    a.real * b.real - im * b.imag, a.real * b.imag + im * b.real))
            for kx in range(last, n_half):
                out[iz, iy, kx] = 0


@cpu_kernel
def keep_best(scores, z0, y0, x0, scale, index, best, best_index, worst):
    """See `match.keep_best`."""
    mz, my, mx = best.shape
    for z in range(mz):
        for y in range(my):
            for x in range(mx):
                value = scores[z + z0, y + y0, x + x0] * scale
                old = best[z, y, x]
                is_better = (value > old) | ((value == old) & (index < best_index[z, y, x]))
                # selects instead of branches, so that the loop is vectorised
                best[z, y, x] = value if is_better else old
                best_index[z, y, x] = index if is_better else best_index[z, y, x]
                worst[z, y, x] = min(worst[z, y, x], value)

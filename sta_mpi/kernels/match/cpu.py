"""Template matching on the CPU: two passes over a tile that stays in the cache of a core."""

import numpy as np

from sta_mpi.kernels import inline
from sta_mpi.kernels.options import cpu_inline, cpu_kernel

signed_frequency = cpu_inline(inline.signed_frequency)


@cpu_kernel
def multiply_band(template_rft, tile_rft, r2, out):
    """See `match.multiply_band`."""
    n, n_half = out.shape[0], out.shape[2]
    for iz in range(n):
        kz = signed_frequency(iz, n)
        for iy in range(n):
            ky = signed_frequency(iy, n)
            rest = r2 - kz * kz - ky * ky
            last = 0
            if rest >= 0:
                last = min(int(np.sqrt(rest)) + 1, n_half)
            for kx in range(last):
                a, b = template_rft[iz, iy, kx], tile_rft[iz, iy, kx]
                out[iz, iy, kx] = np.complex64(complex(
                    a.real * b.real + a.imag * b.imag, a.real * b.imag - a.imag * b.real))
            for kx in range(last, n_half):
                out[iz, iy, kx] = 0


@cpu_kernel
def keep_best(scores, margin, scale, index, best, best_index, worst):
    """See `match.keep_best`."""
    m = best.shape[0]
    for z in range(m):
        for y in range(m):
            for x in range(m):
                value = scores[z + margin, y + margin, x + margin] * scale
                is_better = value > best[z, y, x]
                # selects instead of branches, so that the loop is vectorised
                best[z, y, x] = value if is_better else best[z, y, x]
                best_index[z, y, x] = index if is_better else best_index[z, y, x]
                worst[z, y, x] = min(worst[z, y, x], value)

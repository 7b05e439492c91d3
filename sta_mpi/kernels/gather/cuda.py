"""Gathering on a CUDA GPU: one thread a sample."""

import numpy as np
from numba import cuda

from sta_mpi.kernels import inline
from sta_mpi.kernels.gather import inline as gather_inline
from sta_mpi.kernels.options import cuda_inline, cuda_kernel

last_kx = cuda_inline(inline.last_kx)
signed_frequency = cuda_inline(inline.signed_frequency)
plane_axis = cuda_inline(inline.plane_axis)
fold = cuda_inline(inline.fold)
split = cuda_inline(inline.split)
corner_weights = cuda_inline(inline.corner_weights)
interpolate = cuda_inline(gather_inline.interpolate)

THREADS = 128


@cuda_kernel
def _gather(volume, row, plane, reach, scale, axes, kz, r2, out):
    m, n, n_half = out.shape
    i = cuda.grid(1)
    if i >= m * n * n_half:
        return
    kx = i % n_half
    iy = (i // n_half) % n
    p = i // (n_half * n)
    ky = signed_frequency(iy, n)
    if kx > last_kx(r2 - ky * ky - kz[p] * kz[p], n) or 2 * ky == -n:
        out[p, iy, kx] = 0
        return
    k = np.float32(kx)
    x0, ux = plane_axis(ky, kz[p], axes[p, 0, 0], axes[p, 1, 0], axes[p, 2, 0], scale)
    y0, uy = plane_axis(ky, kz[p], axes[p, 0, 1], axes[p, 1, 1], axes[p, 2, 1], scale)
    z0, uz = plane_axis(ky, kz[p], axes[p, 0, 2], axes[p, 1, 2], axes[p, 2, 2], scale)
    sign, x, y, z = fold(x0 + k * ux, y0 + k * uy, z0 + k * uz)
    jx, fx = split(x, 0)
    jy, fy = split(y, reach)
    jz, fz = split(z, reach)
    w00, w01, w10, w11 = corner_weights(fy, fz)
    a = jz * plane + jy * row + 2 * jx
    b, c = a + row, a + plane
    d = c + row
    near_re = w00 * volume[a] + w01 * volume[b] + w10 * volume[c] + w11 * volume[d]
    near_im = (w00 * volume[a + 1] + w01 * volume[b + 1]
               + w10 * volume[c + 1] + w11 * volume[d + 1])
    far_re = (w00 * volume[a + 2] + w01 * volume[b + 2]
              + w10 * volume[c + 2] + w11 * volume[d + 2])
    far_im = (w00 * volume[a + 3] + w01 * volume[b + 3]
              + w10 * volume[c + 3] + w11 * volume[d + 3])
    out[p, iy, kx] = complex(interpolate(near_re, far_re, fx),
                             interpolate(near_im, far_im, fx) * sign)


def gather(volume, row, plane, reach, scale, axes, kz, r2, out):
    """Fill out (m, n, n//2+1), a host or device array; see `reference.gather`."""
    blocks = (out.size + THREADS - 1) // THREADS
    _gather[blocks, THREADS](volume, row, plane, reach, scale, axes, kz, r2, out)

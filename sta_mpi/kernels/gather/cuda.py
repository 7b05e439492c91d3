"""Gathering on a CUDA GPU: one thread a sample."""

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
from sta_mpi.kernels.device import device_volume, launch, upload
from sta_mpi.kernels.gather import inline
from sta_mpi.kernels.options import cuda_inline, cuda_kernel

interpolate = cuda_inline(inline.interpolate)


@cuda_kernel
def gather_kernel(volume, row, plane, reach, scale, axes, kz, r2, out):
    """Fill out (m, n, n//2+1) from the packed volume; see `reference.gather`."""
    m, n, n_half = out.shape
    i = cuda.grid(1)
    if i >= m * n * n_half:
        return
    p, iy, kx = indices(i, n, n_half)
    ky = signed_frequency(iy, n)
    if is_left_out(kx, ky, kz[p], n, r2):
        out[p, iy, kx] = 0
        return
    sign, x, y, z = place(axes[p], kx, ky, kz[p], scale)
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


def gather(volume, axes, kz, r2, out):
    """Fill out (m, n, n//2+1) on the host; the volume is uploaded the first time it is met."""
    on_device = device_volume(volume)
    found = cuda.device_array(out.shape, np.complex64)
    launch(gather_kernel, out.size, on_device.floats, on_device.row, on_device.plane,
           on_device.reach, on_device.scale, upload(axes), upload(kz), r2, found)
    if out.size:
        found.copy_to_host(out)

"""What the CUDA kernels that walk over planes of Fourier samples share: one thread a sample.

The scalar maths of `kernels.inline`, compiled for the GPU, and the place of a sample.
"""

import numpy as np

from sta_mpi.kernels import inline
from sta_mpi.kernels.options import cuda_inline

last_kx = cuda_inline(inline.last_kx)
signed_frequency = cuda_inline(inline.signed_frequency)
plane_axis = cuda_inline(inline.plane_axis)
fold = cuda_inline(inline.fold)
split = cuda_inline(inline.split)
corner_weights = cuda_inline(inline.corner_weights)


@cuda_inline
def indices(i, n, n_half):
    """(plane, row, column) of element i of (m, n, n_half) planes."""
    return i // (n_half * n), (i // n_half) % n, i % n_half


@cuda_inline
def is_left_out(kx, ky, kz, n, r2):
    """Whether a sample lies beyond the radius or at the Nyquist frequency."""
    return kx > last_kx(r2 - ky * ky - kz * kz, n) or 2 * ky == -n


@cuda_inline
def place(a, kx, ky, kz, scale):
    """(sign, x, y, z) of a sample of the plane with axes a (3, 3), or of its mate where x < 0."""
    k = np.float32(kx)
    x0, ux = plane_axis(ky, kz, a[0, 0], a[1, 0], a[2, 0], scale)
    y0, uy = plane_axis(ky, kz, a[0, 1], a[1, 1], a[2, 1], scale)
    z0, uz = plane_axis(ky, kz, a[0, 2], a[1, 2], a[2, 2], scale)
    return fold(x0 + k * ux, y0 + k * uy, z0 + k * uz)

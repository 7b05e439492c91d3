"""Pose polish on a CUDA GPU: one block a tilt, threads stride over its samples.

A block reads its tilt from a table, so one launch serves any tilts of any particles whose
samples lie in the same arrays. Each thread sums its samples in single precision, 64 at a time
at most, and in double from there; threads are added as a tree. The order is fixed, so results
are the same bits every run.
"""

import numpy as np
from numba import cuda, float32, float64

from sta_mpi.kernels import inline as shared
from sta_mpi.kernels.device import is_simulated
from sta_mpi.kernels.gather import inline as gather_inline
from sta_mpi.kernels.options import cuda_inline, cuda_kernel
from sta_mpi.kernels.polish import inline

split = cuda_inline(shared.split)
interpolate = cuda_inline(gather_inline.interpolate)
point = cuda_inline(inline.point)
sine = cuda_inline(inline.sine)
cosine = cuda_inline(inline.cosine)
add_score = cuda_inline(inline.add_score)
add_terms = cuda_inline(inline.add_terms)

THREADS = 32 if is_simulated() else 128
"""Threads of a block, at least one a sum; numba's simulator starts a thread of Python for each."""

FLUSH = 64
"""Samples of a thread after which its single-precision sums are added to the double ones."""

N_POSE = 10
"""Columns of the table of tilts: u (3), v (3), cycles (2), row of the samples, how many of them."""


@cuda_inline
def turn(re, im, sign, cycles):
    """Data turned by its shift phase, or its mate."""
    c, e = cosine(cycles), sine(cycles)
    return re * c - im * e, sign * (re * e + im * c)


@cuda_inline
def part(volume, o, row, plane, fx, fy, fz):
    """(value, d/dx, d/dy, d/dz) of the real (or imaginary) part in the cell at offset o."""
    a0 = interpolate(volume[o], volume[o + row], fy)
    b0 = interpolate(volume[o + 2], volume[o + row + 2], fy)
    a1 = interpolate(volume[o + plane], volume[o + plane + row], fy)
    b1 = interpolate(volume[o + plane + 2], volume[o + plane + row + 2], fy)
    ya = interpolate(volume[o + row] - volume[o],
                     volume[o + plane + row] - volume[o + plane], fz)
    yb = interpolate(volume[o + row + 2] - volume[o + 2],
                     volume[o + plane + row + 2] - volume[o + plane + 2], fz)
    near, far = interpolate(a0, a1, fz), interpolate(b0, b1, fz)
    return (interpolate(near, far, fx), far - near, interpolate(ya, yb, fx),
            interpolate(a1 - a0, b1 - b0, fx))


@cuda_inline
def finish(shared_sums, own, n_sums, thread, out):
    """Add the sums of all threads of the block to out (n_sums,)."""
    for j in range(n_sums):
        shared_sums[j, thread] = own[j]
    cuda.syncthreads()
    width = THREADS // 2
    while width > 0:
        if thread < width:
            for j in range(n_sums):
                shared_sums[j, thread] += shared_sums[j, thread + width]
        cuda.syncthreads()
        width //= 2
    if thread < n_sums:
        out[thread] = shared_sums[thread, 0]


@cuda_inline
def _add_value(sums, volume, o, row, plane, fx, fy, fz, kx, ky, x, y, z, dr, di, w):
    vr, _, _, _ = part(volume, o, row, plane, fx, fy, fz)
    vi, _, _, _ = part(volume, o + 1, row, plane, fx, fy, fz)
    add_score(sums, 0, 1, dr, di, w, vr, vi)


@cuda_inline
def _add_derivatives(sums, volume, o, row, plane, fx, fy, fz, kx, ky, x, y, z, dr, di, w):
    vr, gxr, gyr, gzr = part(volume, o, row, plane, fx, fy, fz)
    vi, gxi, gyi, gzi = part(volume, o + 1, row, plane, fx, fy, fz)
    add_terms(sums, 0, 1, kx, ky, x, y, z, dr, di, w, vr, vi, gxr, gxi, gyr, gyi, gzr, gzi)


def _make_kernel(n_sums, add_sample):
    """A kernel that sums what `add_sample` makes of each sample: value alone, or all."""

    @cuda_kernel
    def kernel(volume, row, plane, reach, poses, dre, dim, w, kx, ky, out):
        block, thread = cuda.blockIdx.x, cuda.threadIdx.x
        total = cuda.local.array(n_sums, float64)
        sums = cuda.local.array(n_sums, float32)
        shared_sums = cuda.shared.array((n_sums, THREADS), float64)
        for j in range(n_sums):
            total[j] = 0.0
            sums[j] = np.float32(0.0)
        a = poses[block]
        ux, uy, uz = np.float32(a[0]), np.float32(a[1]), np.float32(a[2])
        vx, vy, vz = np.float32(a[3]), np.float32(a[4]), np.float32(a[5])
        tx, ty = np.float32(a[6]), np.float32(a[7])
        f, count = int(a[8]), int(a[9])
        for i in range(thread, count, THREADS):
            px, py = np.float32(kx[i]), np.float32(ky[i])
            sign, x, y, z = point(px, py, ux, uy, uz, vx, vy, vz)
            jx, fx = split(x, 0)
            jy, fy = split(y, reach)
            jz, fz = split(z, reach)
            # stored as float32 or float16
            dr, di = turn(np.float32(dre[f, i]), np.float32(dim[f, i]), sign, px * tx + py * ty)
            add_sample(sums, volume, jz * plane + jy * row + 2 * jx, row, plane, fx, fy, fz,
                       sign * px, sign * py, x, y, z, dr, di, np.float32(w[f, i]))
            if (i // THREADS) % FLUSH == FLUSH - 1:
                for j in range(n_sums):
                    total[j] += sums[j]
                    sums[j] = np.float32(0.0)
        for j in range(n_sums):
            total[j] += sums[j]
        finish(shared_sums, total, n_sums, thread, out[block])

    return kernel


KERNELS = {inline.N_SUMS: _make_kernel(inline.N_SUMS, _add_derivatives),
           inline.N_SCORE: _make_kernel(inline.N_SCORE, _add_value)}
"""Kernel of each number of sums, called with [number of tilts, THREADS]."""

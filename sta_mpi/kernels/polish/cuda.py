"""Pose polish on a CUDA GPU: one block a tilt, threads stride over its samples.

Each thread sums its samples in single precision, 64 at a time at most, and in double from
there; threads are added as a tree. The order is fixed, so results are the same bits every run.
"""

import numpy as np
from numba import cuda, float32, float64

from sta_mpi.kernels import inline as shared
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

N_SCORE, N_SUMS = inline.N_SCORE, inline.N_SUMS
THREADS = 128
FLUSH = 64
"""Samples of a thread after which its single-precision sums are added to the double ones."""


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


@cuda_kernel
def _normal_equations(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, count, out):
    f, thread = cuda.blockIdx.x, cuda.threadIdx.x
    total = cuda.local.array(N_SUMS, float64)
    sums = cuda.local.array(N_SUMS, float32)
    shared_sums = cuda.shared.array((N_SUMS, THREADS), float64)
    for j in range(N_SUMS):
        total[j] = 0.0
        sums[j] = np.float32(0.0)
    a = axes[f]
    ux, uy, uz = np.float32(a[0, 0]), np.float32(a[0, 1]), np.float32(a[0, 2])
    vx, vy, vz = np.float32(a[1, 0]), np.float32(a[1, 1]), np.float32(a[1, 2])
    tx, ty = np.float32(cycles[f, 0]), np.float32(cycles[f, 1])
    for i in range(thread, count[f], THREADS):
        px, py = np.float32(kx[i]), np.float32(ky[i])
        sign, x, y, z = point(px, py, ux, uy, uz, vx, vy, vz)
        jx, fx = split(x, 0)
        jy, fy = split(y, reach)
        jz, fz = split(z, reach)
        o = jz * plane + jy * row + 2 * jx
        vr, gxr, gyr, gzr = part(volume, o, row, plane, fx, fy, fz)
        vi, gxi, gyi, gzi = part(volume, o + 1, row, plane, fx, fy, fz)
        dr, di = turn(dre[f, i], dim[f, i], sign, px * tx + py * ty)
        add_terms(sums, 0, 1, sign * px, sign * py, x, y, z, dr, di, w[f, i],
                  vr, vi, gxr, gxi, gyr, gyi, gzr, gzi)
        if (i // THREADS) % FLUSH == FLUSH - 1:
            for j in range(N_SUMS):
                total[j] += sums[j]
                sums[j] = np.float32(0.0)
    for j in range(N_SUMS):
        total[j] += sums[j]
    finish(shared_sums, total, N_SUMS, thread, out[f])


@cuda_kernel
def _score(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, count, out):
    f, thread = cuda.blockIdx.x, cuda.threadIdx.x
    total = cuda.local.array(N_SCORE, float64)
    sums = cuda.local.array(N_SCORE, float32)
    shared_sums = cuda.shared.array((N_SCORE, THREADS), float64)
    for j in range(N_SCORE):
        total[j] = 0.0
    a = axes[f]
    ux, uy, uz = np.float32(a[0, 0]), np.float32(a[0, 1]), np.float32(a[0, 2])
    vx, vy, vz = np.float32(a[1, 0]), np.float32(a[1, 1]), np.float32(a[1, 2])
    tx, ty = np.float32(cycles[f, 0]), np.float32(cycles[f, 1])
    for i in range(thread, count[f], THREADS):
        px, py = np.float32(kx[i]), np.float32(ky[i])
        sign, x, y, z = point(px, py, ux, uy, uz, vx, vy, vz)
        jx, fx = split(x, 0)
        jy, fy = split(y, reach)
        jz, fz = split(z, reach)
        o = jz * plane + jy * row + 2 * jx
        vr, _, _, _ = part(volume, o, row, plane, fx, fy, fz)
        vi, _, _, _ = part(volume, o + 1, row, plane, fx, fy, fz)
        dr, di = turn(dre[f, i], dim[f, i], sign, px * tx + py * ty)
        for j in range(N_SCORE):
            sums[j] = np.float32(0.0)
        add_score(sums, 0, 1, dr, di, w[f, i], vr, vi)
        for j in range(N_SCORE):
            total[j] += sums[j]
    finish(shared_sums, total, N_SCORE, thread, out[f])


def normal_equations(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, count, out):
    """Fill out (m, 25), host or device arrays; see `cpu.normal_equations`."""
    _normal_equations[len(axes), THREADS](
        volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, count, out)


def score(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, count, out):
    """Fill out (m, 2), host or device arrays; see `cpu.score`."""
    _score[len(axes), THREADS](
        volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, count, out)

"""Polish of a box on a CUDA GPU: one block 1024 voxels, in double precision between blocks.

Threads of a block are added as a tree and blocks in their order, so results are the same bits
every run.
"""

import numpy as np
from numba import cuda, float32, float64

from sta_mpi.kernels import inline as shared
from sta_mpi.kernels.options import cuda_inline, cuda_kernel
from sta_mpi.kernels.polish import inline as polish_inline
from sta_mpi.kernels.polish.cuda import THREADS, finish, part, turn
from sta_mpi.kernels.voxels import inline

split = cuda_inline(shared.split)
add_score = cuda_inline(polish_inline.add_score)
place = cuda_inline(inline.place)
add_voxel = cuda_inline(inline.add_voxel)

N_SCORE, N_SUMS = inline.N_SCORE, inline.N_SUMS
BLOCK = 1024
"""Voxels of a block of threads: each thread sums 8 of them in single precision."""


@cuda_inline
def _locate(axes, px, py, pz, row, plane, reach):
    """(sign, x, y, z, offset of the cell, its three fractions) of a voxel."""
    sign, x, y, z = place(
        px, py, pz, np.float32(axes[0, 0]), np.float32(axes[0, 1]), np.float32(axes[0, 2]),
        np.float32(axes[1, 0]), np.float32(axes[1, 1]), np.float32(axes[1, 2]),
        np.float32(axes[2, 0]), np.float32(axes[2, 1]), np.float32(axes[2, 2]))
    jx, fx = split(x, 0)
    jy, fy = split(y, reach)
    jz, fz = split(z, reach)
    return sign, x, y, z, jz * plane + jy * row + 2 * jx, fx, fy, fz


@cuda_inline
def _cycles(cycles, px, py, pz):
    """Phase of a voxel [turns]."""
    return px * np.float32(cycles[0]) + py * np.float32(cycles[1]) + pz * np.float32(cycles[2])


@cuda_kernel
def _normal_equations(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, kz, count,
                      out):
    block, thread = cuda.blockIdx.x, cuda.threadIdx.x
    sums = cuda.local.array(N_SUMS, float32)
    shared_sums = cuda.shared.array((N_SUMS, THREADS), float64)
    for j in range(N_SUMS):
        sums[j] = np.float32(0.0)
    for i in range(block * BLOCK + thread, min((block + 1) * BLOCK, count), THREADS):
        px, py, pz = np.float32(kx[i]), np.float32(ky[i]), np.float32(kz[i])
        sign, x, y, z, o, fx, fy, fz = _locate(axes, px, py, pz, row, plane, reach)
        vr, gxr, gyr, gzr = part(volume, o, row, plane, fx, fy, fz)
        vi, gxi, gyi, gzi = part(volume, o + 1, row, plane, fx, fy, fz)
        dr, di = turn(dre[i], dim[i], sign, _cycles(cycles, px, py, pz))
        add_voxel(sums, 0, 1, sign * px, sign * py, sign * pz, x, y, z, dr, di, w[i],
                  vr, vi, gxr, gxi, gyr, gyi, gzr, gzi)
    finish(shared_sums, sums, N_SUMS, thread, out[block])


@cuda_kernel
def _score(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, kz, count, out):
    block, thread = cuda.blockIdx.x, cuda.threadIdx.x
    sums = cuda.local.array(N_SCORE, float32)
    shared_sums = cuda.shared.array((N_SCORE, THREADS), float64)
    for j in range(N_SCORE):
        sums[j] = np.float32(0.0)
    for i in range(block * BLOCK + thread, min((block + 1) * BLOCK, count), THREADS):
        px, py, pz = np.float32(kx[i]), np.float32(ky[i]), np.float32(kz[i])
        sign, _, _, _, o, fx, fy, fz = _locate(axes, px, py, pz, row, plane, reach)
        vr, _, _, _ = part(volume, o, row, plane, fx, fy, fz)
        vi, _, _, _ = part(volume, o + 1, row, plane, fx, fy, fz)
        dr, di = turn(dre[i], dim[i], sign, _cycles(cycles, px, py, pz))
        add_score(sums, 0, 1, dr, di, w[i], vr, vi)
    finish(shared_sums, sums, N_SCORE, thread, out[block])


def normal_equations(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, kz, count, out):
    """Add the sums of a pose to out (32,) on the host; see `cpu.normal_equations`."""
    partial = np.zeros((-(-count // BLOCK), N_SUMS))
    _normal_equations[len(partial), THREADS](
        volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, kz, count, partial)
    out += partial.sum(axis=0)


def score(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, kz, count, out):
    """Add cross and power to out (2,) on the host; see `cpu.score`."""
    partial = np.zeros((-(-count // BLOCK), N_SCORE))
    _score[len(partial), THREADS](
        volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, kz, count, partial)
    out += partial.sum(axis=0)

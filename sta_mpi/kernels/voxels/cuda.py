"""Polish of a box on a CUDA GPU: a block of threads sums 1024 voxels.

Each thread adds 8 voxels in single precision; threads of a block are added as a tree in double
precision, and blocks on the host in their order, so results are the same bits every run.
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

BLOCK = 1024
"""Voxels of a block of threads."""


@cuda_inline
def _add_value(sums, volume, o, row, plane, fx, fy, fz, kx, ky, kz, x, y, z, dr, di, w):
    vr, _, _, _ = part(volume, o, row, plane, fx, fy, fz)
    vi, _, _, _ = part(volume, o + 1, row, plane, fx, fy, fz)
    add_score(sums, 0, 1, dr, di, w, vr, vi)


@cuda_inline
def _add_derivatives(sums, volume, o, row, plane, fx, fy, fz, kx, ky, kz, x, y, z, dr, di, w):
    vr, gxr, gyr, gzr = part(volume, o, row, plane, fx, fy, fz)
    vi, gxi, gyi, gzi = part(volume, o + 1, row, plane, fx, fy, fz)
    add_voxel(sums, 0, 1, kx, ky, kz, x, y, z, dr, di, w,
              vr, vi, gxr, gxi, gyr, gyi, gzr, gzi)


def _make_kernel(n_sums, add_sample):
    """A kernel that sums what `add_sample` makes of each voxel: value alone, or all.

    `pose` holds the three axes in padded units and the cycles per index: (12,) float64.
    """

    @cuda_kernel
    def kernel(volume, row, plane, reach, pose, dre, dim, w, kx, ky, kz, count, out):
        block, thread = cuda.blockIdx.x, cuda.threadIdx.x
        sums = cuda.local.array(n_sums, float32)
        shared_sums = cuda.shared.array((n_sums, THREADS), float64)
        for j in range(n_sums):
            sums[j] = np.float32(0.0)
        ax, ay, az = np.float32(pose[0]), np.float32(pose[1]), np.float32(pose[2])
        bx, by, bz = np.float32(pose[3]), np.float32(pose[4]), np.float32(pose[5])
        cx, cy, cz = np.float32(pose[6]), np.float32(pose[7]), np.float32(pose[8])
        tx, ty, tz = np.float32(pose[9]), np.float32(pose[10]), np.float32(pose[11])
        for i in range(block * BLOCK + thread, min((block + 1) * BLOCK, count), THREADS):
            px, py, pz = np.float32(kx[i]), np.float32(ky[i]), np.float32(kz[i])
            sign, x, y, z = place(px, py, pz, ax, ay, az, bx, by, bz, cx, cy, cz)
            jx, fx = split(x, 0)
            jy, fy = split(y, reach)
            jz, fz = split(z, reach)
            # stored as float32 or float16
            dr, di = turn(np.float32(dre[i]), np.float32(dim[i]), sign,
                          px * tx + py * ty + pz * tz)
            add_sample(sums, volume, jz * plane + jy * row + 2 * jx, row, plane, fx, fy, fz,
                       sign * px, sign * py, sign * pz, x, y, z, dr, di, np.float32(w[i]))
        finish(shared_sums, sums, n_sums, thread, out[block])

    return kernel


KERNELS = {inline.N_SUMS: _make_kernel(inline.N_SUMS, _add_derivatives),
           inline.N_SCORE: _make_kernel(inline.N_SCORE, _add_value)}
"""Kernel of each number of sums, called with [number of blocks, THREADS]."""

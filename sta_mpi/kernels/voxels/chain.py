"""From the pose of a particle to that of its box, and from the sums of the box back to its own.

On the CPU the sums between are part of the same call, and a climb through bands is one.
"""

import numpy as np

from sta_mpi.kernels.options import cpu_kernel
from sta_mpi.kernels.polish.climb import ASKS, take
from sta_mpi.kernels.voxels.cpu import N_SUMS, normal_equations


@cpu_kernel
def box_pose(R_t2box, R, shift, scale, n):
    """(axes (3, 3) in padded units, cycles (3,) per index) of a box."""
    axes, cycles = np.zeros((3, 3)), np.zeros(3)
    for i in range(3):
        for k in range(3):
            cycles[i] += R_t2box[i, k] * shift[k] / n
            for j in range(3):
                axes[i, j] += R_t2box[i, k] * R[k, j] * scale
    return axes, cycles


@cpu_kernel
def combine(sums, data_scale, weight_scale, R_t2box, per_px):
    """Chain rule from box axes (32,) to the six parameters of the particle."""
    gd, gw, H, own = np.zeros(6), np.zeros(6), np.zeros((6, 6)), np.zeros((6, 6))
    at = 11
    for i in range(6):
        for j in range(i, 6):
            factor = (per_px if i > 2 else 1.0) * (per_px if j > 2 else 1.0)
            own[i, j] = weight_scale * factor * sums[at]
            own[j, i] = own[i, j]
            at += 1
    for i in range(3):
        gd[i] = data_scale * sums[2 + i]
        gw[i] = weight_scale * sums[8 + i]
        for j in range(3):
            gd[3 + i] += data_scale * per_px * R_t2box[j, i] * sums[5 + j]
            H[i, j] = own[i, j]
            for k in range(3):
                H[i, 3 + j] += own[i, 3 + k] * R_t2box[k, j]
                for m in range(3):
                    H[3 + i, 3 + j] += R_t2box[k, i] * own[3 + k, 3 + m] * R_t2box[m, j]
    for i in range(6):
        for j in range(i):
            H[i, j] = H[j, i]
    return data_scale * sums[0], weight_scale * sums[1], gd, gw, H


@cpu_kernel
def sums_of_pose(volume, row, plane, reach, dre, dim, w, kx, ky, kz, R_t2box, scale, n,
                 data_scale, weight_scale, R, shift, count):
    """(cross, power, gd, gw, H) of a pose of a particle whose box is on the host."""
    sums = np.zeros(N_SUMS)
    if count > 0:
        axes, cycles = box_pose(R_t2box, R, shift, scale, n)
        normal_equations(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, kz, count,
                         sums)
    return combine(sums, data_scale, weight_scale, R_t2box, 2 * np.pi / n)


@cpu_kernel
def climb(volume, row, plane, reach, dre, dim, w, kx, ky, kz, R_t2box, scale, n, data_scale,
          weight_scale, used, state, rules):
    """Answer what a climb (`polish.climb.STATE`, `polish.climb.RULES`) asks until it ends.

    used (b, 1): voxels in each band.
    """
    at = state[0]
    while at.stage == ASKS:
        cross, power, gd, gw, H = sums_of_pose(
            volume, row, plane, reach, dre, dim, w, kx, ky, kz, R_t2box, scale, n, data_scale,
            weight_scale, at.next_R, at.next_shift, used[at.band, 0])
        take(state, rules, cross, power, gd, gw, H)

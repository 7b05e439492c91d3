"""From the pose of a particle to those of its tilts, and from their sums back to its own.

On the CPU the sums between are part of the same call, and a climb through bands is one.
"""

import numpy as np

from sta_mpi.kernels.options import cpu_kernel
from sta_mpi.kernels.polish.climb import ASKS, take
from sta_mpi.kernels.polish.cpu import N_SUMS, pose_sums


@cpu_kernel
def tilt_poses(rotation, R, shift, scale, n):
    """(axes (m, 2, 3) in padded units, cycles (m, 2) per index) of every tilt."""
    m = len(rotation)
    axes, cycles = np.zeros((m, 2, 3)), np.zeros((m, 2))
    for f in range(m):
        for i in range(2):
            for k in range(3):
                cycles[f, i] += rotation[f, i, k] * shift[k] / n
                for j in range(3):
                    axes[f, i, j] += rotation[f, i, k] * R[k, j] * scale
    return axes, cycles


@cpu_kernel
def combine(sums, data_scale, weight_scale, rotation, per_px):
    """Chain rule from the sums of tilts (m, 25) to the six parameters of the particle."""
    cross, power = 0.0, 0.0
    gd, gw, H = np.zeros(6), np.zeros(6), np.zeros((6, 6))
    for f in range(len(sums)):
        d, w = data_scale[f], weight_scale[f]
        cross += d * sums[f, 0]
        power += w * sums[f, 1]
        xx = w * per_px * per_px * sums[f, 22]
        xy = w * per_px * per_px * sums[f, 23]
        yy = w * per_px * per_px * sums[f, 24]
        row = 10
        for i in range(3):
            gd[i] += d * sums[f, 2 + i]
            gw[i] += w * sums[f, 7 + i]
            for j in range(i, 3):
                H[i, j] += w * sums[f, row + j - i]
            tx, ty = w * per_px * sums[f, row + 3 - i], w * per_px * sums[f, row + 4 - i]
            row += 5 - i
            ux, uy = rotation[f, 0, i], rotation[f, 1, i]
            gd[3 + i] += d * per_px * (ux * sums[f, 5] + uy * sums[f, 6])
            for j in range(3):
                vx, vy = rotation[f, 0, j], rotation[f, 1, j]
                H[i, 3 + j] += tx * vx + ty * vy
                H[3 + i, 3 + j] += xx * ux * vx + xy * (ux * vy + uy * vx) + yy * uy * vy
    for i in range(6):
        for j in range(i):
            H[i, j] = H[j, i]
    return cross, power, gd, gw, H


@cpu_kernel
def sums_of_pose(volume, row, plane, reach, dre, dim, w, kx, ky, rotation, scale, n, data_scale,
                 weight_scale, R, shift, count):
    """(cross, power, gd, gw, H) of a pose of a particle whose samples are on the host."""
    sums = np.zeros((len(rotation), N_SUMS))
    if count.any():
        axes, cycles = tilt_poses(rotation, R, shift, scale, n)
        pose_sums(volume, row, plane, reach, axes, cycles, dre, dim, w, kx, ky, count, sums)
    return combine(sums, data_scale, weight_scale, rotation, 2 * np.pi / n)


@cpu_kernel
def climb(volume, row, plane, reach, dre, dim, w, kx, ky, rotation, scale, n, data_scale,
          weight_scale, used, state, rules):
    """Answer what a climb (`climb.STATE`, `climb.RULES`) asks until it ends.

    used (b, m): samples of each tilt in each band.
    """
    at = state[0]
    while at.stage == ASKS:
        cross, power, gd, gw, H = sums_of_pose(
            volume, row, plane, reach, dre, dim, w, kx, ky, rotation, scale, n, data_scale,
            weight_scale, at.next_R, at.next_shift, used[at.band])
        take(state, rules, cross, power, gd, gw, H)

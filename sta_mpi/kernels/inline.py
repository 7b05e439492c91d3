"""Scalar maths shared by gathering and insertion, compiled for CPU and GPU.

Plain functions that do not call each other: `options.cpu_inline` and `options.cuda_inline`
turn them into inlined code of either device. Coordinates are float32, which places a sample
to better than 1e-4 of a voxel in boxes up to 1000.
"""

import math

import numpy as np


def last_kx(room, n):
    """Largest kx with kx^2 <= room and below the Nyquist frequency of n; -1 for none."""
    if room < 0:
        return -1
    last, end = int(math.sqrt(room)), (n - 1) // 2
    return last if last < end else end


def row_end(reach_px, ky, n_half):
    """How many samples from kx = 0 on a row has within a reach, at most n_half."""
    room = reach_px * reach_px - ky * ky
    if room < 0.0:
        return 0
    return n_half if room >= n_half * n_half else min(int(math.sqrt(room)) + 1, n_half)


def signed_frequency(i, n):
    """Frequency of index i in fft order; -n/2 at the Nyquist index of an even n."""
    return i if 2 * i < n else i - n


def plane_axis(ky, kz, step_x, step_y, step_z, scale):
    """(start, step) of one coordinate along a row of a plane, as float32."""
    return np.float32((ky * step_y + kz * step_z) * scale), np.float32(step_x * scale)


def fold(x, y, z):
    """(sign, x, y, z): the point, or its mate where x < 0, which is not stored."""
    sign = np.float32(-1.0) if x < np.float32(0.0) else np.float32(1.0)
    return sign, x * sign, y * sign, z * sign


def split(coordinate, centre):
    """(index, fraction) of coordinate + centre, which must not be negative."""
    moved = coordinate + np.float32(centre)
    index = np.int64(moved)
    return index, moved - np.float32(index)


def corner_weights(fy, fz):
    """Bilinear weights of the corners (z, y) = 00, 01, 10, 11."""
    w11 = fz * fy
    w10 = fz - w11
    w01 = fy - w11
    return np.float32(1.0) - fz - w01, w01, w10, w11

"""Scalar maths of the polish of a box, compiled for CPU and GPU.

As in `kernels.polish.inline`, a voxel that is read on x < 0 of the volume is replaced by its
mate: frequency, phase and the imaginary part of the data change sign.
"""

import numpy as np

N_SCORE = 2
"""Sums of a score: cross, power."""

N_SUMS = 32
"""Sums of the normal equations: cross, power, gd[6], gw[3], H[21]."""

ONE = np.float32(1.0)


def place(kx, ky, kz, ax, ay, az, bx, by, bz, cx, cy, cz):
    """(sign, x, y, z) of kx a + ky b + kz c, or of its mate where x < 0."""
    x = kx * ax + ky * bx + kz * cx
    sign = -ONE if x < np.float32(0.0) else ONE
    return (sign, sign * x, sign * (kx * ay + ky * by + kz * cy),
            sign * (kx * az + ky * bz + kz * cz))


def add_voxel(sums, at, step, kx, ky, kz, x, y, z, dr, di, w,
              vr, vi, gxr, gxi, gyr, gyi, gzr, gzi):
    """Add the 32 terms of a voxel to sums[at], sums[at + step], ...

    (x, y, z) is its place in the volume, g the gradient there, in the same units. Rotation
    derivatives are a = g x (x, y, z); the shift derivatives -i k V lack a factor 2 pi / n,
    which the caller puts in.
    """
    ar, ai = gyr * z - gzr * y, gyi * z - gzi * y
    br, bi = gzr * x - gxr * z, gzi * x - gxi * z
    cr, ci = gxr * y - gyr * x, gxi * y - gyi * x
    wvr, wvi = w * vr, w * vi
    war, wai, wbr, wbi, wcr, wci = w * ar, w * ai, w * br, w * bi, w * cr, w * ci
    power = wvr * vr + wvi * vi
    turned = vi * dr - vr * di
    ta, tb, tc = ar * wvi - ai * wvr, br * wvi - bi * wvr, cr * wvi - ci * wvr
    px, py, pz = kx * power, ky * power, kz * power
    sums[at] += vr * dr + vi * di
    sums[at + step] += power
    sums[at + 2 * step] += ar * dr + ai * di
    sums[at + 3 * step] += br * dr + bi * di
    sums[at + 4 * step] += cr * dr + ci * di
    sums[at + 5 * step] += kx * turned
    sums[at + 6 * step] += ky * turned
    sums[at + 7 * step] += kz * turned
    sums[at + 8 * step] += ar * wvr + ai * wvi
    sums[at + 9 * step] += br * wvr + bi * wvi
    sums[at + 10 * step] += cr * wvr + ci * wvi
    sums[at + 11 * step] += ar * war + ai * wai
    sums[at + 12 * step] += br * war + bi * wai
    sums[at + 13 * step] += cr * war + ci * wai
    sums[at + 14 * step] += kx * ta
    sums[at + 15 * step] += ky * ta
    sums[at + 16 * step] += kz * ta
    sums[at + 17 * step] += br * wbr + bi * wbi
    sums[at + 18 * step] += cr * wbr + ci * wbi
    sums[at + 19 * step] += kx * tb
    sums[at + 20 * step] += ky * tb
    sums[at + 21 * step] += kz * tb
    sums[at + 22 * step] += cr * wcr + ci * wci
    sums[at + 23 * step] += kx * tc
    sums[at + 24 * step] += ky * tc
    sums[at + 25 * step] += kz * tc
    sums[at + 26 * step] += kx * px
    sums[at + 27 * step] += kx * py
    sums[at + 28 * step] += kx * pz
    sums[at + 29 * step] += ky * py
    sums[at + 30 * step] += ky * pz
    sums[at + 31 * step] += kz * pz

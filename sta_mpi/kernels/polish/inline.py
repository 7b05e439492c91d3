"""Scalar maths of the pose polish, compiled for CPU and GPU.

A sample whose frequency falls on x < 0 of the volume, which is not stored, is replaced by its
mate: frequency, phase and the imaginary part of the data change sign. Every term below is
the real part of a product with the model, so nothing else changes.
"""

import numpy as np

N_SCORE = 2
"""Sums of a score: cross, power."""

N_SUMS = 25
"""Sums of the normal equations: cross, power, gd[5], gw[3], H[15]."""

ROUND = np.float32(1.5 * 2.0**23)
"""Adding and subtracting it rounds a float to an integer, also in vectorised loops."""

# Chebyshev fit of sin(pi t) / (t (1 - t^2)) as a polynomial of t^2 on [0, 1]
C0, C1, C2, C3, C4, C5 = (np.float32(c) for c in (
    3.141592644514177, -2.0261194697087284, 0.5240362022063323,
    -0.07518742601886907, 0.006860396465239644, -0.0003860306596446225))
ONE, TWO, QUARTER = np.float32(1.0), np.float32(2.0), np.float32(0.25)


def point(kx, ky, ux, uy, uz, vx, vy, vz):
    """(sign, x, y, z) of kx u + ky v, or of its mate where x < 0."""
    x = kx * ux + ky * vx
    sign = -ONE if x < np.float32(0.0) else ONE
    return sign, sign * x, sign * (kx * uy + ky * vy), sign * (kx * uz + ky * vz)


def sine(cycles):
    """sin(2 pi cycles) to 3e-7 for |cycles| below 1000."""
    t = TWO * (cycles - (cycles + ROUND - ROUND))
    s = t * t
    p = ((((C5 * s + C4) * s + C3) * s + C2) * s + C1) * s + C0
    return t * (ONE - s) * p


def cosine(cycles):
    """cos(2 pi cycles) to 3e-7 for |cycles| below 1000."""
    quarter = cycles - (cycles + ROUND - ROUND) + QUARTER
    t = TWO * (quarter - (quarter + ROUND - ROUND))
    s = t * t
    p = ((((C5 * s + C4) * s + C3) * s + C2) * s + C1) * s + C0
    return t * (ONE - s) * p


def add_score(sums, at, step, dr, di, w, vr, vi):
    """Add cross and power of a sample to sums[at], sums[at + step]."""
    sums[at] += vr * dr + vi * di
    sums[at + step] += w * (vr * vr + vi * vi)


def add_terms(sums, at, step, kx, ky, x, y, z, dr, di, w,
              vr, vi, gxr, gxi, gyr, gyi, gzr, gzi):
    """Add the 25 terms of a sample to sums[at], sums[at + step], ...

    (x, y, z) is its place in the volume, g the gradient there, in the same units. Rotation
    derivatives are a = g x (x, y, z); the shift derivatives -i kx V, -i ky V lack a factor
    2 pi / n, which the caller puts in.
    """
    ar, ai = gyr * z - gzr * y, gyi * z - gzi * y
    br, bi = gzr * x - gxr * z, gzi * x - gxi * z
    cr, ci = gxr * y - gyr * x, gxi * y - gyi * x
    wvr, wvi = w * vr, w * vi
    war, wai, wbr, wbi, wcr, wci = w * ar, w * ai, w * br, w * bi, w * cr, w * ci
    power = wvr * vr + wvi * vi
    turned = vi * dr - vr * di
    ta, tb, tc = ar * wvi - ai * wvr, br * wvi - bi * wvr, cr * wvi - ci * wvr
    sums[at] += vr * dr + vi * di
    sums[at + step] += power
    sums[at + 2 * step] += ar * dr + ai * di
    sums[at + 3 * step] += br * dr + bi * di
    sums[at + 4 * step] += cr * dr + ci * di
    sums[at + 5 * step] += kx * turned
    sums[at + 6 * step] += ky * turned
    sums[at + 7 * step] += ar * wvr + ai * wvi
    sums[at + 8 * step] += br * wvr + bi * wvi
    sums[at + 9 * step] += cr * wvr + ci * wvi
    sums[at + 10 * step] += ar * war + ai * wai
    sums[at + 11 * step] += br * war + bi * wai
    sums[at + 12 * step] += cr * war + ci * wai
    sums[at + 13 * step] += kx * ta
    sums[at + 14 * step] += ky * ta
    sums[at + 15 * step] += br * wbr + bi * wbi
    sums[at + 16 * step] += cr * wbr + ci * wbi
    sums[at + 17 * step] += kx * tb
    sums[at + 18 * step] += ky * tb
    sums[at + 19 * step] += cr * wcr + ci * wci
    sums[at + 20 * step] += kx * tc
    sums[at + 21 * step] += ky * tc
    sums[at + 22 * step] += kx * kx * power
    sums[at + 23 * step] += kx * ky * power
    sums[at + 24 * step] += ky * ky * power

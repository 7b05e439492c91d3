"""Scalar maths of the CTF, compiled for CPU and GPU."""

import numpy as np

ROUND = 1.5 * 2.0**52
"""Adding and subtracting it rounds a double to an integer, also in vectorised loops."""

TINY = np.float32(1e-8)
"""Least magnitude of a CTF value, so that divisions by it stay finite."""

# Chebyshev fit of sin(pi t) / (t (1 - t^2)) as a polynomial of t^2 on [0, 1]; sine to 4e-9
C0, C1, C2, C3, C4, C5 = (np.float32(c) for c in (
    3.141592644514177, -2.0261194697087284, 0.5240362022063323,
    -0.07518742601886907, 0.006860396465239644, -0.0003860306596446225))
ONE = np.float32(1.0)


def phase_cycles(kx, ky, cxx, cxy, cyy, c4, c0):
    """Phase gamma / (2 pi) = cxx kx^2 + cxy kx ky + cyy ky^2 + c4 |k|^4 + c0, in double."""
    xx, yy = kx * kx, ky * ky
    return cxx * xx + cxy * kx * ky + cyy * yy + c4 * (xx + yy) * (xx + yy) + c0


def minus_sine(cycles):
    """-sin(2 pi cycles) to 3e-7 (float32); whole cycles are taken off in double."""
    t = np.float32(2.0 * ((cycles + ROUND - ROUND) - cycles))
    s = t * t
    p = ((((C5 * s + C4) * s + C3) * s + C2) * s + C1) * s + C0
    return t * (ONE - s) * p


def keep_from_zero(value):
    """The value, or 1e-8 with its sign where it is smaller in magnitude."""
    if abs(value) < TINY:
        return -TINY if value < 0 else TINY
    return value

"""Aberration phases on RELION's Zernike basis: un-normalised, in 1/Å, no unit-disc scaling.

Z = R_n^|m|(r) cos(m phi) for m >= 0 and R_n^|m|(r) sin(|m| phi) for m < 0, with
even  i: k = floor(sqrt(i)),                 n = 2k,     m = 2 (i - k^2 - k)
odd   i: k = floor((sqrt(1 + 4i) - 1) / 2),  n = 2k + 1, m = 2 (i - k^2 - k) - n
(RELION 5, src/jaz/math/Zernike.cpp).
"""

from collections.abc import Callable
from math import factorial, isqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def even_order(i: int) -> tuple[int, int]:
    """(n, m) of even coefficient i."""
    k = isqrt(i)
    return 2 * k, 2 * (i - k * k - k)


def odd_order(i: int) -> tuple[int, int]:
    """(n, m) of odd coefficient i."""
    k = (isqrt(1 + 4 * i) - 1) // 2
    n = 2 * k + 1
    return n, 2 * (i - k * k - k) - n


def zernike(n: int, m: int, x: ArrayLike, y: ArrayLike) -> Floats:
    """Z_n^m at (x, y), any consistent shapes."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    r2, phi = x * x + y * y, np.arctan2(y, x)
    order = abs(m)
    radial = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for s in range((n - order) // 2 + 1):
        coefficient = (-1) ** s * factorial(n - s) / (
            factorial(s) * factorial((n + order) // 2 - s) * factorial((n - order) // 2 - s))
        radial = radial + coefficient * r2 ** (n / 2 - s)
    return np.asarray(radial * (np.cos(m * phi) if m >= 0 else np.sin(order * phi)))


def even_phase_rad(coefficients: ArrayLike, x: ArrayLike, y: ArrayLike) -> Floats:
    """Symmetric aberration [rad] at frequency (x, y) in 1/Å; added to the CTF's phase."""
    return _sum(coefficients, even_order, np.asarray(x, float), np.asarray(y, float))


def odd_phase_rad(coefficients: ArrayLike, x: ArrayLike, y: ArrayLike) -> Floats:
    """Antisymmetric aberration [rad] at (x, y) in 1/Å; observations carry exp(+i phase)."""
    return _sum(coefficients, odd_order, np.asarray(x, float), np.asarray(y, float))


def _sum(coefficients: ArrayLike, order: Callable[[int], tuple[int, int]],
         x: Floats, y: Floats) -> Floats:
    total = np.zeros(np.broadcast_shapes(x.shape, y.shape))
    for i, coefficient in enumerate(np.asarray(coefficients, float)):
        if coefficient != 0:
            n, m = order(i)
            total = total + coefficient * zernike(n, m, x, y)
    return total

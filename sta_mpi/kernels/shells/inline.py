"""Scalar maths of shell sums, compiled for CPU and GPU."""

import math


def shell_of(kx, ky, kz):
    """Nearest integer of |k|."""
    return int(math.sqrt(float(kx * kx + ky * ky + kz * kz)) + 0.5)


def multiplicity(kx, n):
    """How many samples of the full transform a stored one stands for."""
    return 1 if kx == 0 or 2 * kx == n else 2

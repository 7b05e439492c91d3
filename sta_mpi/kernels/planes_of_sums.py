"""Division and shell sums of planes of Fourier sums; on the CPU alone, as their inversion is."""

import math

import numpy as np

from sta_mpi.kernels.options import cpu_inline, cpu_kernel


@cpu_kernel
def divide_sums(num, den, z, floor, inverse_tau2, out):
    """Fill out (n, n//2+1) with plane z of num / den, 0 beyond Nyquist and without weight.

    Parameters
    ----------
    num, den : (n, n//2+1) complex128, float64
    floor : (n//2+1,) float64          least den a shell, where inverse_tau2 is empty
    inverse_tau2 : (n//2+1,) float64   added to den a shell; (0,): nothing
    out : complex64

    Both curves are interpolated between shells.
    """
    n, m = den.shape
    kz = min(z, n - z)
    for y in range(n):
        ky = min(y, n - y)
        for x in range(m):
            radius = math.sqrt(float(kz * kz + ky * ky + x * x))
            weight = 0.0
            if radius <= n // 2:
                if len(inverse_tau2) > 0:
                    weight = den[y, x] + _between(inverse_tau2, radius)
                else:
                    weight = max(den[y, x], _between(floor, radius))
            if weight > 0.0:
                scale = 1.0 / weight
                out[y, x] = np.complex64(complex(num[y, x].real * scale, num[y, x].imag * scale))
            else:
                out[y, x] = np.complex64(0.0)


@cpu_kernel
def add_to_shells(den, z, out):
    """Add the weights of plane z, (n, n//2+1), and their number to out (2, n//2+1) by shell.

    A shell holds the voxels whose radius rounds to it; those past Nyquist are left out.
    """
    n, m = den.shape
    kz = min(z, n - z)
    for y in range(n):
        ky = min(y, n - y)
        for x in range(m):
            shell = int(np.rint(math.sqrt(float(kz * kz + ky * ky + x * x))))
            if shell < m:
                out[0, shell] += den[y, x]
                out[1, shell] += 1.0


@cpu_inline
def _between(curve, radius):
    """The curve (m,) at a radius, linear between its points and its last value past them."""
    i = int(radius)
    if i >= len(curve) - 1:
        return curve[-1]
    return (curve[i + 1] - curve[i]) * (radius - i) + curve[i]

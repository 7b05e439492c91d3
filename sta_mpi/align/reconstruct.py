"""From Fourier sums to a map: symmetry, Wiener division, gridding correction.

The sums are num = sum a X / sigma^2 and den = sum a^2 / sigma^2 on an (N, N, N//2+1) grid,
so num = den V + noise of variance den, and the map that minimises the expected error is

    V = num / (den + 1 / tau^2),   1 / tau^2 = <den>_shell (1 - F) / F

with F = 2 FSC / (1 + FSC) from the Fourier shell correlation of the half maps, that of all
data (Wiener with FSC-derived SNR). A half map has no F of its own that is not shared with
the other half, so half maps are divided by max(den, floor <den>_shell) instead (RELION's
rule, floor 0.001): they stay independent.
All functions work on slabs of z planes, so that ranks share the work.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.planes_of_sums import add_to_shells, divide_sums

Floats = NDArray[np.float64]

DEN_FLOOR = 1e-3
"""Share of a shell's mean weight below which a voxel's weight does not fall."""


def plane_radius(n: int, z: int) -> Floats:
    """Fourier index radius of z plane `z` of an (n, n, n//2+1) transform, (n, n//2+1)."""
    full = np.fft.fftfreq(n) * n
    half = np.arange(n // 2 + 1)
    return np.asarray(np.sqrt(full[z] ** 2 + full[:, None] ** 2 + half**2))


def plane_shell_sums(den: Floats, n: int, z: int) -> Floats:
    """Sum and count of the weights of one z plane per shell, (2, n//2+1) float64."""
    out = np.zeros((2, n // 2 + 1))
    add_to_shells(den, z, out)
    return out


def shell_mean(sums: Floats) -> Floats:
    """Mean weight a shell from summed (2, shells) sums and counts."""
    return np.asarray(sums[0] / np.maximum(sums[1], 1))


def divide_plane(num: NDArray[np.complex128], den: Floats, n: int, z: int, mean_den: Floats,
                 inverse_tau2: Floats | None) -> NDArray[np.complex64]:
    """Divide one z plane; frequencies beyond Nyquist become 0.

    Parameters
    ----------
    num, den : (n, n//2+1)         the plane of the sums
    mean_den : (n//2+1,) float64   mean weight a shell
    inverse_tau2 : (n//2+1,) float64 or None    1 / tau^2 a shell; None: RELION's floor
    """
    out = np.empty(den.shape, np.complex64)
    divide_sums(num, den, z, DEN_FLOOR * mean_den,
                np.zeros(0) if inverse_tau2 is None else inverse_tau2, out)
    return out


def inverse_tau2_from_fsc(mean_den: Floats, fsc: Floats) -> Floats:
    """1 / tau^2 of the map of all data from the FSC of its halves.

    Parameters
    ----------
    mean_den : (n_shells,)    mean weight of all data a shell
    fsc : (n_shells,)         of the half maps, on the same shells; clamped to 0.001..0.999,
                              and F becomes 2F / (1 + F) for the sum of both halves
    """
    half = np.clip(fsc, 0.001, 0.999)
    full = 2 * half / (1 + half)
    return np.asarray(mean_den * (1 - full) / full)


def inverse_tau2_of_half(mean_den: Floats, fsc: Floats) -> Floats:
    """1 / tau^2 of one half map as a reference, from the FSC of both halves.

    Parameters
    ----------
    mean_den : (n_shells,)    mean weight of the half a shell
    fsc : (n_shells,)         clamped to 0.001..0.999, and to 0.001 from its first zero on
    """
    half = np.clip(fsc, 0.001, 0.999)
    zeros = np.flatnonzero(fsc <= 0)
    zeros = zeros[zeros > 0]
    if len(zeros):
        half[zeros[0]:] = 0.001
    return np.asarray(mean_den * (1 - half) / half)


def stretch_shells(curve: Floats, n_shells: int) -> Floats:
    """A curve over shells 0..Nyquist of one box, on the shells of another box."""
    return np.interp(np.linspace(0, len(curve) - 1, n_shells), np.arange(len(curve)), curve)

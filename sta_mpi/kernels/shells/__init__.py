"""Shell sums of two transforms: what an FSC, a power spectrum or a scale is made of.

A shell holds the samples whose |k| rounds to its number. Sums run over the full Hermitian
transform: a stored sample with kx > 0 (below the Nyquist of an even n) counts twice.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.options import check_device
from sta_mpi.kernels.shells import cpu

__all__ = ["ShellSums", "shell_sums"]

Complex = NDArray[np.complex64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ShellSums:
    """Sums over shells 0 to n//2, each (n//2+1,) float64."""

    power_a: Floats
    power_b: Floats
    cross: Floats
    count: Floats


def shell_sums(a_rft: Complex, b_rft: Complex, device: str = "cpu") -> ShellSums:
    """Sums of |a|^2, |b|^2, Re(a conj b) and counts per shell.

    Parameters
    ----------
    a_rft, b_rft : (n, n, n//2+1) or (n, n//2+1) complex64   half transforms, origin at index 0
    device : "cpu" or "gpu"
    """
    n = a_rft.shape[-2]
    expected = {(n, n, n // 2 + 1), (n, n // 2 + 1)}
    if a_rft.shape != b_rft.shape or a_rft.shape not in expected:
        raise ValueError(
            f"transforms {a_rft.shape} and {b_rft.shape}: expected both (n, n, n//2+1) "
            "or both (n, n//2+1)")
    kernel: Any = cpu.shell_sums
    if check_device(device):
        from sta_mpi.kernels.shells import cuda

        kernel = cuda.shell_sums
    a, b = (np.ascontiguousarray(x, np.complex64).reshape(-1, n, n // 2 + 1)
            for x in (a_rft, b_rft))
    sums = np.zeros((n // 2 + 1, 4))
    kernel(a, b, sums)
    return ShellSums(*np.ascontiguousarray(sums.T))

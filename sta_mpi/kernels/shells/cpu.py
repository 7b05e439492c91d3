"""Shell sums on the CPU: double precision, always in the order of memory."""

import numpy as np

from sta_mpi.kernels import inline as shared
from sta_mpi.kernels.options import cpu_inline, cpu_kernel
from sta_mpi.kernels.shells import inline

signed_frequency = cpu_inline(shared.signed_frequency)
shell_of = cpu_inline(inline.shell_of)
multiplicity = cpu_inline(inline.multiplicity)


@cpu_kernel
def shell_sums(a, b, sums):
    """Add to sums (n_shells, 4) from half transforms (nz, n, n//2+1); nz is 1 or n."""
    n_z, n, n_half = a.shape
    n_shells = sums.shape[0]
    for iz in range(n_z):
        kz = signed_frequency(iz, n)
        for iy in range(n):
            ky = signed_frequency(iy, n)
            for kx in range(n_half):
                shell = shell_of(kx, ky, kz)
                if shell >= n_shells:
                    break
                times = multiplicity(kx, n)
                ar, ai = np.float64(a[iz, iy, kx].real), np.float64(a[iz, iy, kx].imag)
                br, bi = np.float64(b[iz, iy, kx].real), np.float64(b[iz, iy, kx].imag)
                sums[shell, 0] += times * (ar * ar + ai * ai)
                sums[shell, 1] += times * (br * br + bi * bi)
                sums[shell, 2] += times * (ar * br + ai * bi)
                sums[shell, 3] += times

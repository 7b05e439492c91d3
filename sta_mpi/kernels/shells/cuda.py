"""Shell sums on a CUDA GPU: one thread a sample, atomic double sums.

The order of the sums, and so their last bits, change from run to run.
"""

from numba import cuda

from sta_mpi.kernels.cuda_planes import indices, signed_frequency
from sta_mpi.kernels.device import launch, upload
from sta_mpi.kernels.options import cuda_inline, cuda_kernel
from sta_mpi.kernels.shells import inline

shell_of = cuda_inline(inline.shell_of)
multiplicity = cuda_inline(inline.multiplicity)


@cuda_kernel
def shells_kernel(a, b, sums):
    """Add to sums (n_shells, 4) from half transforms (nz, n, n//2+1)."""
    n_z, n, n_half = a.shape
    i = cuda.grid(1)
    if i >= n_z * n * n_half:
        return
    iz, iy, kx = indices(i, n, n_half)
    shell = shell_of(kx, signed_frequency(iy, n), signed_frequency(iz, n))
    if shell >= sums.shape[0]:
        return
    times = multiplicity(kx, n)
    ar, ai = float(a[iz, iy, kx].real), float(a[iz, iy, kx].imag)
    br, bi = float(b[iz, iy, kx].real), float(b[iz, iy, kx].imag)
    cuda.atomic.add(sums, (shell, 0), times * (ar * ar + ai * ai))
    cuda.atomic.add(sums, (shell, 1), times * (br * br + bi * bi))
    cuda.atomic.add(sums, (shell, 2), times * (ar * br + ai * bi))
    cuda.atomic.add(sums, (shell, 3), float(times))


def shell_sums(a, b, sums):
    """Add to sums (n_shells, 4) on the host."""
    found = upload(sums)
    launch(shells_kernel, a.size, upload(a), upload(b), found)
    found.copy_to_host(sums)

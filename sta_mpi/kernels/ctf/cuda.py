"""CTF images on a CUDA GPU: one thread a pixel."""

import numpy as np
from numba import cuda

from sta_mpi.kernels.ctf import inline
from sta_mpi.kernels.cuda_planes import indices, signed_frequency
from sta_mpi.kernels.device import launch, upload
from sta_mpi.kernels.options import cuda_inline, cuda_kernel

phase_cycles = cuda_inline(inline.phase_cycles)
minus_sine = cuda_inline(inline.minus_sine)
keep_from_zero = cuda_inline(inline.keep_from_zero)


@cuda_kernel
def ctf_kernel(coefficients, extra_cycles, damping, out):
    """Fill out (m, n, n//2+1); extra_cycles and damping are empty where not wanted."""
    m, n, n_half = out.shape
    i = cuda.grid(1)
    if i >= m * n * n_half:
        return
    p, iy, ix = indices(i, n, n_half)
    c = coefficients[p]
    cycles = phase_cycles(float(ix), float(signed_frequency(iy, n)), c[0], c[1], c[2], c[3], c[4])
    if extra_cycles.size > 0:
        cycles += extra_cycles[iy, ix]
    value = minus_sine(cycles)
    if damping.size > 0:
        value *= damping[p, iy, ix]
    out[p, iy, ix] = keep_from_zero(value)


def ctf_images(coefficients, extra_cycles, damping, out):
    """Fill out (m, n, n//2+1) on the host; arrays are empty where not wanted."""
    found = cuda.device_array(out.shape, np.float32)
    launch(ctf_kernel, out.size, upload(coefficients), upload(extra_cycles), upload(damping),
           found)
    if out.size:
        found.copy_to_host(out)

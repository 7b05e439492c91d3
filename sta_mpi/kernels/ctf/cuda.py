"""CTF images on a CUDA GPU: one thread a pixel."""

from numba import cuda

from sta_mpi.kernels import inline as shared
from sta_mpi.kernels.ctf import inline
from sta_mpi.kernels.options import cuda_inline, cuda_kernel

signed_frequency = cuda_inline(shared.signed_frequency)
phase_cycles = cuda_inline(inline.phase_cycles)
minus_sine = cuda_inline(inline.minus_sine)
keep_from_zero = cuda_inline(inline.keep_from_zero)

THREADS = 128


@cuda_kernel
def _ctf_images(coefficients, extra_cycles, damping, out):
    m, n, n_half = out.shape
    i = cuda.grid(1)
    if i >= m * n * n_half:
        return
    ix = i % n_half
    iy = (i // n_half) % n
    p = i // (n_half * n)
    c = coefficients[p]
    cycles = phase_cycles(float(ix), float(signed_frequency(iy, n)), c[0], c[1], c[2], c[3], c[4])
    if extra_cycles.size > 0:
        cycles += extra_cycles[iy, ix]
    value = minus_sine(cycles)
    if damping.size > 0:
        value *= damping[p, iy, ix]
    out[p, iy, ix] = keep_from_zero(value)


def ctf_images(coefficients, extra_cycles, damping, out):
    """Fill out (m, n, n//2+1), a host or device array."""
    blocks = (out.size + THREADS - 1) // THREADS
    _ctf_images[blocks, THREADS](coefficients, extra_cycles, damping, out)

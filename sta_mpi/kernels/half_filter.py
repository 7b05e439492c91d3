"""Filter and shift of a half transform in one pass over it; on the CPU alone."""

from sta_mpi.kernels.options import cpu_kernel


@cpu_kernel
def filter_and_shift(half, factor, phase_y, phase_x):
    """Multiply half (n, m) complex64 in place by factor (n, m) and phases (n,) and (m,)."""
    for y in range(half.shape[0]):
        at_y = phase_y[y]
        for x in range(half.shape[1]):
            shift, value, size = at_y * phase_x[x], half[y, x], factor[y, x]
            half[y, x] = complex((value.real * shift.real - value.imag * shift.imag) * size,
                                 (value.real * shift.imag + value.imag * shift.real) * size)

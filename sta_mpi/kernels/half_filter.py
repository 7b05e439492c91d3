"""Filter and shift of half transforms in one pass over them; on the CPU alone."""

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


@cpu_kernel
def shift_stack(stack, phase_y, phase_x, out):
    """Fill out (m, n, h) with stack (m, n, h) times phases (m, n) and (m, h), all complex64."""
    for i in range(stack.shape[0]):
        for y in range(stack.shape[1]):
            at_y = phase_y[i, y]
            for x in range(stack.shape[2]):
                shift, value = at_y * phase_x[i, x], stack[i, y, x]
                out[i, y, x] = complex(value.real * shift.real - value.imag * shift.imag,
                                       value.real * shift.imag + value.imag * shift.real)

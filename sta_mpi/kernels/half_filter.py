"""One pass over half transforms: filtered, shifted, resized; on the CPU alone."""

import math

import numpy as np

from sta_mpi.kernels.options import cpu_inline, cpu_kernel


@cpu_kernel
def multiply_pairs(data, weight, curve, out, out_weight):
    """Fill out and out_weight with data (m, p) complex64 and weight (m, p) times curve (p,)."""
    for i in range(data.shape[0]):
        for j in range(data.shape[1]):
            value = data[i, j]
            out[i, j] = complex(value.real * curve[j], value.imag * curve[j])
        for j in range(data.shape[1]):
            out_weight[i, j] = weight[i, j] * curve[j]


@cpu_kernel
def axis_phases(shift_px, n):
    """exp(-2 pi i k t / n) (m, n//2+1) complex128 of shifts t (m,), k from 0 on.

    Powers of the first, which are cheaper. At the Nyquist frequency of an even n it is the mean of
    both signs.
    """
    phase = np.empty((len(shift_px), n // 2 + 1), np.complex128)
    for i in range(len(shift_px)):
        angle = -2.0 * math.pi / n * shift_px[i]
        first = complex(math.cos(angle), math.sin(angle))
        phase[i, 0] = complex(1.0, 0.0)
        for k in range(1, n // 2 + 1):
            phase[i, k] = phase[i, k - 1] * first
        if n % 2 == 0:
            phase[i, n // 2] = complex(phase[i, n // 2].real, 0.0)
    return phase


@cpu_kernel
def filter_and_shift(half, factor, shift_xy_px, scale):
    """Multiply half (n, n//2+1) complex64 in place by factor (n, n//2+1) and scale, and move it.

    Its content is moved by +shift (2,).
    """
    n, n_half = half.shape
    phase = axis_phases(shift_xy_px, n)
    of_x, of_y = phase[0].astype(np.complex64), (phase[1] * scale).astype(np.complex64)
    for y in range(n):
        at_y = of_y[y] if 2 * y < n else of_y[n - y].conjugate()
        for x in range(n_half):
            shift, value, size = at_y * of_x[x], half[y, x], factor[y, x]
            half[y, x] = complex((value.real * shift.real - value.imag * shift.imag) * size,
                                 (value.real * shift.imag + value.imag * shift.real) * size)


@cpu_kernel
def move_slices(stack, rotation, shift_xyz, factor, out):
    """Fill out with images (m, n, n//2+1) complex64 whose content is moved.

    Image f moves by what rotation[f], of (m, 3, 3), makes of factor times a shift (3,): by its x
    and y [px].
    """
    m, n, n_half = stack.shape
    shift_xy_px = np.zeros((2, m))
    for f in range(m):
        for i in range(2):
            for k in range(3):
                shift_xy_px[i, f] += rotation[f, i, k] * shift_xyz[k] * factor
    of_x = axis_phases(shift_xy_px[0], n).astype(np.complex64)
    of_y = axis_phases(shift_xy_px[1], n).astype(np.complex64)
    for i in range(m):
        for y in range(n):
            at_y = of_y[i, y] if 2 * y < n else of_y[i, n - y].conjugate()
            for x in range(n_half):
                shift, value = at_y * of_x[i, x], stack[i, y, x]
                out[i, y, x] = complex(value.real * shift.real - value.imag * shift.imag,
                                       value.real * shift.imag + value.imag * shift.real)


@cpu_kernel
def resize(half, scale, out):
    """Fill out (n', n'//2+1) with half (n, n//2+1) complex64 cropped or padded, times scale.

    At the Nyquist frequency of the smaller one, if it is even, cropping adds the values of both
    signs and padding gives half of the value to each.
    """
    n, n_new = len(half), len(out)
    small = min(n, n_new)
    end = n // 2 + 1 if n_new == n else (small + 1) // 2
    if n_new > n:
        out[...] = 0.0
    for ky in range(-((small - 1) // 2), end):
        for kx in range(end):
            value = half[ky, kx]
            out[ky, kx] = complex(value.real * scale, value.imag * scale)
    if n_new != n and small % 2 == 0:
        _resize_nyquist(half, scale, small // 2, n_new < n, out)


@cpu_kernel
def resize_stack(stack, scale, out):
    """`resize` of every image of stack (m, n, n//2+1) into out (m, n', n'//2+1)."""
    for i in range(len(stack)):
        resize(stack[i], scale, out[i])


@cpu_inline
def _resize_nyquist(half, scale, top, is_cropped, out):
    """Fill the row and column of the Nyquist frequency `top` of the smaller of half and out."""
    part = scale if is_cropped else np.float32(0.5) * scale
    for ky in range(1 - top, top):
        value = half[ky, top]
        if is_cropped:
            value = value + half[-ky, top].conjugate()   # what is held of (ky, -top)
        out[ky, top] = complex(value.real * part, value.imag * part)
    for kx in range(top):
        value = half[top, kx]
        if is_cropped:
            value = value + half[-top, kx]
        else:
            out[-top, kx] = complex(value.real * part, value.imag * part)
        out[top, kx] = complex(value.real * part, value.imag * part)
    corner = half[top, top]
    if is_cropped:
        out[top, top] = complex(2.0 * part * (corner + half[-top, top]).real, 0.0)
    else:
        out[top, top] = complex(0.5 * part * corner.real, 0.5 * part * corner.imag)
        out[-top, top] = out[top, top]

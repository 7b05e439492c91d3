"""The one pass over half transforms against the same products of numpy."""

import numpy as np
import pytest

from sta_mpi.kernels.half_filter import filter_and_shift, shift_stack


def phases(n, shift_xy):
    """Factors (n, n//2+1) that move an image by +shift, in double precision."""
    ky, kx = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
    y, x = (np.exp(-2j * np.pi * k * t / n) for k, t in ((ky, shift_xy[1]), (kx, shift_xy[0])))
    if n % 2 == 0:      # both signs of the Nyquist frequency
        y[n // 2], x[-1] = y[n // 2].real, x[-1].real
    return y[:, None] * x


@pytest.mark.parametrize("n", [6, 33])
def test_filter_and_shift_is_the_product_of_its_factors(n):
    rng = np.random.default_rng(n)
    shape = n, n // 2 + 1
    half = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    factor, shift = rng.normal(size=shape).astype(np.float32), rng.normal(0.0, 5.0, 2)
    expected = -0.7 * half.astype(np.complex128) * factor * phases(n, shift)
    filter_and_shift(half, factor, shift, -0.7)
    assert half.dtype == np.complex64
    np.testing.assert_allclose(half, expected, atol=1e-5)


@pytest.mark.parametrize(("m", "n"), [(1, 6), (3, 33)])
def test_shifted_stack_is_the_product_with_the_phases(m, n):
    rng = np.random.default_rng(n)
    shape = (m, n, n // 2 + 1)
    stack = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    shift = rng.normal(0.0, 5.0, (m, 2))
    out = np.empty_like(stack)
    shift_stack(stack, shift, out)
    expected = stack * np.array([phases(n, s) for s in shift])
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert (out != expected).any()

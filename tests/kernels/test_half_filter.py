"""The one pass over half transforms against the same products of numpy."""

import numpy as np
import pytest

from sta_mpi.kernels.half_filter import filter_and_shift, shift_stack


@pytest.mark.parametrize(("n", "m"), [(6, 4), (33, 17)])
def test_filter_and_shift_is_the_product_of_its_factors(n, m):
    rng = np.random.default_rng(n)
    half = (rng.normal(size=(n, m)) + 1j * rng.normal(size=(n, m))).astype(np.complex64)
    factor = rng.normal(size=(n, m)).astype(np.float32)
    y, x = (np.exp(2j * np.pi * rng.random(size)).astype(np.complex64) for size in (n, m))
    expected = half.astype(np.complex128) * factor * y[:, None] * x
    filter_and_shift(half, factor, y, x)
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
    ky, kx = np.fft.fftfreq(n, 1 / n), np.arange(n // 2 + 1)
    y, x = (np.exp(-2j * np.pi * k * t[:, None] / n)
            for k, t in ((ky, shift[:, 1]), (kx, shift[:, 0])))
    if n % 2 == 0:      # both signs of the Nyquist frequency
        y[:, n // 2], x[:, -1] = y[:, n // 2].real, x[:, -1].real
    expected = stack * y[:, :, None] * x[:, None, :]
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert (out != expected).any()

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


@pytest.mark.parametrize(("m", "n", "h"), [(1, 6, 4), (3, 33, 17)])
def test_shift_of_a_stack_is_the_product_of_its_factors(m, n, h):
    rng = np.random.default_rng(n)
    stack = (rng.normal(size=(m, n, h)) + 1j * rng.normal(size=(m, n, h))).astype(np.complex64)
    y, x = (np.exp(2j * np.pi * rng.random((m, size))).astype(np.complex64) for size in (n, h))
    out = np.empty_like(stack)
    shift_stack(stack, y, x, out)
    expected = stack.astype(np.complex128) * y[:, :, None] * x[:, None, :]
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert (out != expected).any()

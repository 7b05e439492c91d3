"""The one pass over a half transform against the same products of numpy."""

import numpy as np
import pytest

from sta_mpi.kernels.half_filter import filter_and_shift


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

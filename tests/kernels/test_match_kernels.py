"""The kernels of template matching do what their plain definitions say."""

import numpy as np
import pytest

from sta_mpi.kernels.match import keep_best, multiply_band
from sta_mpi.kernels.match import reference as plain


def complex_noise(n, rng):
    """Random half transform."""
    shape = (n, n, n // 2 + 1)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.mark.parametrize("n", [1, 2, 7, 16, 33])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_product_over_a_band_equals_the_reference(n, share):
    rng = np.random.default_rng(n)
    a, b = complex_noise(n, rng), complex_noise(n, rng)
    found, expected = (np.full(a.shape, np.nan, np.complex64) for _ in range(2))
    multiply_band(a, b, share * n, found)
    plain.multiply_band(a, b, (share * n) ** 2, expected)
    # products rounded once or twice in single precision
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(a).max()**2 * 4)


@pytest.mark.parametrize(("n", "margin"), [(3, 1), (8, 0), (17, 4)])
def test_best_scores_equal_the_reference_and_the_first_of_equals_stays(n, margin):
    rng = np.random.default_rng(n)
    m = n - 2 * margin
    sets = [[np.full((m,) * 3, -9, np.float32), np.zeros((m,) * 3, np.int32),
             np.full((m,) * 3, 9, np.float32)] for _ in range(2)]
    for index in range(1, 6):
        scores = rng.integers(-2, 3, (n, n, n)).astype(np.float32)     # many ties
        for (best, which, worst), function in zip(sets, (keep_best, plain.keep_best), strict=True):
            scale = np.float32(0.5)
            function(scores, margin, scale, index, best, which, worst)
    for found, expected in zip(*sets, strict=True):
        assert (found == expected).all()
    assert sets[0][1].max() > 0


def test_shapes_that_do_not_fit_are_refused():
    one = np.zeros((4, 4, 3), np.complex64)
    with pytest.raises(ValueError, match="one shape"):
        multiply_band(one, np.zeros((6, 6, 4), np.complex64), 2.0, one)
    small = np.zeros((2, 2, 2), np.float32)
    with pytest.raises(ValueError, match="expected"):
        keep_best(np.zeros((8, 8, 8), np.float32), 1, 1.0, 0, small, small.astype(np.int32), small)

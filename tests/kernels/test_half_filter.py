"""The one pass over half transforms against the same products of numpy."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sta_mpi.kernels.half_filter import filter_and_shift, move_slices
from sta_mpi.signal.fft import shift_slices


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
def test_slices_move_with_what_their_rotation_makes_of_the_shift(m, n):
    rng = np.random.default_rng(n)
    shape = (m, n, n // 2 + 1)
    stack = (rng.normal(size=shape) + 1j * rng.normal(size=shape)).astype(np.complex64)
    rotation, shift = Rotation.random(m, rng=rng).as_matrix(), rng.normal(0.0, 5.0, 3)
    out = np.empty_like(stack)
    move_slices(stack, rotation, shift, -0.7, out)
    expected = stack * np.array([phases(n, -0.7 * (R @ shift)[:2]) for R in rotation])
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert (out != expected).any()


def test_slices_without_a_rotation_each_are_refused():
    stack = np.ones((2, 6, 4), np.complex64)
    with pytest.raises(ValueError, match=r"expected \(m, n, n//2\+1\) and \(m, 3, 3\)"):
        shift_slices(stack, np.eye(3)[None], np.zeros(3), 1.0)

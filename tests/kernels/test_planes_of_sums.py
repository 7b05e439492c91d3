"""The compiled division of Fourier sums against the same in numpy."""

import numpy as np
import pytest

from sta_mpi.kernels.planes_of_sums import add_to_shells, divide_sums

N = 20


def by_numpy(num, den, z, floor, inverse_tau2):
    full, half = np.fft.fftfreq(N) * N, np.arange(N // 2 + 1)
    radius = np.sqrt(full[z] ** 2 + full[:, None] ** 2 + half**2)
    bottom = (np.maximum(den, np.interp(radius, half, floor)) if inverse_tau2 is None
              else den + np.interp(radius, half, inverse_tau2))
    inside = (radius <= N // 2) & (bottom > 0)
    return np.divide(num, bottom, out=np.zeros_like(num), where=inside)


def plane(rng):
    num = rng.normal(size=(N, N // 2 + 1)) + 1j * rng.normal(size=(N, N // 2 + 1))
    return num, rng.uniform(0.0, 2.0, num.shape), rng.uniform(0.1, 1.0, N // 2 + 1)


@pytest.mark.parametrize("has_prior", [False, True])
@pytest.mark.parametrize("z", [0, 3, N // 2, N - 1])
def test_planes_are_divided_as_numpy_does(z, has_prior):
    num, den, curve = plane(np.random.default_rng(z))
    out = np.full(num.shape, np.nan, np.complex64)
    divide_sums(num, den, z, curve, curve if has_prior else np.zeros(0), out)
    expected = by_numpy(num, den, z, curve, curve if has_prior else None)
    np.testing.assert_allclose(out, expected, rtol=2e-7)
    assert np.count_nonzero(expected) > 0


def test_what_has_no_weight_or_lies_beyond_nyquist_is_zero():
    num, den, _ = plane(np.random.default_rng(9))
    den[2:4] = 0.0
    out = np.full(num.shape, np.nan, np.complex64)
    divide_sums(num, den, 0, np.zeros(N // 2 + 1), np.zeros(0), out)
    assert not out[2:4].any()
    assert out[5, 8] != 0.0       # within the radius of 10
    assert out[8, 9] == 0.0       # beyond it


@pytest.mark.parametrize("z", [0, 4, N // 2, N - 2])
def test_shell_sums_of_a_plane_are_those_of_bincount(z):
    den = plane(np.random.default_rng(z))[1]
    full, half = np.fft.fftfreq(N) * N, np.arange(N // 2 + 1)
    shells = np.rint(np.sqrt(full[z] ** 2 + full[:, None] ** 2 + half**2)).astype(int).ravel()
    expected = [np.bincount(shells, weights)[: N // 2 + 1] for weights in (
        den.ravel(), np.ones(den.size))]
    out = np.zeros((2, N // 2 + 1))
    add_to_shells(den, z, out)
    assert np.array_equal(out, expected)
    assert 0 < out[1].sum() < den.size

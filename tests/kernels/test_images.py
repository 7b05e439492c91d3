"""Sums over whole tilt images against numpy's, and against the full transform."""

import numpy as np
import pytest

from sta_mpi.kernels.images import add_shell_power, moments
from sta_mpi.signal.fourier_grid import shell_index_rft


@pytest.mark.parametrize("shape", [(37, 61), (8, 16), (3, 5), (1, 1)])
def test_moments_are_those_of_numpy_in_double_precision(shape):
    image = (300.0 + 7.0 * np.random.default_rng(1).standard_normal(shape)).astype(np.float32)
    n, mean, sd = moments(image)
    assert n == image.size
    assert mean == pytest.approx(image.mean(dtype=np.float64), rel=1e-12)
    assert sd == pytest.approx(image.std(dtype=np.float64), rel=1e-9, abs=1e-12)


def test_moments_leave_out_pixels_that_are_no_numbers():
    image = np.random.default_rng(2).standard_normal((20, 35)).astype(np.float32)
    image[0, :3] = np.nan, np.inf, -np.inf
    image[19, 34] = np.nan
    good = image[np.isfinite(image)].astype(np.float64)
    n, mean, sd = moments(image)
    assert n == 700 - 4
    assert (mean, sd) == pytest.approx((good.mean(), good.std()), rel=1e-12)


def test_an_outlier_in_the_first_pixel_costs_no_precision():
    image = np.random.default_rng(3).standard_normal((512, 512)).astype(np.float32)
    image[0, 0] = 65535.0
    assert moments(image)[2] == pytest.approx(image.std(dtype=np.float64), rel=1e-9)


def test_an_image_without_any_number_is_all_equal():
    assert moments(np.full((4, 20), np.nan, np.float32)) == (0, 0.0, 0.0)


def test_shell_power_of_half_a_transform_is_that_of_the_whole():
    image = np.random.default_rng(9).standard_normal((17, 17)).astype(np.float32)
    full = np.abs(np.fft.fft2(image)) ** 2
    shell = np.rint(np.hypot(np.fft.fftfreq(17, 1 / 17)[:, None], np.fft.fftfreq(17, 1 / 17)))
    half = np.fft.rfft2(image).astype(np.complex64)
    power = np.zeros(13)
    add_shell_power(half, shell_index_rft(half.shape), np.r_[1.0, np.full(8, 2.0)], power)
    assert power == pytest.approx([full[shell == s].sum() for s in range(13)], rel=1e-5)

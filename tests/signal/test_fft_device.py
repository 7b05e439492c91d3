"""Transforms through an array module keep the conventions of `signal.fft` (here with numpy)."""

import numpy as np
import pytest

from sta_mpi.signal.fft import FftPlans
from sta_mpi.signal.fft_device import DeviceFft

RNG = np.random.default_rng(4)
PLANS = FftPlans(effort="estimate")
FFT = DeviceFft(np)
# single precision: rounding of 1e-7 grows with the number of stages
TOLERANCE = 1e-5


def largest_error(found, expected) -> float:
    assert found.dtype == expected.dtype
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("shape", [(1, 1), (7, 7), (8, 8), (3, 16, 16), (2, 2, 31, 31), (12, 9),
                                   (9, 12)])
def test_2d_transforms_equal_those_of_fftw(shape):
    images = RNG.normal(size=shape).astype(np.float32)
    half = PLANS.rfft2(images)
    assert largest_error(FFT.rfft2(images), half) < TOLERANCE
    assert largest_error(FFT.irfft2(half, shape[-1]), PLANS.irfft2(half, shape[-1])) < TOLERANCE


@pytest.mark.parametrize("n", [1, 2, 7, 8, 31, 32])
def test_3d_transforms_equal_those_of_fftw(n):
    volume = RNG.normal(size=(n, n, n)).astype(np.float32)
    half = PLANS.rfft3(volume)
    assert largest_error(FFT.rfft3(volume), half) < TOLERANCE
    assert largest_error(FFT.irfft3(half), PLANS.irfft3(half)) < TOLERANCE


def test_errors_against_fftw_are_not_trivially_zero():
    volume = RNG.normal(size=(31, 31, 31)).astype(np.float32)
    assert largest_error(FFT.rfft3(volume), PLANS.rfft3(volume)) > 0


def test_white_noise_keeps_its_variance_per_frequency_on_a_device():
    power = np.abs(FFT.rfft2(RNG.normal(size=(200, 16, 16)) * 3)) ** 2
    # 200 images of 9 x 16 coefficients: the mean of 9 is good to 9 / sqrt(28800) x 1.4
    assert power.mean() == pytest.approx(9.0, rel=0.05)


@pytest.mark.parametrize("call", [
    lambda: FFT.rfft3(np.zeros((4, 4, 6))), lambda: FFT.irfft3(np.zeros((4, 4, 4))),
    lambda: FFT.irfft3(np.zeros((4, 6, 3))), lambda: FFT.irfft2(np.zeros((4, 4)))])
def test_arrays_of_a_wrong_shape_are_refused(call):
    with pytest.raises(ValueError):
        call()

"""Fourier samples of padded images."""

import numpy as np
import pytest

from sta_mpi.signal.fft import FftPlans, crop_rft2
from sta_mpi.signal.finer import finer_rft2


@pytest.mark.parametrize(("n", "size"), [(16, 16), (16, 32), (15, 32), (16, 21), (9, 15)])
def test_finer_samples_are_those_of_numpy_of_the_padded_image(n, size):
    images = np.random.default_rng(n).normal(size=(3, n, n)).astype(np.float32)
    padded = np.zeros((3, size, size))
    start = size // 2 - n // 2
    padded[:, start : start + n, start : start + n] = images
    expected = np.fft.rfft2(np.fft.ifftshift(padded, axes=(1, 2)), norm="ortho")
    plans = FftPlans(effort="estimate")
    rft = np.fft.rfft2(np.fft.ifftshift(images, axes=(1, 2)), norm="ortho").astype(np.complex64)
    plans.box((size, size)).real[...] = 7.0     # what an earlier transform left behind
    error = np.abs(finer_rft2(plans, rft, size) - expected).max()
    assert 0 < error < 1e-5


@pytest.mark.parametrize("n", [24, 23])
def test_finer_samples_of_a_band_are_those_of_the_cropped_transforms(n):
    rng, plans = np.random.default_rng(n), FftPlans(effort="estimate")
    rft = plans.rfft2(rng.normal(size=(2, n, n)).astype(np.float32))
    found = finer_rft2(plans, rft, 32, band_px=16)
    assert found.shape == (2, 32, 17)
    np.testing.assert_allclose(found, finer_rft2(plans, crop_rft2(rft, 16), 32), atol=1e-6)


def test_images_are_not_padded_to_less_than_they_are():
    with pytest.raises(ValueError, match="16 px cannot be padded to 8"):
        finer_rft2(FftPlans(effort="estimate"), np.zeros((1, 16, 9), np.complex64), 8)

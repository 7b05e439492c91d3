"""Fourier samples of padded images."""

import numpy as np
import pytest

from sta_mpi.signal.fft import FftPlans, Padding, crop_rft2
from sta_mpi.signal.finer import finer_rft2


@pytest.mark.parametrize("effort", ["estimate", "measure"])
@pytest.mark.parametrize(("n", "size"), [
    (16, 16), (16, 32), (15, 32), (16, 21), (9, 15), (2, 5), (40, 400)])
def test_finer_samples_are_those_of_numpy_of_the_padded_image(n, size, effort):
    n_images = 11   # some together, some alone
    images = np.random.default_rng(n).normal(size=(n_images, n, n)).astype(np.float32)
    padded = np.zeros((n_images, size, size))
    start = size // 2 - n // 2
    padded[:, start : start + n, start : start + n] = images
    expected = np.fft.rfft2(np.fft.ifftshift(padded, axes=(1, 2)), norm="ortho")
    plans = FftPlans(effort=effort)
    rft = np.fft.rfft2(np.fft.ifftshift(images, axes=(1, 2)), norm="ortho").astype(np.complex64)
    finer_rft2(plans, 7.0 * rft, size)     # nothing of an earlier transform is left behind
    error = np.abs(finer_rft2(plans, rft, size) - expected).max()
    assert 0 < error < 1e-5


def test_padding_of_one_wisdom_has_the_same_bits():
    rft = np.random.default_rng(2).normal(size=(2, 11, 16, 9)).astype(np.float32)
    rft = (rft[0] + 1j * rft[1]).astype(np.complex64)
    first = FftPlans().prepare([Padding(16, 40)])
    second = FftPlans(first.wisdom()).prepare([(40, 40), Padding(16, 40)])
    np.testing.assert_array_equal(finer_rft2(first, rft, 40), finer_rft2(second, rft, 40))
    again = FftPlans(first.wisdom()).prepare([Padding(16, 40)]).wisdom()
    assert set(again.splitlines()) == set(first.wisdom().splitlines())


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

"""Binned images: samples of the band-limited image, aligned with pixel 0."""

import numpy as np
import pytest

from sta_mpi.signal.binning import binned_image


def wave(h, w, cycles_yx, phase):
    """A cosine of so many cycles a pixel."""
    y, x = np.mgrid[:h, :w]
    return np.cos(2 * np.pi * (cycles_yx[0] * y + cycles_yx[1] * x) + phase)


@pytest.mark.parametrize(("shape", "binning"), [((96, 120), 2), ((97, 131), 3), ((64, 80), 4)])
def test_binned_pixel_k_is_the_image_at_pixel_k_times_binning(shape, binning):
    slow = 0.6 * 0.5 / binning
    image = wave(*shape, (slow * 0.7, -slow * 0.5), 0.3).astype(np.float32)
    mean = float(image.mean())
    small = binned_image(image, binning, mean)
    assert small.shape == (shape[0] // binning, shape[1] // binning)
    wanted = image[::binning, ::binning][: small.shape[0], : small.shape[1]]
    # away from the edges, where the image goes on as its mean
    inner = (slice(small.shape[0] // 4, -(small.shape[0] // 4)),
             slice(small.shape[1] // 4, -(small.shape[1] // 4)))
    error = np.sqrt(np.mean((small - wanted)[inner] ** 2))
    assert 0 < error < 0.03


def test_white_noise_keeps_its_power_a_frequency():
    rng = np.random.default_rng(2)
    image = (5.0 + rng.standard_normal((256, 384))).astype(np.float32)
    small = binned_image(image, 4, 5.0)
    assert small.std() == pytest.approx(0.25, rel=0.03)
    assert small.mean() == pytest.approx(5.0, abs=0.02)


def test_waves_beyond_the_new_nyquist_frequency_vanish():
    image = wave(128, 128, (0.0, 0.375), 0.0).astype(np.float32)
    assert np.abs(binned_image(image, 2, 0.0)).max() < 1e-5


def test_binned_pixels_that_cover_a_bad_pixel_are_no_numbers_and_the_others_are():
    image = np.random.default_rng(1).standard_normal((60, 60)).astype(np.float32)
    image[13, 22] = np.nan
    small = binned_image(image, 4, 0.0)
    assert np.flatnonzero(~np.isfinite(small)).tolist() == [3 * 15 + 5]

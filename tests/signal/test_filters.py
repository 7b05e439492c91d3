"""Radial filters and normalisation: values at known frequencies, complements, statistics."""

import numpy as np
import pytest

from sta_mpi.errors import InputError
from sta_mpi.signal.filters import (
    b_factor_damping,
    b_factor_map,
    gaussian_lowpass,
    highpass_map,
    highpass_rft,
    lowpass_map,
    lowpass_rft,
    normalise,
    radial_map,
    radial_rft,
    raised_cosine_highpass,
    raised_cosine_lowpass,
    whiten_rft,
)
from sta_mpi.signal.masks import soft_circle, soft_sphere


def wave(n: int, cycles: int) -> np.ndarray:
    x = np.cos(2 * np.pi * cycles * np.arange(n) / n).astype(np.float32)
    return np.broadcast_to(x, (n, n, n)).copy()


def test_raised_cosine_is_one_half_at_the_cutoff_and_its_edge_is_as_wide_as_asked():
    k = np.array([0.0, 9.0, 9.5, 10.0, 10.5, 11.0, 20.0])
    factor = raised_cosine_lowpass(k, 10.0, 2.0)
    half = np.sqrt(0.5) / 2
    assert np.allclose(factor, [1, 1, 0.5 + half, 0.5, 0.5 - half, 0, 0])
    assert np.array_equal(raised_cosine_lowpass(k, 10.0, 0.0), [1, 1, 1, 1, 0, 0, 0])


def test_low_and_high_pass_add_up_to_the_input():
    map_ = np.random.default_rng(1).standard_normal((24, 24, 24), np.float32)
    total = lowpass_map(map_, 2.0, 8.0) + highpass_map(map_, 2.0, 8.0)
    assert np.abs(total - map_).max() < 1e-5
    rft = np.fft.rfft2(map_).astype(np.complex64)
    parts = lowpass_rft(rft, 5.0, n_axes=2) + highpass_rft(rft, 5.0, n_axes=2)
    assert np.allclose(parts, rft, rtol=1e-5, atol=1e-4)
    assert np.allclose(raised_cosine_highpass(3.0, 4.0, 3.0) + raised_cosine_lowpass(3.0, 4.0, 3.0),
                       1.0)


def test_wave_below_the_cutoff_passes_and_one_above_does_not():
    # 32 voxels of 2 A: 8 cycles a box are 8 A.
    kept = lowpass_map(wave(32, 6), 2.0, 8.0)
    gone = lowpass_map(wave(32, 10), 2.0, 8.0)
    halved = lowpass_map(wave(32, 8), 2.0, 8.0)
    assert np.abs(kept - wave(32, 6)).max() < 1e-5
    assert np.abs(gone).max() < 1e-5
    assert np.abs(halved - 0.5 * wave(32, 8)).max() < 1e-5


def test_b_factor_damps_a_wave_by_the_formula_and_sharpening_undoes_it():
    s = 4 / (32 * 2.0)
    damped = b_factor_map(wave(32, 4), 2.0, 300.0)
    assert np.allclose(damped, np.exp(-300 * s**2 / 4) * wave(32, 4), atol=1e-5)
    assert np.allclose(b_factor_map(damped, 2.0, -300.0), wave(32, 4), atol=1e-4)
    assert np.isclose(b_factor_damping(0.1, 100.0), np.exp(-0.25))
    assert np.isclose(gaussian_lowpass(2.0, 2.0), np.exp(-0.5))


def test_radial_curve_multiplies_each_shell_by_its_value():
    curve = np.linspace(1.0, 0.0, 17)
    assert np.allclose(radial_map(wave(32, 4), curve), 0.75 * wave(32, 4), atol=1e-5)
    # The same on stacked images, also when there are as many images as pixels.
    stack = np.broadcast_to(wave(8, 2)[0], (8, 8, 8)).astype(np.float32)
    rft = np.fft.rfft2(stack).astype(np.complex64)
    filtered = radial_rft(rft, [1.0, 1.0, 0.25, 0.0, 0.0], n_axes=2)
    assert np.allclose(np.fft.irfft2(filtered), 0.25 * stack, atol=1e-6)


def test_whitened_noise_has_unit_power_in_every_shell():
    rng = np.random.default_rng(2)
    n = 64
    spectrum = 1.0 + 9.0 * np.exp(-np.arange(n // 2 + 1) / 6.0)
    k = np.sqrt(np.fft.fftfreq(n, 1 / n)[:, None] ** 2 + np.arange(n // 2 + 1) ** 2)
    white = np.fft.rfft2(rng.standard_normal((40, n, n)), norm="ortho")
    coloured = white * np.sqrt(np.interp(k, np.arange(n // 2 + 1), spectrum))
    power = np.abs(whiten_rft(coloured.astype(np.complex64), spectrum, n_axes=2)) ** 2
    for low, high in ((2, 5), (8, 12), (20, 30)):
        band = (k >= low) & (k < high)
        assert abs(power[:, band].mean() - 1.0) < 0.05


def test_spectrum_with_negative_power_is_refused():
    with pytest.raises(InputError, match="noise spectrum"):
        whiten_rft(np.ones((8, 5), np.complex64), [1.0, -1.0], n_axes=2)


def test_shape_that_is_no_half_transform_is_refused():
    with pytest.raises(ValueError, match="half transform"):
        lowpass_rft(np.ones((8, 8, 4), np.complex64), 2.0, n_axes=3)
    with pytest.raises(InputError, match="cubic"):
        lowpass_map(np.zeros((4, 8, 8), np.float32), 1.0, 4.0)


@pytest.mark.parametrize("ndim", [2, 3])
def test_normalised_background_has_mean_zero_and_deviation_one(ndim):
    rng = np.random.default_rng(3)
    shape = (32,) * ndim
    mask = soft_circle(32, 8.0, 3.0) if ndim == 2 else soft_sphere(32, 8.0, 3.0)
    particle = 50.0 * (mask == 1.0)
    array = (5.0 + 3.0 * rng.standard_normal((2, *shape)) + particle).astype(np.float32)
    result = normalise(array, mask)
    outside = mask == 0.0
    for one in result:
        assert abs(one[outside].mean()) < 0.1
        assert abs(one[outside].std() - 1.0) < 0.1
    whole = normalise(array[0])
    assert abs(whole.mean()) < 1e-4


def test_flat_or_missing_background_is_refused():
    with pytest.raises(InputError, match="no variance"):
        normalise(np.ones((8, 8), np.float32))
    with pytest.raises(InputError, match="no background"):
        normalise(np.ones((8, 8), np.float32), np.ones((8, 8), np.float32))

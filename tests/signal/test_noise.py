"""Noise spectra of white and coloured noise with known power, with and without gold."""

import gzip

import numpy as np
import pytest

from sta_mpi.errors import InputError
from sta_mpi.signal.noise import interpolate_spectrum, noise_spectrum


def coloured_image(shape, seed: int, power) -> np.ndarray:
    """Noise whose orthonormal power spectrum is power(cycles per pixel)."""
    rng = np.random.default_rng(seed)
    k = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1]))
    transform = np.fft.fft2(rng.standard_normal(shape)) * np.sqrt(power(k))
    return np.fft.ifft2(transform).real.astype(np.float32)


def add_gold(image: np.ndarray, n_beads: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.indices(image.shape)
    out = image.copy()
    for cy, cx in rng.uniform(40, np.array(image.shape) - 40, (n_beads, 2)):
        out[np.hypot(y - cy, x - cx) < 6] -= 30.0
    return out


def smooth_power(k):
    return 1.0 + 8.0 * np.exp(-((k / 0.12) ** 2))


@pytest.mark.parametrize("tile_px", [32, 50, 128])
@pytest.mark.parametrize("robust", [False, True])
def test_white_noise_of_variance_s2_gives_s2_in_every_shell(tile_px, robust):
    image = 3.0 * np.random.default_rng(1).standard_normal((600, 517), np.float32) + 100.0
    spectrum = noise_spectrum(image, tile_px, robust)
    assert spectrum.shape == (tile_px // 2 + 1,)
    # A shell of k has about 2 pi k coefficients in (600 x 517 / tile^2) independent tiles.
    independent = 600 * 517 / tile_px**2 * np.maximum(np.pi * np.arange(tile_px // 2 + 1), 0.5)
    assert (np.abs(spectrum[1:] / 9.0 - 1.0) < 5.0 / np.sqrt(independent[1:]) + 0.01).all()
    assert abs(spectrum[tile_px // 8:].mean() / 9.0 - 1.0) < 0.02


def test_known_coloured_spectrum_is_found():
    spectrum = noise_spectrum(coloured_image((1024, 1024), 2, smooth_power), 64)
    expected = smooth_power(np.arange(33) / 64)
    # 256 tiles of about pi k / 2 independent coefficients (Hann) in shell k: 5 sigma
    tolerance = 5.0 / np.sqrt(256 * np.pi * np.arange(1, 33) / 2)
    assert (np.abs(spectrum / expected - 1.0)[2:] < tolerance[1:]).all()


def test_spectrum_does_not_depend_on_the_tile():
    image = coloured_image((1024, 1024), 3, smooth_power)
    coarse, fine = noise_spectrum(image, 48), noise_spectrum(image, 128)
    assert np.abs(interpolate_spectrum(fine, 48) / coarse - 1.0)[2:].max() < 0.06


def test_gold_beads_do_not_move_the_robust_spectrum():
    clean = coloured_image((1024, 1024), 4, smooth_power)
    truth = noise_spectrum(clean, 64, robust=False)
    gold = add_gold(clean, 12, 5)  # touches about 5 % of the tiles
    plain = noise_spectrum(gold, 64, robust=False)
    robust = noise_spectrum(gold, 64)
    assert (plain / truth)[2:10].mean() > 1.5
    assert np.abs(robust / truth - 1.0)[1:].max() < 0.06


def test_empty_border_does_not_lower_the_robust_spectrum():
    clean = coloured_image((768, 768), 6, smooth_power)
    truth = noise_spectrum(clean, 64, robust=False)
    clean -= clean.mean()
    clean[:, 300:] = 0.0  # more than half of the image was filled after alignment
    assert np.abs(noise_spectrum(clean, 64) / truth - 1.0)[2:].max() < 0.15
    assert noise_spectrum(clean, 64, robust=False)[10] < 0.6 * truth[10]


def test_robust_estimate_of_clean_noise_loses_nothing():
    image = coloured_image((1024, 1024), 7, smooth_power)
    ratio = noise_spectrum(image, 64) / noise_spectrum(image, 64, robust=False)
    assert np.abs(ratio - 1.0).max() < 0.01


def test_right_and_bottom_borders_are_seen():
    image = np.random.default_rng(8).standard_normal((130, 150)).astype(np.float32)
    louder = image.copy()
    louder[-20:, -20:] *= 30.0
    assert noise_spectrum(louder, 64, robust=False).mean() > 1.5 * noise_spectrum(
        image, 64, robust=False).mean()


def test_interpolated_spectrum_keeps_power_and_frequency():
    spectrum = np.linspace(2.0, 1.0, 33)  # tiles of 64
    assert np.allclose(interpolate_spectrum(spectrum, 64), spectrum)
    assert np.allclose(interpolate_spectrum(spectrum, 32), spectrum[::2])
    finer = interpolate_spectrum(spectrum, 127)
    assert finer.shape == (64,)
    assert np.allclose(finer, 2.0 - np.arange(64) / 127 * 2)


def test_real_tilt_image_has_a_falling_spectrum_and_gold_in_it(data_dir):
    path = data_dir / "tiltseries_empiar10499_00254" / "00254.stack_x16.mrc.gz"
    if not path.is_file():
        pytest.skip(f"real tilt series not found: {path}")
    with gzip.open(path) as stream:
        header = np.frombuffer(stream.read(1024), "<i4")
        nx, ny = int(header[0]), int(header[1])
        extended = int(header[23])
        stream.read(extended)
        image = np.frombuffer(stream.read(2 * nx * ny), "<i2").reshape(ny, nx) / np.float32(16)
    robust, plain = (noise_spectrum(image.astype(np.float32), 64, r) for r in (True, False))
    assert (robust > 0.0).all()
    assert robust[2:6].mean() > 2.0 * robust[-6:].mean()
    assert (robust[2:] <= 1.02 * plain[2:]).all()


def test_impossible_tiles_and_images_are_refused():
    image = np.zeros((64, 100), np.float32)
    for tile in (4, 33, 66):
        with pytest.raises(InputError, match="even size from 8 to 64"):
            noise_spectrum(image, tile)
    with pytest.raises(InputError, match="2 \\(y, x\\)"):
        noise_spectrum(np.zeros((2, 64, 64), np.float32), 32)
    image[3, 3] = np.inf
    with pytest.raises(InputError, match="infinite"):
        noise_spectrum(image, 32)

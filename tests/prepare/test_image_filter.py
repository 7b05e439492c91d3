"""Filters of back-projection and the geometry they rest on."""

import doctest
import importlib

import numpy as np
import pytest
from blob_series import PIXEL_A, make_series, rotation
from scipy.spatial.transform import Rotation

from sta_mpi.prepare.grey_scale import INT16_SD, grey_factor, to_grey
from sta_mpi.prepare.image_filter import FilterOptions, ImageFilter, padded_square, radial_falloff
from sta_mpi.prepare.preview import lowpassed_slice, mean_power
from sta_mpi.prepare.tomogram_grid import (
    angular_widths_deg,
    make_image_grid,
    tilt_angles_deg,
    tilt_axis,
)
from sta_mpi.signal.fft import FftPlans

EXAMPLES = ("prepare.tomogram_grid", "pick.even_points", "formats.reconstructed_tomograms")
TILTS = np.array([-30.0, -10, 0, 12, 40])


def make_filter(binning=1.0, axis_deg=0.0, series=None, depth=40.0, **options):
    series = series or make_series(TILTS, axis_deg)
    grid = make_image_grid(series.image_size_px, binning)
    plain = {"cutoff": 1.0, "dose": False}
    return ImageFilter(series, grid, depth, FilterOptions(**{**plain, **options}),
                       FftPlans(effort="estimate"))


def without_interpolation(transfer, grid):
    """The filter without the sinc^2 that makes up for bilinear interpolation."""
    n = grid.sampled_px
    kx, ky = np.arange(n // 2 + 1) / n, np.fft.fftfreq(n)[:, None]
    return transfer * grid.step_px * (np.sinc(kx) * np.sinc(ky)) ** 2


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_of_tomograms_and_seeds_run(name):
    result = doctest.testmod(importlib.import_module(f"sta_mpi.{name}"))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("turn_deg", [0.0, 50.0])
def test_tilt_axis_and_angles_are_found_from_the_matrices(turn_deg):
    """Whatever the direction of the axis, and of the images about the beam."""
    axis = np.array([np.cos(1.2), np.sin(1.2), 0.0])
    R = np.array([Rotation.from_rotvec(np.radians(t) * axis).as_matrix() for t in TILTS])
    R = rotation(0, 0, turn_deg) @ R
    assert abs(tilt_axis(R) @ axis) == pytest.approx(1.0)
    angles = tilt_angles_deg(R)
    assert np.allclose(angles, TILTS, atol=1e-9) or np.allclose(angles, -TILTS, atol=1e-9)


def test_widths_of_even_steps_are_the_step():
    np.testing.assert_allclose(angular_widths_deg(np.arange(-60, 61, 3)), 3.0)
    np.testing.assert_allclose(angular_widths_deg([5.0]), 180.0)
    np.testing.assert_allclose(angular_widths_deg([0, 0, 4.0]), [2, 2, 4])


def test_ramp_rises_across_the_tilt_axis_and_not_along_it():
    ramp = make_filter(axis_deg=0.0)     # axis along y
    H = without_interpolation(ramp.transfer(2), ramp.grid)
    n = ramp.grid.sampled_px
    width = np.radians(angular_widths_deg(TILTS)[2])
    k = np.arange(1, n // 4) / n
    np.testing.assert_allclose(H[0, 1 : n // 4], width * k, rtol=1e-5)
    np.testing.assert_allclose(H[: n // 4, 0], width * 0.25 / n, rtol=1e-5)
    turned = make_filter(axis_deg=90.0)  # axis along x
    H = without_interpolation(turned.transfer(2), turned.grid)
    np.testing.assert_allclose(H[1 : n // 4, 0], width * k, rtol=1e-5)


def test_exact_filter_equals_the_ramp_where_many_slabs_overlap():
    series = make_series(np.arange(-90, 90, 0.5), 0.0)
    both = [make_filter(series=series, depth=60.0, weighting=w) for w in ("ramp", "exact")]
    ramp, exact = (f.transfer(180)[0] for f in both)
    k = np.arange(len(ramp)) / both[0].grid.sampled_px
    # overlap from 1 / 60 on; slabs part at 1 / (60 * 0.0087) = 1.9, beyond Nyquist
    used = (k > 0.1) & (k < 0.4)
    np.testing.assert_allclose(exact[used], ramp[used], rtol=0.02)


def test_falloff_is_one_to_the_cutoff_then_gaussian():
    k = np.array([0.1, 0.35, 0.40, 0.45])
    np.testing.assert_allclose(radial_falloff(k, 0.35, 0.05), [1, 1, np.exp(-0.5), np.exp(-2)])
    np.testing.assert_array_equal(radial_falloff(k, 0.35, 0.0), [1, 1, 0, 0])


def test_frequencies_count_voxels_at_any_binning():
    for binning in (1.0, 2.5, 4.0):
        cut = make_filter(binning, cutoff=0.3, falloff=0.0)
        n, grid = cut.grid.sampled_px, cut.grid
        last = np.flatnonzero(cut.transfer(2)[0] != 0).max()
        at_A = PIXEL_A * grid.padded_px / last
        assert at_A == pytest.approx(PIXEL_A * binning / 0.3, rel=1.5 / last)
        assert n * grid.step_px == pytest.approx(grid.padded_px)


def test_flipped_phases_are_those_where_the_ctf_is_negative():
    plain, flip, times = (make_filter(ctf=c).transfer(0) for c in ("none", "flip", "multiply"))
    np.testing.assert_array_equal(np.abs(flip), np.abs(plain))
    ratio = times[plain != 0] / plain[plain != 0]
    np.testing.assert_array_equal(np.sign(ratio), np.sign(flip[plain != 0] / plain[plain != 0]))
    n = plain.shape[0]
    # first zero of 3 um at 300 kV: 1 / sqrt(lambda dz) = 1 / sqrt(0.0197 * 30000) = 1 / 24.3 A,
    # a little below for the amplitude contrast
    first_zero = np.flatnonzero(np.sign(ratio.reshape(-1)[: n // 2]) < 0)[0]
    assert n * PIXEL_A / first_zero == pytest.approx(25.0, rel=0.06)


def test_dose_damps_by_half_the_exponent_of_the_critical_exposure():
    series = make_series(TILTS, dose=10.0)
    damped, plain = (make_filter(series=series, dose=d).transfer(1) for d in (True, False))
    n = plain.shape[0]
    s = np.arange(1, n // 2) / (n * PIXEL_A)
    expected = np.exp(-10.0 / (2 * (0.245 * s**-1.665 + 2.81)))
    np.testing.assert_allclose(damped[0, 1 : n // 2] / plain[0, 1 : n // 2], expected, rtol=1e-4)


def test_weights_of_tilts_have_a_mean_of_one_over_the_range():
    cosines = make_filter(tilt_weights="cos").weights
    width = angular_widths_deg(TILTS)
    assert (cosines * width).sum() / width.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(cosines / cosines[2], np.cos(np.radians(TILTS)), rtol=1e-9)


def test_bad_pixels_count_as_the_mean_and_are_told():
    grid = make_image_grid((20, 16), 1.0)
    image = np.random.default_rng(1).normal(5.0, 1.0, (16, 20)).astype(np.float32)
    image[3, 4] = np.nan
    image[5, 6] = np.inf
    square, n_bad = padded_square(image, grid, normalise=False)
    n = grid.padded_px
    inside = square[n // 2 - 8 : n // 2 + 8, n // 2 - 10 : n // 2 + 10]
    assert n_bad == 2
    assert np.isfinite(square).all()
    assert inside[3, 4] == inside[5, 6] == 0
    assert abs(inside.sum()) < 1e-3
    assert np.abs(square[0]).max() < 0.1 * np.abs(inside).max()


def test_normalised_images_have_a_standard_deviation_of_one():
    grid = make_image_grid((64, 64), 1.0)
    image = np.random.default_rng(1).normal(5.0, 7.0, (64, 64)).astype(np.float32)
    square, _ = padded_square(image, grid, normalise=True)
    n = grid.padded_px
    assert square[n // 2 - 32 : n // 2 + 32, n // 2 - 32 : n // 2 + 32].std() == pytest.approx(
        1.0, abs=1e-4)


def test_stored_numbers_are_densities_times_the_factor():
    planes = np.random.default_rng(0).normal(0, 0.02, (2, 8, 8)).astype(np.float32)
    factor = grey_factor("int16", 0.02, 0.1)
    assert factor == INT16_SD / 0.02
    grey = to_grey(planes, "int16", factor)
    assert grey.dtype == np.int16
    # half a grey level, and the rounding of the product in single precision
    assert np.abs(grey / factor - planes).max() <= 0.5001 / factor
    half = to_grey(planes, "float16", grey_factor("float16", 0.02, 0.1))
    assert half.dtype == np.float16
    assert grey_factor("float32", 0.02, 0.1) == grey_factor("int16", 0.0, 0.0) == 1.0
    assert to_grey(planes, "float32", 1.0) is planes


def test_no_density_leaves_the_range_of_integers():
    planes = np.array([[[-1e3, 0.02, 1e3]]], np.float32)
    grey = to_grey(planes, "int16", grey_factor("int16", 0.02, 1e3))
    assert grey.tolist() == [[[-32760, 1, 32760]]]


def test_blur_halves_a_wave_at_the_named_length():
    x = np.arange(240)
    wave = np.tile(np.cos(2 * np.pi * x / 12), (3, 40, 1))
    blurred = lowpassed_slice(wave, 5.0, 60.0)      # 12 voxels of 5 A
    assert blurred[20, 60:180].max() == pytest.approx(0.5, abs=0.01)


def test_power_of_a_wave_is_at_its_frequency():
    z, x = np.mgrid[:32, :64]
    power = mean_power(np.cos(2 * np.pi * (4 * z / 32 + 8 * x / 64))[None])
    assert np.unravel_index(power.argmax(), power.shape) in ((20, 40), (12, 24))


def test_own_rotation_of_the_tests_is_the_programs_convention():
    from sta_mpi.geometry.projection import tilt_rotation

    np.testing.assert_allclose(rotation(3, 40, 85), tilt_rotation(3, 40, 85)[0], atol=1e-12)

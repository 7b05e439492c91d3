"""Patches and boxes of particles against what is known of the images they are cut from."""

from dataclasses import replace

import numpy as np
import pytest

from sta_mpi.align.extract import (
    CutFrame,
    CutOptions,
    ParticleCutter,
    binned_noise,
    visible_tilts,
    wiener_divided,
)
from sta_mpi.align.transfer import Weighting
from sta_mpi.data import Optics, TiltSeries
from sta_mpi.errors import DataError
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.signal.ctf import ctf_coefficients, ctf_images
from sta_mpi.signal.dose import dose_damping
from sta_mpi.signal.fft import FftPlans, radius_rft

PLANS = FftPlans(effort="estimate")
PIXEL_A, SIZE = 4.0, (160, 144)
TILTS = np.array([-42.0, 0.0, 33.0])
RAW = CutOptions(None, circle=False, invert=False)


@pytest.fixture
def series():
    n = len(TILTS)
    shift = np.array([[3.0, -5.0], [0.5, 0.0], [-7.0, 2.0]])
    P = projection_from_angles(np.zeros(n), TILTS, np.full(n, 84.0), shift, (160, 144, 80), PIXEL_A)
    return TiltSeries(
        "TS", PIXEL_A, Optics(300.0, 2.7, 0.1), P, np.array([6.0, 0.0, 3.0]),
        np.array([21000.0, 20000.0, 22000.0]), np.array([20500.0, 19500.0, 21500.0]),
        np.array([10.0, 20.0, 30.0]), np.zeros(n), np.array([0.8, 1.0, 0.9]), np.zeros(n),
        tomogram_size_px=(160, 144, 80), image_size_px=SIZE)


def blob_images(series, xyz_A, sigma_px=3.0):
    """A Gaussian at the projected position of a point, in every tilt."""
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    return [np.exp(-((x - qx) ** 2 + (y - qy) ** 2) / (2 * sigma_px**2)).astype(np.float32)
            for qx, qy in series.position_px(xyz_A)]


def cutter(series, frame, options, sd=None, noise=None, mean=None):
    n = series.n_tilts
    return ParticleCutter(series, np.zeros(n) if mean is None else mean,
                          np.ones(n) if sd is None else sd,
                          np.ones((n, 17)) if noise is None else noise, frame, options, PLANS)


def centre_of(patch):
    y, x = np.mgrid[: len(patch), : len(patch)]
    weight = patch - patch.min()
    return np.array([np.vdot(weight, x), np.vdot(weight, y)]) / weight.sum()


@pytest.mark.parametrize("binning", [1, 2])
def test_particle_lies_on_the_centre_pixel_of_its_patches(series, binning):
    xyz_A = np.array([31.3, -20.7, 55.1])
    frame = CutFrame(32, 40, binning, PIXEL_A * binning)
    patches = cutter(series, frame, RAW).stack(
        blob_images(series, xyz_A), xyz_A, np.arange(3), "p")
    assert patches.shape == (3, 32, 32)
    for patch in patches:
        assert np.abs(centre_of(patch) - 16).max() < 0.05
        # the grey scale of binned pixels is the mean of their pixels
        assert patch.max() == pytest.approx(1.0, abs=0.06 if binning == 1 else 0.1)


def test_contrast_is_turned_and_normalised_as_asked_for(series):
    xyz_A = np.zeros(3)
    frame = CutFrame(32, 32, 1, PIXEL_A)
    images = [50.0 - 7.0 * image for image in blob_images(series, xyz_A)]
    kept = cutter(series, frame, RAW, mean=np.full(3, 50.0)).stack(
        images, xyz_A, np.arange(3), "p")
    scaled = cutter(series, frame, replace(RAW, invert=True, normalise=True),
                    mean=np.full(3, 50.0), sd=np.full(3, 2.0)).stack(
        images, xyz_A, np.arange(3), "p")
    assert kept.min() == pytest.approx(-7.0, abs=0.2)
    assert np.allclose(scaled, -kept / 2.0, atol=1e-5)


def test_stack_is_multiplied_by_scale_dose_and_ctf_at_its_depth(series):
    xyz_A = np.array([10.0, 20.0, 120.0])
    frame = CutFrame(48, 48, 1, PIXEL_A)
    images = [np.random.default_rng(i).normal(size=SIZE[::-1]).astype(np.float32)
              for i in range(3)]
    raw = cutter(series, frame, RAW).stack(images, xyz_A, np.arange(3), "p")
    full = cutter(series, frame, replace(RAW, weighting=Weighting())).stack(
        images, xyz_A, np.arange(3), "p")
    s = radius_rft((48, 25)) / (48 * PIXEL_A)
    expected = ctf_images(ctf_coefficients(series, xyz_A), 48, PIXEL_A)
    for i in range(3):
        expected[i] *= dose_damping(series.pre_dose_e_per_A2[i], s) * series.ctf_scale[i]
    # an astigmatic CTF is not Hermitian at the Nyquist frequency, which images cannot hold
    inside = radius_rft((48, 25)) < 24
    off = np.abs(PLANS.rfft2(full) - PLANS.rfft2(raw) * expected)[:, inside]
    assert 0 < off.max() < 1e-4
    at_centre = ctf_images(ctf_coefficients(series, np.zeros(3)), 48, PIXEL_A)
    assert np.abs(expected - at_centre).max() > 0.1


def test_whitened_stack_has_noise_of_power_one(series):
    """Noise of known spectrum, on a flat part and on a slope."""
    rng = np.random.default_rng(3)
    shells = np.arange(33)
    spectrum = 4.0 * np.exp(-((shells / 12.0) ** 2)) + 1.0
    h, w = SIZE[::-1]
    k = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)) * 64
    images = [np.fft.irfft2(np.fft.rfft2(rng.normal(size=(h, w)))
                            * np.sqrt(np.interp(k, shells, spectrum)), (h, w)).astype(np.float32)
              for _ in range(3)]
    frame = CutFrame(64, 64, 1, PIXEL_A)
    options = replace(RAW, whiten=True, weighting=Weighting(False, False, False))
    patches = cutter(series, frame, options, noise=np.tile(spectrum, (3, 1))).stack(
        images, np.zeros(3), np.arange(3), "p")
    power = np.abs(PLANS.rfft2(patches)) ** 2
    ring = radius_rft((64, 33))
    for low, high in ((3, 12), (20, 31)):
        own = (ring >= low) & (ring < high)
        # about 1000 samples a band: 3 standard deviations are 10 %, patches of few tiles more
        assert power[:, own].mean() == pytest.approx(1.0, abs=0.15)


def test_noise_of_binned_images_falls_by_the_pixels_they_average():
    frame = CutFrame(32, 32, 2, 8.0)
    noise = binned_noise(np.tile(np.linspace(8.0, 4.0, 65), (2, 1)), frame)
    assert noise.shape == (2, 17)
    assert noise[0, 0] == pytest.approx(2.0)
    assert noise[0, -1] == pytest.approx(1.5)    # half of the unbinned Nyquist


def test_circle_leaves_the_inside_and_removes_the_mean_of_the_outside(series):
    images = [np.full(SIZE[::-1], 9.0, np.float32) for _ in range(3)]
    frame = CutFrame(32, 40, 1, PIXEL_A)
    patches = cutter(series, frame, replace(RAW, circle=True)).stack(
        images, np.zeros(3), np.arange(3), "p")
    assert np.abs(patches).max() < 1e-5
    bright = blob_images(series, np.zeros(3))
    with_circle = cutter(series, frame, replace(RAW, circle=True)).stack(
        bright, np.zeros(3), np.arange(3), "p")
    assert np.abs(with_circle[:, 0]).max() == 0.0
    without = cutter(series, frame, RAW).stack(bright, np.zeros(3), np.arange(3), "p")
    inside = np.abs(with_circle - without)[:, 12:20, 12:20]
    assert inside.max() < 0.02


def test_box_divided_by_its_weight_is_the_object(series):
    """A blob in many tilts: the merged data over the weights give it back in 3D."""
    tilts = np.linspace(-60, 60, 41)
    n = len(tilts)
    P = projection_from_angles(np.zeros(n), tilts, np.full(n, 84.0), np.zeros((n, 2)),
                               (160, 144, 80), PIXEL_A)
    full = replace(series, P=P, **{name: np.full(n, getattr(series, name)[1]) for name in (
        "pre_dose_e_per_A2", "defocus_u_A", "defocus_v_A", "astig_deg", "phase_shift_deg",
        "ctf_scale", "ctf_b_factor_A2")})
    xyz_A = np.array([15.2, -9.4, 22.0])
    sigma = 2.5
    # projections of a 3D Gaussian of density 1 at its peak, dark
    images = [-np.sqrt(2 * np.pi) * sigma * image for image in blob_images(full, xyz_A, sigma)]
    options = CutOptions(Weighting(False, False, False), circle=False)
    R = projection_from_angles([20.0], [30.0], [40.0], np.zeros((1, 2)), (160, 144, 80),
                               PIXEL_A)[0, :, :3]
    box = ParticleCutter(full, np.zeros(n), np.ones(n), np.ones((n, 17)),
                         CutFrame(32, 32, 1, PIXEL_A), options, PLANS).box(
        images, xyz_A, R, np.arange(n), "p")
    assert box.weight_rft.shape == (32, 32, 17)
    assert np.allclose(box.weight_rft, box.multiplicity_rft, atol=1e-3)
    volume = wiener_divided(box, 10.0, 4.0, PLANS)
    z, y, x = np.mgrid[:32, :32, :32] - 16
    truth = np.exp(-(x**2 + y**2 + z**2) / (2 * sigma**2))
    near = truth > 0.05
    # a missing wedge of 60 degrees is not filled: the blob keeps its place and most of its height
    assert np.corrcoef(volume[near], truth[near])[0, 1] > 0.98
    assert volume[16, 16, 16] == pytest.approx(1.0, abs=0.35)
    assert np.unravel_index(volume.argmax(), volume.shape) == (16, 16, 16)


def test_visible_tilts_hold_the_whole_box_within_the_dose(series):
    frame = CutFrame(32, 48, 1, PIXEL_A)
    edge = 4.0 * (SIZE[0] // 2 - 17)
    # tilt axis 84 degrees: x of the image is mostly y of the tomogram, which tilting leaves
    points = np.array([[0.0, 0, 0], [0, -edge, 0], [0, -edge - 12, 0]])
    seen = visible_tilts(series, points, frame, None)
    assert seen[0].all()
    assert seen[1, 1]
    assert not seen[2, 1]
    limited = visible_tilts(series, points, frame, 3.0)
    assert limited[0].tolist() == [False, True, True]


def test_nan_pixel_in_a_patch_names_tilt_and_particle(series):
    images = blob_images(series, np.zeros(3))
    images[2][70, 80] = np.nan
    made = cutter(series, CutFrame(32, 32, 1, PIXEL_A), RAW)
    with pytest.raises(DataError, match="tilt 3 of 3, particle TS/7"):
        made.stack(images, np.zeros(3), np.arange(3), "TS/7")
    assert len(made.stack(images, np.zeros(3), np.arange(2), "TS/7")) == 2


def test_flat_image_cannot_be_normalised(series):
    with pytest.raises(DataError, match="tilt 1: all pixels are equal"):
        cutter(series, CutFrame(32, 32, 1, PIXEL_A), replace(RAW, normalise=True),
               sd=np.zeros(3))

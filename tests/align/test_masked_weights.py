"""Weights of masked patches against noise and a particle that were made without them."""

import numpy as np
import pytest

from sta_mpi.align.observe import Frame, SeriesObserver, Weighting
from sta_mpi.data import Optics, TiltSeries
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.signal.delocalisation import circle_overlap
from sta_mpi.signal.fft import FftPlans, radius_rft

BOX, CUT, VOXEL_A, IMAGE = 48, 144, 3.0, 512
DEFOCUS_A = 30000.0


def ctf(n):
    """-sin of the phase from the formula of textbooks, 300 kV, no spherical aberration."""
    k = np.hypot(*np.meshgrid(np.fft.rfftfreq(n, VOXEL_A), np.fft.fftfreq(n, VOXEL_A)))
    return np.sin(np.pi * 0.0196874 * DEFOCUS_A * k**2 + np.arcsin(0.1))


@pytest.fixture(scope="module")
def observer():
    zero, size = np.zeros(1), (IMAGE, IMAGE, 64)
    P = projection_from_angles(zero, zero, zero, np.zeros((1, 2)), size, VOXEL_A)
    series = TiltSeries(
        "TS_01", VOXEL_A, Optics(300.0, 0.0, 0.1), P, pre_dose_e_per_A2=zero,
        defocus_u_A=zero + DEFOCUS_A, defocus_v_A=zero + DEFOCUS_A, astig_deg=zero,
        phase_shift_deg=zero, ctf_scale=zero + 1.0, ctf_b_factor_A2=zero, tomogram_size_px=size,
        image_size_px=(IMAGE, IMAGE))
    return SeriesObserver(series, zero, zero + 1.0, np.ones((1, 257)), Frame(BOX, CUT, 1, VOXEL_A),
                          Weighting(dose=False, scale=False), FftPlans(effort="estimate"))


def shells(values):
    radius = np.rint(radius_rft(values.shape)).astype(int).ravel()
    counts = np.bincount(radius)[: BOX // 2]
    return np.bincount(radius, values.ravel())[: BOX // 2] / counts


def test_power_of_masked_noise_is_that_of_its_weights_in_every_shell(observer):
    rng = np.random.default_rng(3)
    power, weight = 0.0, None
    for _ in range(60):
        image = rng.standard_normal((IMAGE, IMAGE)).astype(np.float32)
        samples = observer.observe([image], np.zeros(3), np.array([0]), "p").samples(BOX)
        power, weight = power + np.abs(samples.data_rft[0]) ** 2 / 60, samples.weight_rft[0]
    ratio = shells(power) / shells(weight.astype(float))
    level = np.median(ratio)
    assert 0.5 < level < np.pi / 4             # what the circle leaves of the box
    np.testing.assert_allclose(ratio[2:], level, rtol=0.15)
    # CTF^2 itself, at the samples of the box, is wrong by more than that in most shells
    plain = shells(power) / shells(ctf(BOX) ** 2)
    assert np.mean(np.abs(plain[2:] / np.median(plain) - 1) > 0.15) > 0.5


def test_image_of_a_small_particle_is_the_weight_times_its_transform(observer):
    y, x = np.mgrid[:IMAGE, :IMAGE] - IMAGE // 2
    particle = -np.exp(-(x**2 + y**2) / (2 * 1.0**2))          # dark on disk
    rft = np.fft.rfft2(np.fft.ifftshift(particle)) * ctf(IMAGE)
    image = np.fft.fftshift(np.fft.irfft2(rft)).astype(np.float32)
    samples = observer.observe([image], np.zeros(3), np.array([0]), "p").samples(BOX)
    centre = slice(IMAGE // 2 - BOX // 2, IMAGE // 2 + BOX // 2)
    alone = np.fft.rfft2(np.fft.ifftshift(-particle[centre, centre]), norm="ortho")
    found = shells((samples.data_rft[0] * alone.conj()).real / np.abs(alone) ** 2)
    weight, plain = shells(samples.weight_rft[0].astype(float)), shells(ctf(BOX) ** 2)
    used = slice(3, BOX // 2 - 1)
    error, error_plain = (np.sqrt(np.mean((found - w)[used] ** 2)) for w in (weight, plain))
    assert error < 0.12
    assert error < 0.6 * error_plain


def test_overlap_of_circles_is_the_autocorrelation_of_a_circle():
    n, diameter = 256, 80.0
    y, x = np.mgrid[:n, :n] - n // 2
    circle = (np.hypot(x, y) < diameter / 2).astype(float)
    found = np.fft.irfft2(np.abs(np.fft.rfft2(circle)) ** 2)[0, :100] / circle.sum()
    overlap = circle_overlap(np.arange(100), diameter / 2, diameter / 2)
    np.testing.assert_allclose(overlap, found, atol=0.01)

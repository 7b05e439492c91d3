"""CTF, aberrations: an independent scalar function, literal numbers, and signs."""

import math

import numpy as np
import pytest
from scipy import constants

from sta_mpi.data import Optics, TiltSeries
from sta_mpi.signal.ctf import (
    CtfParameters,
    ctf_coefficients,
    ctf_images,
    odd_aberration_factors,
    phase_polynomial,
    tilt_phases,
)
from sta_mpi.signal.dose import dose_damping
from sta_mpi.signal.zernike import even_order, odd_order, zernike

OPTICS = Optics(voltage_kV=300.0, cs_mm=2.7, amp_contrast=0.07)
N, PIXEL_A = 64, 1.6


def parameters(u, v, angle=0.0, phase=0.0, optics=OPTICS):
    return CtfParameters(*(np.array([float(x)]) for x in (u, v, angle, phase)), optics)


def physical_wavelength_A(volt):
    """Relativistic electron wavelength from the constants of physics."""
    energy = volt * constants.e
    rest = constants.m_e * constants.c**2
    momentum = math.sqrt(energy * (energy + 2 * rest)) / constants.c
    return 1e10 * constants.h / momentum


def scalar_ctf(kx, ky, u_A, v_A, angle_deg, phase_deg=0.0, dose=0.0):
    """CTF at one frequency the textbook way: defocus along the azimuth, no matrices."""
    x, y = kx / (N * PIXEL_A), ky / (N * PIXEL_A)
    s = math.hypot(x, y)
    wavelength = 12.2643247 / math.sqrt(300e3 * (1 + 0.978466e-6 * 300e3))  # RELION's
    defocus = 0.5 * (u_A + v_A) + 0.5 * (u_A - v_A) * math.cos(
        2 * (math.atan2(y, x) - math.radians(angle_deg)))
    chi = math.pi * wavelength * s**2 * (0.5 * wavelength**2 * s**2 * 2.7e7 - defocus)
    amplitude = math.atan(0.07 / math.sqrt(1 - 0.07**2))
    value = -math.sin(chi - amplitude - math.radians(phase_deg))
    if dose:
        value *= math.exp(-0.5 * dose / (0.245 * s**-1.665 + 2.81))
    return value


def test_wavelength_at_300_kV_is_the_textbook_value():
    assert OPTICS.wavelength_A == pytest.approx(0.019687, abs=1e-6)
    # RELION's constants are 6.4e-6 off those of physics
    assert OPTICS.wavelength_A == pytest.approx(physical_wavelength_A(300e3), rel=1e-5)


@pytest.mark.parametrize("k", [(5, 0), (0, 5), (11, 7), (11, -7), (20, -31), (31, 30)])
@pytest.mark.parametrize(("u", "v", "angle", "phase"), [
    (30000, 30000, 0, 0), (31000, 27000, 25, 0), (31000, 27000, -70, 90), (-8000, -9000, 10, 0)])
def test_ctf_equals_independent_scalar_formula(k, u, v, angle, phase):
    image = ctf_images(parameters(u, v, angle, phase), N, PIXEL_A)[0]
    expected = scalar_ctf(*k, u, v, angle, phase)
    assert image[k[1] % N, k[0]] == pytest.approx(expected, abs=1e-6)  # float32, sine to 3e-7


def test_ctf_at_one_frequency_is_the_number_worked_out_by_hand():
    # k = 8 of 64 px of 1.6 Å: s = 0.078125 /Å, s^2 = 6.103516e-3, s^4 = 3.725290e-5
    # lambda = 0.0196875 Å: pi lambda s^2 20000 = 7.549980; pi/2 Cs lambda^3 s^4 = 0.012056
    # amplitude term asin(0.07) = 0.070057; gamma = -7.549980 + 0.012056 - 0.070057 = -7.607981
    # -sin(-7.607981) = sin(7.607981 - 2 pi) = sin(1.324796) = 0.969896
    image = ctf_images(parameters(20000, 20000), N, PIXEL_A)[0]
    assert image[0, 8] == pytest.approx(0.9699, abs=3e-4)
    # a phase shift of 90 degrees turns the sine into a cosine: cos(1.324796) = 0.243525
    image = ctf_images(parameters(20000, 20000, 0, 90), N, PIXEL_A)[0]
    assert image[0, 8] == pytest.approx(0.2435, abs=1.2e-3)
    # dose 40: critical exposure 0.245 0.078125^-1.665 + 2.81 = 19.897; exp(-20/19.897) = 0.36599
    damping = dose_damping([40.0], np.full((N, N // 2 + 1), 0.078125)).astype(np.float32)
    image = ctf_images(parameters(20000, 20000), N, PIXEL_A, damping)[0]
    assert image[0, 8] == pytest.approx(0.9699 * 0.36599, abs=3e-4)


def test_ctf_is_positive_at_low_frequency_for_underfocus():
    image = ctf_images(parameters(30000, 30000), N, PIXEL_A)[0]
    assert image[0, 0] == pytest.approx(0.07, rel=1e-5)
    assert image[0, 2] > image[0, 1] > image[0, 0]
    overfocus = ctf_images(parameters(-30000, -30000), N, PIXEL_A)[0]
    assert overfocus[0, 2] < 0


def test_astigmatism_angle_is_where_defocus_is_u():
    x_first = ctf_images(parameters(30000, 20000, 0), N, PIXEL_A)[0]
    assert x_first[0, 9] == pytest.approx(scalar_ctf(9, 0, 30000, 30000, 0), abs=1e-6)
    assert x_first[9, 0] == pytest.approx(scalar_ctf(0, 9, 20000, 20000, 0), abs=1e-6)
    diagonal = ctf_images(parameters(30000, 20000, 45), N, PIXEL_A)[0]
    assert diagonal[9, 9] == pytest.approx(scalar_ctf(9, 9, 30000, 30000, 0), abs=1e-6)
    assert diagonal[-9, 9] == pytest.approx(scalar_ctf(9, 9, 20000, 20000, 0), abs=1e-6)


def test_ctf_never_comes_closer_to_zero_than_1e_8():
    no_phase = Optics(voltage_kV=300.0, cs_mm=2.7, amp_contrast=0.0)
    image = ctf_images(parameters(0, 0, optics=no_phase), N, PIXEL_A)[0]
    assert np.abs(image).min() == np.float32(1e-8)


def tilt_series(hand):
    tilt = np.radians(60.0)
    rotation = [[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]]
    P = np.zeros((2, 3, 4))
    P[:, :, :3] = [np.eye(3), rotation]
    zero = np.zeros(2)
    return TiltSeries("TS", PIXEL_A, OPTICS, P, zero, zero + 30000, zero + 29000, zero + 15, zero,
                      zero + 1, zero, hand=hand)


@pytest.mark.parametrize("hand", [1, -1])
def test_defocus_of_a_particle_grows_with_depth_times_hand(hand):
    found = ctf_coefficients(tilt_series(hand), [1000.0, 0.0, 200.0])
    # depth is 200 Å untilted; at 60 degrees -1000 sin 60 + 200 cos 60 = -766.03 Å
    np.testing.assert_allclose(found.defocus_u_A - 30000, [hand * 200, hand * -766.03], atol=0.01)
    np.testing.assert_allclose(found.defocus_u_A - found.defocus_v_A, 1000)
    assert ctf_images(found, 32, PIXEL_A).shape == (2, 32, 17)


@pytest.mark.parametrize("hand", [1, -1])
def test_phases_anywhere_are_those_of_the_defoci_there(hand):
    at_A, tilts = np.array([700.0, 300.0, -400.0]), np.array([1, 0, 1])
    series = tilt_series(hand)
    expected = phase_polynomial(ctf_coefficients(series, at_A), N, PIXEL_A)[tilts]
    centre = phase_polynomial(ctf_coefficients(series, np.zeros(3)), N, PIXEL_A)[tilts]
    assert np.abs(expected - centre).max() > 1e-4
    found = tilt_phases(series, N, PIXEL_A)
    np.testing.assert_allclose(found.at(at_A, tilts), expected, rtol=1e-12, atol=1e-15)
    assert found.extra_cycles is None


@pytest.mark.parametrize(("i", "order"), [
    (0, (0, 0)), (1, (2, -2)), (2, (2, 0)), (3, (2, 2)), (4, (4, -4)), (6, (4, 0)), (8, (4, 4))])
def test_even_coefficients_are_in_relions_order(i, order):
    assert even_order(i) == order


@pytest.mark.parametrize(("i", "order"), [
    (0, (1, -1)), (1, (1, 1)), (2, (3, -3)), (3, (3, -1)), (4, (3, 1)), (5, (3, 3))])
def test_odd_coefficients_are_in_relions_order(i, order):
    assert odd_order(i) == order


def test_zernike_polynomials_are_the_textbook_ones():
    x, y = 0.3, -0.7
    r2 = x * x + y * y
    assert zernike(1, 1, x, y) == pytest.approx(x)
    assert zernike(1, -1, x, y) == pytest.approx(y)
    assert zernike(2, 0, x, y) == pytest.approx(2 * r2 - 1)
    assert zernike(2, 2, x, y) == pytest.approx(x * x - y * y)
    assert zernike(2, -2, x, y) == pytest.approx(2 * x * y)
    assert zernike(3, 1, x, y) == pytest.approx((3 * r2 - 2) * x)
    assert zernike(4, 0, x, y) == pytest.approx(6 * r2**2 - 6 * r2 + 1)


def test_even_aberration_of_second_order_acts_as_astigmatism():
    # c (x^2 - y^2) added to gamma is what -pi lambda dz (x^2 - y^2) of astigmatism is
    coefficient = -math.pi * OPTICS.wavelength_A * 500.0
    aberrated = Optics(300.0, 2.7, 0.07, even_zernike=np.array([0, 0, 0, coefficient]))
    found = ctf_images(parameters(30000, 30000, optics=aberrated), N, PIXEL_A)
    expected = ctf_images(parameters(30500, 29500), N, PIXEL_A)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    assert np.abs(found - ctf_images(parameters(30000, 30000), N, PIXEL_A)).max() > 0.1


def test_odd_aberration_of_first_order_is_undone_by_a_shift():
    # an observation exp(+i o x) is an image moved by -o / (2 pi) Å along x
    shift_A = 3.2
    tilted = Optics(300.0, 2.7, 0.07, odd_zernike=np.array([0.0, 2 * math.pi * shift_A]))
    factors = odd_aberration_factors(tilted, N, PIXEL_A)
    x = np.arange(N // 2 + 1) / (N * PIXEL_A)
    observed = np.exp(2j * math.pi * shift_A * x)
    np.testing.assert_allclose(factors[3] * observed, 1, atol=1e-5)
    assert odd_aberration_factors(OPTICS, N, PIXEL_A) is None

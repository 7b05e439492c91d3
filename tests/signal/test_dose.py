"""Dose damping against literal numbers and its limits."""

import numpy as np
import pytest

from sta_mpi.signal.dose import band_limit_from_dose, critical_exposure_e_per_A2, dose_damping


def test_critical_exposure_at_4_and_10_angstrom_is_the_published_curve():
    # 0.245 * 4^1.665 + 2.81 = 2.4638 + 2.81 and 0.245 * 10^1.665 + 2.81 = 11.3287 + 2.81
    np.testing.assert_allclose(critical_exposure_e_per_A2([0.25, 0.1]), [5.2738, 14.1387],
                               atol=2e-3)


def test_amplitude_falls_to_exp_minus_half_at_the_critical_exposure():
    critical = float(critical_exposure_e_per_A2(0.1))
    assert dose_damping(critical, 0.1) == pytest.approx(np.exp(-0.5))


def test_zero_frequency_and_zero_dose_are_not_damped():
    np.testing.assert_array_equal(dose_damping([0.0, 100.0], [0.0, 0.2])[:, 0], 1)
    np.testing.assert_array_equal(dose_damping(0.0, [0.0, 0.2]), 1)


def test_b_factor_per_dose_is_gaussian():
    # exp(-2 * 50 * 0.1^2 / 4) = exp(-0.25)
    assert dose_damping(50.0, 0.1, b_factor_per_dose_A2=2.0) == pytest.approx(np.exp(-0.25))


@pytest.mark.parametrize("unknown", [np.nan, -1.0])
def test_tilt_without_dose_uses_its_own_b_factor(unknown):
    damping = dose_damping([unknown, 10.0], [0.1], ctf_b_factor_A2=[100.0, 100.0])
    # exp(-100 * 0.01 / 4) where the dose is unknown; exp(-5 / 14.1387) where it is known
    np.testing.assert_allclose(damping[:, 0], [np.exp(-0.25), np.exp(-5 / 14.1387)], rtol=1e-4)


def test_result_has_a_leading_axis_of_tilts():
    assert dose_damping(np.arange(3.0), np.ones((4, 5))).shape == (3, 4, 5)
    assert dose_damping(3.0, np.ones((4, 5))).shape == (4, 5)


def test_band_limit_is_the_last_shell_above_the_cutoff():
    n, pixel = 128, 1.35
    limits = band_limit_from_dose([0.0, 60.0, 120.0, np.nan], n, pixel, cutoff_fract=0.01)
    assert limits[0] == limits[3] == n // 2
    assert n // 2 > limits[1] > limits[2] > 0
    s = np.array([limits[2], limits[2] + 1]) / (n * pixel)
    inside, outside = dose_damping(120.0, s)
    assert inside >= 0.01 > outside

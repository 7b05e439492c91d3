"""Volume and standard deviations of a mode, against plain linear algebra."""

import numpy as np
import pytest

from sta_mpi.kernels.polish.curvature import log_volume, rms_deviations

ALL = np.ones(6, bool)
SOME = np.array([True, False, True, True, True, False])


def random_information(seed, units=(1e3, 1e3, 1e3, 1.0, 1.0, 1.0)):
    rng = np.random.default_rng(seed)
    half = rng.normal(size=(6, 9)) * np.sqrt(units)[:, None]
    return half @ half.T


@pytest.mark.parametrize("is_free", [ALL, SOME], ids=["all", "some"])
@pytest.mark.parametrize("seed", range(4))
def test_volume_and_deviations_are_those_of_determinant_and_inverse(seed, is_free):
    information = random_information(seed)
    part = information[np.ix_(is_free, is_free)]
    assert log_volume(information, is_free, 1e-12) == pytest.approx(
        -0.5 * np.linalg.slogdet(part)[1], rel=1e-9)
    variance = np.full(6, np.nan)
    variance[is_free] = np.diag(np.linalg.inv(part))
    expected = np.sqrt([np.nanmean(variance[:3]), np.nanmean(variance[3:])])
    assert rms_deviations(information, is_free) == pytest.approx(expected, rel=1e-9)


def test_flat_directions_count_as_a_share_of_the_steepest():
    flat = np.diag([0.0, 4.0, 4.0, 4.0, 4.0, 4.0])
    assert log_volume(flat, ALL, 1e-6) == pytest.approx(-0.5 * (5 * np.log(4) + np.log(4e-6)))


@pytest.mark.parametrize("information", [
    np.zeros((6, 6)), np.full((6, 6), np.nan), -np.eye(6), np.diag([1.0, 1, 1, 1, 1, 0]),
    np.diag([1.0, 1, 1, 1, 1, np.inf]), np.eye(6) + 2 * np.eye(6)[[1, 0, 2, 3, 4, 5]]])
def test_without_a_positive_definite_information_there_are_no_deviations(information):
    assert np.isnan(rms_deviations(information, ALL)).all()


def test_kinds_that_are_not_searched_have_no_deviation():
    turn, shift = rms_deviations(random_information(1), np.array([False] * 3 + [True] * 3))
    assert np.isnan(turn)
    assert shift > 0
    assert np.isnan(rms_deviations(random_information(1), np.zeros(6, bool))).all()
    assert np.isnan(log_volume(random_information(1), np.zeros(6, bool), 1e-6))

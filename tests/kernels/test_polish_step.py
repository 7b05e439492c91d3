"""The dense algebra of a pose search against numpy and the geometry package."""

import numpy as np
import pytest

from sta_mpi.geometry.rotations import random_rotations, rotation_from_vector
from sta_mpi.kernels.polish.step import fisher_step, log_likelihood, step_length, turned

FAR = 1e9


def information(rng):
    """A matrix as poses have it: rotations and shifts in very different units."""
    A = rng.normal(size=(20, 6)) * np.repeat([300.0, 4.0], 3)
    return A.T @ A


def test_undamped_step_solves_the_normal_equations():
    rng = np.random.default_rng(1)
    H, g = information(rng), rng.normal(size=6) * 100
    step, length = fisher_step(g, H, 0.0, FAR, FAR)
    expected = np.linalg.solve(H, g)
    # a ridge of 1e-6 of the diagonal guards directions without information
    np.testing.assert_allclose(step, expected, rtol=1e-4)
    assert length == pytest.approx(np.sqrt(g @ expected), rel=1e-4)
    assert step_length(step, H) == pytest.approx(length)


def test_damped_step_solves_with_a_raised_diagonal():
    rng = np.random.default_rng(2)
    H, g = information(rng), rng.normal(size=6)
    step, _ = fisher_step(g, H, 3.0, FAR, FAR)
    np.testing.assert_allclose(step, np.linalg.solve(H + 3 * np.diag(np.diag(H)), g), rtol=1e-4)


def test_long_steps_are_shortened_in_their_direction():
    rng = np.random.default_rng(3)
    H, g = information(rng), rng.normal(size=6) * 1e6
    whole, _ = fisher_step(g, H, 0.0, FAR, FAR)
    short, _ = fisher_step(g, H, 0.0, 0.25, FAR)
    assert np.linalg.norm(short[:3]) == pytest.approx(0.25)
    np.testing.assert_allclose(short / np.linalg.norm(short), whole / np.linalg.norm(whole))
    near, _ = fisher_step(g, H, 0.0, FAR, 1e-3)
    assert np.linalg.norm(near[3:]) == pytest.approx(1e-3)


def test_a_direction_without_information_stays_and_no_information_is_told():
    H = np.diag([1e4, 1e4, 0.0, 5.0, 5.0, 5.0])
    step, length = fisher_step(np.array([10.0, 0, 0, 1, 0, 0]), H, 0.0, FAR, FAR)
    assert np.isfinite(length)
    assert step[2] == 0
    _, length = fisher_step(np.ones(6), np.zeros((6, 6)), 0.0, FAR, FAR)
    assert np.isnan(length)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-5, 0.9e-4, 1.1e-4, 0.3, 3.0])
def test_turned_matrix_equals_the_product_with_the_rotation_of_a_vector(angle):
    rng = np.random.default_rng(4)
    axis = rng.normal(size=3)
    vector = np.concatenate([angle * axis / np.linalg.norm(axis), [7.0, 8.0, 9.0]])
    R = random_rotations(1, rng)[0]
    np.testing.assert_allclose(turned(R, vector), R @ rotation_from_vector(vector[:3]), atol=1e-14)


def test_fitted_grey_scale_is_the_best_one_and_costs_information():
    rng = np.random.default_rng(5)
    H, gd = information(rng), rng.normal(size=6)
    gw = np.array([3.0, -2.0, 1.0, 0, 0, 0])
    cross, power = 12.0, 5.0
    score, s, gradient, fitted = log_likelihood(cross, power, gd, gw, H, np.nan)
    assert s == pytest.approx(cross / power)
    for other in (0.9 * s, 1.1 * s):
        assert log_likelihood(cross, power, gd, gw, H, other)[0] < score
    given = log_likelihood(cross, power, gd, gw, H, s)
    np.testing.assert_allclose(gradient, given[2])
    assert given[0] == pytest.approx(score)
    lost = np.linalg.eigvalsh(given[3] - fitted)
    assert lost.min() > -1e-9 * lost.max()
    assert lost.max() == pytest.approx(2 * s**2 * (gw @ gw) / power)

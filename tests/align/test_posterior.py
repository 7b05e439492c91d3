"""Weights of modes against integrals that know nothing of Laplace's formula."""

import numpy as np
import pytest

from sta_mpi.align.polish import PolishResult, PolishSettings
from sta_mpi.align.posterior import (
    LEAST_WEIGHT,
    MOST_MODES,
    log_evidence,
    mode_weights,
    retained,
)


def mode(information, score=0.0, log_prior=0.0):
    """A mode of this curvature and height; the pose does not matter."""
    return PolishResult(np.eye(3), np.zeros(3), score, log_prior, 1.0, 1.0, 1.0,
                        np.asarray(information, float), 1, True, False)


def random_information(rng, least, most):
    """(6, 6) with eigenvalues within the limits, its axes anywhere."""
    axes, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    return axes @ np.diag(rng.uniform(least, most, 6)) @ axes.T


def integral(information, score, rng, n=400_000):
    """Integral of exp(score - x I x / 2) over R^6 by importance sampling.

    The proposal is a Gaussian of standard deviation 0.5 in each direction; information of 4 to
    12 is narrower in all of them, so weights are bounded.
    """
    x = 0.5 * rng.normal(size=(n, 6))
    log_proposal = -2.0 * (x**2).sum(axis=1) - 6 * np.log(0.5 * np.sqrt(2 * np.pi))
    log_value = score - 0.5 * np.einsum("ni,ij,nj->n", x, information, x)
    return float(np.mean(np.exp(log_value - log_proposal)))


@pytest.mark.parametrize("seed", range(3))
def test_modes_weigh_as_their_integrals_do(seed):
    rng = np.random.default_rng(seed)
    curvatures = [random_information(rng, 4.0, 12.0) for _ in range(3)]
    scores = [0.0, 1.0, -0.5]
    volumes = np.array([integral(i, s, rng) for i, s in zip(curvatures, scores, strict=True)])
    weights = mode_weights(np.array([
        log_evidence(mode(i, s), PolishSettings())
        for i, s in zip(curvatures, scores, strict=True)]))
    # 400,000 samples: each integral is good to about 0.3 %
    assert weights == pytest.approx(volumes / volumes.sum(), rel=0.02)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)


def test_of_two_equally_high_modes_the_wider_one_weighs_more_by_its_volume():
    narrow, wide = np.diag([8.0] * 6), np.diag([2.0] * 6)
    weights = mode_weights(np.array([log_evidence(mode(i), PolishSettings())
                                     for i in (narrow, wide)]))
    # half as many standard deviations in each of 6 directions: 2^6 of the volume
    assert weights[1] / weights[0] == pytest.approx(64.0)


def test_prior_narrows_a_mode_as_in_the_integral_over_both():
    rng = np.random.default_rng(5)
    data = [random_information(rng, 4.0, 6.0), random_information(rng, 4.0, 6.0)]
    settings = PolishSettings(prior_angle_deg=np.degrees(0.5), prior_shift_px=0.6)
    prior = np.diag([1 / 0.5**2] * 3 + [1 / 0.6**2] * 3)
    volumes = np.array([integral(i + prior, 0.0, rng) for i in data])
    weights = mode_weights(np.array([log_evidence(mode(i), settings) for i in data]))
    assert weights == pytest.approx(volumes / volumes.sum(), rel=0.02)


def test_axis_of_symmetry_cancels_between_modes():
    """A turn that nothing depends on has the same range in every mode."""
    flat = [np.diag([0.0, 4.0, 4.0, 4.0, 4.0, 4.0]), np.diag([0.0, 4.0, 4.0, 4.0, 4.0, 1.0])]
    weights = mode_weights(np.array([log_evidence(mode(i), PolishSettings()) for i in flat]))
    assert weights[1] / weights[0] == pytest.approx(2.0)


def test_mode_without_information_counts_by_its_height():
    found = log_evidence(mode(np.zeros((6, 6)), 3.0, -1.0), PolishSettings())
    assert found == pytest.approx(2.0)


@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_weights_add_to_one_however_high_the_likelihood(offset):
    weights = mode_weights(np.array([0.0, -1.0, -300.0]) + offset)
    assert weights.sum() == pytest.approx(1.0, abs=1e-12)
    assert weights[0] / weights[1] == pytest.approx(np.e)


def test_modes_that_are_all_impossible_share_evenly():
    assert mode_weights(np.full(4, -np.inf)) == pytest.approx(0.25)


def test_kept_modes_are_the_likely_ones_best_first_and_add_to_one():
    weights = np.array([0.03, 0.5, 0.4 * LEAST_WEIGHT, 0.4, 0.066])
    kept, shares = retained(weights)
    assert kept.tolist() == [1, 3, 4, 0]
    assert shares.sum() == pytest.approx(1.0, abs=1e-12)
    assert shares[0] / shares[1] == pytest.approx(0.5 / 0.4)


def test_no_more_modes_are_kept_than_allowed():
    kept, shares = retained(np.full(9, 1 / 9))
    assert len(kept) == MOST_MODES
    assert shares == pytest.approx(1 / MOST_MODES)


def test_hard_assignment_keeps_the_best_mode_alone():
    kept, shares = retained(np.array([0.3, 0.4, 0.3]), hard=True)
    assert kept.tolist() == [1]
    assert shares.tolist() == [1.0]

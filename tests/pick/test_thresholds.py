"""Thresholds from score histograms, against mixtures whose labels are known."""

import numpy as np
import pytest

from sta_mpi.pick.thresholds import fit_mixture, threshold_at


def mixed(n_false, n_good, apart, seed, sd_good=1.3):
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(0, 1, n_false), rng.normal(apart, sd_good, n_good)])
    return scores, np.repeat([False, True], [n_false, n_good])


@pytest.mark.parametrize(("n_false", "n_good"), [(600, 600), (3000, 300), (300, 2000)])
@pytest.mark.parametrize("apart", [4.0, 6.0])
def test_no_more_particles_are_false_than_asked_for_and_few_good_are_lost(n_false, n_good, apart):
    found, lost = [], []
    for seed in range(8):
        scores, is_good = mixed(n_false, n_good, apart, seed)
        keep = scores >= threshold_at(fit_mixture(scores), scores, 0.05)
        found.append((~is_good[keep]).mean())
        lost.append(1 - keep[is_good].mean())
    assert 0 < np.mean(found) < 0.08
    assert np.mean(lost) < 0.3


def test_heavy_tail_of_false_scores_does_not_pull_the_threshold_down():
    rng = np.random.default_rng(2)
    false = np.abs(rng.standard_t(2, 1500)) * 0.2
    good = rng.normal(2.0, 0.25, 500)
    scores = np.concatenate([false[false < 1.6], good])
    threshold = threshold_at(fit_mixture(scores), scores, 0.1)
    assert 1.1 < threshold < 1.7


def test_order_and_scale_of_scores_do_not_matter():
    scores, _ = mixed(500, 400, 5, 1)
    expected = threshold_at(fit_mixture(scores), scores, 0.1)
    other = 1e4 * scores[::-1] - 3e5
    assert threshold_at(fit_mixture(other), other, 0.1) == pytest.approx(1e4 * expected - 3e5,
                                                                        abs=20)


@pytest.mark.parametrize("seed", range(6))
def test_one_kind_of_scores_is_not_parted(seed):
    assert not fit_mixture(np.random.default_rng(seed).normal(3, 2, 800)).is_bimodal


def test_two_kinds_are_told_from_one():
    assert all(fit_mixture(mixed(700, 300, 5, seed)[0]).is_bimodal for seed in range(6))


def test_too_few_or_equal_scores_give_no_fit():
    assert fit_mixture(np.arange(10.0)) is None
    assert fit_mixture(np.full(100, 2.5)) is None
    assert fit_mixture(np.full(100, np.nan)) is None


def test_hopeless_scores_give_no_threshold():
    scores, _ = mixed(5000, 40, 1.5, 3)
    mixture = fit_mixture(scores)
    assert mixture is None or threshold_at(mixture, scores, 1e-9) is None

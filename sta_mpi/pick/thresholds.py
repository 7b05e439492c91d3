"""A score threshold from the scores themselves: two kinds of particles, good and false.

The histogram of scores is taken as the sum of two normal distributions (EM, McLachlan and Peel,
Finite Mixture Models, 2000); the upper one holds the good particles. The threshold is the lowest
score above which the wanted share of particles is false. Whether there are two kinds at all is
asked of the Bayesian information criterion.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]

LEAST_SCORES = 30
"""Fewer scores do not show two kinds."""

ROUNDS = 500
STARTS = (0.3, 0.5, 0.7, 0.85, 0.95)
"""Quantiles that part the scores at the starts of EM."""

GRID = 2000
VALLEY_GRID = 200


@dataclass(frozen=True)
class ScoreMixture:
    """Two normal distributions, the false particles first.

    Parameters
    ----------
    share : (2,)        shares of the particles, sum 1
    mean, sd : (2,)     in units of the score
    bic_gain : float    how much better than one distribution; above 0: two kinds
    """

    share: Floats
    mean: Floats
    sd: Floats
    bic_gain: float

    @property
    def is_bimodal(self) -> bool:
        """Whether two kinds explain the scores better than one and lie apart."""
        apart = float(self.mean[1] - self.mean[0])
        return self.bic_gain > 0 and apart > float(self.sd.max())

    def density(self, score: Floats) -> Floats:
        """(2, n) densities of both kinds, shares included."""
        z = (score[None] - self.mean[:, None]) / self.sd[:, None]
        scale = self.share / (self.sd * np.sqrt(2 * np.pi))
        return np.asarray(scale[:, None] * np.exp(-0.5 * z * z))

    def false_share(self, score: Floats) -> Floats:
        """Expected share of false particles among those of at least `score`, (n,)."""
        above = self.share[:, None] * ndtr(-(score[None] - self.mean[:, None]) / self.sd[:, None])
        return np.asarray(above[0] / np.maximum(above.sum(axis=0), 1e-300))


def fit_mixture(scores: Floats) -> ScoreMixture | None:
    """Fit two normal distributions to scores (n,); None for fewer than 30, or all alike."""
    scores = np.sort(scores[np.isfinite(scores)])
    n = len(scores)
    if n < LEAST_SCORES or scores[-1] - scores[0] <= 1e-9 * max(abs(scores[-1]), 1e-30):
        return None
    one = -0.5 * n * (np.log(2 * np.pi * scores.var()) + 1)
    best = max((_expectation_maximisation(scores, start) for start in STARTS),
               key=lambda found: found[0])
    loglik, share, mean, sd = best
    order = np.argsort(mean)
    # five parameters against two
    gain = 2 * (loglik - one) - 3 * np.log(n)
    return ScoreMixture(share[order], mean[order], sd[order], float(gain))


def threshold_at(mixture: ScoreMixture, scores: Floats, false_share: float) -> float | None:
    """The lowest score above which at most `false_share` is false; None where there is none.

    Scores above the mean of the good ones are never cut: the tail of the broader distribution
    would claim them. Nor is the threshold below the valley between both kinds: false particles
    that resemble the good ones in part (holes of a lattice) make a heavier tail than a normal
    distribution has.
    """
    valley = _valley(mixture, scores)
    threshold = _threshold_of_fit(mixture, scores, false_share)
    return threshold if threshold is None or valley is None else max(threshold, valley)


def _valley(mixture: ScoreMixture, scores: Floats) -> float | None:
    """Least density between the two means, by a Gaussian kernel (Silverman's width)."""
    n_good = max(1.0, float(mixture.share[1]) * len(scores))
    width = 0.9 * float(mixture.sd[1]) * n_good ** -0.2
    grid = np.linspace(float(mixture.mean[0]), float(mixture.mean[1]), VALLEY_GRID)
    density = np.exp(-0.5 * ((grid[:, None] - scores[None]) / width) ** 2).sum(axis=1)
    lowest = int(density.argmin())
    return None if lowest in (0, VALLEY_GRID - 1) else float(grid[lowest])


def _threshold_of_fit(mixture: ScoreMixture, scores: Floats, false_share: float) -> float | None:
    grid = np.linspace(float(scores.min()), float(mixture.mean[1]), GRID)
    bad = np.flatnonzero(mixture.false_share(grid) > false_share)
    if len(bad) == 0:
        return float(grid[0])
    if bad[-1] == GRID - 1:
        return None
    return float(grid[bad[-1] + 1])


def _expectation_maximisation(scores: Floats, start: float
                              ) -> tuple[float, Floats, Floats, Floats]:
    """Log likelihood, shares, means and standard deviations from one start."""
    cut = np.quantile(scores, start)
    good = np.clip((scores > cut).astype(np.float64), 1e-3, 1 - 1e-3)
    least = 1e-3 * scores.std()
    before = -np.inf
    for _ in range(ROUNDS):
        parts = np.stack([1 - good, good])
        weight = parts.sum(axis=1)
        mean = parts @ scores / weight
        sd = np.sqrt((parts * (scores[None] - mean[:, None]) ** 2).sum(axis=1) / weight)
        sd = np.maximum(sd, least)
        share = weight / len(scores)
        log = (np.log(share / sd)[:, None]
               - 0.5 * ((scores[None] - mean[:, None]) / sd[:, None]) ** 2)
        total = np.logaddexp(log[0], log[1])
        good = np.exp(log[1] - total)
        loglik = float(total.sum() - 0.5 * len(scores) * np.log(2 * np.pi))
        if loglik - before < 1e-9 * abs(loglik):
            break
        before = loglik
    return loglik, share, mean, sd

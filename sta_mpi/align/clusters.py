"""Clusters of points: k-means++ and Gaussian mixtures, with fixed seeds."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]

RESTARTS = 20
ROUNDS = 100


def k_means(points: Floats, n_clusters: int, seed: int) -> Labels:
    """Labels (n,) of points (n, q): the best of several k-means++ starts (Lloyd's iteration).

    Arthur and Vassilvitskii 2007. Clusters are numbered from the largest.
    """
    rng, best, least = np.random.default_rng([seed, 0x4B]), None, np.inf
    for _ in range(RESTARTS):
        labels, spread = _lloyd(points, _spread_out(points, n_clusters, rng))
        if spread < least:
            best, least = labels, spread
    assert best is not None
    return _by_size(best, n_clusters)


def gaussian_mixture(points: Floats, n_clusters: int, seed: int) -> Labels:
    """Labels (n,) of points (n, q) in a mixture of Gaussians with full covariances.

    Expectation maximisation from several k-means++ starts; the most likely one counts. A tenth
    of the covariance of all points steadies each cluster.
    """
    rng, best, highest = np.random.default_rng([seed, 0x6D]), None, -np.inf
    floor = 0.1 * _covariance(points, np.ones(len(points)), points.mean(axis=0))
    floor += 1e-9 * np.eye(points.shape[1])
    for _ in range(RESTARTS):
        labels, _ = _lloyd(points, _spread_out(points, n_clusters, rng))
        posteriors = np.eye(n_clusters)[labels]
        last = -np.inf
        for _ in range(ROUNDS):
            log_p = _log_densities(points, posteriors, floor)
            top = log_p.max(axis=1, keepdims=True)
            posteriors = np.exp(log_p - top)
            total = posteriors.sum(axis=1, keepdims=True)
            posteriors /= total
            log_likelihood = float((top + np.log(total)).sum())
            if log_likelihood < last + 1e-6 * len(points):
                break
            last = log_likelihood
        if last > highest:
            best, highest = np.argmax(posteriors, axis=1), last
    assert best is not None
    return _by_size(best, n_clusters)


def _log_densities(points: Floats, posteriors: Floats, floor: Floats) -> Floats:
    """Log of share times density (n, k) of the clusters that the posteriors (n, k) give."""
    out = np.empty(posteriors.shape)
    for k, weights in enumerate(posteriors.T):
        share = max(float(weights.sum()), 1e-9)
        mean = weights @ points / share
        # shrunk as by one tenth of the points spread like all
        covariance = (_covariance(points, weights, mean) + floor) / 1.1
        factor = np.linalg.cholesky(covariance)
        away = np.linalg.solve(factor, (points - mean).T)
        out[:, k] = (np.log(share / len(points)) - np.log(np.diag(factor)).sum()
                     - 0.5 * (away**2).sum(axis=0))
    return out


def _covariance(points: Floats, weights: Floats, mean: Floats) -> Floats:
    away = points - mean
    return np.asarray((away.T * weights) @ away / max(float(weights.sum()), 1e-9))


def _spread_out(points: Floats, n_clusters: int, rng: np.random.Generator) -> Floats:
    """Centres drawn one after the other with probability by squared distance to those before."""
    centres = [points[rng.integers(len(points))]]
    for _ in range(n_clusters - 1):
        near = np.min([((points - c) ** 2).sum(axis=1) for c in centres], axis=0)
        total = near.sum()
        p = near / total if total > 0 else None
        centres.append(points[rng.choice(len(points), p=p)])
    return np.array(centres)


def _lloyd(points: Floats, centres: Floats) -> tuple[Labels, float]:
    """(labels, sum of squared distances) after k-means from these centres."""
    labels = np.full(len(points), -1, np.intp)
    for _ in range(ROUNDS):
        square = ((points[:, None] - centres) ** 2).sum(axis=2)
        new = np.argmin(square, axis=1)
        if (new == labels).all():
            break
        labels = new
        centres = np.array([points[labels == k].mean(axis=0) if (labels == k).any() else c
                            for k, c in enumerate(centres)])
    return labels, float(square.min(axis=1).sum())


def _by_size(labels: Labels, n_clusters: int) -> Labels:
    """The same clusters, the largest first."""
    order = np.argsort(-np.bincount(labels, minlength=n_clusters), kind="stable")
    return np.asarray(np.argsort(order)[labels])

"""Classes of particles: probabilities, shares, flow, focused references, splits.

The probability of class k for a particle is its share times its evidence, normalised over the
classes. Shares are the means of these probabilities (expectation maximisation of a mixture,
e.g. Bishop, Pattern Recognition and Machine Learning, section 9.2).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Labels = NDArray[np.intp]

LEAST_SHARE = 1e-3
"""Smallest share whose logarithm is a prior, so that a class can recover."""


def class_posteriors(log_evidence: Floats) -> Floats:
    """Probabilities (n, K) from log evidence (n, K) that holds the shares; NaN rows give 0.

    Examples
    --------
    >>> class_posteriors(np.log([[0.2, 0.6], [0.1, 0.1]])).round(2).tolist()
    [[0.25, 0.75], [0.5, 0.5]]
    """
    is_known = np.isfinite(log_evidence.max(axis=1))
    out = np.zeros(log_evidence.shape)
    known = log_evidence[is_known]
    weights = np.exp(known - known.max(axis=1, keepdims=True))
    out[is_known] = weights / weights.sum(axis=1, keepdims=True)
    return out


def mean_log_evidence(log_evidence: Floats) -> float:
    """Mean over particles of the log of the sum over classes of (n, K) evidence with the shares.

    Examples
    --------
    >>> round(mean_log_evidence(np.log([[0.25, 0.75], [0.5, 0.5]])), 6)
    0.0
    """
    top = log_evidence.max(axis=1, keepdims=True)
    return float(np.mean(top[:, 0] + np.log(np.exp(log_evidence - top).sum(axis=1))))


def class_shares(posteriors: Floats) -> Floats:
    """Share (K,) of each class among the particles that have a probability."""
    total = posteriors.sum(axis=0)
    return np.asarray(total / max(total.sum(), 1e-300))


def log_shares(shares: Floats) -> Floats:
    """Log prior (K,) of classes that hold `shares` (K,)."""
    return np.asarray(np.log(np.maximum(shares, LEAST_SHARE)))


def class_flow(before: Labels, after: Labels, n_classes: int) -> NDArray[np.int64]:
    """Particles (K, K) that went from class [row] to class [column]; labels below 0 are left out.

    Examples
    --------
    >>> class_flow(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    used = (before >= 0) & (after >= 0)
    flow = np.zeros((n_classes, n_classes), np.int64)
    np.add.at(flow, (before[used], after[used]), 1)
    return flow


def focus_references(references: NDArray[np.float32], mask: NDArray[np.float32], shares: Floats
                     ) -> NDArray[np.float32]:
    """References that differ inside a mask alone.

    Parameters
    ----------
    references : (2, K, b, b, b) float32
    mask : (b, b, b) float32    1 where classes may differ; outside all hold their weighted mean
    shares : (K,)               weights of the mean
    """
    weights = (shares / shares.sum()).astype(np.float32)
    consensus = np.einsum("hkzyx,k->hzyx", references, weights)[:, None]
    return np.asarray(consensus + mask * (references - consensus), np.float32)


def empty_classes(shares: Floats, least_share: float) -> Labels:
    """Classes below a share, smallest first; the largest is never among them."""
    order = np.argsort(shares, kind="stable")
    return order[:-1][shares[order[:-1]] < least_share]


def split_labels(labels: Labels, half: NDArray[np.integer], empty: Labels,
                 rng: np.random.Generator) -> Labels:
    """Labels after each empty class has taken a random half of the largest class.

    Parameters
    ----------
    labels : (n,)    class of each particle; -1: none
    half : (n,)      half-sets; each is split by itself
    empty : classes to fill; particles left in them go to the largest class first
    """
    out = labels.copy()
    for k in empty:
        sizes = np.bincount(out[out >= 0], minlength=int(max(out.max(), k)) + 1)
        sizes[k] = 0
        largest = int(np.argmax(sizes))
        out[out == k] = largest
        for h in (1, 2):
            rows = np.flatnonzero((out == largest) & (half == h))
            out[rng.permutation(rows)[: len(rows) // 2]] = k
    return out


def random_labels(half: NDArray[np.integer], n_classes: int, rng: np.random.Generator) -> Labels:
    """Random classes (n,) of equal size in each half-set."""
    labels = np.full(len(half), -1, np.intp)
    for h in (1, 2):
        rows = rng.permutation(np.flatnonzero(half == h))
        labels[rows] = np.arange(len(rows)) % n_classes
    return labels

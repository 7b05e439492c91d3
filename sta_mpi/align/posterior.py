"""How much each mode of a particle's likelihood weighs: Laplace's approximation.

A mode is a local optimum of the log posterior over the six pose parameters. The probability
that the pose lies in mode m is its height times its volume,

    p_m ~ exp(score_m + log_prior_m) (2 pi)^3 / sqrt(det(information_m))

(e.g. MacKay, Information Theory, Inference and Learning Algorithms, chapter 27). Modes of
different references (classes) compare in the same way.
"""

import math

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.polish import PolishResult, PolishSettings
from sta_mpi.kernels.polish.curvature import log_volume

Floats = NDArray[np.float64]

LEAST_WEIGHT = 0.01
"""Modes of less probability are left out of an average."""

FLATTEST = 1e-6
"""Least curvature of a mode, as a share of its largest."""

MOST_MODES = 4
"""Modes of one particle that enter an average."""


def log_evidence(result: PolishResult, settings: PolishSettings) -> float:
    """Log of height times volume of a mode; without curvature, of its height alone.

    Parameters
    ----------
    result : PolishResult
    settings : PolishSettings    its priors add to the information of the data; parameters that
                                 are not searched have no volume
    """
    height = result.score + result.log_prior
    # flat directions (an axis of symmetry) have the same volume in every mode: they cancel
    volume = log_volume(result.information + settings.prior_information,
                        settings.terms.is_free, FLATTEST)
    return height if math.isnan(volume) else height + volume


def mode_weights(log_evidences: Floats) -> Floats:
    """Probabilities (m,) of modes from their log evidence (m,); they add to 1."""
    if len(log_evidences) == 1:
        return np.ones(1)
    top = np.max(log_evidences)
    if not np.isfinite(top):
        return np.full(len(log_evidences), 1.0 / len(log_evidences))
    weights = np.exp(np.asarray(log_evidences, np.float64) - top)
    return np.asarray(weights / weights.sum())


def retained(weights: Floats, hard: bool = False) -> tuple[NDArray[np.intp], Floats]:
    """Modes that enter the average, best first, and their weights, which add to 1.

    Parameters
    ----------
    weights : (m,) float64
    hard : bool                the best one alone

    Examples
    --------
    >>> retained(np.array([0.002, 0.598, 0.4]))[0]
    array([1, 2])
    """
    if len(weights) == 1:
        return np.zeros(1, np.intp), np.ones(1)
    order = np.argsort(-weights, kind="stable")
    most = 1 if hard else MOST_MODES
    kept = order[:most]
    kept = kept[(weights[kept] >= LEAST_WEIGHT) | (kept == order[0])]
    return kept, weights[kept] / weights[kept].sum()

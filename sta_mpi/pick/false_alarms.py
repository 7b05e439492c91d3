"""How many picks are false: counted on decoys.

A decoy search is the same search for something that is not there: the template with inverted
contrast. It has the rotational autocorrelation of the template, so its maximum over the
orientations is distributed as that of the template on everything that has no preferred sign; a
template of random phases decorrelates faster over rotations and would score higher. Above a
threshold t,

    false-alarm rate(t) = (1 + decoy peaks above t) / (picks above t)

and the 1 makes the rate an upper one where decoys are few (as in the knockoff filter of Barber
and Candes, Annals of Statistics 2015, 43, 2055). The suggested threshold is the lowest with at
most the wanted rate. Below a real particle the inverted template meets the particle's surroundings:
where particles are crowded the estimate is on the safe side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FalseAlarms:
    """Rates at falling thresholds.

    Parameters
    ----------
    threshold : (m,) float64   scores of the picks, falling
    rate : (m,) float64        estimated share of false ones among picks of at least that score,
                               the smallest of it and all lower thresholds; at most 1
    n_decoys : (m,) int        decoys of at least that score
    """

    threshold: Floats
    rate: Floats
    n_decoys: NDArray[np.intp]

    def suggest(self, wanted_rate: float) -> float:
        """The lowest threshold with at most the wanted rate; infinite where there is none."""
        good = np.flatnonzero(self.rate <= wanted_rate)
        return float(self.threshold[good[-1]]) if len(good) else float("inf")

    def rate_at(self, threshold: float) -> float:
        """Estimated rate among picks of at least a threshold; NaN where there are none."""
        above = np.flatnonzero(self.threshold >= threshold)
        return float(self.rate[above[-1]]) if len(above) else float("nan")


def false_alarms(pick_scores: ArrayLike, decoy_scores: ArrayLike) -> FalseAlarms:
    """Estimate the false-alarm rate at the score of every pick.

    Examples
    --------
    >>> found = false_alarms([9, 8, 7, 6, 3, 3, 3], [4, 3, 3])
    >>> found.suggest(0.25), found.rate_at(6.0)
    (6.0, 0.25)
    """
    picks = -np.sort(-np.asarray(pick_scores, np.float64))
    decoys = np.sort(np.asarray(decoy_scores, np.float64))
    n_decoys = len(decoys) - np.searchsorted(decoys, picks, side="left")
    n_picks = np.searchsorted(-picks, -picks, side="right")
    raw = np.minimum((1.0 + n_decoys) / np.maximum(n_picks, 1), 1.0)
    # a threshold may be lowered as long as some lower one is as good
    rate = np.minimum.accumulate(raw[::-1])[::-1]
    return FalseAlarms(picks, np.asarray(rate), np.asarray(n_decoys, np.intp))


def contrast_looks_inverted(pick_scores: ArrayLike, decoy_scores: ArrayLike,
                            wanted_rate: float, fewest: int = 20) -> bool:
    """Whether the inverted template finds particles by the same test, and the template none."""
    forward = false_alarms(pick_scores, decoy_scores)
    backward = false_alarms(decoy_scores, pick_scores)
    n_forward = int((forward.threshold >= forward.suggest(wanted_rate)).sum())
    n_backward = int((backward.threshold >= backward.suggest(wanted_rate)).sum())
    return n_backward >= fewest and n_forward * 4 < n_backward

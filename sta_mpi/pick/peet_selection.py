"""Which particles a PEET average takes, and the scores that decide.

Scores can be put on one footing before: by groups of orientations (the missing wedge lies elsewhere
in the reference), and along the elevation of the particle's axis, so that particles seen end-on are
not lost for their lower correlation. PEET's own formulas are not public; both are ours.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.pick.duplicates import DuplicateRule, remove_duplicates

Floats = NDArray[np.float64]
Chosen = NDArray[np.bool_]

LEAST_GROUP = 5
"""Particles that a median is taken of at least."""

ELEVATION_BINS = 10


@dataclass(frozen=True)
class Choice:
    """How many particles enter an average, and which may.

    Parameters
    ----------
    threshold : float          up to 1: least score; more: number of the best
    all_tomograms : bool       best of all; False: equal numbers a tomogram as far as there are
    at_random : bool           any particles instead of the best
    """

    threshold: float
    all_tomograms: bool = True
    at_random: bool = False


def adjusted_by_group(score: Floats, R_peet: Floats, n_groups: int) -> Floats:
    """Scores times median of all / median of the particle's group.

    Parameters
    ----------
    score : (n,)            NaN where a particle has none
    R_peet : (n, 3, 3)      reference to tomogram, PEET's axes
    n_groups : int          0 or 1: no change

    Notes
    -----
    Groups of equal size by the direction of the beam in the reference, R^T z, as an axis: by its
    angle to y, then by its azimuth. A group without enough particles, or whose median is not
    positive, stays as it is.
    """
    if n_groups < 2:
        return score.copy()
    group = _wedge_groups(R_peet, n_groups)
    out, known = score.copy(), np.isfinite(score)
    middle = float(np.median(score[known])) if known.any() else 0.0
    for g in range(n_groups):
        own = (group == g) & known
        if own.sum() >= LEAST_GROUP and np.median(score[own]) > 0:
            out[own] = score[own] * middle / float(np.median(score[own]))
    return out


def _wedge_groups(R_peet: Floats, n_groups: int) -> NDArray[np.intp]:
    beam = R_peet[:, 2, :]
    beam = np.where(beam[:, 1:2] < 0, -beam, beam)
    n_rings = max(1, int(np.sqrt(n_groups)))
    n_sectors = n_groups // n_rings
    ring = _quantile_bins(beam[:, 1], n_rings)
    group = np.zeros(len(beam), np.intp)
    azimuth = np.arctan2(beam[:, 2], beam[:, 0])
    for r in range(n_rings):
        own = ring == r
        group[own] = r * n_sectors + _quantile_bins(azimuth[own], n_sectors)
    return group


def _quantile_bins(values: Floats, n: int) -> NDArray[np.intp]:
    order = np.argsort(values, kind="stable")
    bins = np.empty(len(values), np.intp)
    bins[order] = np.arange(len(values)) * n // max(len(values), 1)
    return bins


def adjusted_by_elevation(score: Floats, R_peet: Floats) -> Floats:
    """Scores less their median at the particle's elevation, plus the middle of those medians.

    The elevation is the angle of the particle's y axis to the plane of the tomogram, without its
    sign. Medians are of ten bins of equal solid angle, linear between their centres.
    """
    known = np.isfinite(score)
    if known.sum() < 2 * LEAST_GROUP:
        return score.copy()
    height = np.abs(R_peet[:, 2, 1])
    bins = np.minimum((height * ELEVATION_BINS).astype(np.intp), ELEVATION_BINS - 1)
    centres, medians = [], []
    for b in range(ELEVATION_BINS):
        own = known & (bins == b)
        if own.sum() >= LEAST_GROUP:
            centres.append((b + 0.5) / ELEVATION_BINS)
            medians.append(float(np.median(score[own])))
    if len(centres) < 2:
        return score.copy()
    trend = np.interp(height, centres, medians)
    return np.asarray(score - trend + float(np.median(medians)))


def duplicates(position_px: Floats, tomogram: NDArray[np.int32], score: Floats, R_peet: Floats,
               shift_px: float, angle_deg: float, operators: Floats) -> Chosen:
    """Whether each of n particles is a duplicate of a better one.

    Parameters
    ----------
    shift_px : float        largest distance on each axis of the tomogram; 0: no duplicates
    angle_deg : float       largest angle modulo symmetry; 0: place alone decides
    operators : (g, 3, 3)   symmetry in PEET's axes
    """
    if shift_px <= 0:
        return np.zeros(len(score), bool)
    rule = DuplicateRule(shift_px, angle_deg if angle_deg > 0 else None, is_cube=True)
    found = remove_duplicates(position_px, tomogram, score, rule, R_peet, operators,
                              np.zeros(len(score), np.int8))
    return ~found.keep


def choose(score: Floats, may: Chosen, tomogram: NDArray[np.int32], choice: Choice,
           rng: np.random.Generator | None = None) -> Chosen:
    """Particles (n,) of an average.

    Parameters
    ----------
    score : (n,)         NaN is worst
    may : (n,) bool      those that may enter (class, lists, duplicates)
    rng : numpy Generator    for `at_random`
    """
    rank = np.where(np.isfinite(score), score, -np.inf)
    if choice.at_random:
        assert rng is not None
        rank = rng.random(len(score))
    if choice.threshold <= 1:
        return np.asarray(may & (np.isfinite(score) & (score >= choice.threshold)
                                 if not choice.at_random else may))
    quota = {int(t): int((may & (tomogram == t)).sum()) for t in np.unique(tomogram)}
    wanted = min(int(choice.threshold), sum(quota.values()))
    out = np.zeros(len(score), bool)
    if choice.all_tomograms:
        out[_best(rank, may, wanted)] = True
        return out
    for t, n in _equal_shares(quota, wanted).items():
        out[_best(rank, may & (tomogram == t), n)] = True
    return out


def _best(rank: Floats, may: Chosen, n: int) -> NDArray[np.intp]:
    rows = np.flatnonzero(may)
    return rows[np.argsort(-rank[rows], kind="stable")[:n]]


def _equal_shares(available: dict[int, int], wanted: int) -> dict[int, int]:
    """Equal numbers of each, what some lack taken from the others; first ones get the rest."""
    shares = dict.fromkeys(available, 0)
    while wanted:
        open_ = [t for t in available if shares[t] < available[t]]
        each = max(1, wanted // len(open_))
        for t in open_:
            added = min(each, available[t] - shares[t], wanted)
            shares[t] += added
            wanted -= added
    return shares

"""The exhaustive oracle, refined: what a search of all candidates finds for one particle.

All rotations times all shifts are scored on the tilt images in a band that the rotation step
can resolve; the best distinct ones are searched again on ever finer grids in ever wider bands.
No gradient, no interpolation between candidates, no merging: slow, and independent of the
polish that it checks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import Band, score_candidates, shift_phase_matrix, take_band
from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.align.polish import Pose
from sta_mpi.align.reference import Reference
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.geometry.sampling import local_rotations, shift_grid

Floats = NDArray[np.float64]
Samples = TiltSamples | BoxSamples
LogPrior = Callable[[Floats, Floats], Floats]

RESOLVED_DEG = 105.0
"""A rotation step [deg] serves a band up to this over the step [Fourier index]: 15 for 7."""

KEPT = 8
"""Candidates that enter the second grid; half as many enter each further one."""

LAST_STEP_PX = 0.5
"""Largest displacement at the edge of the band [px of the box / 2 pi] from which grids may end."""

LAST_GAIN = 0.05
"""Grids end when halving their steps gains less log-likelihood than this: the grid itself no
longer matters (half of the margin of the check)."""

MOST_HALVINGS = 8
"""Grids beyond the step of `LAST_STEP_PX`, 1/256 of it, at any signal."""


@dataclass(frozen=True)
class OracleResult:
    """The oracle's best pose and its score, comparable with that of `score_pose`."""

    pose: Pose
    score: float


def score_pose(samples: Samples, reference: Reference, band: Band, pose: Pose) -> float:
    """Log-likelihood of one pose with the grey scale fitted, cross |cross| / power."""
    score: float = _scores(samples, reference, band, pose.R_p2t[None],
                           pose.shift_xyz_px[None])[0, 0]
    return score


def oracle_search(samples: Samples, reference: Reference, band: Band, rotations: Floats,
                  step_deg: float, shifts_px: Floats, shift_step_px: float,
                  log_prior: LogPrior) -> OracleResult:
    """Search rotations (R, 3, 3) times shifts (S, 3) [px, tomogram axes], then ever finer grids.

    Parameters
    ----------
    step_deg, shift_step_px : float    spacing of the lists
    log_prior : function of rotations (m, 3, 3) and shifts (s, 3), gives (m, s); -inf outside
                the limits of the search

    Notes
    -----
    The grids end where halving their steps no longer changes the score.
    """
    r = min(band.r_max, max(RESOLVED_DEG / step_deg, 4.0))
    scores = _scores(samples, reference, Band(band.r_min, r), rotations, shifts_px)
    scores = scores + log_prior(rotations, shifts_px)
    kept = [Pose(rotations[i], shifts_px[j])
            for i, j in _distinct(scores, rotations, 1.2 * step_deg, KEPT)]
    n_kept, best, n_last = KEPT, OracleResult(kept[0], -np.inf), 0
    last_deg = np.degrees(LAST_STEP_PX / band.r_max)
    while True:
        n_last += step_deg <= last_deg and r >= band.r_max
        before = best.score if n_last > 1 else -np.inf
        fine_deg, fine_px = step_deg / 2, shift_step_px / 2
        r = min(band.r_max, max(RESOLVED_DEG / fine_deg, r))
        n_kept = max(2, n_kept // 2)
        found = [_refine(samples, reference, Band(band.r_min, r), pose, step_deg, fine_deg,
                         shift_step_px, fine_px, log_prior) for pose in kept]
        found.sort(key=lambda result: -result.score)
        best, kept = found[0], [f.pose for f in found[:n_kept]]
        if n_last and (best.score - before < LAST_GAIN or n_last > MOST_HALVINGS):
            return best
        step_deg, shift_step_px = fine_deg, fine_px


def _refine(samples: Samples, reference: Reference, band: Band, pose: Pose, range_deg: float,
            step_deg: float, range_px: float, step_px: float, log_prior: LogPrior
            ) -> OracleResult:
    """The best of a grid about one pose."""
    rotations = pose.R_p2t @ local_rotations(range_deg, step_deg)
    shifts = pose.shift_xyz_px + shift_grid(range_px, step_px)
    scores = _scores(samples, reference, band, rotations, shifts) + log_prior(rotations, shifts)
    i, j = np.unravel_index(int(np.argmax(scores)), scores.shape)
    return OracleResult(Pose(rotations[i], shifts[j]), float(scores[i, j]))


def _scores(samples: Samples, reference: Reference, band: Band, rotations: Floats,
            shifts_px: Floats) -> Floats:
    """(R, S) log-likelihoods with the grey scale fitted."""
    picked = take_band(samples, band)
    phases = shift_phase_matrix(picked, shifts_px, samples.data_rft.shape[1])
    found = score_candidates(picked, phases, reference, np.ascontiguousarray(rotations))
    power = np.maximum(found.power, 1e-30)[:, None]
    return np.asarray(found.cross * np.abs(found.cross) / power)


def _distinct(scores: Floats, rotations: Floats, separation_deg: float, n: int
              ) -> list[tuple[int, int]]:
    """(rotation, shift) of the best rotations that lie apart."""
    best = scores.max(axis=1)
    order = np.argsort(-best, kind="stable")[: 40 * n]
    kept: list[int] = []
    for i in order:
        turns = angular_distance_deg(rotations[i], rotations[kept]) if kept else np.array([360.0])
        if np.isfinite(best[i]) and turns.min() >= separation_deg:
            kept.append(int(i))
            if len(kept) == n:
                break
    kept = kept or [int(order[0])]
    return [(i, int(scores[i].argmax())) for i in kept]

"""The oracle: an exhaustive grid that is made finer until it no longer matters.

Around each start all turns within 6 degrees and shifts within 2 px are tried (2 degrees, 1 px);
then steps are halved again and again about the best so far, each time two steps in every
direction, and a level is repeated where its best lies on the rim. Scores are sums over the
samples of `sta_mpi.align.grid_search`, with the grey scale fitted to every candidate:
cross |cross| / power.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import Band, score_candidates, shift_phase_matrix, take_band
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.reference import Reference
from sta_mpi.geometry.sampling import local_rotations, shift_grid

Floats = NDArray[np.float64]

LEVELS = 6
"""The last steps are 2 / 2^5 = 0.06 degrees and 0.03 px."""
REPEATS = 4


@dataclass(frozen=True)
class Best:
    """The best candidate of a grid."""

    R_p2t: Floats
    shift_xyz_px: Floats
    score: float


class RefinedGrid:
    """The oracle of one particle."""

    def __init__(self, samples: TiltSamples, reference: Reference, r_max: float,
                 r_min: float = 0.0) -> None:
        self._band = take_band(samples, Band(r_min, r_max))
        self._reference = reference

    def climb(self, R: Floats, shift: Floats, first_level: int = 0) -> list[Best]:
        """The best of every level, coarse to fine, from a start."""
        path = []
        best = Best(R, shift, -np.inf)
        for level in range(first_level, LEVELS):
            step_deg, step_px = 2.0 / 2**level, 1.0 / 2**level
            steps = 3 if level == 0 else 2
            turns = local_rotations(steps * step_deg, step_deg)
            shifts = shift_grid(2 * step_px, step_px)
            for _ in range(REPEATS):
                best, is_inside = self._level(best, turns, shifts, steps * step_deg, 2 * step_px)
                if is_inside:
                    break
            path.append(best)
        return path

    def _level(self, best: Best, turns: Floats, shifts: Floats, reach_deg: float,
               reach_px: float) -> tuple[Best, bool]:
        """(best of a grid about the best so far, whether it lies inside the grid)."""
        candidates, moves = best.R_p2t @ turns, best.shift_xyz_px + shifts
        phases = shift_phase_matrix(self._band, moves, self._reference.box_px)
        scores = score_candidates(self._band, phases, self._reference, candidates)
        value = scores.cross * np.abs(scores.cross) / np.maximum(scores.power, 1e-30)[:, None]
        i, j = np.unravel_index(int(value.argmax()), value.shape)
        half_sine = np.linalg.norm(turns[i] - np.eye(3)) / np.sqrt(8)
        turn_deg = np.degrees(2 * np.arcsin(min(1.0, half_sine)))
        inside = turn_deg < 0.99 * reach_deg and np.linalg.norm(shifts[j]) < 0.99 * reach_px
        return Best(candidates[i], moves[j], float(value[i, j])), bool(inside)

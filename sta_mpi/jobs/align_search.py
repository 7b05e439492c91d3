"""What a round of `align` searches, and the exhaustive way of doing it.

A searcher is made on every rank; `align` finds poses of particles of one unit.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import (
    Band,
    BandSamples,
    Prior,
    pick_best,
    score_candidates,
    shift_phase_matrix,
    take_band,
)
from sta_mpi.align.reference import Reference, prepare_reference
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Search:
    """What a round searches.

    Parameters
    ----------
    R_p2t, offset_A : (n, 3, 3), (n, 3)   current poses
    references : (2, b, b, b) float32     one a half-set
    mask : (b, b, b) float32 or None
    rotations : (K, 3, 3)                 absolute when is_global, else turns of the particle's
                                          own axes away from the current pose
    shifts_px : (S, 3)                    tomogram axes, binned pixels
    max_angle_deg, max_shift_A : float    how far from the current pose a search may go
    rotation_step_deg : float             spacing of `rotations`
    """

    R_p2t: Floats
    offset_A: Floats
    references: NDArray[np.float32]
    mask: NDArray[np.float32] | None
    rotations: Floats
    is_global: bool
    shifts_px: Floats
    max_angle_deg: float
    max_shift_A: float
    rotation_step_deg: float
    band: Band
    parameters: AlignParameters

    def candidates(self, row: int) -> Floats:
        """Candidate orientations of a particle, (K, 3, 3), the current one first."""
        current = self.R_p2t[row]
        if self.is_global:
            return np.concatenate([current[None], self.rotations])
        return np.asarray(current @ self.rotations)


class Searcher(Protocol):
    """Finds the poses of the particles of a unit."""

    def align(self, rows: NDArray[np.intp], half: int) -> list[dict[str, Any]]:
        """Pose and scores of each particle, as the columns of `AlignRound.row_specs`."""


def reference_shapes(setup: Setup) -> list[tuple[int, ...]]:
    """Real-space shapes of the transforms that references need."""
    box = setup.sizes.box_px
    return [(box,) * 3, (2 * box,) * 3]


def make_references(search: Search, plans: FftPlans) -> list[Reference]:
    """References of both half-sets, ready for gathering."""
    return [prepare_reference(r, search.mask, search.band.r_max, plans)
            for r in search.references]


def observe_band(setup: Setup, search: Search, row: int) -> BandSamples | None:
    """The band of one particle at its current position; None where no tilt sees it."""
    observation = setup.source.observe(row, search.offset_A[row])
    if observation is None:
        return None
    return take_band(observation.samples(setup.sizes.box_px), search.band)


def unseen(search: Search, row: int) -> dict[str, Any]:
    """What is written for a particle that no tilt sees: its pose as it was."""
    return {"R_p2t": search.R_p2t[row].ravel(), "offset_A": search.offset_A[row],
            "ncc": np.nan, "loglik": np.nan, "gain": np.nan, "at_edge": 0,
            "sigma_angle_deg": np.nan, "sigma_shift_A": np.nan}


class GridSearcher:
    """All rotations of the list times all shifts of the list, for every particle."""

    def __init__(self, setup: Setup, search: Search, grey: tuple[float, float],
                 plans: FftPlans) -> None:
        self._setup, self._search, self._grey = setup, search, grey
        self._references = make_references(search, plans)
        self._phases: dict[tuple[int, bytes], NDArray[np.float32]] = {}
        parameters = search.parameters
        self._prior = Prior(parameters.angle_prior_deg, parameters.shift_prior_A)

    def align(self, rows: NDArray[np.intp], half: int) -> list[dict[str, Any]]:
        """Pose and scores of each particle."""
        return [self._align(int(row), half) for row in rows]

    def _align(self, row: int, half: int) -> dict[str, Any]:
        search, voxel_A = self._search, self._setup.sizes.voxel_A
        band = observe_band(self._setup, search, row)
        if band is None:
            return unseen(search, row)
        candidates = search.candidates(row)
        scores = score_candidates(
            band, self._phases_of(band, row), self._references[half - 1], candidates)
        shifts_A = search.shifts_px * voxel_A
        best = pick_best(scores, self._grey[half - 1], search.parameters.score == "loglik",
                         self._log_prior(row, candidates, shifts_A))
        return {"R_p2t": candidates[best.i_rotation].ravel(),
                "offset_A": search.offset_A[row] + shifts_A[best.i_shift],
                "ncc": best.ncc, "loglik": best.loglik,
                "gain": best.loglik - best.start_loglik,
                "at_edge": int(self._is_at_edge(best.i_rotation, best.i_shift)),
                "sigma_angle_deg": np.nan, "sigma_shift_A": np.nan}

    def _phases_of(self, band: BandSamples, row: int) -> NDArray[np.float32]:
        """Shift phases depend on the visible tilts alone: kept for a series' particles."""
        key = (int(self._setup.inputs.particles.i_tomo[row]), band.rotation.tobytes())
        if key not in self._phases:
            self._phases.clear()
            self._phases[key] = shift_phase_matrix(
                band, self._search.shifts_px, self._setup.sizes.box_px)
        return self._phases[key]

    def _log_prior(self, row: int, candidates: Floats, shifts_A: Floats) -> Floats:
        """(K, S) log prior relative to the input pose, not to the round's start."""
        particles = self._setup.inputs.particles
        angle = angular_distance_deg(
            np.broadcast_to(particles.R_p2t[row], candidates.shape), candidates)
        moved = self._search.offset_A[row] + shifts_A - particles.offset_A[row]
        shift = np.linalg.norm(moved, axis=1)
        return self._prior.log_angle(angle)[:, None] + self._prior.log_shift(shift)[None]

    def _is_at_edge(self, i_rotation: int, i_shift: int) -> bool:
        radius = np.linalg.norm(self._search.shifts_px, axis=1)
        if len(radius) > 1 and radius[i_shift] >= radius.max() - 1e-6:
            return True
        if self._search.is_global or len(self._search.rotations) == 1:
            return False
        turn = angular_distance_deg(np.eye(3), self._search.rotations)
        return bool(turn[i_rotation] >= turn.max() - 1e-6)

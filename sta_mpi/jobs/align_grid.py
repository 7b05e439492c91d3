"""The exhaustive search of `align`: all rotations of the list times all shifts of the list."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import (
    BandSamples,
    Prior,
    Scores,
    pick_best,
    score_candidates,
    shift_phase_matrix,
    take_band,
)
from sta_mpi.align.reference import Reference
from sta_mpi.errors import ParticleError
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.jobs.align_search import (
    Found,
    Mode,
    Search,
    is_at_edge,
    moved_px,
    search_centre,
    unseen,
    weighted_samples,
)
from sta_mpi.jobs.averaging import Setup

Floats = NDArray[np.float64]


class GridSearcher:
    """All rotations of the list times all shifts of the list, for every particle.

    The best of all references takes the particle; there is no posterior.
    """

    def __init__(self, setup: Setup, search: Search, grey: tuple[float, float],
                 references: list[list[Reference]], observe: Any) -> None:
        self._setup, self._search, self._grey = setup, search, grey
        self._observe = observe
        self._references = references
        self._phases: dict[tuple[int, bytes, bytes], NDArray[np.float32]] = {}
        parameters = search.parameters
        self._prior = Prior(parameters.angle_prior_deg, parameters.shift_prior_A)

    def align(self, rows: NDArray[np.intp], half: int) -> Iterator[Found]:
        """Pose and scores of each particle."""
        for row in rows:
            yield self._align(int(row), half)

    def band(self, row: int, observation: Any, i_reference: int, half: int) -> BandSamples:
        """The band of one particle around its current position, weighted as the score asks."""
        search = self._search
        samples = observation.samples(self._setup.sizes.box_px).centred(
            moved_px(self._setup, search, row))
        power = self._references[half - 1][i_reference].shell_power
        return take_band(weighted_samples(search, samples, power, half), search.band)

    def scores(self, row: int, band: BandSamples, i_reference: int, half: int,
               candidates: Floats) -> Scores:
        """Cross terms and powers of candidate orientations times the search's shifts."""
        return score_candidates(band, self._phases_of(band, row),
                                self._references[half - 1][i_reference], candidates)

    def _align(self, row: int, half: int) -> Found:
        search, voxel_A = self._search, self._setup.sizes.voxel_A
        try:
            observation = self._observe(row, search.anchor_A[row])
        except ParticleError as error:
            return unseen(search, row, str(error))
        if observation is None:
            return unseen(search, row)
        candidates, shifts_px = search.candidates(row), search.shifts_of(row)
        shifts_A = shifts_px * voxel_A
        prior, is_likelihood = self._log_prior(row, candidates, shifts_A), (
            search.parameters.score == "loglik")
        found = []
        for k in range(search.references.shape[1]):
            scores = self.scores(row, self.band(row, observation, k, half), k, half, candidates)
            found.append(pick_best(scores, self._grey[half - 1], is_likelihood, prior))
        ranks = np.array([b.loglik if is_likelihood else b.ncc for b in found])
        k = int(np.argmax(ranks[: search.n_classes]))
        best, shift_px = found[k], shifts_px[found[k].i_shift]
        R = candidates[best.i_rotation]
        turn = float(angular_distance_deg(search.R_p2t[row], R))
        columns = {
            "R_p2t": R.ravel(), "offset_A": search.offset_A[row] + shift_px * voxel_A,
            "ncc": best.ncc, "loglik": best.loglik, "gain": best.loglik - best.start_loglik,
            "sigma_angle_deg": np.nan, "sigma_shift_A": np.nan,
            "grey_scale": best.cross / best.power if best.power > 0 else np.nan, "p_max": 1.0,
            "at_edge": int(is_at_edge(search, turn, float(np.linalg.norm(shift_px)))),
            "i_reference": k, "n_modes": 1, "is_settled": 0, "reference_scores": ranks}
        mode = Mode(k, R, moved_px(self._setup, search, row) + shift_px, 1.0)
        return Found(columns, observation, [mode])

    def _phases_of(self, band: BandSamples, row: int) -> NDArray[np.float32]:
        """Shift phases depend on visible tilts and shifts alone: kept for a series' particles."""
        shifts_px = self._search.shifts_of(row)
        key = (int(self._setup.inputs.particles.i_tomo[row]), band.rotation.tobytes(),
               shifts_px.tobytes())
        if key not in self._phases:
            self._phases.clear()
            self._phases[key] = shift_phase_matrix(
                band, shifts_px, self._setup.sizes.box_px)
        return self._phases[key]

    def _log_prior(self, row: int, candidates: Floats, shifts_A: Floats) -> Floats:
        """(R, S) log prior relative to the input pose, not to the round's start."""
        particles = self._setup.inputs.particles
        angle = angular_distance_deg(
            np.broadcast_to(self._search.prior_R[row], candidates.shape), candidates)
        moved = self._search.offset_A[row] + shifts_A - particles.offset_A[row]
        shift = np.linalg.norm(moved, axis=1)
        log_prior = self._prior.log_angle(angle)[:, None] + self._prior.log_shift(shift)[None]
        return np.where(self._is_beyond(row, candidates, shifts_A), -np.inf, log_prior)

    def _is_beyond(self, row: int, candidates: Floats, shifts_A: Floats) -> NDArray[np.bool_]:
        """(R, S) whether a candidate goes beyond limits that are not those of the lists."""
        search = self._search
        if search.limits is None or search.limits.centre is None:
            return np.zeros((len(candidates), len(shifts_A)), bool)
        voxel_A = self._setup.sizes.voxel_A
        centre = search_centre(self._setup, search, row)
        start = moved_px(self._setup, search, row) - centre.shift_xyz_px
        far = np.abs(start + shifts_A / voxel_A).max(axis=1) > search.max_shift_A / voxel_A + 1e-6
        turned = angular_distance_deg(
            np.broadcast_to(centre.R_p2t, candidates.shape), candidates) > search.max_angle_deg
        beyond = turned[:, None] | far[None]
        beyond[0, 0] = False    # where it is, it may stay
        return np.asarray(beyond)

"""The parallel stages of `align`: the grey scale of the reference, and one round."""

from dataclasses import dataclass
from typing import Any

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
from sta_mpi.jobs.averaging import Setup, UnitSums, make_plans, make_units, n_slices
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.reconstruction import half_sum_specs, reconstruct
from sta_mpi.parallel.job import Partial, SumSpec, Unit

Floats = NDArray[np.float64]

GREY_SCALE_PARTICLES = 200
"""Particles a half-set that fit the grey scale of the reference."""


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
    """

    R_p2t: Floats
    offset_A: Floats
    references: NDArray[np.float32]
    mask: NDArray[np.float32] | None
    rotations: Floats
    is_global: bool
    shifts_px: Floats
    band: Band
    parameters: AlignParameters

    def candidates(self, row: int) -> Floats:
        """Candidate orientations of a particle, (K, 3, 3), the current one first."""
        current = self.R_p2t[row]
        if self.is_global:
            return np.concatenate([current[None], self.rotations])
        return np.asarray(current @ self.rotations)


@dataclass
class _Context:
    sums: UnitSums | None
    references: list[Reference]
    phases: dict[tuple[int, bytes], NDArray[np.float32]]


def _prepare(setup: Setup, search: Search, runtime: Any, with_sums: bool) -> _Context:
    box = setup.sizes.box_px
    plans = make_plans(setup, runtime, [(box,) * 3, (2 * box,) * 3])
    setup.source.prepare(runtime, plans)
    references = [prepare_reference(r, search.mask, search.band.r_max, plans)
                  for r in search.references]
    return _Context(UnitSums(setup.sizes) if with_sums else None, references, {})


def _observe_band(setup: Setup, search: Search, row: int) -> BandSamples | None:
    """The band of one particle at its current position; None where no tilt sees it."""
    observation = setup.source.observe(row, search.offset_A[row])
    if observation is None:
        return None
    return take_band(observation.samples(setup.sizes.box_px), search.band)


class GreyScaleJob:
    """Cross term and power of some particles at their current poses."""

    name = "grey-scale"

    def __init__(self, setup: Setup, search: Search, tag: str) -> None:
        self.setup, self.search, self._tag = setup, search, tag

    def units(self) -> list[Unit]:
        """The first particles of each half, spread over the series by row order."""
        units: list[Unit] = []
        for half in (1, 2):
            rows = np.flatnonzero(self.setup.half == half)
            rows = rows[:: max(1, len(rows) // GREY_SCALE_PARTICLES)][:GREY_SCALE_PARTICLES]
            for i_tomo in np.unique(self.setup.inputs.particles.i_tomo[rows]):
                own = rows[self.setup.inputs.particles.i_tomo[rows] == i_tomo]
                units.append(Unit(len(units), self.setup.inputs.series[i_tomo].name,
                                  float(len(own)), (half, own)))
        return units

    def sum_specs(self) -> dict[str, SumSpec]:
        """No sums: rows alone."""
        return {}

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Cross term and power a particle."""
        n = len(self.setup.half)
        return {"cross": ((n,), "float64"), "power": ((n,), "float64")}

    def fingerprint(self) -> str:
        """Digest of inputs, parameters and round."""
        return self._tag + "grey"

    def prepare(self, runtime: Any) -> _Context:
        """Plans, images and references."""
        return _prepare(self.setup, self.search, runtime, with_sums=False)

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Score particles where they are."""
        half, rows = unit.payload
        values = np.empty((len(rows), 2))
        for i, row in enumerate(rows):
            band = _observe_band(self.setup, self.search, int(row))
            if band is None:
                values[i] = np.nan
                continue
            still = shift_phase_matrix(band, np.zeros((1, 3)), self.setup.sizes.box_px)
            scores = score_candidates(band, still, context.references[half - 1],
                                      self.search.R_p2t[row][None])
            values[i] = scores.cross[0, 0], scores.power[0]
        return Partial({}, rows, {"cross": values[:, 0], "power": values[:, 1]})

    def finish(self, reduced: Any, runtime: Any) -> dict[str, Floats]:
        """All rows on all ranks."""
        return {name: reduced.rows(name) for name in ("cross", "power")}


def fit_grey_scale(rows: dict[str, Floats], half: NDArray[np.int8]) -> tuple[float, float]:
    """Least-squares scale of each half's reference, sum cross / sum power.

    A scale that is not positive (a reference that does not resemble the data, or of inverted
    contrast) is replaced by the scale that matches powers, so that scores keep their order.
    """
    scales = []
    for h in (1, 2):
        used = (half == h) & np.isfinite(rows["power"]) & (rows["power"] > 0)
        cross, power = rows["cross"][used].sum(), rows["power"][used].sum()
        if power <= 0:
            scales.append(1.0)
            continue
        spread = np.abs(rows["cross"][used]).sum() / power
        scales.append(float(cross / power if cross > 0.1 * spread * power else spread))
    return scales[0], scales[1]


class AlignRound:
    """Search all candidates of every particle, then insert it at the best one."""

    def __init__(self, setup: Setup, search: Search, grey: tuple[float, float], tag: str,
                 i_round: int) -> None:
        self.name = f"align round {i_round + 1}"
        self.setup, self.search, self.grey, self._tag = setup, search, grey, tag
        parameters = search.parameters
        self._prior = Prior(parameters.angle_prior_deg, parameters.shift_prior_A)

    def units(self) -> list[Unit]:
        """Chunks of one series and half."""
        return make_units(self.setup)

    def sum_specs(self) -> dict[str, SumSpec]:
        """The sums of both halves."""
        return half_sum_specs(self.setup.sizes, n_slices(self.setup))

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Pose and scores of each particle."""
        n = len(self.setup.half)
        return {"R_p2t": ((n, 9), "float64"), "offset_A": ((n, 3), "float64"),
                "ncc": ((n,), "float64"), "loglik": ((n,), "float64"),
                "gain": ((n,), "float64"), "at_edge": ((n,), "int32"),
                "n_slices": ((n,), "int32")}

    def fingerprint(self) -> str:
        """Digest of inputs, parameters and round."""
        return self._tag

    def prepare(self, runtime: Any) -> _Context:
        """Plans, images, references and the unit's sums."""
        return _prepare(self.setup, self.search, runtime, with_sums=True)

    def work(self, context: _Context, unit: Unit) -> Partial:
        """Align and insert the particles of a unit."""
        half, rows = unit.payload
        assert context.sums is not None
        context.sums.clear()
        values: dict[str, list[Any]] = {name: [] for name in self.row_specs()}
        for row in rows:
            found = self._align(context, int(row), half)
            observation = self.setup.source.observe(int(row), found["offset_A"])
            found["n_slices"] = context.sums.insert(observation, found["R_p2t"].reshape(3, 3))
            for name, value in found.items():
                values[name].append(value)
        return Partial({f"half{half}": context.sums.total()}, rows,
                       {name: np.array(v) for name, v in values.items()})

    def _align(self, context: _Context, row: int, half: int) -> dict[str, Any]:
        search, sizes = self.search, self.setup.sizes
        band = _observe_band(self.setup, search, row)
        if band is None:
            return {"R_p2t": search.R_p2t[row].ravel(), "offset_A": search.offset_A[row],
                    "ncc": np.nan, "loglik": np.nan, "gain": np.nan, "at_edge": 0}
        phases = self._phases(context, band, row)
        candidates = search.candidates(row)
        scores = score_candidates(band, phases, context.references[half - 1], candidates)
        shifts_A = search.shifts_px * sizes.voxel_A
        best = pick_best(scores, self.grey[half - 1], search.parameters.score == "loglik",
                         self._log_prior(row, candidates, shifts_A))
        offset = search.offset_A[row] + shifts_A[best.i_shift]
        return {"R_p2t": candidates[best.i_rotation].ravel(), "offset_A": offset,
                "ncc": best.ncc, "loglik": best.loglik,
                "gain": best.loglik - best.start_loglik,
                "at_edge": int(self._is_at_edge(best.i_rotation, best.i_shift))}

    def _phases(self, context: _Context, band: BandSamples, row: int) -> NDArray[np.float32]:
        """Shift phases depend on the visible tilts alone: kept for a series' particles."""
        i_tomo = int(self.setup.inputs.particles.i_tomo[row])
        key = (i_tomo, band.rotation.tobytes())
        if key not in context.phases:
            context.phases.clear()
            context.phases[key] = shift_phase_matrix(
                band, self.search.shifts_px, self.setup.sizes.box_px)
        return context.phases[key]

    def _log_prior(self, row: int, candidates: Floats, shifts_A: Floats) -> Floats:
        """(K, S) log prior relative to the input pose, not to the round's start."""
        particles = self.setup.inputs.particles
        angle = angular_distance_deg(
            np.broadcast_to(particles.R_p2t[row], candidates.shape), candidates)
        moved = self.search.offset_A[row] + shifts_A - particles.offset_A[row]
        shift = np.linalg.norm(moved, axis=1)
        return self._prior.log_angle(angle)[:, None] + self._prior.log_shift(shift)[None]

    def _is_at_edge(self, i_rotation: int, i_shift: int) -> bool:
        radius = np.linalg.norm(self.search.shifts_px, axis=1)
        if len(radius) > 1 and radius[i_shift] >= radius.max() - 1e-6:
            return True
        if self.search.is_global or len(self.search.rotations) == 1:
            return False
        turn = angular_distance_deg(np.eye(3), self.search.rotations)
        return bool(turn[i_rotation] >= turn.max() - 1e-6)

    def finish(self, reduced: Any, runtime: Any) -> tuple[Any, dict[str, NDArray[Any]]]:
        """Maps on rank 0, poses and scores on all ranks."""
        p = self.search.parameters
        maps = reconstruct(reduced, runtime, self.setup.sizes, p.symmetry, p.mask_diameter_A,
                           p.seed)
        return maps, {name: reduced.rows(name) for name in self.row_specs()}

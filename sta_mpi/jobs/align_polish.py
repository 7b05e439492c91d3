"""The fast searches of `align`: polish from the current pose, or from global candidates."""

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.dose_limits import DOSE_SHARE, dose_limits, ring_bands, sample_counts
from sta_mpi.align.marching import marching_radii
from sta_mpi.align.multi_start import MARGIN, polish_best_steps
from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.align.polish import Asked, Bands, PolishResult, PolishSettings, Pose, bands_of
from sta_mpi.align.polish_batch import OneByOne, Particles, run_together
from sta_mpi.align.pose import Restraint
from sta_mpi.align.posterior import log_evidence, mode_weights, retained
from sta_mpi.align.reference import Reference
from sta_mpi.align.settle import go_on_steps, outlook_steps
from sta_mpi.data import TiltSeries
from sta_mpi.errors import ParticleError
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.align_global import GlobalStarts
from sta_mpi.jobs.align_search import (
    Found,
    Mode,
    Search,
    moved_px,
    search_centre,
    unseen,
    weighted_samples,
)
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.fixed_parts import free_parameters
from sta_mpi.jobs.sources import gives_boxes
from sta_mpi.kernels.polish import (
    PackedSamples,
    PoseBatch,
    PoseFunction,
    make_layout,
    pack_samples,
)
from sta_mpi.kernels.polish.curvature import rms_deviations
from sta_mpi.kernels.voxels import PackedVoxels, VoxelProblem, make_voxel_layout, pack_voxels

Floats = NDArray[np.float64]

BATCH, GPU_BATCH = 16, 256
"""Particles whose shifts share a matrix product in a global search; on a GPU they are polished
together as well."""

RINGS = 12
"""Rings of equal area that the disc of samples is cut into, for the dose limits of tilts."""


@dataclass(frozen=True)
class _Particle:
    """A particle while it is searched."""

    row: int
    observation: Any
    samples: TiltSamples | BoxSamples
    start: Pose


@dataclass(frozen=True)
class _Candidate:
    """A polished pose for one reference."""

    i_reference: int
    result: PolishResult
    gain: float
    is_settled: bool


class PolishSearcher:
    """Damped Fisher scoring on the tilt images, from one or several starts a particle."""

    def __init__(self, setup: Setup, search: Search, references: list[list[Reference]],
                 observe: Any) -> None:
        self._setup, self._search, self._observe = setup, search, observe
        self.references = references
        self._device = setup.parameters.device
        r_max, r_min = search.band.r_max, search.band.r_min
        bands = marching_radii(r_max)
        box = setup.sizes.box_px
        rings = ring_bands(r_max, bands, RINGS)
        is_box = gives_boxes(setup.source)
        self._tilt_layout = make_layout(box, rings.radii, r_min)
        self._box_layout = make_voxel_layout(
            box, bands if is_box else bands[:1], r_min)
        self._operators = symmetry_matrices(search.parameters.symmetry)
        parameters, voxel_A = search.parameters, setup.sizes.voxel_A
        # constrained correlation is no log-likelihood: its differences are no probabilities
        is_flat = parameters.score == "cc"
        self._is_hard = is_flat or parameters.assignment == "hard"
        self._margin = np.inf if is_flat else MARGIN
        self._relaxed = symmetry_matrices(search.parameters.relax_symmetry or "C1")
        free = free_parameters(parameters.fix)
        self._settings = PolishSettings(
            bands=None if is_box else rings.stages,
            prior_angle_deg=parameters.angle_prior_deg,
            prior_tilt_deg=parameters.tilt_prior_deg,
            prior_shift_px=None if parameters.shift_prior_A is None
            else parameters.shift_prior_A / voxel_A,
            # what is fixed does not come to a limit
            max_angle_deg=None if search.is_global or not any(free[:3]) else search.max_angle_deg,
            max_shift_px=search.max_shift_A / voxel_A if any(free[3:]) else None,
            max_tilt_deg=_tilt_limit(search), free=free)
        self._bands: dict[tuple[int, bytes], Bands] = {}
        self._global = GlobalStarts(setup, search, self.references) if search.is_global else None

    def align(self, rows: NDArray[np.intp], half: int) -> Iterator[Found]:
        """Poses, scores and uncertainty of each particle."""
        # alone, a particle needs no company, and its samples weigh tens of MiB
        batch = GPU_BATCH if self._device == "gpu" else BATCH if self._global is not None else 1
        for begin in range(0, len(rows), batch):
            particles = [self._particle(int(row)) for row in rows[begin : begin + batch]]
            seen = [p for p in particles if isinstance(p, _Particle)]
            found = self._align_all(seen, self._starts(seen, half), half)
            for particle in particles:
                yield particle if isinstance(particle, Found) else next(found)

    def _align_all(self, particles: list[_Particle], starts: dict[int, list[list[Pose]]],
                   half: int) -> Iterator[Found]:
        """Results in the order of the particles: together on a GPU, else one after the other."""
        together = max(len(particles), 1) if self._device == "gpu" else 1
        for begin in range(0, len(particles), together):
            group = particles[begin : begin + together]
            packed, problems = self._problems([p.samples for p in group], half)
            searches = []
            for i, particle in enumerate(group):
                around = search_centre(self._setup, self._search, particle.row)
                bands = self._bands_of(particle, problems[i])
                for k, of_reference in enumerate(starts[particle.row]):
                    at = k * len(group) + i
                    searches.append((at, self._polish(
                        bands, k, of_reference, around,
                        self._search.keeps(particle.row))))
            candidates = run_together(problems, searches)
            n = len(candidates) // len(group)
            for i, particle in enumerate(group):
                own = [c for found in candidates[i * n : (i + 1) * n] for c in found]
                yield self._found(particle, packed[i], own, n)

    def _particle(self, row: int) -> "_Particle | Found":
        try:
            observation = self._observe(row, self._search.anchor_A[row])
        except ParticleError as error:
            return unseen(self._search, row, str(error))
        if observation is None:
            return unseen(self._search, row)
        half = int(self._setup.half[row])
        samples = weighted_samples(
            self._search,
            observation.samples(self._setup.sizes.box_px, self._tilt_layout.r_max_px),
            self.references[half - 1][0].shell_power, half)
        start = Pose(self._search.R_p2t[row], moved_px(self._setup, self._search, row))
        return _Particle(row, observation, samples, start)

    def _starts(self, particles: list[_Particle], half: int) -> dict[int, list[list[Pose]]]:
        """Row -> for each reference, where the polish begins: the current pose, candidates."""
        n_references = self._search.references.shape[1]
        relaxed = self._relaxed if self._global is None else self._relaxed[:1]
        if self._search.limits is not None:
            relaxed = self._search.limits.starts
        starts = {p.row: [[Pose(p.start.R_p2t @ S, p.start.shift_xyz_px) for S in relaxed]
                          for _ in range(n_references)] for p in particles}
        if self._global is not None and particles:
            found = self._global.starts([p.row for p in particles], [p.samples for p in particles],
                                        [p.start for p in particles], half)
            for p, of_particle in zip(particles, found, strict=True):
                for own, more in zip(starts[p.row], of_particle, strict=True):
                    own += more
        return starts

    def _found(self, particle: _Particle, packed: PackedSamples | PackedVoxels,
               candidates: list[_Candidate], n_references: int) -> Found:
        """What becomes of a particle with these candidates of all references."""
        search = self._search
        evidence = np.array([self._evidence(c, search.keeps(particle.row)) for c in candidates])
        owner = np.array([c.i_reference for c in candidates])
        scores = np.array([evidence[owner == k].max() for k in range(n_references)])
        weights = np.where(owner < search.n_classes, 1.0, 0.0)
        real = np.flatnonzero(weights)
        weights[real] = mode_weights(evidence[real])
        kept, shares = retained(weights, self._is_hard)
        modes = [Mode(int(owner[i]), candidates[i].result.R_p2t,
                      candidates[i].result.shift_xyz_px, float(w))
                 for i, w in zip(kept, shares, strict=True)]
        best = candidates[int(kept[0])]
        columns = self._columns(particle.row, best, packed)
        columns |= {"p_max": float(weights[kept[0]]), "n_modes": len(modes),
                    "reference_scores": scores}
        return Found(columns, particle.observation, modes)

    def _evidence(self, candidate: _Candidate, is_kept: bool) -> float:
        """Log evidence of a mode; poses that stay where they are have no volume."""
        result, shares = candidate.result, self._search.log_share
        height = (result.score + result.log_prior if is_kept
                  else log_evidence(result, self._settings))
        if shares is None or candidate.i_reference >= len(shares):
            return height
        return height + float(shares[candidate.i_reference])

    def _problems(self, samples: Sequence[TiltSamples | BoxSamples], half: int
                  ) -> tuple[Sequence[PackedSamples | PackedVoxels], Particles]:
        """Samples of particles; all of them with the first reference, then with the next ..."""
        volumes, box = [r.volume for r in self.references[half - 1]], self._setup.sizes.box_px
        boxes = [s for s in samples if isinstance(s, BoxSamples)]
        if boxes:
            voxels = [pack_voxels(s.data_rft, s.weight_rft, self._box_layout) for s in boxes]
            return voxels, OneByOne([
                VoxelProblem(v, own, s.R_box2t, box, self._device)
                for v in volumes for own, s in zip(voxels, boxes, strict=True)])
        tilts = [s for s in samples if isinstance(s, TiltSamples)]
        packed = [pack_samples(s.data_rft, s.weight_rft, self._tilt_layout) for s in tilts]
        return packed, PoseBatch(volumes, packed, self._tilt_layout, [s.rotation for s in tilts],
                                 box, self._device)

    def _bands_of(self, particle: _Particle, problem: PoseFunction) -> Bands:
        """Bands of a particle, with the samples of each tilt that its dose leaves."""
        samples, setup = particle.samples, self._setup
        if isinstance(samples, BoxSamples):
            return bands_of(problem, self._settings)
        i_series = int(setup.inputs.particles.i_tomo[particle.row])
        key = i_series, samples.tilts.tobytes()
        if key not in self._bands:
            self._bands[key] = bands_of(problem, self._settings,
                                        self._counts(setup.inputs.series[i_series], samples.tilts))
        return self._bands[key]

    def _counts(self, series: TiltSeries, tilts: NDArray[np.intp]) -> NDArray[np.int64] | None:
        """Samples of each of `tilts` that its dose leaves; None: all."""
        setup = self._setup
        if not setup.parameters.dose_weighting:
            return None
        return sample_counts(self._tilt_layout, dose_limits(
            series.pre_dose_e_per_A2[tilts], setup.sizes.box_px, setup.sizes.voxel_A, DOSE_SHARE,
            series.b_factor_per_dose_A2, series.ctf_b_factor_A2[tilts]))

    def _polish(self, bands: Bands, k: int, starts: list[Pose], around: Pose, is_kept: bool
                ) -> Generator[Asked, None, list[_Candidate]]:
        """Distinct modes for one reference, best first."""
        search = self._search
        if is_kept:
            look = yield from outlook_steps(starts[0], bands.used[-1])
            return [_Candidate(k, look.at, float("nan"), False)]
        may_stop = search.parameters.early_stop and len(starts) == 1
        if may_stop and not (search.is_first or search.is_global):
            restraint = Restraint(around, self._settings)
            look = yield from outlook_steps(starts[0], bands.used[-1], restraint)
            if look.is_settled:
                return [_Candidate(k, look.at, look.gain, True)]
            if look.is_near:
                result = yield from go_on_steps(bands, look, restraint)
                return [_Candidate(k, result, float("nan"), False)]
        if len(self._relaxed) > 1 and not search.is_global:
            # each start has its own limits: it is the turn from there that they are about
            found: list[PolishResult] = []
            for s in starts:
                found += yield from polish_best_steps(
                    bands, [s], Pose(s.R_p2t, around.shift_xyz_px), self._operators)
            results = sorted(found, key=lambda r: -(r.score + r.log_prior))
        else:
            results = yield from polish_best_steps(
                bands, starts, around, self._operators, self._margin)
        return [_Candidate(k, r, float("nan"), False) for r in results]

    def _columns(self, row: int, best: _Candidate, packed: PackedSamples | PackedVoxels
                 ) -> dict[str, Any]:
        voxel_A, result = self._setup.sizes.voxel_A, best.result
        # of the data alone; parameters that are not searched have no uncertainty
        turn_rad, shift_px = rms_deviations(result.information, self._settings.terms.is_free)
        scale = np.sqrt(result.power * packed.norm)
        return {"R_p2t": result.R_p2t.ravel(),
                "offset_A": self._search.anchor_A[row] + result.shift_xyz_px * voxel_A,
                "ncc": result.cross / scale if scale > 0 else 0.0, "loglik": result.score,
                "gain": best.gain, "at_edge": int(result.has_hit_limit),
                "sigma_angle_deg": math.degrees(turn_rad), "sigma_shift_A": shift_px * voxel_A,
                "grey_scale": result.grey_scale, "i_reference": best.i_reference,
                "is_settled": int(best.is_settled)}


def _tilt_limit(search: Search) -> float | None:
    """Largest angle of the Z axis to that of the search's centre [degrees]; None: any."""
    if search.limits is not None:
        return search.limits.max_tilt_deg
    return search.parameters.cone_deg if search.is_global else None

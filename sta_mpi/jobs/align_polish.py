"""The fast searches of `align`: polish from the current pose, or from global candidates."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.global_search import (
    RotatedReference,
    make_voxel_band,
    merge_band,
    rotate_reference,
    search_batch,
    shift_phases_of_band,
)
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import PolishResult, PolishSettings, Pose, polish_pose
from sta_mpi.jobs.align_search import Search, make_references, unseen
from sta_mpi.jobs.averaging import Setup
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]

GLOBAL_BAND = 7.0
"""Largest Fourier index of the global search's voxels: 1.4 r^3 voxels, 15 degrees apart."""

SEPARATION = 1.2
"""Candidates lie this many steps of the rotation grid apart."""

BATCH = 16
"""Particles whose shifts share a matrix product."""


class PolishSearcher:
    """Damped Fisher scoring on the tilt images, from one or several starts a particle."""

    def __init__(self, setup: Setup, search: Search, grey: tuple[float, float],
                 plans: FftPlans) -> None:
        self._setup, self._search = setup, search
        self._references = make_references(search, plans)
        r_max = search.band.r_max
        self._layout = make_layout(
            setup.sizes.box_px, sorted({max(r_max / 4, 2.0), max(r_max / 2, 3.0), r_max}),
            search.band.r_min)
        self._settings = [self._make_settings(g) for g in grey]
        self._voxels = make_voxel_band(setup.sizes.box_px, min(GLOBAL_BAND, r_max),
                                       search.band.r_min)
        self._rotated: dict[int, RotatedReference] = {}

    def _make_settings(self, grey_scale: float) -> PolishSettings:
        parameters, voxel_A = self._search.parameters, self._setup.sizes.voxel_A
        is_likelihood = parameters.score == "loglik"
        return PolishSettings(
            grey_scale=grey_scale if is_likelihood else None,
            prior_angle_deg=parameters.angle_prior_deg,
            prior_shift_px=None if parameters.shift_prior_A is None
            else parameters.shift_prior_A / voxel_A,
            max_angle_deg=None if self._search.is_global else self._search.max_angle_deg,
            max_shift_px=self._search.max_shift_A / voxel_A)

    def align(self, rows: NDArray[np.intp], half: int) -> list[dict[str, Any]]:
        """Pose, scores and uncertainty of each particle."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            samples = [self._observe(int(row)) for row in part]
            starts = self._starts(part, samples, half)
            found += [self._align(int(row), s, p, half)
                      for row, s, p in zip(part, samples, starts, strict=True)]
        return found

    def _observe(self, row: int) -> TiltSamples | None:
        observation = self._setup.source.observe(row, self._search.offset_A[row])
        if observation is None:
            return None
        samples: TiltSamples = observation.samples(self._setup.sizes.box_px)
        return samples

    def _starts(self, rows: NDArray[np.intp], samples: list[TiltSamples | None], half: int
                ) -> list[list[Pose]]:
        """Where the polish of each particle begins: the current pose, then candidates."""
        starts = [[Pose(self._search.R_p2t[row], np.zeros(3))] for row in rows]
        if not self._search.is_global:
            return starts
        if half not in self._rotated:
            self._rotated[half] = rotate_reference(
                self._references[half - 1], self._voxels, self._search.rotations)
        rotated, shifts = self._rotated[half], self._search.shifts_px
        seen = [i for i, s in enumerate(samples) if s is not None]
        merged = [merge_band(s, self._voxels) for s in samples if s is not None]
        if not merged:
            return starts
        candidates = search_batch(
            merged, rotated, shift_phases_of_band(self._voxels, shifts),
            self._search.parameters.starts, SEPARATION * self._search.rotation_step_deg)
        for i, c in zip(seen, candidates, strict=True):
            starts[i] += [Pose(rotated.rotations[r], shifts[s].astype(float))
                          for r, s in zip(c.i_rotation, c.i_shift, strict=True)]
        return starts

    def _align(self, row: int, samples: TiltSamples | None, starts: list[Pose], half: int
               ) -> dict[str, Any]:
        if samples is None:
            return unseen(self._search, row)
        box = self._setup.sizes.box_px
        packed = pack_samples(samples.data_rft, samples.weight_rft, self._layout)
        problem = PoseProblem(self._references[half - 1].volume, packed, self._layout,
                              samples.rotation, box)
        settings, around = self._settings[half - 1], self._centre(row)
        results = [polish_pose(problem, s, settings, around=around) for s in starts]
        best = max(results, key=lambda r: r.score + r.log_prior)
        seen = packed.w > 0
        norm = float(np.sum((packed.dre[seen].astype(float) ** 2
                             + packed.dim[seen].astype(float) ** 2) / packed.w[seen]))
        return self._columns(row, best, norm)

    def _centre(self, row: int) -> Pose | None:
        """Where priors and limits are centred: the input pose with priors, else the start.

        A global search is limited in shift alone, around the current position.
        """
        parameters, particles = self._search.parameters, self._setup.inputs.particles
        if parameters.angle_prior_deg is None and parameters.shift_prior_A is None:
            return Pose(self._search.R_p2t[row], np.zeros(3))
        moved_A = particles.offset_A[row] - self._search.offset_A[row]
        return Pose(particles.R_p2t[row], moved_A / self._setup.sizes.voxel_A)

    def _columns(self, row: int, best: PolishResult, norm: float) -> dict[str, Any]:
        voxel_A = self._setup.sizes.voxel_A
        angle_deg, shift_px = uncertainty(best.information)
        scale = np.sqrt(best.power * norm)
        return {"R_p2t": best.R_p2t.ravel(),
                "offset_A": self._search.offset_A[row] + best.shift_xyz_px * voxel_A,
                "ncc": best.cross / scale if scale > 0 else 0.0, "loglik": best.score,
                "gain": np.nan, "at_edge": int(best.has_hit_limit),
                "sigma_angle_deg": angle_deg, "sigma_shift_A": shift_px * voxel_A}


def uncertainty(information: Floats) -> tuple[float, float]:
    """Rms standard deviation a component of rotation [deg] and shift [px]; NaN without any.

    From the inverse of the (6, 6) information of the data alone (no prior).
    """
    try:
        covariance = np.linalg.inv(information)
    except np.linalg.LinAlgError:
        return float("nan"), float("nan")
    variance = np.diag(covariance)
    if (variance <= 0).any() or not np.isfinite(variance).all():
        return float("nan"), float("nan")
    return (float(np.degrees(np.sqrt(variance[:3].mean()))),
            float(np.sqrt(variance[3:].mean())))

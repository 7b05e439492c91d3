"""The package's searches with the settings of `align`, for samples that are in memory."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.global_search import (
    make_voxel_band,
    merge_band,
    rotate_reference,
    search_batch,
    shift_phases_of_band,
)
from sta_mpi.align.marching import marching_radii
from sta_mpi.align.multi_start import polish_best
from sta_mpi.align.observation import TiltSamples
from sta_mpi.align.polish import PolishResult, PolishSettings, Pose, polish_pose
from sta_mpi.align.reference import Reference
from sta_mpi.align.voxel_band import shifts_of_band
from sta_mpi.geometry.sampling import healpix_rotations, healpix_step_deg, shift_grid
from sta_mpi.kernels.polish import PoseProblem, make_layout, pack_samples

Floats = NDArray[np.float64]

BATCH = 16


class Searches:
    """Polish and global search of particles against one reference.

    Parameters
    ----------
    reference : Reference
    r_max, r_min : float         band [index units of the box]
    grey_scale : float or None   of the reference; None: fitted at every pose
    global_r : float             band of the global search
    starts : int                 candidates that are polished
    order : int                  HEALPix order of the global search's rotations
    shift_px, shift_step_px      shifts of the global search; the step of `align` by default
    radii : list of float        bands of the polish; `marching_radii` by default
    """

    def __init__(self, reference: Reference, r_max: float, r_min: float = 0.0,
                 grey_scale: float | None = None, global_r: float = 7.0, starts: int = 24,
                 order: int = 2, symmetry: str = "C1", shift_px: float = 4.0,
                 shift_step_px: float | None = None, separation: float = 1.2,
                 settings: PolishSettings | None = None,
                 radii: list[float] | None = None) -> None:
        n = reference.box_px
        self.reference, self.r_max = reference, r_max
        self.layout = make_layout(n, radii or marching_radii(r_max), r_min)
        self.settings = settings or PolishSettings(grey_scale=grey_scale)
        self._band = make_voxel_band(n, min(global_r, r_max), r_min)
        self._shifts = (shifts_of_band(n, self._band.r_max, shift_px) if shift_step_px is None
                        else shift_grid(shift_px, shift_step_px))
        self._phases = shift_phases_of_band(self._band, self._shifts)
        self._order, self._symmetry, self._rotated = order, symmetry, None
        self.starts, self._separation_deg = starts, separation * healpix_step_deg(order)

    @property
    def n_shifts(self) -> int:
        """Shifts that the global search multiplies by."""
        return len(self._shifts)

    def problem(self, samples: TiltSamples) -> PoseProblem:
        """The particle as a function of its pose."""
        packed = pack_samples(samples.data_rft, samples.weight_rft, self.layout)
        return PoseProblem(self.reference.volume, packed, self.layout, samples.rotation,
                           self.reference.box_px)

    def polish(self, samples: TiltSamples, starts: Sequence[Pose]) -> PolishResult:
        """The best of the polished starts."""
        problem = self.problem(samples)
        if len(starts) == 1:
            return polish_pose(problem, starts[0], self.settings)
        return polish_best(problem, starts, self.settings)[0]

    def candidates(self, samples: Sequence[TiltSamples]) -> list[list[Pose]]:
        """Where the global search lets the polish of each particle begin."""
        return [poses for poses, _ in self.scored_candidates(samples)]

    def scored_candidates(self, samples: Sequence[TiltSamples]
                          ) -> list[tuple[list[Pose], Floats]]:
        """Candidates of each particle and their log-likelihoods in the low band."""
        if self._rotated is None:
            rotations = healpix_rotations(self._order, self._symmetry)
            self._rotated = rotate_reference(self.reference, self._band, rotations)
        found: list[tuple[list[Pose], Floats]] = []
        for i in range(0, len(samples), BATCH):
            merged = [merge_band(s, self._band) for s in samples[i : i + BATCH]]
            found += [([Pose(self._rotated.rotations[r], self._shifts[s].astype(float))
                        for r, s in zip(c.i_rotation, c.i_shift, strict=True)], c.loglik)
                      for c in search_batch(merged, self._rotated, self._phases, self.starts,
                                            self._separation_deg)]
        return found

    def find(self, samples: Sequence[TiltSamples]) -> list[PolishResult]:
        """Poses from no knowledge of the orientation."""
        return [self.polish(s, c) for s, c in zip(samples, self.candidates(samples), strict=True)]

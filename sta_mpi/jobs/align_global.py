"""Where the polish of a global search begins: the best orientations in a low band."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.candidates import MARGIN
from sta_mpi.align.global_search import search_batch
from sta_mpi.align.grid_search import Prior
from sta_mpi.align.polish import Pose
from sta_mpi.align.reference import Reference
from sta_mpi.align.rotated_reference import RotatedSource, rotate_within
from sta_mpi.align.rotation_list import (
    PoseWindow,
    SearchList,
    make_search_list,
    nearest_mates,
    plan_search_list,
    random_subset,
)
from sta_mpi.align.voxel_band import (
    make_voxel_band,
    merge_band,
    shift_phases_of_band,
    shifts_of_band,
)
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.geometry.symmetry import symmetry_matrices
from sta_mpi.jobs.align_search import Search, search_centre
from sta_mpi.jobs.averaging import Setup
from sta_mpi.kernels.array_module import array_module

Floats = NDArray[np.float64]

GLOBAL_BAND = 7.0
"""Largest Fourier index of the global search's voxels: 1.4 r^3 voxels, 15 degrees apart."""

SEPARATION = 1.2
"""Candidates lie this many steps of the rotation grid apart."""

ROTATED_BYTES = 1 << 30
"""Memory of a rank for references in all orientations; longer lists are made in tiles."""


def global_radius(search: Search) -> float:
    """Largest Fourier index of the voxels that candidates come from."""
    return min(GLOBAL_BAND, search.band.r_max)


def searched_shifts_px(search: Search) -> Floats:
    """(S, 3) shifts of a search's list, tomogram axes [binned pixels].

    Those of a global search reach as far as those of a grid, but lie as far apart as the band of
    its candidates allows.
    """
    if search.kind == "grid" or not search.is_global:
        return search.shifts_px
    reach = float(np.linalg.norm(search.shifts_px, axis=1).max())
    return shifts_of_band(search.references.shape[-1], global_radius(search), reach)


class GlobalStarts:
    """Candidates of batches of particles, for all references at once.

    With `--cone-deg` the list holds every normal, and only its blocks near the input normals
    are multiplied. With `--rotation-share` a round tries a part of the list.
    """

    def __init__(self, setup: Setup, search: Search, references: list[list[Reference]]) -> None:
        self._setup, self._search, self._references = setup, search, references
        parameters = search.parameters
        self._band = make_voxel_band(
            setup.sizes.box_px, global_radius(search), search.band.r_min)
        order, symmetry = parameters.global_order, parameters.symmetry
        self._list: SearchList = (
            make_search_list(search.rotations, symmetry) if parameters.cone_deg is None
            else plan_search_list(2 if order is None else order, symmetry, parameters.cone_deg))
        if parameters.rotation_share < 1:
            self._list = self._list.subset(random_subset(
                len(self._list), parameters.rotation_share, parameters.seed, search.i_round))
        self._operators = symmetry_matrices(symmetry)
        self._shifts_px = searched_shifts_px(search)
        self._phases = shift_phases_of_band(self._band, self._shifts_px)
        # constrained correlation is no log-likelihood: its differences are no probabilities
        self._margin = np.inf if parameters.score == "cc" else MARGIN
        self._rotated: dict[int, RotatedSource] = {}

    def starts(self, rows: list[int], samples: list[Any], current: list[Pose], half: int
               ) -> list[list[list[Pose]]]:
        """For each particle and reference the poses to polish; samples are cut at the anchor."""
        search, shifts = self._search, self._shifts_px
        n_references = len(self._references[half - 1])
        merged = [merge_band(s.centred(p.shift_xyz_px), self._band)
                  for s, p in zip(samples, current, strict=True)]
        window = None
        if search.parameters.cone_deg is not None:
            given = search.prior_R[rows]
            window = PoseWindow(given, search.parameters.cone_deg)
        rotated = self._rotate(half)
        found = search_batch(
            merged, rotated, self._phases, search.parameters.starts,
            SEPARATION * search.rotation_step_deg, self._log_prior(rows), self._list, window,
            self._operators, margin=self._margin)
        starts = []
        for row, pose, candidates in zip(rows, current, found, strict=True):
            of_particle = []
            centre = search_centre(self._setup, search, row).R_p2t
            for g in range(n_references):
                own = candidates.of_reference(g)
                # limits, priors and what is written are about the mate near the particle's pose
                mates = nearest_mates(
                    rotated.rotations[own.i_rotation], centre, self._operators)
                of_particle.append([Pose(R, pose.shift_xyz_px + shifts[s])
                                    for R, s in zip(mates, own.i_shift, strict=True)])
            starts.append(of_particle)
        return starts

    def _log_prior(self, rows: list[int]) -> Floats | None:
        """(b, R) log prior of the list's orientations; None where there is none."""
        p, prior_R = self._search.parameters, self._search.prior_R
        if p.angle_prior_deg is None and p.tilt_prior_deg is None:
            return None
        total = np.zeros((len(rows), len(self._list)))
        for i, row in enumerate(rows):
            mates = nearest_mates(self._list.rotations, prior_R[row], self._operators)
            total[i] += Prior(p.angle_prior_deg).log_angle(
                angular_distance_deg(prior_R[row], mates))
            cosine = np.clip(mates[:, :, 2] @ prior_R[row, :, 2], -1.0, 1.0)
            total[i] += Prior(p.tilt_prior_deg).log_angle(np.degrees(np.arccos(cosine)))
        return total

    def _rotate(self, half: int) -> RotatedSource:
        if half not in self._rotated:
            self._rotated[half] = rotate_within(
                self._references[half - 1], self._band, self._list.rotations, ROTATED_BYTES,
                array_module(self._setup.parameters.device))
        return self._rotated[half]

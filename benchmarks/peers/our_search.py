"""This program's search of 3D boxes, without files of results: what the peers are timed against.

Reading the boxes, their transform and the whole search are in the time; the reference, the
rotated references and the compiled kernels are made before.
"""

import time
from dataclasses import dataclass
from pathlib import Path

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
from sta_mpi.align.observation import BoxSamples
from sta_mpi.align.observe import observe_box
from sta_mpi.align.polish import PolishSettings, Pose
from sta_mpi.align.reference import prepare_reference
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.geometry.sampling import healpix_rotations, shift_grid
from sta_mpi.kernels.voxels import VoxelProblem, make_voxel_layout, pack_voxels
from sta_mpi.signal.fft import FftPlans

Floats = NDArray[np.float64]

GLOBAL_BAND = 7.0
STARTS = 24
BATCH = 16


@dataclass(frozen=True)
class Found:
    """Poses (n, 3, 3), offsets (n, 3) [Å] and CPU seconds a particle and iteration."""

    R_p2t: Floats
    offset_A: Floats
    cpu_s: float


class BoxSearch:
    """Searches the boxes FOLDER/boxes/<i>_{data,weights}.mrc with FOLDER/reference.mrc."""

    def __init__(self, folder: Path, r_max: float, noise_power: float) -> None:
        self._folder, self._noise_power = folder, noise_power
        reference = read_mrc(folder / "reference.mrc")
        self._box, self._pixel_A = reference.box_px, reference.voxel_A
        self._plans = FftPlans().prepare([(self._box,) * 3])
        self._reference = prepare_reference(reference.data, None, r_max, self._plans)
        self._layout = make_voxel_layout(self._box, marching_radii(r_max))
        self._band = make_voxel_band(self._box, min(GLOBAL_BAND, r_max))
        self._rotated = rotate_reference(self._reference, self._band, healpix_rotations(2))
        self._shifts_px = shift_grid(2.0, 1.0)

    def global_search(self, rows: NDArray[np.intp]) -> Found:
        """All orientations 15 degrees apart in a low band, the best ones polished."""
        phases = shift_phases_of_band(self._band, self._shifts_px)
        settings = PolishSettings(max_shift_px=3.0)
        begin = time.process_time()
        poses = []
        for first in range(0, len(rows), BATCH):
            samples = [self._samples(int(row)) for row in rows[first : first + BATCH]]
            merged = [merge_band(s, self._band) for s in samples]
            found = search_batch(merged, self._rotated, phases, STARTS, 18.0)
            for s, candidates in zip(samples, found, strict=True):
                starts = [Pose(self._rotated.rotations[r], self._shifts_px[t]) for r, t in
                          zip(candidates.i_rotation, candidates.i_shift, strict=True)]
                poses.append(self._best(s, starts, settings, Pose(np.eye(3), np.zeros(3))))
        return self._found(poses, begin)

    def local_search(self, rows: NDArray[np.intp], start_R_p2t: Floats, sigma_deg: float,
                     n_iterations: int = 1) -> Found:
        """Polish from a start with a prior on the turn away from it, again from where it ended.

        Particles are kept between iterations, as a job keeps them.
        """
        settings = PolishSettings(prior_angle_deg=sigma_deg, max_angle_deg=5 * sigma_deg,
                                  max_shift_px=3.0)
        begin = time.process_time()
        poses = [Pose(start_R_p2t[row], np.zeros(3)) for row in rows]
        kept: dict[int, BoxSamples] = {}
        for i in range(n_iterations):
            for j, row in enumerate(rows):
                samples = kept.pop(j, None) or self._samples(int(row))
                poses[j] = self._best(samples, [poses[j]], settings, poses[j])
                if i + 1 < n_iterations:
                    kept[j] = samples
        return self._found(poses, begin, n_iterations)

    def _samples(self, row: int) -> BoxSamples:
        boxes = self._folder / "boxes"
        data = read_mrc(boxes / f"{row + 1}_data.mrc").data
        weight = read_mrc(boxes / f"{row + 1}_weights.mrc").data
        return observe_box(data, weight, np.eye(3), np.zeros(3), self._pixel_A,
                           self._noise_power, self._plans, str(row + 1))

    def _best(self, samples: BoxSamples, starts: list[Pose], settings: PolishSettings,
              around: Pose) -> Pose:
        packed = pack_voxels(samples.data_rft, samples.weight_rft, self._layout)
        problem = VoxelProblem(
            self._reference.volume, packed, samples.R_box2t, len(samples.data_rft))
        best = polish_best(problem, starts, settings, around=around)[0]
        return Pose(best.R_p2t, best.shift_xyz_px)

    def _found(self, poses: list[Pose], begin: float, n_iterations: int = 1) -> Found:
        cpu_s = (time.process_time() - begin) / len(poses) / n_iterations
        return Found(np.stack([p.R_p2t for p in poses]),
                     self._pixel_A * np.stack([p.shift_xyz_px for p in poses]), cpu_s)

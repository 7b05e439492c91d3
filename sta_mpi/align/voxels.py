"""Boxes for the pose polish: pseudo-subtomograms, and tilt images merged to a low 3D band.

A sample of tilt f at frequency k lies at K = kx u_f + ky v_f. Merging spreads it over the eight
voxels around K with trilinear weights t,

    D(K) = sum t d        W(K) = sum t w

so that the sums of a pose over voxels, Re sum conj(V) D and sum W |V|^2, are those over the
samples with V and |V|^2 interpolated between voxels. Interpolation damps both alike in real
space; undoing that in D alone (gridding correction) puts scores right and poses wrong, by
1 degree and more. As they are, poses are off by about half a degree
(docs/performance_kernels.md): a merged band leads to the optimum of the tilt images and does
not take its place.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.insert import insert_slices
from sta_mpi.kernels.polish import PoseFunction, PoseProblem, PoseSums
from sta_mpi.kernels.voxels import PackedVoxels, VoxelLayout, VoxelProblem, pack_voxels

Floats = NDArray[np.float64]

_DIAGONAL = 1.75
"""Samples up to the diagonal of a voxel beyond the band are spread to voxels inside."""


SAMPLE_NS = 10.0
"""Value, gradient and information of a tilt sample or a voxel, `bench_voxels.py`."""

MERGE_NS, SPREAD_NS, VOXEL_NS = 1.4e5, 20.0, 58.0
"""Merging: once, a tilt sample, a cube of 1 in r^3, `bench_voxels.py`."""

EVALUATIONS, EXTRA = 0.7, 2.4
"""Evaluations of the first band that merging makes cheaper, a start (most are dropped after
one), and those that later bands need more for it; fitted to searches of `bench_voxels.py`."""

SEEN = 2 / 3
"""Share of voxels outside the missing wedge of tilts to 60 degrees."""


def box_problem(samples: BoxSamples, volume: GatherVolume, layout: VoxelLayout,
                dtype: type = np.float32, device: str = "cpu") -> VoxelProblem:
    """A pseudo-subtomogram and a reference as a function of the pose, for `polish_pose`."""
    packed = pack_voxels(samples.data_rft, samples.weight_rft, layout, dtype)
    return VoxelProblem(volume, packed, samples.R_box2t, len(samples.data_rft), device)


def merge_tilts(samples: TiltSamples, layout: VoxelLayout, dtype: type = np.float32
                ) -> PackedVoxels:
    """Merge the slices of a particle to the voxels of a layout, in tomogram axes.

    Parameters
    ----------
    samples : TiltSamples
    layout : VoxelLayout     up to a radius of n // 2 - 1
    dtype : float32 or float16
    """
    n = samples.data_rft.shape[1]
    g = min(2 * (int(np.ceil(layout.r_max_px + _DIAGONAL)) + 1), n)
    rows, columns = np.r_[0 : (g + 1) // 2, n - g // 2 : n], slice(0, g // 2 + 1)
    sums = np.zeros((g, g, g // 2 + 1, 4), np.float32)
    insert_slices(sums, np.ascontiguousarray(samples.data_rft[:, rows, columns]),
                  np.ascontiguousarray(samples.weight_rft[:, rows, columns]),
                  np.ascontiguousarray(samples.rotation[:, :2]),
                  min(layout.r_max_px + _DIAGONAL, g // 2))
    data = np.ascontiguousarray(sums[..., :2]).view(np.complex64)[..., 0]
    return pack_voxels(data, np.ascontiguousarray(sums[..., 2]), layout, dtype)


def prefer_voxels(n_tilts: int, r_px: float, n_starts: int = 1) -> bool:
    """Whether a band is polished faster when the tilt images are merged first.

    Parameters
    ----------
    n_tilts : int
    r_px : float      outer radius of the first band, a quarter of the last [index units]
    n_starts : int    poses of the particle that are polished in this band

    Notes
    -----
    A rule of cost alone, from measured times. Poses from merged images are off by about half
    a degree, so the last band belongs to the images (`EarlyMerged`).
    """
    samples, voxels = n_tilts * np.pi / 2 * r_px**2, SEEN * 2 * np.pi / 3 * r_px**3
    saved_ns = EVALUATIONS * n_starts * SAMPLE_NS * (samples - voxels)
    spent_ns = MERGE_NS + (SPREAD_NS + EXTRA * SAMPLE_NS) * samples + VOXEL_NS * r_px**3
    return bool(saved_ns > spent_ns)


class EarlyMerged:
    """Tilt images whose first bands are read from merged voxels: a `PoseFunction` for searches.

    Parameters
    ----------
    images : PoseProblem
    merged : VoxelProblem      of the same particle and reference
    stages : sequence of int   band of the images' layout where each merged band ends; the last
                               band is never merged. Default: the first bands in turn
    """

    def __init__(self, images: PoseProblem, merged: VoxelProblem,
                 stages: Sequence[int] | None = None) -> None:
        self._images, self._merged = images, merged
        self.n, self.n_tilts, self.layout = images.n, images.n_tilts, images.layout
        n_bands, n_all = len(merged.layout.r_bands), len(self.layout.band_start) - 1
        own = list(range(1, n_bands + 1)) if stages is None else list(stages)
        if len(own) != n_bands or not all(0 < band < n_all for band in own):
            raise ValueError(f"{n_bands} merged bands for bands {own} of {n_all}: expected as "
                             "many, without the last one, which belongs to the images")
        self._ends = self.layout.band_start[own]

    def sums(self, R_p2t: Floats, shift_xyz_px: Floats, count: NDArray[np.int64]) -> PoseSums:
        """Sums of a pose over the first `count` (m,) samples of each tilt, or over a band."""
        problem, used = self._read(count)
        return problem.sums(R_p2t, shift_xyz_px, used)

    def score(self, R_p2t: Floats, shift_xyz_px: Floats,
              count: NDArray[np.int64]) -> tuple[float, float]:
        """(cross, power) of a pose alone."""
        problem, used = self._read(count)
        return problem.score(R_p2t, shift_xyz_px, used)

    def radius(self, count: NDArray[np.int64]) -> float:
        """Largest |k| of the first `count` (m,) samples, at least 1 [index units]."""
        return self._images.radius(count)

    def _read(self, count: NDArray[np.int64]) -> tuple[PoseFunction, NDArray[np.int64]]:
        """What is evaluated, and how much of it; limits of single tilts end at a band's voxels."""
        most = count.max(initial=0)
        band = int(np.searchsorted(self._ends, most))
        if most == 0 or band == len(self._ends):
            return self._images, count
        return self._merged, self._merged.layout.band_start[band + 1 : band + 2]

"""Boxes for the pose polish: pseudo-subtomograms, and tilt images merged to a low 3D band.

A sample of tilt f at frequency k lies at K = kx u_f + ky v_f. Merging makes voxels

    D(K) = sum d S(K - K_s)        W(K) = sum w S(K - K_s)

so that the sums of a pose over voxels, Re sum conj(V) D and sum W |V|^2, are those over the
samples. That is exact where S is the transform of the box and the object fills at most half
of it. S is approximated: samples are spread trilinearly on a grid `PAD` times finer, and
in real space the sums are divided by the window of that and cropped to the box. What is left
of other periods of the grid turns poses by some tenths of a degree (docs/performance_kernels.md),
so a merged band leads to the optimum of the tilt images and does not take its place.
"""

from itertools import count

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.observation import BoxSamples, TiltSamples
from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.gridding import correct_gridding
from sta_mpi.kernels.insert import insert_slices
from sta_mpi.kernels.voxels import PackedVoxels, VoxelLayout, VoxelProblem, pack_voxels
from sta_mpi.signal.fft import FftPlans

PAD = 2
"""Sums are made on a grid this many times finer; with 1, poses are turned by over 1 degree."""

SAMPLE_NS, VOXEL_NS = 10.0, 11.0
"""Value, gradient and information of a tilt sample and of a voxel, `bench_voxels.py`."""

SPREAD_NS, GRID_NS = 20.0, 15.0
"""Merging a tilt sample, and all passes over a voxel of the fine grid, `bench_voxels.py`."""

EVALUATIONS = 4.0
"""Evaluations of a band from one start."""


def box_problem(samples: BoxSamples, volume: GatherVolume, layout: VoxelLayout,
                dtype: type = np.float32, device: str = "cpu") -> VoxelProblem:
    """A pseudo-subtomogram and a reference as a function of the pose, for `polish_pose`."""
    packed = pack_voxels(samples.data_rft, samples.weight_rft, layout, dtype)
    return VoxelProblem(volume, packed, samples.R_box2t, len(samples.data_rft), device)


def merge_tilts(samples: TiltSamples, layout: VoxelLayout, plans: FftPlans,
                dtype: type = np.float32) -> PackedVoxels:
    """Merge the slices of a particle to the voxels of a layout, in tomogram axes.

    Parameters
    ----------
    samples : TiltSamples
    layout : VoxelLayout     up to a radius of n // 2 - 1
    plans : FftPlans         transforms of `merged_shapes` are used
    dtype : float32 or float16

    Notes
    -----
    Costs about as much as two evaluations of the tilt images and four small transforms.
    """
    n = samples.data_rft.shape[1]
    g = merged_grid(layout.r_max_px, n)
    sums = np.zeros((PAD * g, PAD * g, PAD * g // 2 + 1, 4), np.float32)
    insert_slices(sums, samples.data_rft, samples.weight_rft,
                  np.ascontiguousarray(samples.rotation[:, :2]),
                  min(layout.r_max_px + 1.0, g // 2), pad=PAD)
    data = np.ascontiguousarray(sums[..., :2]).view(np.complex64)[..., 0]
    weight = _to_box(sums[..., 2].astype(np.complex64), g, plans).real
    return pack_voxels(_to_box(data, g, plans), np.ascontiguousarray(weight), layout, dtype)


def prefer_voxels(n_tilts: int, r_px: float, n_starts: int = 1) -> bool:
    """Whether a band is polished faster when the tilt images are merged first.

    Parameters
    ----------
    n_tilts : int
    r_px : float      outer radius of the band [index units]
    n_starts : int    poses of the particle that are polished in this band

    Notes
    -----
    A rule of cost alone, from measured times. Poses from merged images are off by some
    tenths of a degree: use it for bands that only lead to the next one, never for the last.
    """
    flat, solid = n_tilts * np.pi / 2 * r_px**2, 2 * np.pi / 3 * r_px**3
    fine = (PAD * _grid(r_px)) ** 3
    saved = EVALUATIONS * n_starts * (SAMPLE_NS * flat - VOXEL_NS * solid)
    return bool(saved > SPREAD_NS * flat + GRID_NS * fine)


def merged_grid(r_max_px: float, n: int) -> int:
    """Edge g <= n of the small grid that holds a merged band: even, without large factors."""
    return min(_grid(r_max_px), n)


def merged_shapes(r_max_px: float, n: int) -> list[tuple[int, ...]]:
    """Real-space shapes of the transforms that `merge_tilts` uses."""
    g = merged_grid(r_max_px, n)
    return [(PAD * g,) * 3, (g,) * 3]


def _grid(r_max_px: float) -> int:
    return next(g for g in count(2 * (int(np.ceil(r_max_px)) + 1), 2) if _is_smooth(g))


def _is_smooth(g: int) -> bool:
    for prime in (2, 3, 5):
        while g % prime == 0:
            g //= prime
    return g == 1


def _to_box(fine_rft: NDArray[np.complex64], g: int, plans: FftPlans) -> NDArray[np.complex64]:
    """Sums on the fine grid, cropped to the box in real space: (g, g, g//2+1)."""
    first = PAD * g // 2 - g // 2
    inside = slice(first, first + g)
    box = correct_gridding(plans.irfft3(fine_rft)[inside, inside, inside], PAD)
    return plans.rfft3(box) * np.float32(PAD**2)

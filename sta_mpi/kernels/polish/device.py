"""Samples of particles where they are evaluated: in the memory of the host or of a GPU.

Both kinds take a reference and poses of tilts and give their sums; a GPU keeps samples and
references, so only poses and sums travel. Samples of several particles may lie in one object,
tilt after tilt; `rows` says which of them a call means.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.device import KeptByIdentity, Scratch, device_volume, free_dropped, upload
from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.options import check_device
from sta_mpi.kernels.polish import chain, cpu, inline
from sta_mpi.kernels.polish.climb import climb_by_sums
from sta_mpi.kernels.polish.samples import PackedSamples, SampleLayout

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Records = NDArray[np.void]
SumsOfPose = tuple[float, float, Floats, Floats, Floats]


class Tilts(NamedTuple):
    """What the tilts of a particle make of its pose.

    Parameters
    ----------
    rotation : (m, 3, 3) float64                     tomogram axes to image axes
    scale : float                                    padded units of the reference an index unit
    n : int                                          box edge [px]
    data_scale, weight_scale : (m,) float64          of the stored samples
    """

    rotation: Floats
    scale: float
    n: int
    data_scale: Floats
    weight_scale: Floats

    def poses(self, R_p2t: Floats, shift_xyz_px: Floats) -> tuple[Floats, Floats]:
        """(axes (m, 2, 3) in padded units, cycles (m, 2) per index) of a pose."""
        axes, cycles = chain.tilt_poses(
            self.rotation, np.ascontiguousarray(R_p2t), np.ascontiguousarray(shift_xyz_px),
            self.scale, self.n)
        return axes, cycles

    def combined(self, sums: Floats) -> SumsOfPose:
        """What `PoseSums` holds, from the sums of tilts (m, 25)."""
        found: SumsOfPose = chain.combine(sums, self.data_scale, self.weight_scale, self.rotation,
                                          2 * np.pi / self.n)
        return found


class PlacedSamples(Protocol):
    """Samples on a device."""

    def hold(self, volume: GatherVolume) -> Any:
        """The reference as `evaluate` takes it, on the same device."""

    def evaluate(self, volume: Any, n_sums: int, axes: Floats, cycles: Floats, rows: Integers,
                 count: Integers) -> Floats:
        """Sums (a, n_sums) of `a` tilts: axes (a, 2, 3) in padded units, cycles (a, 2) per index,
        rows (a,) of the samples and count (a,) how many of each, from the first one."""

    def sums(self, volume: Any, tilts: Tilts, R_p2t: Floats, shift_xyz_px: Floats,
             rows: Integers, count: Integers) -> SumsOfPose:
        """What `PoseSums` holds of a pose of one particle, whose samples are `rows`."""

    def climb(self, volume: Any, tilts: Tilts, rows: Integers, used: Integers, state: Records,
              rules: Records) -> None:
        """Answer what a climb of one particle, whose samples are `rows`, asks until it ends.

        used (b, m): samples of each tilt in each band.
        """


def place_samples(packed: Sequence[PackedSamples], layout: SampleLayout, device: str
                  ) -> PlacedSamples:
    """Put samples of one particle, or on a GPU of several, where they are evaluated."""
    kind: Any = _DeviceSamples if check_device(device) else _HostSamples
    placed: PlacedSamples = kind(packed, layout)
    return placed


class _HostSamples:
    """Samples of one particle on the host, as they are; `rows` must be all of its tilts."""

    def __init__(self, packed: Sequence[PackedSamples], layout: SampleLayout) -> None:
        (own,) = packed
        parts = [own.dre, own.dim, own.w]
        if own.w.dtype == np.float16:
            parts = [x.view(np.uint16) for x in parts]
        self._samples = *parts, layout.kx, layout.ky

    def hold(self, volume: GatherVolume) -> Any:
        return volume.floats, volume.row, volume.plane, volume.reach

    def evaluate(self, volume: Any, n_sums: int, axes: Floats, cycles: Floats, rows: Integers,
                 count: Integers) -> Floats:
        out = np.zeros((len(axes), n_sums))
        if count.any():
            cpu.pose_sums(*volume, axes, cycles, *self._samples, count, out)
        return out

    def sums(self, volume: Any, tilts: Tilts, R_p2t: Floats, shift_xyz_px: Floats,
             rows: Integers, count: Integers) -> SumsOfPose:
        found: SumsOfPose = chain.sums_of_pose(
            *volume, *self._samples, *tilts, np.ascontiguousarray(R_p2t),
            np.ascontiguousarray(shift_xyz_px), count)
        return found

    def climb(self, volume: Any, tilts: Tilts, rows: Integers, used: Integers, state: Records,
              rules: Records) -> None:
        chain.climb(*volume, *self._samples, *tilts, used, state, rules)


class _DeviceSamples:
    """Samples of one or more particles on a GPU, uploaded when it is made."""

    def __init__(self, packed: Sequence[PackedSamples], layout: SampleLayout) -> None:
        free_dropped()
        self._samples = [_upload_rows([getattr(p, name) for p in packed])
                         for name in ("dre", "dim", "w")]
        self._frequencies = _device_layout(layout)
        self._scratch = Scratch()

    def hold(self, volume: GatherVolume) -> Any:
        v = device_volume(volume)
        return v.floats, v.row, v.plane, v.reach

    def evaluate(self, volume: Any, n_sums: int, axes: Floats, cycles: Floats, rows: Integers,
                 count: Integers) -> Floats:
        from sta_mpi.kernels.polish import cuda

        out = np.zeros((len(axes), n_sums))
        if not count.any():
            return out
        poses = np.column_stack([axes.reshape(-1, 6), cycles, rows, count])
        found = self._scratch.array("sums", out.shape, np.float64)
        cuda.KERNELS[n_sums][len(poses), cuda.THREADS](
            *volume, self._scratch.filled("poses", poses), *self._samples, *self._frequencies,
            found)
        found.copy_to_host(out)
        return out

    def sums(self, volume: Any, tilts: Tilts, R_p2t: Floats, shift_xyz_px: Floats,
             rows: Integers, count: Integers) -> SumsOfPose:
        return tilts.combined(self.evaluate(
            volume, inline.N_SUMS, *tilts.poses(R_p2t, shift_xyz_px), rows, count))

    def climb(self, volume: Any, tilts: Tilts, rows: Integers, used: Integers, state: Records,
              rules: Records) -> None:
        climb_by_sums(state, rules, lambda R_p2t, shift_xyz_px, band: self.sums(
            volume, tilts, R_p2t, shift_xyz_px, rows, used[band]))


def _upload_rows(parts: list[NDArray[Any]]) -> Any:
    """One device array of the rows of all parts, copied part after part."""
    from numba import cuda

    if len(parts) == 1:
        return upload(parts[0])
    n_rows = sum(len(p) for p in parts)
    rows = cuda.device_array((n_rows, parts[0].shape[1]), parts[0].dtype)
    at = 0
    for own in parts:
        if own.size:
            rows[at : at + len(own)].copy_to_device(np.ascontiguousarray(own))
        at += len(own)
    return rows


# All particles of a box share a layout: its frequencies are uploaded once.
_device_layout = KeptByIdentity(lambda layout: (upload(layout.kx), upload(layout.ky)))

"""Voxels of a box where they are evaluated: in the memory of the host or of a GPU.

A GPU keeps voxels and reference, so only the pose and its sums travel.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.device import Scratch, device_volume, upload
from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.options import check_device
from sta_mpi.kernels.polish.climb import climb_by_sums
from sta_mpi.kernels.voxels import chain, cpu, inline
from sta_mpi.kernels.voxels.samples import PackedVoxels

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Records = NDArray[np.void]
SumsOfPose = tuple[float, float, Floats, Floats, Floats]


class BoxFrame(NamedTuple):
    """What the box of a particle makes of its pose.

    Parameters
    ----------
    R_t2box : (3, 3) float64              tomogram axes to box axes
    scale : float                         padded units of the reference an index unit
    n : int                               box edge [px]
    data_scale, weight_scale : float      of the stored voxels
    """

    R_t2box: Floats
    scale: float
    n: int
    data_scale: float
    weight_scale: float

    def pose(self, R_p2t: Floats, shift_xyz_px: Floats) -> tuple[Floats, Floats]:
        """(axes (3, 3) in padded units, cycles (3,) per index) of a pose."""
        axes, cycles = chain.box_pose(self.R_t2box, np.ascontiguousarray(R_p2t),
                                      np.ascontiguousarray(shift_xyz_px), self.scale, self.n)
        return axes, cycles

    def combined(self, sums: Floats) -> SumsOfPose:
        """What `PoseSums` holds, from the sums of the box (32,)."""
        found: SumsOfPose = chain.combine(sums, self.data_scale, self.weight_scale, self.R_t2box,
                                          2 * np.pi / self.n)
        return found


class PlacedVoxels(Protocol):
    """Voxels and reference on a device."""

    def evaluate(self, n_sums: int, axes: Floats, cycles: Floats, count: int) -> Floats:
        """Sums (n_sums,) of a pose: axes (3, 3) in padded units, cycles (3,) per index."""

    def sums(self, frame: BoxFrame, R_p2t: Floats, shift_xyz_px: Floats, count: int
             ) -> SumsOfPose:
        """What `PoseSums` holds of a pose."""

    def climb(self, frame: BoxFrame, used: Integers, state: Records, rules: Records) -> None:
        """Answer what a climb asks until it ends; used (b, 1): voxels in each band."""


def place_voxels(volume: GatherVolume, packed: PackedVoxels, device: str) -> PlacedVoxels:
    """Put a box and the reference where they are evaluated."""
    kind: Any = _DeviceVoxels if check_device(device) else _HostVoxels
    placed: PlacedVoxels = kind(volume, packed)
    return placed


class _HostVoxels:
    """Voxels on the host, as they are."""

    def __init__(self, volume: GatherVolume, packed: PackedVoxels) -> None:
        parts, layout = [packed.dre, packed.dim, packed.w], packed.layout
        if packed.w.dtype == np.float16:
            parts = [x.view(np.uint16) for x in parts]
        self._volume = volume.floats, volume.row, volume.plane, volume.reach
        self._samples = *parts, layout.kx, layout.ky, layout.kz

    def evaluate(self, n_sums: int, axes: Floats, cycles: Floats, count: int) -> Floats:
        out = np.zeros(n_sums)
        if count > 0:
            kernel: Any = cpu.normal_equations if n_sums == inline.N_SUMS else cpu.score
            kernel(*self._volume, axes, cycles, *self._samples, count, out)
        return out

    def sums(self, frame: BoxFrame, R_p2t: Floats, shift_xyz_px: Floats, count: int
             ) -> SumsOfPose:
        found: SumsOfPose = chain.sums_of_pose(
            *self._volume, *self._samples, *frame, np.ascontiguousarray(R_p2t),
            np.ascontiguousarray(shift_xyz_px), count)
        return found

    def climb(self, frame: BoxFrame, used: Integers, state: Records, rules: Records) -> None:
        chain.climb(*self._volume, *self._samples, *frame, used, state, rules)


class _DeviceVoxels:
    """Voxels on a GPU, uploaded when it is made."""

    def __init__(self, volume: GatherVolume, packed: PackedVoxels) -> None:
        layout = packed.layout
        self._volume = device_volume(volume)
        self._samples = [upload(x) for x in (packed.dre, packed.dim, packed.w,
                                             layout.kx, layout.ky, layout.kz)]
        self._scratch = Scratch()

    def evaluate(self, n_sums: int, axes: Floats, cycles: Floats, count: int) -> Floats:
        from sta_mpi.kernels.voxels import cuda

        if count <= 0:
            return np.zeros(n_sums)
        n_blocks, v = -(-count // cuda.BLOCK), self._volume
        found = self._scratch.array("sums", (n_blocks, n_sums), np.float64)
        pose = self._scratch.filled("pose", np.concatenate([axes.ravel(), cycles]))
        cuda.KERNELS[n_sums][n_blocks, cuda.THREADS](
            v.floats, v.row, v.plane, v.reach, pose, *self._samples, count, found)
        return np.asarray(found.copy_to_host().sum(axis=0))

    def sums(self, frame: BoxFrame, R_p2t: Floats, shift_xyz_px: Floats, count: int
             ) -> SumsOfPose:
        return frame.combined(
            self.evaluate(inline.N_SUMS, *frame.pose(R_p2t, shift_xyz_px), count))

    def climb(self, frame: BoxFrame, used: Integers, state: Records, rules: Records) -> None:
        climb_by_sums(state, rules, lambda R_p2t, shift_xyz_px, band: self.sums(
            frame, R_p2t, shift_xyz_px, int(used[band, 0])))

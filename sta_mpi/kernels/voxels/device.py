"""Voxels of a box where they are evaluated: in the memory of the host or of a GPU.

A GPU keeps voxels and reference, so only the pose and its sums travel.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.device import Scratch, device_volume, upload
from sta_mpi.kernels.gather import GatherVolume
from sta_mpi.kernels.options import check_device
from sta_mpi.kernels.voxels import cpu, inline
from sta_mpi.kernels.voxels.samples import PackedVoxels

Floats = NDArray[np.float64]


class PlacedVoxels(Protocol):
    """Voxels and reference on a device."""

    def evaluate(self, n_sums: int, axes: Floats, cycles: Floats, count: int) -> Floats:
        """Sums (n_sums,) of a pose: axes (3, 3) in padded units, cycles (3,) per index."""


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

"""Volumes and pairs of half maps: voxels with their size, indexed [z, y, x]."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Volume:
    """A map.

    Parameters
    ----------
    data : (nz, ny, nx) float32   centre voxel of an axis of length n is n // 2
    voxel_A : float               voxel edge [Å]
    """

    data: NDArray[np.float32]
    voxel_A: float

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise ValueError(f"a volume has 3 axes, got shape {self.data.shape}")

    @property
    def box_px(self) -> int:
        """Edge of a cubic volume [voxels]; ValueError where it is not cubic."""
        if len(set(self.data.shape)) != 1:
            raise ValueError(f"the volume is not cubic: {self.data.shape} (z, y, x)")
        return int(self.data.shape[0])


@dataclass(frozen=True)
class HalfMaps:
    """Two maps of independent half-sets, of one size and voxel."""

    half1: Volume
    half2: Volume

    def __post_init__(self) -> None:
        if self.half1.data.shape != self.half2.data.shape:
            raise ValueError(
                f"half maps differ in size: {self.half1.data.shape} and {self.half2.data.shape}")
        if abs(self.half1.voxel_A - self.half2.voxel_A) > 1e-4 * self.half1.voxel_A:
            raise ValueError(
                f"half maps differ in voxel: {self.half1.voxel_A} and {self.half2.voxel_A} Å")

    @property
    def merged(self) -> Volume:
        """The mean of the two halves."""
        mean = 0.5 * (self.half1.data.astype(np.float64) + self.half2.data)
        return Volume(mean.astype(np.float32), self.half1.voxel_A)

"""Maps that commands move or average: one, or both halves; read, checked, written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.jobs.reconstruction import MapSizes
from sta_mpi.jobs.reference_files import other_half, refuse_flat

Map = NDArray[np.float32]

LEAST_BOX_PX = 8
"""Smallest maps that are worked on."""


@dataclass(frozen=True)
class MapSet:
    """One map, or two half maps.

    Parameters
    ----------
    maps : dict of str to (n, n, n) float32    by the name they are written under, without .mrc
    voxel_A : float
    """

    maps: dict[str, Map]
    voxel_A: float

    @property
    def box_px(self) -> int:
        """Edge of the maps."""
        return len(next(iter(self.maps.values())))

    @property
    def sizes(self) -> MapSizes:
        """Sizes that a mask or another map must have."""
        return MapSizes(self.box_px, self.box_px, self.voxel_A)

    @property
    def mean(self) -> Map:
        """The map, or the mean of both halves."""
        total = np.sum(list(self.maps.values()), axis=0, dtype=np.float64)
        return np.asarray(total / len(self.maps), np.float32)

    def write(self, folder: Path) -> dict[str, str]:
        """Write all maps; name -> file name."""
        for name, data in self.maps.items():
            write_mrc(folder / f"{name}.mrc", data, self.voxel_A)
        return {name: f"{name}.mrc" for name in self.maps}


def map_set_files(reference: Path) -> list[Path]:
    """The map, and the other half where its name holds one."""
    if not reference.is_file():
        raise InputError(f"{reference}: no such map. Correct the name.")
    other = other_half(reference)
    if other is None:
        return [reference]
    if not other.is_file():
        raise InputError(f"{reference} is of one half-set, but {other} does not exist. Put both "
                         "halves side by side, or rename the map.")
    return sorted([reference, other])


def read_map_set(reference: Path) -> MapSet:
    """Read a map, or both halves where its name holds half1 or half2."""
    files = map_set_files(reference)
    volumes = [read_mrc(path) for path in files]
    for path, volume in zip(files, volumes, strict=True):
        shape = volume.data.shape
        if len(set(shape)) != 1 or shape[0] % 2 or shape[0] < LEAST_BOX_PX:
            raise InputError(f"{path}: {shape[::-1]} voxels, expected a cube with an even edge of "
                             f"at least {LEAST_BOX_PX}. Crop or pad the map.")
        if shape != volumes[0].data.shape or abs(
                volume.voxel_A - volumes[0].voxel_A) > 1e-3 * volume.voxel_A:
            raise InputError(f"{path}: {shape[0]} px of {volume.voxel_A:g} Å, {files[0]} has "
                             f"{volumes[0].data.shape[0]} px of {volumes[0].voxel_A:g} Å. Give "
                             "half maps of one reconstruction.")
        refuse_flat(volume.data, path, "map")
    names = ["half1", "half2"] if len(files) == 2 else ["reference"]
    return MapSet({name: v.data for name, v in zip(names, volumes, strict=True)},
                  volumes[0].voxel_A)

"""Half maps and the mask of a job: found by name, read, checked; shared by fsc, postprocess and
local-resolution."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import HalfMaps, Volume
from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.jobs.reconstruction import MapSizes, fsc_mask
from sta_mpi.jobs.reference_files import other_half, refuse_flat

Map = NDArray[np.float32]

LEAST_BOX_PX = 8
"""Smallest maps that are compared."""


def half_map_files(half1: Path, half2: Path | None) -> list[Path]:
    """Both half maps; the second is found by its name where it is not given.

    `half1` may be the folder of a job that holds one pair: `half1.mrc`, or RELION's
    `run_half1_class001_unfil.mrc`.
    """
    if half1.is_dir():
        half1 = _half1_of_folder(half1)
    elif not half1.exists():
        raise InputError(f"{half1}: no such map. Correct the name, or pass the folder of a job.")
    if half2 is not None:
        return [half1, half2]
    other = other_half(half1)
    if other is not None and not other.exists():
        raise InputError(f"{half1} is of one half-set, but {other} does not exist. "
                         "Put both halves side by side, or pass --half2.")
    if other is None:
        raise UsageError(f"--half2 is needed: the name {half1.name} holds no half1 "
                         "or half2 to find it by. Pass both maps.")
    return [half1, other]


def _half1_of_folder(folder: Path) -> Path:
    """The map of half 1 in a folder; those of rounds (RELION's: `run_it*`) are left out."""
    found = sorted(p for p in folder.glob("*half1*.mrc")
                   if not p.name.startswith(("run_it", "round")))
    if len(found) != 1:
        names = ", ".join(p.name for p in found[:4]) or "none"
        raise InputError(f"{folder}: {len(found)} maps are named half1 ({names}), expected one. "
                         "Name the map itself.")
    return found[0]


def read_half_maps(half1: Path, half2: Path | None, voxel_A: float | None) -> HalfMaps:
    """Two cubic maps of one box and voxel, finite and not flat.

    `voxel_A` wins over the headers; without it the first map's header holds.
    """
    files = half_map_files(half1, half2)
    volumes = [read_cube(path, voxel_A, "half map") for path in files]
    try:
        halves = HalfMaps(*volumes)
    except ValueError as error:
        raise InputError(f"{files[0]}, {files[1]}: {error}. Give two maps of "
                         "one reconstruction.") from None
    first = halves.half1.voxel_A
    return HalfMaps(halves.half1, Volume(halves.half2.data, first))


def read_cube(path: Path, voxel_A: float | None, what: str) -> Volume:
    """A cubic, finite map with contrast."""
    volume = read_mrc(path, pixel_A=voxel_A)
    if len(set(volume.data.shape)) != 1:
        raise InputError(f"{path}: {volume.data.shape[::-1]} voxels, expected a cube. "
                         "Crop or pad the map.")
    if len(volume.data) < LEAST_BOX_PX:
        raise InputError(f"{path}: a box of {len(volume.data)} px has too few Fourier shells, "
                         f"expected at least {LEAST_BOX_PX} px. Give a larger map.")
    refuse_flat(volume.data, path, what)
    if volume.voxel_A <= 0:
        raise InputError(f"{path}: the header has no voxel size. Pass --voxel-A.")
    return volume


def read_fsc_mask(path: Path | None, diameter_A: float | None, sizes: MapSizes,
                  voxel_A: float | None) -> Map:
    """The mask of a file with values 0 to 1, or a soft sphere.

    `voxel_A` wins over the mask's header as it does over the maps'.
    """
    if path is None:
        return fsc_mask(sizes, diameter_A)
    volume = read_mrc(path, pixel_A=voxel_A)
    _check_mask_size(volume, path, sizes)
    refuse_flat(volume.data, path, "mask")
    low, high = float(volume.data.min()), float(volume.data.max())
    if low < -1e-4 or high > 1 + 1e-4:
        raise InputError(f"mask {path}: values from {low:.3g} to {high:.3g}, "
                         "expected 0 to 1. Normalise the mask.")
    return np.clip(volume.data, 0, 1)


def _check_mask_size(volume: Volume, path: Path, sizes: MapSizes) -> None:
    n = sizes.box_px
    if volume.data.shape != (n, n, n):
        x, y, z = volume.data.shape[::-1]
        raise InputError(f"mask {path}: {x} x {y} x {z} voxels, the half maps have {n} x {n} x "
                         f"{n}. Make the mask from one of these maps (sta-mpi mask).")
    if abs(volume.voxel_A - sizes.voxel_A) > 0.01 * sizes.voxel_A:
        raise InputError(f"mask {path}: voxel {volume.voxel_A:.4f} Å, the half maps have "
                         f"{sizes.voxel_A:.4f} Å. Mend the header that is wrong, or pass "
                         "--voxel-A for all.")


def map_sizes(volume: Volume) -> MapSizes:
    """Sizes of a cubic map, unpadded."""
    return MapSizes(volume.box_px, volume.box_px, volume.voxel_A)


def same_map_warning(halves: HalfMaps) -> list[str]:
    """A warning where both halves are one map."""
    if not np.array_equal(halves.half1.data, halves.half2.data):
        return []
    return ["both half maps are the same map, so the FSC is 1 everywhere. Give the "
            "maps of two independent half-sets."]

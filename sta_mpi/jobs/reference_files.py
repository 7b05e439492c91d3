"""References and masks of a job: found by name, read, checked against the box."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Volume
from sta_mpi.errors import InputError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.jobs.reconstruction import MapSizes

Map = NDArray[np.float32]


def reference_files(references: Sequence[Path]) -> list[Path]:
    """The references and, where a name holds half1 or half2, the other half's beside it."""
    files: list[Path] = []
    for reference in references:
        other = other_half(reference)
        if other is not None and reference.exists() and not other.exists():
            raise InputError(
                f"reference {reference} is of one half-set, but {other} does not exist. "
                "Put both halves side by side, or rename the map.")
        files += [reference] if other is None else [reference, other]
    return files


def other_half(path: Path) -> Path | None:
    """`x_half1.mrc` for `x_half2.mrc` and the other way round; None without a half."""
    found = re.search(r"half([12])", path.name)
    if found is None:
        return None
    name = path.name[: found.start()] + f"half{3 - int(found.group(1))}" + path.name[found.end():]
    return path.with_name(name)


def read_references(references: Sequence[Path], sizes: MapSizes) -> Map | None:
    """References of half 1 and 2, (2, K, b, b, b); one file serves both when it has no half."""
    if not references:
        return None
    pairs = []
    for reference in references:
        files = sorted(reference_files([reference]))
        maps = [read_checked_map(f, sizes, "reference") for f in files]
        pairs.append(np.stack(maps if len(maps) == 2 else maps * 2))
    return np.stack(pairs, axis=1)


def read_mask(path: Path | None, sizes: MapSizes) -> Map | None:
    """A mask with values 0..1."""
    if path is None:
        return None
    mask = read_checked_map(path, sizes, "mask")
    if mask.min() < -1e-4 or mask.max() > 1 + 1e-4:
        raise InputError(f"mask {path}: values from {mask.min():.3g} to {mask.max():.3g}, "
                         "expected 0 to 1. Normalise the mask.")
    return np.clip(mask, 0, 1)


def read_checked_map(path: Path, sizes: MapSizes, what: str) -> Map:
    """A map whose box and voxel are those of the job, with finite voxels."""
    volume = read_mrc(path)
    check_size(volume, path, sizes, what)
    if not np.isfinite(volume.data).all():
        raise InputError(f"{what} {path} holds NaN or Inf voxels. Mend the map.")
    refuse_flat(volume.data, path, what)
    return volume.data


def refuse_flat(data: Map, path: Path, what: str) -> None:
    """InputError for a map without contrast; a mask of 1 everywhere masks nothing and may pass."""
    low, high = float(data.min()), float(data.max())
    if low == high and not (what == "mask" and low > 0):
        raise InputError(f"{what} {path}: all voxels are {low + 0.0:g}, so there is nothing to "
                         "compare. Give another map.")


def check_size(volume: Volume, path: Path, sizes: MapSizes, what: str) -> None:
    """InputError where a map does not fit the job's box and voxel."""
    box = (sizes.box_px,) * 3
    if volume.data.shape != box:
        raise InputError(f"{what} {path}: {volume.data.shape[::-1]} voxels, expected {box} "
                         f"(--box-px {sizes.box_px}). Crop, pad or bin it.")
    if abs(volume.voxel_A - sizes.voxel_A) > 0.01 * sizes.voxel_A:
        raise InputError(
            f"{what} {path}: voxel {volume.voxel_A:.4f} Å, expected {sizes.voxel_A:.4f} Å. "
            "Rescale it, or mend its header.")

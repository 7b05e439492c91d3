"""`fsc`: the Fourier shell correlation of two half maps."""

from pathlib import Path
from typing import Any

import numpy as np

from sta_mpi.data import HalfMaps, Volume
from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.mrc import read_mrc
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.map_report import fsc_results, fsc_section
from sta_mpi.jobs.parameters.fsc import FscParameters
from sta_mpi.jobs.reconstruction import MapSizes, fsc_mask, write_fsc_table
from sta_mpi.jobs.reference_files import other_half, read_mask, refuse_flat
from sta_mpi.signal.fsc import corrected_fsc

LEAST_BOX_PX = 8
"""Smallest maps that are compared."""


def input_files(parameters: FscParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [parameters.half1, _second(parameters)]
    return files + ([parameters.mask] if parameters.mask else [])


def _second(parameters: FscParameters) -> Path:
    if parameters.half2 is not None:
        return parameters.half2
    other = other_half(parameters.half1)
    if other is not None and not other.exists():
        raise InputError(f"{parameters.half1} is of one half-set, but {other} does not exist. "
                         "Put both halves side by side, or pass --half2.")
    if other is None:
        raise UsageError(f"--half2 is needed: the name {parameters.half1.name} holds no half1 "
                         "or half2 to find it by. Pass both maps.")
    return other


def run(parameters: FscParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Compute, write fsc.star and the report; rank 0 alone works."""
    if not runtime.is_root:
        return JobOutcome()
    halves = _read_halves(parameters)
    voxel_A, box = halves.half1.voxel_A, halves.half1.box_px
    sizes = MapSizes(box, box, voxel_A)
    mask = read_mask(parameters.mask, sizes)
    if mask is None:
        mask = fsc_mask(sizes, parameters.mask_diameter_A)
    fsc = corrected_fsc(halves.half1.data, halves.half2.data, mask, voxel_A,
                        np.random.default_rng(parameters.seed), parameters.randomise_at_A)
    write_fsc_table(folder.file("fsc.star"), fsc)
    warnings = []
    if np.array_equal(halves.half1.data, halves.half2.data):
        warnings.append("both half maps are the same map, so the FSC is 1 everywhere. Give the "
                        "maps of two independent half-sets.")
    results = {"box_px": box, "voxel_A": voxel_A, **fsc_results(fsc)}
    return JobOutcome(results, {"fsc": "fsc.star"}, [fsc_section(fsc)], warnings)


def _read_halves(parameters: FscParameters) -> HalfMaps:
    volumes = []
    for path in (parameters.half1, _second(parameters)):
        volume = read_mrc(path, pixel_A=parameters.voxel_A)
        if len(set(volume.data.shape)) != 1:
            raise InputError(f"{path}: {volume.data.shape[::-1]} voxels, expected a cube. "
                             "Crop or pad the map.")
        if len(volume.data) < LEAST_BOX_PX:
            raise InputError(f"{path}: a box of {len(volume.data)} px has too few Fourier shells, "
                             f"expected at least {LEAST_BOX_PX} px. Give a larger map.")
        if not np.isfinite(volume.data).all():
            raise InputError(f"{path} holds NaN or Inf voxels. Mend the map.")
        refuse_flat(volume.data, path, "half map")
        volumes.append(volume)
    try:
        halves = HalfMaps(*volumes)
    except ValueError as error:
        raise InputError(f"{parameters.half1}, {_second(parameters)}: {error}. Give two maps of "
                         "one reconstruction.") from None
    voxel_A = parameters.voxel_A or halves.half1.voxel_A
    if voxel_A <= 0:
        raise InputError(f"{parameters.half1}: the header has no voxel size. Pass --voxel-A.")
    return HalfMaps(*(Volume(v.data, voxel_A) for v in volumes))

"""Tomograms of other programs that come as a volume alone, as a tomogram set.

Each becomes a row named after its file, of binning 1, with tilts every 3 degrees over a range:
the region that they measured, not the series that was taken. There are no images.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sta_mpi.data import Optics, TiltSeries
from sta_mpi.errors import InputError
from sta_mpi.formats.mrc import read_header
from sta_mpi.formats.mrc_header import MrcHeader
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.geometry.projection import projection_from_angles

STEP_DEG = 3.0


@dataclass(frozen=True)
class ForeignTomogram:
    """A volume, its name in particle tables, and the tilts it was made from (None: unknown)."""

    path: Path
    name: str
    tilt_range_deg: tuple[float, float] | None = None


def foreign_tomogram_set(tomograms: Sequence[ForeignTomogram]) -> TomogramSet:
    """A tomogram set of volumes alone.

    Raises
    ------
    InputError    no such file, no MRC volume, no voxel size, pixels that differ, equal names
    """
    if not tomograms:
        raise InputError("no tomogram given. Pass --tomogram VOLUME.mrc.")
    names = [t.name for t in tomograms]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"two tomograms are named {repeated[0]}: the names of their files have to "
                         "differ. Rename one of them.")
    series = [_series(t) for t in tomograms]
    for ts in series[1:]:
        if abs(ts.pixel_A - series[0].pixel_A) > 1e-3 * series[0].pixel_A:
            raise InputError(
                f"tomogram {ts.name} has voxels of {ts.pixel_A:.4f} Å, {series[0].name} of "
                f"{series[0].pixel_A:.4f} Å. Give tomograms of one voxel size.")
    paths: dict[str, tuple[str, ...]] = {
        t.name: (str(Path(t.path).resolve()),) for t in tomograms}
    return TomogramSet.from_tilt_series(series).with_volumes(paths, 1.0)


def checked_volume_header(path: Path) -> MrcHeader:
    """Header of a tomogram: three axes x, y, z and a voxel size; InputError else."""
    header = read_header(path, permissive=True)
    if header.axes != (1, 2, 3):
        raise InputError(f"{path}: axes in the order {header.axes}, expected 1, 2, 3 (x, y, z). "
                         "Turn it, for example with IMOD's clip.")
    if min(header.shape_zyx) < 4:
        raise InputError(f"{path}: {' x '.join(map(str, header.shape_zyx[::-1]))} voxels: not a "
                         "tomogram. Give a volume.")
    sizes = header.pixel_xyz_A
    if not all(sizes) or max(sizes) - min(sizes) > 0.01 * max(sizes):
        raise InputError(
            f"{path}: voxel edges {', '.join(f'{s:g}' for s in sizes)} Å in the header, expected "
            "three equal ones. Set them, for example with IMOD's alterheader.")
    return header


def _series(tomogram: ForeignTomogram) -> TiltSeries:
    header = checked_volume_header(tomogram.path)
    width, height, depth = header.shape_zyx[::-1]
    pixel_A = float(header.pixel_xyz_A[0])
    low, high = tomogram.tilt_range_deg or (0.0, 0.0)
    tilts = np.linspace(low, high, max(1, 1 + round((high - low) / STEP_DEG)))
    zero = np.zeros(len(tilts))
    size = (width, height, depth)
    P = projection_from_angles(zero, tilts, zero, np.zeros((len(tilts), 2)), size, pixel_A)
    return TiltSeries(
        tomogram.name, pixel_A, Optics(300.0, 2.7, 0.1), P, zero, zero, zero, zero, zero,
        zero + 1.0, zero, tomogram_size_px=size)

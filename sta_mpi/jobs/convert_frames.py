"""Where the voxels of a volume lie in its tomogram, for coordinates that count them.

Positions are Å from the tomogram centre, x_A = (index - centre) pixel. With a tomogram of W
unbinned pixels of size a and voxels of b a, the centre has the index W / (2 b) where voxel i is
the point b i (RELION), and (b - 1) / (2 b) less where it is the mean of b voxels (IMOD). For a
volume that is all that is known of a tomogram, the centre is half its size.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Optics, TiltSeries
from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.foreign_particles import ForeignParticles, VolumeGrid
from sta_mpi.formats.reconstructed_tomograms import binned_size_px
from sta_mpi.formats.relion_tomograms import TomogramSet, describe_names
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.jobs.foreign_tomograms import checked_volume_header
from sta_mpi.jobs.parameters.convert import ConvertParameters

Floats = NDArray[np.float64]

_SAME_PIXEL = 0.01
"""Relative difference of two statements about a voxel from which the user is told."""
_SAME_SIZE_PX = 1.0


@dataclass(frozen=True)
class Frame:
    """Voxels of the volume of one tomogram.

    Parameters
    ----------
    pixel_A : float
    centre_px : (3,) float64     index xyz of the tomogram centre
    size_px : (x, y, z)
    path : str                   file of the volume; "" where none is known
    """

    pixel_A: float
    centre_px: Floats
    size_px: tuple[int, int, int]
    path: str = ""

    def xyz_A(self, index_px: Floats) -> Floats:
        """Positions (n, 3) from the tomogram centre of voxel indices."""
        return (index_px - self.centre_px) * self.pixel_A

    def index_px(self, xyz_A: Floats) -> Floats:
        """Voxel indices (n, 3) of positions: the inverse."""
        return xyz_A / self.pixel_A + self.centre_px


def volume_grids(paths: tuple[Path, ...]) -> dict[str, VolumeGrid]:
    """Sizes and voxels of volumes, by name."""
    grids: dict[str, VolumeGrid] = {}
    for path in paths:
        header = checked_volume_header(path)
        name = path.name.removesuffix(".gz").rsplit(".", 1)[0]
        if name in grids:
            raise InputError(f"two tomograms are named {name}: the names of their files have to "
                             "differ. Rename one of them.")
        x, y, z = header.shape_zyx[::-1]
        grids[name] = VolumeGrid((x, y, z), float(header.pixel_xyz_A[0]), str(path.resolve()))
    return grids


def input_frames(foreign: ForeignParticles, tomograms: TomogramSet | None,
                 volumes: Mapping[str, VolumeGrid], p: ConvertParameters) -> dict[str, Frame]:
    """Frame of every tomogram that holds particles."""
    frames = {}
    for i in np.unique(foreign.i_tomo).tolist():
        name = foreign.tomo_names[i]
        told = foreign.pixel_A[foreign.i_tomo == i]
        grid = _merged(name, foreign.grids.get(name, VolumeGrid()), volumes.get(name), told, p)
        frames[name] = _free_frame(name, grid) if tomograms is None else \
            _placed_frame(name, grid, tomograms, p)
    return frames


def _merged(name: str, own: VolumeGrid, volume: VolumeGrid | None, told: Floats,
            p: ConvertParameters) -> VolumeGrid:
    """What options, volume and table say of one volume; options win, then the volume."""
    told = told[np.isfinite(told)]
    if len(told) and np.ptp(told) > 1e-4 * told[0] and p.pixel_A is None:
        raise InputError(f"tomogram {name}: its particles have voxels of {told.min():g} to "
                         f"{told.max():g} Å. Give the voxel of its volume with --pixel-A.")
    volume = volume or VolumeGrid()
    known = [pixel for pixel in (p.pixel_A, volume.pixel_A, own.pixel_A,
                                 float(told[0]) if len(told) else None) if pixel]
    for pixel in known[1:]:
        if abs(pixel / known[0] - 1) > _SAME_PIXEL:
            warnings.warn(f"tomogram {name}: voxels of {known[0]:g} Å are used, its files also say "
                          f"{pixel:g} Å", InputWarning)
    x = p.tomogram_size_px
    size = (x[0], x[1], x[2]) if x else volume.size_px or own.size_px
    return VolumeGrid(size, known[0] if known else None, volume.path or own.path)


def _free_frame(name: str, grid: VolumeGrid) -> Frame:
    """Frame of a volume that is all that is known."""
    if grid.size_px is None or grid.pixel_A is None:
        missing = "size" if grid.size_px is None else "voxel"
        option = "three --tomogram-size-px" if grid.size_px is None else "--pixel-A"
        raise InputError(f"tomogram {name}: the {missing} of its volume is not known. Give "
                         f"--tomograms TOMOGRAMS.star, --tomogram VOLUME.mrc or {option}.")
    return Frame(grid.pixel_A, np.array(grid.size_px) / 2.0, grid.size_px, grid.path)


def _placed_frame(name: str, grid: VolumeGrid, tomograms: TomogramSet, p: ConvertParameters
                  ) -> Frame:
    """Frame of a volume in a tomogram of a set."""
    if name not in tomograms:
        raise InputError(f"{tomograms.table.where}: no tomogram {name!r} "
                         f"({describe_names(tomograms)}). Name it with --tomogram-name "
                         "OLD=NEW or --tomogram-list.")
    reconstructed = tomograms.reconstructed(name)
    pixel_A = grid.pixel_A or (reconstructed.pixel_A if reconstructed else None)
    if pixel_A is None:
        raise InputError(f"tomogram {name}: the voxel that its coordinates count is not known. "
                         "Give --pixel-A.")
    placed = set_frame(name, tomograms, pixel_A, p.binned_voxels)
    if grid.size_px is None:
        return placed
    if p.tomogram_size_px:
        middle = np.array(grid.size_px) / 2.0
        shift = placed.centre_px - np.array(tomograms.size_px(name)) / (
            2 * pixel_A / series_pixel_A(tomograms, name))
        return Frame(pixel_A, middle + shift, grid.size_px, grid.path)
    if np.abs(np.array(grid.size_px) - placed.size_px).max() > _SAME_SIZE_PX:
        raise InputError(
            f"tomogram {name}: its volume has {_times(grid.size_px)} voxels of {pixel_A:g} Å, the "
            f"tomogram of the set would have {_times(placed.size_px)}. If the volume lies in the "
            "middle of the tomogram, say so with three --tomogram-size-px; else give the right "
            "--pixel-A or the right tomograms.")
    return Frame(pixel_A, placed.centre_px, grid.size_px, grid.path or placed.path)


def _times(size: tuple[int, int, int]) -> str:
    return " x ".join(map(str, size))


def set_frame(name: str, tomograms: TomogramSet, pixel_A: float | None, binned_voxels: str
              ) -> Frame:
    """Frame of a tomogram of a set at some voxel; default: that of its reconstructed volume."""
    reconstructed = tomograms.reconstructed(name)
    unbinned_A = series_pixel_A(tomograms, name)
    if pixel_A is None:
        pixel_A = reconstructed.pixel_A if reconstructed else unbinned_A
    binning = pixel_A / unbinned_A
    centre = np.array(tomograms.size_px(name)) / (2.0 * binning)
    if binned_voxels == "blocks":
        centre = centre - (binning - 1) / (2 * binning)
    is_its_volume = reconstructed is not None and \
        abs(pixel_A / reconstructed.pixel_A - 1) < _SAME_PIXEL
    path = str(reconstructed.paths[0]) if reconstructed is not None and is_its_volume else ""
    return Frame(pixel_A, centre, binned_size_px(tomograms.size_px(name), binning), path)


def series_pixel_A(tomograms: TomogramSet, name: str) -> float:
    """Unbinned pixel of a tomogram."""
    return float(tomograms.row(name).finite("rlnTomoTiltSeriesPixelSize")[0])


def set_of_frames(frames: Mapping[str, Frame], optics: Optics) -> TomogramSet:
    """A tomogram set of volumes alone: one untilted view each, no images."""
    zero = np.zeros(1)
    series = [TiltSeries(
        name, frame.pixel_A, optics,
        projection_from_angles(zero, zero, zero, np.zeros((1, 2)), frame.size_px, frame.pixel_A),
        zero, zero, zero, zero, zero, zero + 1.0, zero, tomogram_size_px=frame.size_px)
        for name, frame in frames.items()]
    volumes: dict[str, tuple[str, ...]] = {
        name: (frame.path,) for name, frame in frames.items() if frame.path}
    made = TomogramSet.from_tilt_series(series)
    return made.with_volumes(volumes, 1.0) if volumes else made

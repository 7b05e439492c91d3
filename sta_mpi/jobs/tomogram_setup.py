"""What `tomogram` fixes before it starts: series, sizes, sampling, slabs, files."""

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sta_mpi.data import TiltSeries
from sta_mpi.errors import InputError, InputWarning, UsageError
from sta_mpi.formats.mrc_sections import SectionWriter
from sta_mpi.formats.reconstructed_tomograms import binned_size_px
from sta_mpi.formats.relion_sets import read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, even_sizes, read_tomograms
from sta_mpi.jobs.inputs import check_series
from sta_mpi.jobs.parameters.tomogram import TomogramParameters
from sta_mpi.jobs.tilt_images import check_image_numbers
from sta_mpi.kernels.back_project import FRAME_PX
from sta_mpi.prepare.grey_scale import MRC_MODES
from sta_mpi.prepare.image_filter import FilterOptions
from sta_mpi.prepare.tomogram_grid import ImageGrid, make_image_grid, tilt_angles_deg, tilt_axis

FOLDER = "tomograms"
DEFAULT_VOXEL_A = 10.0
UNIT_VOXELS, LEAST_UNITS = 4_000_000, 16
"""Largest slab, and least number of slabs of a tomogram, so that many ranks share it."""

LARGEST_SIDE = 32_768
EVEN_ODD = ("rlnMicrographNameEven", "rlnMicrographNameOdd")
_SINGLE_AXIS_DEG = 10.0


@dataclass(frozen=True)
class SeriesPlan:
    """How one tomogram is made.

    Parameters
    ----------
    series : TiltSeries
    grid : ImageGrid
    size_px : (3,) int           x, y, z in voxels
    unbinned_size_px : (3,) int
    image_names : tuple of str   images in the order they are added; halves stand together
    tilts : tuple of int         tilt of each
    n_first : int                images of half 1; all of them without halves
    """

    series: TiltSeries
    grid: ImageGrid
    size_px: tuple[int, int, int]
    unbinned_size_px: tuple[int, int, int]
    image_names: tuple[str, ...]
    tilts: tuple[int, ...]
    n_first: int

    @property
    def is_turned(self) -> bool:
        """Whether images are kept transposed: rows of voxels then run along rows of pixels,
        which reads memory in order (a tilt axis near 90 degrees is then as fast as one near 0)."""
        along = np.abs(self.series.P[:, :2, 0]).sum(axis=0)
        return bool(along[1] > along[0])

    @property
    def framed_shape(self) -> tuple[int, int, int]:
        """Shape of the filtered images in their frames, as they are kept."""
        width, height = self.grid.size_px[:: -1 if self.is_turned else 1]
        return len(self.tilts), height + FRAME_PX, width + FRAME_PX


@dataclass(frozen=True)
class TomogramSetup:
    """Everything that is fixed before the first unit."""

    parameters: TomogramParameters
    source: Path
    tomograms: TomogramSet
    plans: list[SeriesPlan]
    binning: float
    voxel_A: float
    folder: Path

    @property
    def options(self) -> FilterOptions:
        """How images are filtered."""
        p = self.parameters
        return FilterOptions(p.weighting, p.cutoff, p.falloff, p.lowpass_A, p.ctf,
                             p.dose_weighting, p.tilt_weights, p.normalise, p.invert)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Volumes of each tomogram: endings of their file names."""
        return ("",) if self.parameters.halves == "none" else ("", "_half1", "_half2")

    def slabs(self, plan: SeriesPlan) -> list[tuple[int, int]]:
        """First plane and end of each unit of a tomogram."""
        x, y, z = plan.size_px
        planes = self.parameters.unit_planes or max(
            1, min(UNIT_VOXELS // (x * y), math.ceil(z / LEAST_UNITS)))
        n = math.ceil(z / planes)
        return [(i * z // n, (i + 1) * z // n) for i in range(n)]

    def writer(self, plan: SeriesPlan, kind: str) -> SectionWriter:
        """Writer of one volume."""
        x, y, z = plan.size_px
        contrast = "bright" if self.parameters.invert else "dark"
        return SectionWriter(
            self.folder / volume_name(plan.series.name, kind), (z, y, x), self.voxel_A,
            MRC_MODES[self.parameters.mode], is_volume=True,
            label=f"tomogram, back-projection, protein {contrast}")


def volume_name(name: str, kind: str) -> str:
    """Path of a volume in the job folder, named as RELION does."""
    return f"{FOLDER}/rec_{name.replace('/', '_')}{kind}.mrc"


def tomogram_file(p: TomogramParameters) -> Path:
    """The tomogram table of the input."""
    path = p.tomograms
    if path is None:
        assert p.optimisation_set is not None
        path = read_optimisation_set(p.optimisation_set).require("tomograms")[0]
    if not Path(path).is_file():
        raise InputError(f"no file {path}. Give --tomograms, a STAR file of aligned tilt series.")
    return Path(path)


def make_setup(p: TomogramParameters, folder: Path) -> TomogramSetup:
    """Read and check the input, choose sizes."""
    source = tomogram_file(p)
    tomograms, moves = even_sizes(read_tomograms(source))
    if not len(tomograms):
        raise InputError(f"{source}: the tomogram table is empty. Give aligned tilt series.")
    for name in p.series:
        tomograms.row(name)
    _warn_of_moves(moves)
    names = [name for name in tomograms.names if not p.series or name in p.series]
    series = [_resized(tomograms.tilt_series(name), p) for name in names]
    check_series(source, series)
    tomograms = tomograms.with_tilt_series(series)
    voxel_A = p.voxel_A or (p.binning or 1.0) * series[0].pixel_A
    if p.voxel_A is None and p.binning is None:
        voxel_A = max(DEFAULT_VOXEL_A, series[0].pixel_A)
    binning = voxel_A / series[0].pixel_A
    if binning < 1 - 1e-6:
        raise UsageError(f"--voxel-A {voxel_A:g} is finer than the pixel of the tilt images "
                         f"({series[0].pixel_A:g} Å). Give at least that.")
    _refuse_equal_files(names, source)
    plans = [_plan(ts, tomograms, p, max(binning, 1.0), source) for ts in series]
    return TomogramSetup(p, source, tomograms, plans, max(binning, 1.0), voxel_A, folder)


def _warn_of_moves(moves: dict[str, np.ndarray]) -> None:
    """Say that odd sizes became even, where they did."""
    moved = [name for name, move_A in moves.items() if np.any(move_A)]
    if moved:
        warnings.warn(
            f"{len(moved)} tomograms, first {moved[0]}, have odd sizes, which RELION reads half a "
            f"pixel off: they become one pixel smaller, and centred coordinates made for the old "
            f"tables have to be moved by {', '.join(f'{v:g}' for v in moves[moved[0]])} Å",
            InputWarning, stacklevel=3)


def _resized(ts: TiltSeries, p: TomogramParameters) -> TiltSeries:
    """The series with the size asked for; its centre stays."""
    assert ts.tomogram_size_px is not None
    size = ts.tomogram_size_px
    if p.size_px:
        size = (p.size_px[0], p.size_px[1], p.size_px[2])
    elif p.thickness_A is not None:
        size = (*size[:2], max(2, 2 * round(0.5 * p.thickness_A / ts.pixel_A)))
    if max(size) > LARGEST_SIDE:
        raise InputError(f"tomogram {ts.name}: a size of {size} unbinned pixels, expected at most "
                         f"{LARGEST_SIDE}. Give --size-px.")
    return replace(ts, tomogram_size_px=size)


def _plan(ts: TiltSeries, tomograms: TomogramSet, p: TomogramParameters, binning: float,
          source: Path) -> SeriesPlan:
    _check_images(ts, source)
    assert ts.image_size_px is not None
    assert ts.tomogram_size_px is not None
    if p.weighting == "ramp":
        _check_single_axis(ts)
    order = np.arange(ts.n_tilts)
    names: tuple[str, ...] = ts.image_names
    n_first = ts.n_tilts
    if p.halves == "tilts":
        by_angle = np.argsort(tilt_angles_deg(ts.rotation), kind="stable")
        order = np.concatenate([by_angle[0::2], by_angle[1::2]])
        n_first = len(by_angle[0::2])
        if ts.n_tilts < 2:
            raise InputError(f"tilt series {ts.name}: one tilt makes no halves. Leave out "
                             "--halves tilts.")
        names = tuple(ts.image_names[i] for i in order)
    elif p.halves == "frames":
        names = tuple(_half_names(ts, tomograms, source))
        order = np.concatenate([order, order])
    return SeriesPlan(
        ts, make_image_grid(ts.image_size_px, binning),
        binned_size_px(ts.tomogram_size_px, binning), ts.tomogram_size_px, names,
        tuple(int(i) for i in order), n_first)


def _half_names(ts: TiltSeries, tomograms: TomogramSet, source: Path) -> list[str]:
    """Images of the even frames of all tilts, then those of the odd ones."""
    table = tomograms.tilt_table(ts.name)
    missing = [label for label in EVEN_ODD if label not in table]
    if missing:
        raise InputError(f"{table.where}: {', '.join(missing)} missing, so there are no images of "
                         "half of the frames. Use --halves tilts, or repeat the motion correction "
                         "with even and odd sums.")
    return [str(name) for label in EVEN_ODD for name in table.strings(label)]


def _check_images(ts: TiltSeries, source: Path) -> None:
    if ts.image_size_px is None:
        raise InputError(
            f"tilt series {ts.name}: its images cannot be read (first: "
            f"{ts.image_names[0] if ts.image_names else 'none named'}). Check rlnMicrographName "
            "and start in the project folder.")
    if not ts.has_positions:
        raise InputError(f"tilt series {ts.name}: the shifts of its tilts are unknown. Give "
                         "rlnTomoXShiftAngst and rlnTomoYShiftAngst.")
    check_image_numbers(ts, [source])


def _check_single_axis(ts: TiltSeries) -> None:
    away = np.abs(ts.rotation[:, 2] @ tilt_axis(ts.rotation)).max()
    if np.degrees(np.arcsin(min(1.0, away))) > _SINGLE_AXIS_DEG:
        raise InputError(f"tilt series {ts.name}: its tilts have no common axis (off by up to "
                         f"{np.degrees(np.arcsin(min(1.0, away))):.0f}°), which the ramp filter "
                         "needs. Pass --weighting exact.")


def _refuse_equal_files(names: list[str], source: Path) -> None:
    files = [volume_name(name, "") for name in names]
    if len(set(files)) < len(files):
        raise InputError(f"{source}: two tomogram names mean one file. Rename one of them.")

"""What `extract` fixes before it starts: sizes, which tilts see which particle, file names."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.extract import CutFrame, CutOptions, visible_tilts
from sta_mpi.align.observe import Frame
from sta_mpi.align.transfer import Weighting
from sta_mpi.errors import InputError
from sta_mpi.formats.visible_frames import BEYOND
from sta_mpi.jobs.averaging import warn_of_flat_dose
from sta_mpi.jobs.held_series import slots_that_fit
from sta_mpi.jobs.inputs import InputSet, load_set
from sta_mpi.jobs.parameters.extract import ExtractParameters
from sta_mpi.jobs.source_tilts import TiltSeriesSource
from sta_mpi.jobs.sources import ObservationOptions
from sta_mpi.jobs.window_size import cut_size_px

IMAGES = "Subtomograms"
"""Folder of the images, as RELION calls it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ExtractSetup:
    """Everything that is fixed before the first unit.

    Parameters
    ----------
    xyz_A : (n, 3)            where each particle is cut
    R_box2t : (n, 3, 3)       axes of its box
    visible : (n, max_tilts) int8    1 cut, 0 not, -1 beyond the series' last tilt
    first : (n,) int          first section of each particle in the stack of its series
    folder : Path             of the job
    """

    inputs: InputSet
    parameters: ExtractParameters
    frame: CutFrame
    options: CutOptions
    source: TiltSeriesSource
    xyz_A: Floats
    R_box2t: Floats
    visible: NDArray[np.int8]
    first: NDArray[np.intp]
    folder: Path

    @property
    def n_images(self) -> NDArray[np.intp]:
        """Tilts of each particle; 0 for one that is left out."""
        return np.asarray((self.visible == 1).sum(axis=1), np.intp)


def make_setup(p: ExtractParameters, folder: Path) -> ExtractSetup:
    """Read and check the input, choose sizes, find what is seen where."""
    inputs = load_set(p)
    particles = inputs.particles
    voxel_A = inputs.pixel_A * p.binning
    window = p.window_px or (
        cut_size_px(p.box_px, voxel_A, inputs.used_series) if p.form != "raw" and p.ctf
        else p.box_px)
    frame = CutFrame(p.box_px, window, p.binning, voxel_A, min(5.0, p.box_px / 8))
    weighting = None if p.form == "raw" else Weighting(p.ctf, p.dose_weighting, p.tilt_scale)
    options = CutOptions(weighting, p.whiten, p.has_circle, p.is_normalised, p.invert)
    # images as they are: RELION's rule cuts windows of full-size pixels and bins those
    source = TiltSeriesSource(inputs, ObservationOptions(
        Frame(p.box_px * p.binning, window * p.binning, 1, inputs.pixel_A),
        weighting or Weighting(), p.whiten, p.max_dose_e_per_A2))
    source.check()
    source.n_slots = slots_that_fit(source, p.max_memory_GiB)
    if p.dose_weighting and p.form != "raw":
        warn_of_flat_dose(inputs)
    xyz_A = particles.position_A if p.apply_offsets else particles.xyz_A
    visible = _visible(inputs, xyz_A, frame, p)
    particle_files(inputs, folder, "stack2d.mrcs")
    return ExtractSetup(
        inputs, p, frame, options, source, xyz_A,
        particles.R_p2t if p.apply_orientations else particles.R_box2t, visible,
        _first_sections(particles.i_tomo, visible), folder)


def _visible(inputs: InputSet, xyz_A: Floats, frame: CutFrame, p: ExtractParameters
             ) -> NDArray[np.int8]:
    particles = inputs.particles
    width = max(ts.n_tilts for ts in inputs.used_series)
    visible = np.full((len(particles), width), BEYOND, np.int8)
    for i in np.unique(particles.i_tomo):
        rows, ts = np.flatnonzero(particles.i_tomo == i), inputs.series[i]
        seen = visible_tilts(ts, xyz_A[rows], frame, p.max_dose_e_per_A2)
        seen[seen.sum(axis=1) < p.min_tilts] = False
        visible[rows, : ts.n_tilts] = seen
    if not (visible == 1).any():
        raise InputError(
            f"none of {len(particles)} particles is seen on {p.min_tilts} tilt images with its "
            f"whole box of {frame.box_px} px ({frame.box_px * frame.voxel_A:.0f} Å). Use a smaller "
            "--box-px, and `sta-mpi check` to see where particles land.")
    return visible


def _first_sections(i_tomo: NDArray[np.int32], visible: NDArray[np.int8]) -> NDArray[np.intp]:
    """Sections before each particle's own in the stack of its series, in the order of rows."""
    count = (visible == 1).sum(axis=1)
    first = np.zeros(len(i_tomo), np.intp)
    for i in np.unique(i_tomo):
        rows = np.flatnonzero(i_tomo == i)
        first[rows] = np.cumsum(count[rows]) - count[rows]
    return first


def particle_files(inputs: InputSet, folder: Path, ending: str) -> list[Path]:
    """One path a particle: `Subtomograms/<particle name>_<ending>` in the folder.

    Raises
    ------
    InputError   names that would leave the folder, or meet in one file
    """
    paths = []
    for name in inputs.particles.names.tolist():
        parts = PurePosixPath(name).parts
        if not parts or ".." in parts or name.startswith("/") or "@" in name or name.endswith("/"):
            raise InputError(f"{inputs.paths.particles}: particle name {name!r} cannot be the name "
                             "of a file. Rename it: sta-mpi select --renumber always.")
        paths.append(folder / IMAGES / PurePosixPath(*parts[:-1]) / f"{parts[-1]}_{ending}")
    if len(set(paths)) < len(paths):
        raise InputError(f"{inputs.paths.particles}: two particle names mean one file. Rename "
                         "them: sta-mpi select --renumber always.")
    return paths


def series_file(name: str, folder: Path) -> Path:
    """The stack of a tilt series."""
    return folder / IMAGES / f"{name.replace('/', '_')}_stack2d.mrcs"

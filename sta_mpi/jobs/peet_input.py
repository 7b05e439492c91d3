"""The particles of a PEET project: models, motive lists and axes, as the input set of a job."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.errors import InputError
from sta_mpi.formats.imod_model import ImodModel, model_contours, read_imod_model
from sta_mpi.formats.paths import find_file
from sta_mpi.formats.peet_axes import read_rotation_axes
from sta_mpi.formats.peet_motive_list import DUPLICATE_CLASS, MotiveList, read_motive_list
from sta_mpi.formats.relion_optics import optics_from_tomograms
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.geometry.peet import (
    peet_euler_from_rotation,
    peet_from_rp2t,
    rotation_from_peet_euler,
    rp2t_from_peet,
)
from sta_mpi.jobs.foreign_tomograms import (
    ForeignTomogram,
    checked_volume_header,
    foreign_tomogram_set,
)
from sta_mpi.jobs.inputs import InputSet, SetPaths, check_series
from sta_mpi.jobs.peet_settings import PeetRun
from sta_mpi.jobs.source_volumes import WedgeSpec
from sta_mpi.pick.peet_start import end_point_axes, first_orientations, next_point_axes

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PeetProject:
    """Particles of a run, in the order of its tomograms and motive lists.

    Parameters
    ----------
    run : PeetRun
    inputs : InputSet
    tomogram : (n,) int32       index of the entry of fnVolume, from 0
    number : (n,) int64         particle number in its tomogram, from 1
    class_number : (n,) int64   without marks of duplicates
    motives : list              the motive lists as they were read or made, one a tomogram
    """

    run: PeetRun
    inputs: InputSet
    tomogram: NDArray[np.int32]
    number: NDArray[np.int64]
    class_number: NDArray[np.int64]
    motives: list[MotiveList]

    def rows_of(self, k: int) -> NDArray[np.intp]:
        """Rows of the particles of one entry of fnVolume."""
        return np.flatnonzero(self.tomogram == k)


def load_project(run: PeetRun, tomograms: Path | None, seed: int) -> PeetProject:
    """Read models and lists, and place the particles in their tomograms.

    Parameters
    ----------
    tomograms : Path or None    table of the tilt series of these tomograms, named as their files
    seed : int                  of random first orientations
    """
    entries = _volume_names(run.volumes)
    names = list(dict.fromkeys(entries))
    ranges = dict(zip(entries, run.tilt_ranges, strict=True))
    paths = dict(zip(entries, run.volumes, strict=True))
    table = (foreign_tomogram_set([
        ForeignTomogram(paths[name], name, _range(ranges[name])) for name in names])
        if tomograms is None else _known_tomograms(tomograms, paths))
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x9EE7]))
    xyz_A, offset_A, motives = [], [], []
    for k, (name, path) in enumerate(zip(entries, run.models, strict=True)):
        volume = table.reconstructed(name)
        assert volume is not None
        model = read_imod_model(path)
        own = _motives(run, k, model, path, rng)
        points = np.concatenate([np.zeros((0, 3)), *model_contours(model)])
        xyz_A.append(volume.xyz_A(points[own.particle - 1]))
        offset_A.append(own.offset_px * volume.pixel_A)
        motives.append(own)
    tomogram = np.repeat(np.arange(len(motives), dtype=np.int32), [len(m) for m in motives])
    number = np.concatenate([m.particle for m in motives])
    if not len(number):
        raise InputError(f"{run.source}: no particle in {len(motives)} models. Add points to them.")
    R = rotation_from_peet_euler(np.concatenate([m.euler_z1_x2_z3_deg for m in motives]))
    i_tomo = np.array([table.names.index(entries[k]) for k in tomogram], np.int32)
    particles = _particles(table, i_tomo, tomogram, number, np.concatenate(xyz_A),
                           np.concatenate(offset_A), rp2t_from_peet(R))
    series = [table.tilt_series(name) for name in table.names]
    used = [series[i] for i in np.unique(i_tomo)]
    check_series(run.source, used)
    wedges = {name: wedge_of(ranges[name], run.edge_shift_px, run.has_graded_wedge,
                              tomograms is not None)
              for name in names}
    inputs = InputSet(SetPaths(run.source, tomograms or run.source, None), particles, table, series,
                      None, wedges)
    classes = np.concatenate([np.where(m.class_number == DUPLICATE_CLASS, m.previous_class,
                                       m.class_number) if run.has_duplicates else m.class_number
                              for m in motives])
    return PeetProject(run, inputs, tomogram, number, classes, motives)


def wedge_of(tilt_range: tuple[float, float] | Path | None, edge_shift_px: float,
             is_graded: bool, has_series: bool) -> WedgeSpec:
    """What weighs the boxes of a tomogram: its tilt series, its range or file, or nothing."""
    if has_series:
        return WedgeSpec("tilts")
    if tilt_range is None:
        return WedgeSpec("none")
    if isinstance(tilt_range, Path):
        return WedgeSpec("file", mask=tilt_range)
    return WedgeSpec("binary", tilt_range, None, edge_shift_px, is_graded)


def motives_after(project: PeetProject, k: int, R_p2t: Floats, offset_A: Floats, voxel_A: float,
                  score: Floats, adjusted: Floats, is_duplicate: NDArray[np.bool_]) -> MotiveList:
    """The motive list of a tomogram after an iteration; columns that are not ours are kept."""
    rows, own = project.rows_of(k), project.motives[k]
    classes = np.where(is_duplicate[rows], DUPLICATE_CLASS, project.class_number[rows])
    return MotiveList(
        score[rows], own.particle, peet_euler_from_rotation(peet_from_rp2t(R_p2t[rows])),
        offset_A[rows] / voxel_A, classes, project.class_number[rows], own.weight,
        adjusted[rows], own.header, own.text, own.line_end)


def _range(tilt_range: tuple[float, float] | Path | None) -> tuple[float, float] | None:
    return tilt_range if isinstance(tilt_range, tuple) else None


def _volume_names(volumes: Sequence[Path]) -> list[str]:
    """A name for each volume: its stem; volumes of other folders with that stem get a number."""
    names: dict[Path, str] = {}
    for path in volumes:
        real = path.resolve()
        if real not in names:
            stem, n = path.stem, 1
            while stem in names.values():
                n += 1
                stem = f"{path.stem}_{n}"
            names[real] = stem
    return [names[path.resolve()] for path in volumes]


def _known_tomograms(table_path: Path, volumes: dict[str, Path]) -> TomogramSet:
    """The table with the volumes of the project instead of its own."""
    table = read_tomograms(table_path)
    binnings = []
    for name, path in volumes.items():
        series = table.tilt_series(name)
        binnings.append(float(checked_volume_header(path).pixel_xyz_A[0]) / series.pixel_A)
    if np.ptp(binnings) > 1e-3 * binnings[0]:
        raise InputError(f"{table_path}: tomograms of binnings {min(binnings):.4g} to "
                         f"{max(binnings):.4g}. Give tomograms of one binning.")
    paths = {name: (str(path.resolve()),) for name, path in volumes.items()}
    return table.with_volumes(dict[str, tuple[str, ...]](paths), binnings[0])


def _motives(run: PeetRun, k: int, model: ImodModel, path: Path, rng: np.random.Generator
             ) -> MotiveList:
    contours = model_contours(model)
    n = sum(map(len, contours))
    if not isinstance(run.init, int):
        motives = read_motive_list(run.init[k])
        bad = np.flatnonzero((motives.particle < 1) | (motives.particle > n))
        if len(bad):
            raise InputError(f"{run.init[k]}, row {bad[0] + 1}: pIndex {motives.particle[bad[0]]}, "
                             f"expected 1 to {n}, the points of object 1 of {path}. Use the model "
                             "that belongs to this list.")
        return motives
    motives = MotiveList.fresh(n)
    axes = _axes(run, k, contours, n)
    motives.euler_z1_x2_z3_deg = peet_euler_from_rotation(
        first_orientations(run.init, axes, rng)).reshape(n, 3)
    return motives


def _axes(run: PeetRun, k: int, contours: list[Floats], n: int) -> Floats:
    if run.y_axis_type == 1:
        return next_point_axes(contours)
    if run.y_axis_type == 2:
        return end_point_axes(contours)
    if run.y_axis_type == 0:
        return np.tile([0.0, 1.0, 0.0], (n, 1))
    names = (f"{run.root}_Tom{k + 1}_RotAxes.csv", f"{run.volumes[k].stem}_RotAxes.csv")
    path = find_file(names[0], run.source) or find_file(
        str(run.volumes[k].with_name(names[1])), run.source)
    if path is None:
        raise InputError(f"{run.source}: yaxisType is 3, but there is neither {names[0]} beside it "
                         f"nor {names[1]} beside the tomogram. Write the axes, or use another "
                         "type.")
    axes = read_rotation_axes(path)
    if len(axes) != n:
        raise InputError(f"{path}: {len(axes)} axes, expected {n}, one a point of {run.models[k]}.")
    return axes


def _particles(table: TomogramSet, i_tomo: NDArray[np.int32], tomogram: NDArray[np.int32],
               number: NDArray[np.int64], xyz_A: Floats, offset_A: Floats, R_p2t: Floats
               ) -> Particles:
    n = len(number)
    names = np.array([f"{table.names[i]}/{p}" for i, p in zip(i_tomo, number, strict=True)], object)
    if len(set(names)) < n:    # a tomogram that is named twice
        names = np.array([f"{name}.{k + 1}" for name, k in zip(names, tomogram, strict=True)],
                         object)
    return Particles(list(table.names), i_tomo, names, xyz_A, offset_A, R_p2t,
                     np.tile(np.eye(3), (n, 1, 1)), np.zeros(n, np.int8),
                     optics_from_tomograms(table)[1][i_tomo])

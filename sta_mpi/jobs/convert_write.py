"""Writing the particles of `convert` for a foreign program."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.errors import InputError
from sta_mpi.formats.dynamo_table import (
    dynamo_of_particles,
    write_dynamo_table,
    write_tomogram_list,
)
from sta_mpi.formats.em_motive_list import em_of_particles, write_em_motive_list
from sta_mpi.formats.foreign_particles import ForeignParticles
from sta_mpi.formats.imod_model import model_from_points, write_imod_model
from sta_mpi.formats.imod_origin import imod_origin_A
from sta_mpi.formats.markers import write_bild_arrows, write_cmm
from sta_mpi.formats.matlab_values import Cell, Vector
from sta_mpi.formats.peet_axes import write_rotation_axes
from sta_mpi.formats.peet_motive_list import write_motive_list
from sta_mpi.formats.peet_prm import PrmFile
from sta_mpi.formats.peet_project import motives_of_particles, twist_axes
from sta_mpi.formats.relion_coordinates import CORNER
from sta_mpi.formats.relion_particle_table import ANGLES, ORIGINS
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_table import StarTable, text_column
from sta_mpi.formats.stopgap_motive_list import stopgap_of_particles, write_stopgap
from sta_mpi.geometry.euler import relion_angles_from_matrix
from sta_mpi.jobs.convert_frames import Frame
from sta_mpi.jobs.convert_read import tomogram_numbers
from sta_mpi.jobs.folder import JobFolder
from sta_mpi.jobs.parameters.convert import ConvertParameters

SCORES = ("rlnMaxValueProbDistribution", "rlnLogLikeliContribution", "rlnAutopickFigureOfMerit")
"""Columns that may serve as the score of a RELION set, first there is."""
CLASS = "rlnClassNumber"
_SHOWN = "0.2 0.6 0.9"


@dataclass
class Written:
    """Names of files by what they are, and what they cannot hold."""

    outputs: dict[str, str]
    lost: list[str]


def foreign_of_particles(particles: Particles, frames: dict[str, Frame], p: ConvertParameters
                         ) -> ForeignParticles:
    """Particles in voxels of the volumes of their tomograms, these in the order of `frames`."""
    n = len(particles)
    names = list(frames)
    i_tomo = np.array([names.index(name) if name in frames else -1
                       for name in particles.tomo_names], np.int32)[particles.i_tomo]
    index, offset, pixel = np.zeros((n, 3)), np.zeros((n, 3)), np.zeros(n)
    for i, name in enumerate(names):
        rows, frame = i_tomo == i, frames[name]
        index[rows] = frame.index_px(particles.xyz_A[rows])
        offset[rows] = particles.offset_A[rows] / frame.pixel_A
        pixel[rows] = frame.pixel_A
    table = StarTable("particles", particles.columns)
    label = next((s for s in SCORES if s in table), None)
    class_number: NDArray[np.int64] = table.integers(CLASS, 0) if particles.columns else \
        np.zeros(n, np.int64)
    if p.halves_from_class:
        numbers = np.array(tomogram_numbers(names), np.int64)[i_tomo]
        class_number = 10 * numbers + particles.half.astype(np.int64)
    return ForeignParticles(
        names, i_tomo, index, offset, particles.R_p2t,
        np.full(n, np.nan) if label is None else table.floats(label), class_number,
        particles.half, pixel)


def write_foreign(folder: JobFolder, foreign: ForeignParticles, frames: dict[str, Frame],
                  p: ConvertParameters, prm: PrmFile | None, tomograms: TomogramSet) -> Written:
    """Write the files of the program that is asked for."""
    if p.to == "peet":
        return _write_peet(folder, foreign, frames, p, prm, tomograms)
    if p.to == "markers":
        return _write_markers(folder, foreign, frames, p)
    first = 1 if p.first_voxel is None else p.first_voxel
    numbers = tomogram_numbers(foreign.tomo_names)
    ending = {"dynamo": "tbl", "stopgap": "star", "em": "em"}[p.to]
    path = folder.file(f"{p.name}.{ending}")
    if p.to == "dynamo":
        table, lost = dynamo_of_particles(foreign, numbers, first)
        write_dynamo_table(path, table)
    elif p.to == "stopgap":
        star, lost = stopgap_of_particles(foreign, numbers, first)
        write_stopgap(path, star)
    else:
        values, lost = em_of_particles(foreign, numbers, first)
        write_em_motive_list(path, values)
    write_tomogram_list(folder.file("tomograms.doc"), {
        number: frames[name].path or name
        for number, name in zip(numbers, foreign.tomo_names, strict=True)})
    return Written({p.to: path.name, "tomogram_list": "tomograms.doc"}, lost)


def _write_peet(folder: JobFolder, foreign: ForeignParticles, frames: dict[str, Frame],
                p: ConvertParameters, prm: PrmFile | None, tomograms: TomogramSet) -> Written:
    outputs: dict[str, str] = {}
    models, lists, volumes = [], [], []
    lost = ["half-sets (write them into classes with --halves-from-class)"] \
        if foreign.half.any() and not p.halves_from_class else []
    if prm is not None and len(prm.strings("fnVolume")) != len(foreign.tomo_names):
        lost.append(f"all other keys of {prm.source}: it has {len(prm.strings('fnVolume'))} "
                    f"tomograms, particles are in {len(foreign.tomo_names)}")
        prm = None
    for k, name in enumerate(foreign.tomo_names, 1):
        frame = frames[name]
        rows = np.flatnonzero(foreign.i_tomo == k - 1)
        motives = motives_of_particles(foreign, rows, p.peet_axis == "y")
        stem = name.replace("/", "_")
        write_imod_model(folder.file(f"{stem}.mod"), model_from_points(
            foreign.index_px[rows], frame.size_px, frame.pixel_A,
            origin=imod_origin_A(Path(frame.path))))
        write_motive_list(folder.file(f"{stem}_initMOTL.csv"), motives)
        axes = f"{p.name}_Tom{k}_RotAxes.csv"
        write_rotation_axes(folder.file(axes), twist_axes(motives))
        models.append(f"{stem}.mod")
        lists.append(f"{stem}_initMOTL.csv")
        volumes.append(frame.path or f"{stem}.mrc")
        outputs |= {f"model {name}": models[-1], f"motive list {name}": lists[-1],
                    f"rotation axes {name}": axes}
    new = prm if prm is not None else PrmFile(p.name)
    new["fnVolume"] = Cell(tuple(volumes))
    new["fnModParticle"] = Cell(tuple(models))
    new["initMOTL"] = Cell(tuple(lists))
    new["fnOutput"] = p.name
    if prm is None:
        ranges = [_tilt_range(tomograms, name) for name in foreign.tomo_names]
        has_wedge = all(r is not None for r in ranges)
        new["tiltRange"] = Cell(tuple(Vector(r) for r in ranges if r)) if has_wedge else Cell(())
        new["flgWedgeWeight"] = int(has_wedge)
        new["CCMode"] = 1
        new["yaxisType"] = 3
    new.write(folder.file(f"{p.name}.prm"))
    return Written({"prm": f"{p.name}.prm", **outputs}, lost)


def _tilt_range(tomograms: TomogramSet, name: str) -> tuple[float, float] | None:
    """Smallest and largest tilt of a series; None where there is no series."""
    series = tomograms.tilt_series(name)
    if series.n_tilts < 2:
        return None
    R = series.P[:, :3, :3]
    tilts = np.degrees(np.arcsin(np.clip(-R[:, 2, 0], -1, 1)))
    return round(float(tilts.min()), 2), round(float(tilts.max()), 2)


def _write_markers(folder: JobFolder, foreign: ForeignParticles, frames: dict[str, Frame],
                   p: ConvertParameters) -> Written:
    outputs: dict[str, str] = {}
    for i, name in enumerate(foreign.tomo_names):
        rows = foreign.i_tomo == i
        place = (foreign.index_px[rows] + foreign.offset_px[rows]) * frames[name].pixel_A
        stem = f"{p.name}_{name.replace('/', '_')}"
        write_cmm(folder.file(f"{stem}.cmm"), name, place, 0.2 * p.arrow_A,
                  _colours(foreign.score[rows]))
        write_bild_arrows(folder.file(f"{stem}.bild"), place, foreign.R_p2t[rows][:, :, 2],
                          p.arrow_A, _SHOWN)
        outputs |= {f"markers {name}": f"{stem}.cmm", f"arrows {name}": f"{stem}.bild"}
    return Written(outputs, [])


def _colours(score: NDArray[np.float64]) -> NDArray[np.float64]:
    """From blue (lowest score) to red (highest); grey without scores."""
    low, high = (np.nanmin(score), np.nanmax(score)) if np.isfinite(score).any() else (0.0, 0.0)
    if not high > low:
        return np.full((len(score), 3), 0.5)
    share = np.nan_to_num((score - low) / (high - low))
    return np.stack([share, np.full(len(score), 0.2), 1 - share], axis=1)


def corner_table(particles: Particles, tomograms: TomogramSet) -> StarTable:
    """Particles in RELION 4's way: unbinned pixels from the corner of the tomogram.

    Origins are those of boxes parallel to the tomogram.
    """
    names = [particles.tomo_names[i] for i in particles.i_tomo]
    pixel = tomograms.table.finite("rlnTomoTiltSeriesPixelSize")
    row = np.array([tomograms.names.index(name) for name in particles.tomo_names])
    size = np.array([tomograms.size_px(name) for name in particles.tomo_names], float)
    i = particles.i_tomo
    corner = particles.xyz_A / pixel[row][i][:, None] + 0.5 * size[i]
    angles = relion_angles_from_matrix(particles.R_p2t)
    table = StarTable("particles", {
        "rlnTomoName": text_column(names), **{c: corner[:, k] for k, c in enumerate(CORNER)},
        **{a: angles[:, k] for k, a in enumerate(ANGLES)},
        **{o: -particles.offset_A[:, k] + 0.0 for k, o in enumerate(ORIGINS)}})
    if particles.half.any():
        table["rlnRandomSubset"] = particles.half.astype(int)
    for label in (*SCORES, CLASS):
        if label in particles.columns:
            table[label] = particles.columns[label]
    return table


def write_corner_star(path: str | os.PathLike[str], particles: Particles,
                      tomograms: TomogramSet) -> None:
    """Write particles in RELION 4's way."""
    write_star(path, [corner_table(particles, tomograms)])


def without_offsets(particles: Particles) -> Particles:
    """The same particles picked where they were refined to."""
    return replace(particles, xyz_A=particles.position_A,
                   offset_A=np.zeros_like(particles.offset_A))


def check_numbers(particles: Particles, where: Path) -> None:
    """InputError where a pose is not finite."""
    for name in ("xyz_A", "offset_A", "R_p2t"):
        values = getattr(particles, name).reshape(len(particles), -1)
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            raise InputError(f"{where}, particle {bad[0] + 1}: {name} is not finite. Remove it.")

"""Importing a project of RELION 4 or 5: its tables in RELION 5's layout, particles along.

Images and volumes stay where they are; their names are made absolute, so that the new project opens
from anywhere.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import TiltSeries
from sta_mpi.errors import UsageError
from sta_mpi.formats.paths import find_image_folder
from sta_mpi.formats.relion_particles import read_particles
from sta_mpi.formats.relion_sets import (
    LABELS,
    OptimisationSet,
    read_optimisation_set,
    write_optimisation_set,
)
from sta_mpi.formats.relion_tomograms import TomogramSet, even_sizes, read_tomograms
from sta_mpi.formats.star import read_star
from sta_mpi.formats.star_table import StarTable, text_column
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.import_output import write_imod
from sta_mpi.jobs.import_sources import SeriesFiles
from sta_mpi.jobs.parameters.project_import import ImportParameters
from sta_mpi.jobs.set_output import write_particle_set
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import tilt_geometry

IMAGE_LABELS = ("rlnMicrographName", "rlnMicrographNameEven", "rlnMicrographNameOdd")
VOLUME_LABELS = ("rlnTomoReconstructedTomogram", "rlnTomoReconstructedTomogramHalf1",
                 "rlnTomoReconstructedTomogramHalf2", "rlnTomoDenoisedTomogram",
                 "rlnTomoTiltSeriesName", "rlnMtfFileName")
"""Columns with names of files that later commands open."""
_DRAWN_SERIES = 12


def relion_members(found: list[SeriesFiles], parameters: ImportParameters) -> OptimisationSet:
    """Tomograms and particles that the input names."""
    if len(found) > 1:
        raise UsageError(f"{len(found)} STAR files of RELION. Import one project at a time; join "
                         "sets with `sta-mpi select`.")
    path = found[0].alignment
    labels = read_star(path).first.labels
    if not any(label in labels for label in LABELS.values()):
        return OptimisationSet(tomograms=path, particles=parameters.particles)
    members = read_optimisation_set(path)
    return OptimisationSet(tomograms=members.require("tomograms")[0],
                           particles=parameters.particles or members.particles)


def relion_files(found: list[SeriesFiles], parameters: ImportParameters) -> list[Path]:
    """All tables of the project."""
    tomograms, particles = _paths(relion_members(found, parameters))
    files = [tomograms, *read_tomograms(tomograms).table_files()]
    return files + ([particles] if particles is not None else [])


def import_relion(found: list[SeriesFiles], parameters: ImportParameters, folder: JobFolder
                  ) -> JobOutcome:
    """Write the tomograms of a project, and its particles, as a project of their own."""
    path, particles_path = _paths(relion_members(found, parameters))
    original = read_tomograms(path)
    particles = None if particles_path is None else read_particles(
        particles_path, original, coordinate_pixel_A=parameters.coordinate_pixel_A)
    tomograms, moves_A, warnings = _with_even_sizes(original)
    series = [tomograms.tilt_series(name) for name in tomograms.names]
    with_absolute_names(tomograms).write(folder.file("tomograms.star"))
    written = read_tomograms(folder.path / "tomograms.star")
    members = OptimisationSet(tomograms=folder.path / "tomograms.star")
    results = {"tilt_series": len(series), "tilts": int(sum(ts.n_tilts for ts in series)),
               "pixel_A": series[0].pixel_A}
    outputs = {"tomograms": "tomograms.star", "optimisation_set": "optimisation_set.star"}
    if particles is None:
        write_optimisation_set(folder.file("optimisation_set.star"), members)
    else:
        xyz_A = particles.xyz_A + moves_A[particles.i_tomo]
        outputs |= write_particle_set(folder, replace(particles, xyz_A=xyz_A), written, members)
        results["particles"] = len(particles)
    if parameters.export_imod:
        outputs |= write_imod(folder, series)
    return JobOutcome(results, outputs, _sections(series), warnings)


def _with_even_sizes(tomograms: TomogramSet) -> tuple[TomogramSet, NDArray[np.float64], list[str]]:
    """Tomograms of even sizes, what to add to coordinates (n, 3) [Å], and what to tell."""
    odd = [name for name in tomograms.names if any(s % 2 for s in tomograms.size_px(name))]
    if not odd:
        return tomograms, np.zeros((len(tomograms), 3)), []
    even, moves = even_sizes(tomograms)
    return even, np.stack([moves[name] for name in tomograms.names]), [
        f"{len(odd)} tomograms have odd sizes, first {odd[0]}: made even, with coordinates moved "
        "by half a pixel, because RELION reads odd sizes half a pixel off."]


def with_absolute_names(tomograms: TomogramSet) -> TomogramSet:
    """The set with absolute names of the images and volumes that exist; others stay."""
    tilts = {}
    for name in tomograms.names:
        tilts[name] = tomograms.tilt_table(name).copy()
        _make_absolute(tilts[name], IMAGE_LABELS, tomograms)
    table = tomograms.table.copy()
    _make_absolute(table, VOLUME_LABELS, tomograms)
    return TomogramSet(table, tilts, tomograms.source, tomograms.project_dir)


def _make_absolute(table: StarTable, labels: tuple[str, ...], tomograms: TomogramSet) -> None:
    for label in labels:
        if label not in table:
            continue
        names = []
        for name in table.strings(label):
            folder = find_image_folder(str(name), tomograms.source, tomograms.project_dir)
            number, at, file_name = str(name).rpartition("@")
            names.append(str(name) if folder is None
                         else f"{number}{at}{os.path.abspath(folder / file_name)}")
        table[label] = text_column(names)


def _paths(members: OptimisationSet) -> tuple[Path, Path | None]:
    return members.require("tomograms")[0], members.particles


def _sections(series: list[TiltSeries]) -> list[Section]:
    """A table of the series, and a picture each of the first ones."""
    rows, pictures = [], list[Section]()
    for ts in series:
        tilt = np.degrees(np.arcsin(np.clip(-ts.rotation[:, 2, 0], -1, 1)))
        mean = 0.5 * (ts.defocus_u_A + ts.defocus_v_A)
        rows.append([ts.name, ts.n_tilts, f"{tilt.min():.1f} .. {tilt.max():.1f}",
                     f"{ts.pre_dose_e_per_A2.min():.1f} .. {ts.pre_dose_e_per_A2.max():.1f}",
                     f"{mean.min():.0f} .. {mean.max():.0f}", ts.hand])
        if len(pictures) < _DRAWN_SERIES:
            picture = tilt_geometry.later(
                tilt, ts.pre_dose_e_per_A2, ts.defocus_u_A, ts.defocus_v_A, title=ts.name)
            pictures.append(Section(ts.name, figures=[Figure("Dose and defocus", picture)]))
    columns = ["series", "tilts", "tilt range [°]", "dose before [e/Å²]", "defocus [Å]", "hand"]
    return [Section("Imported series", tables=[Table("Series", columns, rows)]), *pictures]

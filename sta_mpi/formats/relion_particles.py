"""Particle sets as RELION writes them, to and from `Particles`.

2D stacks, 3D pseudo-subtomograms and plain coordinates; RELION 5's centred coordinates and the
corner-based ones of RELION 4. With p the pixel position in the tomogram, A_sub the box orientation
(rlnTomoSubtomogram*) and A_part the refined one (rlnAngle*), RELION has

    R_p2t = A_sub A_part,    p_true = p - A_sub origin / px,    so    offset_A = -A_sub origin.

What was read is kept as text in `Particles.columns`; rows whose pose did not change are written
with their original numbers (relion_particles_write).
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import TiltSeries
from sta_mpi.errors import InputError
from sta_mpi.formats.paths import find_image_folder, join_image_name
from sta_mpi.formats.relion_coordinates import read_positions
from sta_mpi.formats.relion_optics import (
    check_optics,
    group_row,
    optics_from_tomograms,
    with_aberrations,
)
from sta_mpi.formats.relion_particle_table import (
    ORIGINS,
    STACKS,
    RelionParticles,
    box_rotations,
    describe_repeats,
    find_repeats,
    new_names,
    part_rotations,
    renumber,
    tomogram_indices,
)
from sta_mpi.formats.relion_particles_write import write_particles
from sta_mpi.formats.relion_tomograms import TomogramSet, describe_names
from sta_mpi.formats.star import StarFile, read_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.formats.visible_frames import BEYOND, parse_visible

__all__ = ["RelionParticles", "particle_table_of", "particles_from_star", "read_particles",
           "renumber", "tilt_series_with_aberrations", "write_particles"]


def read_particles(path: str | os.PathLike[str], tomograms: TomogramSet, *,
                   renumber_repeats: bool = False,
                   coordinate_pixel_A: float | None = None) -> RelionParticles:
    """Read a particle set.

    Parameters
    ----------
    path : particles.star, run_data.star or a file of picked coordinates
    tomograms : the set that rlnTomoName refers to
    renumber_repeats : give all particles new names where some are repeated, instead of refusing
    coordinate_pixel_A : what one unit of rlnCoordinateX/Y/Z is [Å], for files that count binned
        pixels; None: the pixel of the tilt series, as RELION has it

    Returns
    -------
    RelionParticles        tomo_names are those of `tomograms`, in its order

    Raises
    ------
    InputError             unknown tomograms, repeated names, optics that differ from the
                           tomograms', missing columns, values that are not finite
    FormatError            not a STAR file
    """
    return particles_from_star(read_star(path), Path(path), tomograms,
                               renumber_repeats=renumber_repeats,
                               coordinate_pixel_A=coordinate_pixel_A)


def particles_from_star(star: StarFile, path: Path, tomograms: TomogramSet, *,
                        renumber_repeats: bool = False,
                        coordinate_pixel_A: float | None = None) -> RelionParticles:
    """Like `read_particles`, of tables in memory; `path` says what image names are beside."""
    table = particle_table_of(star)
    i_tomo = _tomogram_indices(table, tomograms)
    optics, group = _optics(star, table, i_tomo, tomograms)
    xyz_A = read_positions(table, i_tomo, tomograms, optics, coordinate_pixel_A)
    R_box2t, R_part = box_rotations(table), part_rotations(table)
    origin_A = np.stack([table.finite(label, 0.0) for label in ORIGINS], axis=1)
    names = _names(table, tomograms, i_tomo)
    image_names, folder = _image_names(table, "rlnImageName", path)
    others = tuple(t for t in star if t is not table and t.name != "optics")
    particles = RelionParticles(
        tomo_names=list(tomograms.names), i_tomo=i_tomo, names=names, xyz_A=xyz_A,
        offset_A=0.0 - np.einsum("nij,nj->ni", R_box2t, origin_A), R_p2t=R_box2t @ R_part,
        R_box2t=R_box2t, half=_halves(table), optics_group=group, image_names=image_names,
        weight_names=_image_names(table, "rlnCtfImage", path, folder)[0],
        visible=_visible(table, i_tomo, names, tomograms), columns=dict(table.columns),
        optics=optics, other_tables=others, image_folder=folder,
        **_image_facts(star, table, optics, group))
    repeated = find_repeats(names)
    if repeated and not renumber_repeats:
        raise InputError(f"{table.where}: {describe_repeats(repeated)} Remove the "
                         "repeated rows, or give each particle a name of its own "
                         "(rlnTomoParticleName).")
    return renumber(particles) if repeated else particles


def tilt_series_with_aberrations(tomograms: TomogramSet, name: str,
                                 particles: RelionParticles) -> TiltSeries:
    """A tilt series with the Zernike aberrations that its particles' optics group holds."""
    series = tomograms.tilt_series(name)
    return series if particles.optics is None else with_aberrations(
        series, particles.optics, particles)


def particle_table_of(star: StarFile) -> StarTable:
    """The table `particles`, else the first loop that names tomograms."""
    if "particles" in star:
        table = star["particles"]
    else:
        table = next((t for t in star if "rlnTomoName" in t and t.name != "global"), star.first)
    if "rlnTomoName" not in table and "rlnMicrographName" in table:
        raise InputError(f"{table.where}: rlnTomoName is missing (rlnMicrographName is there): a "
                         "file of RELION 3 or of single particles. Import it into a tomography "
                         "project first.")
    table.require("rlnTomoName")
    return table


def _tomogram_indices(table: StarTable, tomograms: TomogramSet) -> NDArray[np.int32]:
    column = table.columns["rlnTomoName"]
    i_tomo = tomogram_indices(column, tomograms.names)
    bad = np.flatnonzero(i_tomo < 0)
    if len(bad):
        name = table.strings("rlnTomoName")[bad[0]]
        raise InputError(f"{table.where}, row {bad[0] + 1}: rlnTomoName {name!r} is not in "
                         f"{tomograms.table.where} ({describe_names(tomograms)}; {len(bad)} such "
                         "rows). Use the tomograms of these particles, or correct the names.")
    return i_tomo


def _optics(star: StarFile, table: StarTable, i_tomo: NDArray[np.int32], tomograms: TomogramSet,
            ) -> tuple[StarTable, NDArray[np.int32]]:
    if "optics" not in star:
        optics, groups = optics_from_tomograms(tomograms)
        return optics, groups[i_tomo]
    optics = star["optics"]
    optics.require("rlnOpticsGroup")
    if len(optics) > 1:
        table.require("rlnOpticsGroup")
    group = table.integers("rlnOpticsGroup", 1).astype(np.int32)
    check_optics(optics, group, i_tomo, tomograms)
    return optics, group


def _names(table: StarTable, tomograms: TomogramSet, i_tomo: NDArray[np.int32]) -> NDArray[Any]:
    if "rlnTomoParticleName" in table:
        return table.strings("rlnTomoParticleName")
    return new_names(tomograms.names, i_tomo)


def _halves(table: StarTable) -> NDArray[np.int8]:
    half = table.integers("rlnRandomSubset", 0)
    bad = np.flatnonzero((half < 0) | (half > 2))
    if len(bad):
        raise InputError(f"{table.where}, row {bad[0] + 1}: rlnRandomSubset is {half[bad[0]]}, "
                         "expected 1 or 2. Correct the value.")
    return half.astype(np.int8)


def _image_names(table: StarTable, label: str, path: Path, folder: str | None = None,
                 ) -> tuple[NDArray[Any] | None, str]:
    """Names that can be opened from the current folder, and what was put before them."""
    if label not in table:
        return None, ""
    names = table.strings(label)
    if folder is None:
        found = find_image_folder(names[0], path) if len(names) else None
        folder = "" if found is None or found == Path() else str(found)
    if folder:
        names[:] = [join_image_name(Path(folder), name) for name in names]
    return names, folder


def _image_facts(star: StarFile, table: StarTable, optics: StarTable,
                 group: NDArray[np.int32]) -> dict[str, Any]:
    """is_2d_stack, image_pixel_A, image_size_px and is_premultiplied of the first optics group."""
    row = group_row(optics, int(group[0])) if len(group) else optics
    general = star["general"] if "general" in star else StarTable("general", {})
    if STACKS in general:
        is_2d = bool(general.integers(STACKS)[0])
    elif "rlnImageDimensionality" in row and len(row):
        is_2d = int(row.integers("rlnImageDimensionality")[0]) == 2
    else:
        is_2d = "rlnCtfImage" not in table
    pixel = float(row.finite("rlnImagePixelSize")[0]) if len(row) and "rlnImagePixelSize" in row \
        else None
    size = int(row.integers("rlnImageSize")[0]) if len(row) and "rlnImageSize" in row else None
    multiplied = bool(row.integers("rlnCtfDataAreCtfPremultiplied", 0)[0]) if len(row) else False
    return {"is_2d_stack": is_2d, "image_pixel_A": pixel, "image_size_px": size,
            "is_premultiplied": multiplied}


def _visible(table: StarTable, i_tomo: NDArray[np.int32], names: NDArray[Any],
             tomograms: TomogramSet) -> NDArray[np.int8] | None:
    label = "rlnTomoVisibleFrames"
    if label not in table:
        return None
    visible = parse_visible(table.columns[label], table.where)
    count = (visible != BEYOND).sum(axis=1)
    n_tilts = np.zeros(len(tomograms), np.int64)
    for i in np.unique(i_tomo).tolist():
        n_tilts[i] = len(tomograms.tilt_table(tomograms.names[i]))
    bad = np.flatnonzero(count != n_tilts[i_tomo])
    if len(bad):
        row, tomogram = bad[0], i_tomo[bad[0]]
        raise InputError(f"{table.where}, row {row + 1}: particle {names[row]} has {label} of "
                         f"{count[row]} tilts, tomogram {tomograms.names[tomogram]} has "
                         f"{n_tilts[tomogram]}. Use the tomograms that the particles were "
                         "extracted with.")
    return visible

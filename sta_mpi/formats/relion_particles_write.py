"""Writing particle sets for RELION 5.

Coordinates are written as centred Å, origins as -A_sub^T offset, angles as those of A_sub^T R_p2t.
A value that did not change keeps its text; columns that are not ours are written as they were.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles
from sta_mpi.errors import InputError
from sta_mpi.formats.paths import find_image_folder, join_image_name
from sta_mpi.formats.relion_coordinates import CENTRED, CORNER
from sta_mpi.formats.relion_optics import check_optics, optics_from_tomograms
from sta_mpi.formats.relion_particle_table import (
    ANGLES,
    BOX_ANGLES,
    ORIGINS,
    STACKS,
    RelionParticles,
    box_rotations,
    describe_repeats,
    find_repeats,
    part_rotations,
    tomogram_indices,
)
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.formats.star import write_star
from sta_mpi.formats.star_numbers import format_numbers
from sta_mpi.formats.star_table import StarTable, make_list, text_column
from sta_mpi.formats.visible_frames import format_visible, parse_visible
from sta_mpi.geometry.euler import relion_angles_from_matrix

_SAME_A = 1e-7
_SAME_ROTATION = 1e-9
_SAME_FACT = 1e-5
"""Changes below these come from going through matrices; files carry 6 decimals."""


def write_particles(path: str | os.PathLike[str], particles: Particles, tomograms: TomogramSet,
                    optics: StarTable | None = None) -> None:
    """Write a particle set.

    Parameters
    ----------
    particles : Particles       RelionParticles keep the other tables and columns of their file
    tomograms : TomogramSet     the set that goes with them
    optics : StarTable          optics table to write; None: that of the particles, or one made
                                from the tomograms

    Raises
    ------
    InputError                  repeated names; optics that differ from the tomograms'; values
                                that are not finite
    """
    repeated = find_repeats(particles.names)
    if repeated:
        raise InputError(f"{os.fspath(path)}: {describe_repeats(repeated)} Use renumber() first.")
    _check_finite(particles, path)
    table = particle_table(particles, Path(path))
    chosen, group = _optics_to_write(particles, tomograms, optics)
    _set_integers(table, "rlnOpticsGroup", group, absent=-1)
    check_optics(chosen, group, particles.i_tomo, tomograms)
    write_star(path, [_general(particles), chosen.copy(name="optics", is_loop=True, version=50001),
                      *_other_tables(particles), table])


def particle_table(particles: Particles, path: Path) -> StarTable:
    """The table `particles` of the file `path` (without rlnOpticsGroup where it was not read)."""
    columns: dict[str, Any] = dict(particles.columns)
    table = StarTable("particles", columns)
    if not columns:
        table["rlnTomoName"] = text_column(particles.tomo_names[i] for i in particles.i_tomo)
    _set_tomogram_names(table, particles)
    _set_text(table, "rlnTomoParticleName", particles.names)
    _set_positions(table, particles)
    _set_poses(table, particles)
    _set_integers(table, "rlnRandomSubset", particles.half, absent=0)
    _set_images(table, particles, path)
    _set_visible(table, particles)
    return table


def _set_tomogram_names(table: StarTable, particles: Particles) -> None:
    label = "rlnTomoName"
    names = text_column(particles.tomo_names)
    if label not in table:
        table[label] = names[particles.i_tomo]
        return
    changed = tomogram_indices(table.columns[label], particles.tomo_names) != particles.i_tomo
    table.update_text(label, changed, names[particles.i_tomo[changed]])


def _set_text(table: StarTable, label: str, values: NDArray[Any]) -> None:
    if label not in table:
        table[label] = text_column(values)
        return
    changed = table.strings(label) != values
    table.update_text(label, changed, text_column(values[changed]))


def _set_positions(table: StarTable, particles: Particles) -> None:
    for axis, label in enumerate(CENTRED):
        table.update_numbers(label, particles.xyz_A[:, axis], _SAME_A)
    table.drop(*CORNER)


def _set_poses(table: StarTable, particles: Particles) -> None:
    _set_rotations(table, BOX_ANGLES, box_rotations(table), particles.R_box2t)
    t2box = particles.R_box2t.transpose(0, 2, 1)
    _set_rotations(table, ANGLES, part_rotations(table), t2box @ particles.R_p2t)
    origin_A = -np.einsum("nij,nj->ni", t2box, particles.offset_A)
    for axis, label in enumerate(ORIGINS):
        if label in table or np.abs(origin_A).max(initial=0.0) > _SAME_A:
            # -0.0 and leftovers of the matrix product are zero.
            values = np.where(np.abs(origin_A[:, axis]) < _SAME_A, 0.0, origin_A[:, axis])
            table.update_numbers(label, values, _SAME_A)


def _set_rotations(table: StarTable, labels: tuple[str, ...], old: NDArray[np.float64],
                   new: NDArray[np.float64]) -> None:
    """Angles of the rows whose rotation changed."""
    changed = np.abs(old - new).max(axis=(1, 2), initial=0.0) > _SAME_ROTATION
    if not changed.any():
        return
    angles = relion_angles_from_matrix(new[changed])
    for axis, label in enumerate(labels):
        if label not in table:
            table[label] = text_column(["0.000000"] * len(table))
        elif table.columns[label].dtype.kind not in "SO":
            table[label] = format_numbers(table.columns[label])
        table.update_text(label, changed, format_numbers(angles[:, axis]))


def _set_integers(table: StarTable, label: str, values: NDArray[Any], absent: int) -> None:
    if label in table or np.any(values != absent):
        table.update_numbers(label, values.astype(np.int64))


def _set_images(table: StarTable, particles: Particles, path: Path) -> None:
    """Image names; names relative to the folder they were read in stay where they still hold."""
    folder = particles.image_folder if isinstance(particles, RelionParticles) else ""
    for label, names in (("rlnImageName", particles.image_names),
                         ("rlnCtfImage", particles.weight_names)):
        if names is None:
            table.drop(label)
        elif label in table:
            old = table.strings(label)
            if folder and len(old) and find_image_folder(old[0], path) is not None:
                old[:] = [join_image_name(Path(folder), name) for name in old]
            changed = old != names
            table.update_text(label, changed, text_column(names[changed]))
        else:
            table[label] = text_column(names)


def _set_visible(table: StarTable, particles: Particles) -> None:
    label, visible = "rlnTomoVisibleFrames", particles.visible
    if visible is None:
        table.drop(label)
    elif label not in table:
        table[label] = format_visible(visible)
    else:
        old = parse_visible(table.columns[label], table.where)
        width = max(old.shape[1], visible.shape[1])
        old, new = (np.pad(v, ((0, 0), (0, width - v.shape[1])), constant_values=-1)
                    for v in (old, visible))
        changed = (old != new).any(axis=1)
        table.update_text(label, changed, format_visible(new[changed]))


def _optics_to_write(particles: Particles, tomograms: TomogramSet, optics: StarTable | None,
                     ) -> tuple[StarTable, NDArray[np.int32]]:
    """Optics table and the group of each particle."""
    if optics is None and isinstance(particles, RelionParticles):
        optics = particles.optics
    group = particles.optics_group
    if optics is None:
        optics, of_tomogram = optics_from_tomograms(tomograms)
        index = np.array([tomograms.names.index(name) if name in tomograms else -1
                          for name in particles.tomo_names])
        group = of_tomogram[index[particles.i_tomo]]
    return _with_image_facts(optics.copy(), particles), group


def _with_image_facts(optics: StarTable, particles: Particles) -> StarTable:
    """The table with dimensionality, pixel and size of the images, where there are images.

    A table that agrees with the particles is left as it is, so that groups may differ; one that
    does not (new images were cut) gets the values in every group.
    """
    if particles.image_names is None or not len(particles):
        return optics
    facts: dict[str, float] = {
        "rlnCtfDataAreCtfPremultiplied": int(particles.is_premultiplied),
        "rlnImageDimensionality": 2 if particles.is_2d_stack else 3}
    if particles.image_pixel_A is not None:
        facts["rlnImagePixelSize"] = float(particles.image_pixel_A)
    if particles.image_size_px is not None:
        facts["rlnImageSize"] = int(particles.image_size_px)
    first = int(np.flatnonzero(
        optics.integers("rlnOpticsGroup") == particles.optics_group[0])[0]) \
        if particles.optics_group[0] in optics.integers("rlnOpticsGroup") else 0
    changed = {label: value for label, value in facts.items()
               if label not in optics or abs(optics.floats(label)[first] - value) > _SAME_FACT}
    for label, value in changed.items():
        optics[label] = [value] * len(optics)
    binning = "rlnTomoSubtomogramBinning"
    if particles.image_pixel_A and ("rlnImagePixelSize" in changed or binning not in optics):
        optics[binning] = particles.image_pixel_A / optics.floats("rlnTomoTiltSeriesPixelSize")
    return optics


def _general(particles: Particles) -> StarTable:
    general = make_list("general", {STACKS: int(particles.is_2d_stack)})
    if isinstance(particles, RelionParticles):
        for table in particles.other_tables:
            if table.name == "general" and not table.is_loop:
                general = table.copy(version=50001)
                general.update_numbers(STACKS, np.array([int(particles.is_2d_stack)]))
    return general


def _other_tables(particles: Particles) -> list[StarTable]:
    tables = particles.other_tables if isinstance(particles, RelionParticles) else ()
    return [table for table in tables if table.name != "general"]


def _check_finite(particles: Particles, path: str | os.PathLike[str]) -> None:
    for what in ("xyz_A", "offset_A", "R_p2t", "R_box2t"):
        values = getattr(particles, what)
        bad = np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
        if len(bad):
            raise InputError(f"{os.fspath(path)}: particle {particles.names[bad[0]]}: {what} holds "
                             f"NaN or Inf ({len(bad)} such particles). Remove them before writing.")

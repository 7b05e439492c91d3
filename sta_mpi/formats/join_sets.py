"""Joining tomogram sets and particle sets.

Tomograms of one name must be the same in all sets. Optics groups that agree in all values become
one; others of the same name get a number behind it. As in RELION, columns that not all particle
files have are dropped; half-sets, poses and positions are kept whatever columns they came from.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.formats.star_table import StarTable, text_column

_NUMBER, _NAME = "rlnOpticsGroup", "rlnOpticsGroupName"
_ABSENT = -1
"""Filling of visible tilts beyond a series, as `visible_frames.BEYOND`."""


def join_tomograms(sets: Sequence[TomogramSet]) -> TomogramSet:
    """One set with the tomograms of all; InputError where two of one name differ."""
    first = sets[0]
    if len(sets) == 1:
        return first
    tables, tilts, seen = [first.table], {}, set(first.names)
    for name in first.names:
        tilts[name] = first.tilt_table(name)
    for other in sets[1:]:
        new = [name for name in other.names if name not in seen]
        for name in set(other.names) & seen:
            _check_same(name, tilts[name], other)
        for name in new:
            tilts[name] = other.tilt_table(name)
        if new:
            rows = [other.names.index(name) for name in new]
            tables.append(other.table.select(rows))
        seen |= set(new)
    table = first.table if len(tables) == 1 else _stack(tables)
    return TomogramSet(table, tilts, first.source, first.project_dir)


def _check_same(name: str, tilts: StarTable, other: TomogramSet) -> None:
    theirs = other.tilt_table(name)
    same = len(tilts) == len(theirs) and all(
        label not in theirs or np.array_equal(tilts.columns[label].astype("S"),
                                              theirs.columns[label].astype("S"))
        for label in tilts.labels)
    if not same:
        raise InputError(f"{other.table.where}: tomogram {name} has another tilt table than the "
                         "tomogram of that name in the first set. Join sets of one project, or "
                         "rename the tomogram.")


def join_particles(sets: Sequence[RelionParticles]) -> tuple[RelionParticles, list[str]]:
    """All particles in one table, and what was left out, one line each.

    Parameters
    ----------
    sets : read with one joined TomogramSet, so that i_tomo means the same in all
    """
    first = sets[0]
    if len(sets) == 1:
        return first, []
    notes: list[str] = []
    common = [label for label in first.columns if all(label in s.columns for s in sets)]
    lost = sorted({label for s in sets for label in s.columns} - set(common))
    if lost:
        notes.append(f"columns that not all joined files have are left out: {', '.join(lost)}")
    optics, groups = _join_optics(sets)
    images = _same_images(sets)
    if not images and any(s.image_names is not None for s in sets):
        notes.append("the joined files have images of different kinds or sizes, or only some "
                     "have images: image names are left out. Extract again.")
    columns = {label: np.concatenate([_text(s.columns[label]) for s in sets]) for label in common}
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(s, name) for s in sets])
        for name in ("i_tomo", "names", "xyz_A", "offset_A", "R_p2t", "R_box2t", "half")}
    joined = replace(
        first, columns=columns, optics=optics, optics_group=groups,
        visible=_join_visible(sets) if images else None,
        image_names=_joined(sets, "image_names") if images else None,
        weight_names=_joined(sets, "weight_names") if images else None, **arrays)
    return joined, notes


def _text(column: NDArray) -> NDArray:
    return column if column.dtype.kind == "O" else column.astype("S")


def _joined(sets: Sequence[RelionParticles], name: str) -> NDArray | None:
    values = [getattr(s, name) for s in sets]
    return None if any(v is None for v in values) else np.concatenate(values)


def _same_images(sets: Sequence[RelionParticles]) -> bool:
    facts = {(s.image_names is None, s.weight_names is None, s.visible is None, s.is_2d_stack,
              s.image_pixel_A, s.image_size_px, s.is_premultiplied) for s in sets}
    return len(facts) == 1 and sets[0].image_names is not None


def _join_visible(sets: Sequence[RelionParticles]) -> NDArray[np.int8] | None:
    parts = [s.visible for s in sets if s.visible is not None]
    if len(parts) < len(sets):
        return None
    width = max(v.shape[1] for v in parts)
    return np.concatenate([np.pad(v, ((0, 0), (0, width - v.shape[1])), constant_values=_ABSENT)
                           for v in parts])


def _join_optics(sets: Sequence[RelionParticles]) -> tuple[StarTable, NDArray[np.int32]]:
    """One optics table, and the new group number of every particle."""
    tables = [s.optics for s in sets if s.optics is not None]
    labels = [label for label in tables[0].labels if all(label in t for t in tables)]
    rows: list[dict[str, str]] = []
    groups = []
    for particles, table in zip(sets, tables, strict=True):
        numbers = {}
        for i, old in enumerate(table.integers(_NUMBER).tolist()):
            row = {label: str(table.strings(label)[i]) for label in labels}
            numbers[old] = _place(rows, row)
        groups.append([numbers[g] for g in particles.optics_group.tolist()])
    columns = {label: text_column([row[label] for row in rows]) for label in labels}
    columns[_NUMBER] = np.arange(1, len(rows) + 1)
    return StarTable("optics", columns), np.concatenate(groups).astype(np.int32)


def _place(rows: list[dict[str, str]], row: dict[str, str]) -> int:
    """Number (from 1) of the group with these values; a new one gets a name of its own."""
    for number, known in enumerate(rows, 1):
        if all(_same(known[label], row[label]) for label in row if label != _NUMBER):
            return number
    names = {known.get(_NAME) for known in rows}
    if _NAME in row and row[_NAME] in names:
        base, i = row[_NAME], 2
        while f"{base}_{i}" in names:
            i += 1
        row = {**row, _NAME: f"{base}_{i}"}
    rows.append(row)
    return len(rows)


def _same(a: str, b: str) -> bool:
    try:
        return abs(float(a) - float(b)) <= 1e-6 * max(abs(float(a)), 1e-30)
    except ValueError:
        return a == b


def _stack(tables: Sequence[StarTable]) -> StarTable:
    labels = [label for label in tables[0].labels if all(label in t for t in tables)]
    columns = {label: np.concatenate([_text(t.columns[label]) for t in tables])
               for label in labels}
    return StarTable(tables[0].name, columns, True, tables[0].source, tables[0].version)

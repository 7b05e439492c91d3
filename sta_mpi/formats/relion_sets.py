"""Optimisation sets: the file that names the current particles, tomograms and references.

RELION writes a list without a name, its Python pickers a loop called `optimisation_set`; the first
table of any name is read. Names are resolved against the current folder (RELION's project folder),
then the folder of the set, then its parents, so that a moved project still opens.
"""

import os
from dataclasses import dataclass, fields
from pathlib import Path

from sta_mpi.errors import InputError
from sta_mpi.formats.paths import require_file
from sta_mpi.formats.star import read_star, write_star
from sta_mpi.formats.star_table import make_list

LABELS = {
    "particles": "rlnTomoParticlesFile",
    "tomograms": "rlnTomoTomogramsFile",
    "trajectories": "rlnTomoTrajectoriesFile",
    "manifolds": "rlnTomoManifoldsFile",
    "reference1": "rlnTomoReferenceMap1File",
    "reference2": "rlnTomoReferenceMap2File",
    "mask": "rlnTomoReferenceMaskFile",
    "fsc": "rlnTomoReferenceFscFile",
}
_ABSENT = ("", "None")


@dataclass(frozen=True)
class OptimisationSet:
    """Paths of the members; None for those that the set does not name.

    Parameters
    ----------
    particles, tomograms, trajectories, manifolds : Path or None
    reference1, reference2 : Path or None     half maps
    mask, fsc : Path or None
    """

    particles: Path | None = None
    tomograms: Path | None = None
    trajectories: Path | None = None
    manifolds: Path | None = None
    reference1: Path | None = None
    reference2: Path | None = None
    mask: Path | None = None
    fsc: Path | None = None

    def require(self, *members: str) -> tuple[Path, ...]:
        """The paths of `members`; InputError where one is not named."""
        found = []
        for member in members:
            path = getattr(self, member)
            if path is None:
                raise InputError(f"the optimisation set names no {member} ({LABELS[member]}). Add "
                                 f"it, or give it as an option (--{member}).")
            found.append(path)
        return tuple(found)


def read_optimisation_set(path: str | os.PathLike[str], project_dir: Path | None = None,
                          ) -> OptimisationSet:
    """Read an optimisation set.

    Parameters
    ----------
    path : list or one-row loop, with any table name
    project_dir : looked in before the current folder

    Raises
    ------
    InputError      a member that is named and does not exist; no known member at all; several rows
    """
    table = read_star(path).first
    if len(table) > 1:
        raise InputError(f"{table.where}: {len(table)} rows, expected one. Give one row.")
    known = {member: table.value(label) for member, label in LABELS.items() if label in table}
    if not known:
        raise InputError(f"{table.where}: none of {', '.join(LABELS.values())}. This is not an "
                         "optimisation set; check the name.")
    return OptimisationSet(**{
        member: require_file(name, f"{table.where}: {LABELS[member]}", Path(path), project_dir)
        for member, name in known.items() if name not in _ABSENT})


def write_optimisation_set(path: str | os.PathLike[str], members: OptimisationSet,
                           project_dir: Path | None = None) -> None:
    """Write a set as RELION does: an unnamed list.

    Parameters
    ----------
    project_dir : names below this folder (default: the current one) are written relative to it,
        others absolutely
    """
    folder = (project_dir or Path()).resolve()
    values = {}
    for item in fields(members):
        member = getattr(members, item.name)
        if member is not None:
            absolute = Path(member).resolve()
            values[LABELS[item.name]] = str(
                absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute)
    if not values:
        raise ValueError(f"{path}: an optimisation set without members")
    write_star(path, [make_list("", values)])

"""Reading what `select` works on: sets joined, columns edited, half-sets and names checked."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.column_edits import (
    parse_assignment,
    parse_number,
    remove_column,
    scale_column,
    set_column,
)
from sta_mpi.formats.join_sets import join_particles, join_tomograms
from sta_mpi.formats.relion_motion import read_motion
from sta_mpi.formats.relion_particle_table import RelionParticles, find_repeats, renumber
from sta_mpi.formats.relion_particles import particle_table_of, particles_from_star
from sta_mpi.formats.relion_sets import LABELS, read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.formats.star import StarFile, read_star
from sta_mpi.formats.star_table import StarTable
from sta_mpi.jobs.inputs import SetPaths, find_set
from sta_mpi.jobs.parameters.select import SelectParameters

SCORES = ("rlnMaxValueProbDistribution", "rlnLogLikeliContribution", "rlnAutopickFigureOfMerit")
"""Columns that may serve as the score, first there is."""


@dataclass(frozen=True)
class SelectInput:
    """Particles to choose from.

    Parameters
    ----------
    motion_A : (n, max_tilts, 3) or None    trajectories of the particles
    is_joined : bool                        whether several sets went in
    notes : list of str                     what was left out, one line each
    """

    paths: SetPaths
    tomograms: TomogramSet
    particles: RelionParticles
    motion_A: NDArray[np.float64] | None
    is_joined: bool
    notes: list[str]


def joined_sets(parameters: SelectParameters) -> list[SetPaths]:
    """Paths of the first set and of those joined to it."""
    first = find_set(parameters)
    sets = [first]
    for path in parameters.join:
        if not path.is_file():
            raise InputError(f"--join {path}: no such file. Correct the name.")
        table = read_star(path).first
        if any(label in table for label in LABELS.values()):
            members = read_optimisation_set(path)
            particles, tomograms = members.require("particles", "tomograms")
            sets.append(SetPaths(particles, tomograms, members.trajectories))
        else:
            sets.append(SetPaths(path, first.tomograms, None))
    return sets


def read_input(parameters: SelectParameters) -> SelectInput:
    """Read, edit and join."""
    sets = joined_sets(parameters)
    unique = list(dict.fromkeys(s.tomograms for s in sets))
    tomograms = join_tomograms([read_tomograms(path) for path in unique])
    read = [_read(s.particles, tomograms, parameters) for s in sets]
    particles, notes = join_particles(read)
    motion_A = None
    if len(sets) == 1 and sets[0].trajectories is not None:
        motion_A = read_motion(sets[0].trajectories, particles, tomograms)
    elif any(s.trajectories is not None for s in sets):
        notes.append("trajectories of joined sets are left out. Polish again.")
    particles = _named(particles, parameters.renumber)
    return SelectInput(sets[0], tomograms, particles, motion_A, len(sets) > 1, notes)


def _read(path: Path, tomograms: TomogramSet, parameters: SelectParameters) -> RelionParticles:
    star = read_star(path)
    table = particle_table_of(star)
    if len(table) == 0:
        raise InputError(f"{path}: the particle table is empty. Give a file with at least one "
                         "particle.")
    edit_columns(table, parameters)
    return particles_from_star(StarFile(star.tables, star.source, star.comments), path, tomograms,
                               renumber_repeats=parameters.renumber != "never",
                               coordinate_pixel_A=parameters.coordinate_pixel_A)


def edit_columns(table: StarTable, parameters: SelectParameters) -> None:
    """Apply the column options in the order set, multiply, add, remove."""
    for text in parameters.set_column:
        set_column(table, *parse_assignment(text, "--set-column"))
    for text in parameters.multiply_column:
        label, factor = parse_number(text, "--multiply-column")
        scale_column(table, label, factor, 0.0)
    for text in parameters.add_to_column:
        label, summand = parse_number(text, "--add-to-column")
        scale_column(table, label, 1.0, summand)
    for label in parameters.remove_column:
        remove_column(table, label.removeprefix("_"))


def _named(particles: RelionParticles, how: str) -> RelionParticles:
    repeated = find_repeats(particles.names)
    if how == "always" or (repeated and how == "auto"):
        return renumber(particles)
    if repeated:
        raise InputError(f"{len(repeated)} particle names occur in several of the joined files "
                         f"(first: {repeated[0]}). Leave --renumber at auto.")
    return particles


def numbers(particles: RelionParticles, label: str, option: str) -> NDArray[np.float64]:
    """A column as numbers; InputError that names the option where it is absent."""
    table = StarTable("particles", particles.columns)
    if label not in table:
        raise InputError(f"{option}: no column {label}; the particles have "
                         f"{', '.join(table.labels)}. Correct the label.")
    return table.floats(label)


def texts(particles: RelionParticles, label: str, option: str) -> NDArray:
    """A column as (n,) str; InputError that names the option where it is absent."""
    table = StarTable("particles", particles.columns)
    if label not in table:
        raise InputError(f"{option}: no column {label}; the particles have "
                         f"{', '.join(table.labels)}. Correct the label.")
    return table.strings(label)


def scores_of(particles: RelionParticles, parameters: SelectParameters
              ) -> tuple[NDArray[np.float64] | None, str]:
    """Scores, higher is better, and their column; None where no column is known."""
    label = parameters.score_column
    if label is None:
        label = next((name for name in SCORES if name in particles.columns), None)
        if label is None:
            return None, ""
    label = label.removeprefix("_")
    values = numbers(particles, label, "--score-column")
    return (-values if parameters.score_low_is_good else values), label


RowFilter = Callable[[RelionParticles], NDArray[np.bool_]]

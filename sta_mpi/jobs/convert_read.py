"""Reading what `convert` is given: foreign tables, and names for their tomograms."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from sta_mpi.errors import InputError, UsageError
from sta_mpi.formats.dynamo_table import (
    grids_of_list,
    particles_of_dynamo,
    read_dynamo_table,
    read_tomogram_list,
    tomogram_stem,
)
from sta_mpi.formats.em_motive_list import particles_of_em, read_em_motive_list
from sta_mpi.formats.foreign_particles import ForeignParticles, names_and_indices
from sta_mpi.formats.imod_model import read_imod_model
from sta_mpi.formats.imod_slicer import particles_of_model
from sta_mpi.formats.peet_motive_list import read_motive_list
from sta_mpi.formats.peet_prm import PrmFile
from sta_mpi.formats.peet_project import (
    PeetTomogram,
    halves_of_classes,
    particles_of_peet,
    read_peet_project,
)
from sta_mpi.formats.relion_without_series import read_relion_without_series
from sta_mpi.formats.star import read_star
from sta_mpi.formats.stopgap_motive_list import TABLE, particles_of_stopgap, read_stopgap
from sta_mpi.jobs.parameters.convert import ConvertParameters

_BY_ENDING = {".prm": "peet", ".csv": "peet", ".tbl": "dynamo", ".em": "em", ".mod": "imod"}


def program_of(p: ConvertParameters) -> str:
    """The program that --input belongs to."""
    if p.input_program != "auto":
        return p.input_program
    path = p.input[0]
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(".star"):
        return "stopgap" if TABLE in read_star(path) else "relion"
    for ending, program in _BY_ENDING.items():
        if name.endswith(ending):
            return program
    raise UsageError(f"--input {path}: its ending tells no program ({', '.join(_BY_ENDING)}, "
                     ".star). Say which with --input-program.")


def read_foreign(p: ConvertParameters) -> tuple[ForeignParticles, PrmFile | None]:
    """Particles of --input, and PEET's parameter file where it is one."""
    program = program_of(p)
    path, first = p.input[0], 1 if p.first_voxel is None else p.first_voxel
    prm: PrmFile | None = None
    if program == "peet":
        prm, foreign = _read_peet(p)
    else:
        if len(p.input) != 1 or p.model:
            raise UsageError(f"--input: {len(p.input)} files and {len(p.model)} models, expected "
                             f"one file of {program}. Convert them one by one.")
        if program == "dynamo":
            foreign = particles_of_dynamo(read_dynamo_table(path), first)
        elif program == "em":
            foreign = particles_of_em(read_em_motive_list(path), first)
        elif program == "imod":
            foreign = particles_of_model(read_imod_model(path), path.stem, p.peet_axis == "y")
        elif program == "stopgap":
            foreign = particles_of_stopgap(read_stopgap(path), first)
        else:
            foreign = read_relion_without_series(path)
    if len(foreign) == 0:
        raise InputError(f"{path}: no particles. Give a table with particles.")
    if p.halves_from_class:
        half, rest = halves_of_classes(foreign.class_number)
        foreign = replace(foreign, half=half, class_number=rest)
    return _keep_scores(foreign, p), prm


def _read_peet(p: ConvertParameters) -> tuple[PrmFile | None, ForeignParticles]:
    y_is_axis = p.peet_axis == "y"
    if p.input[0].suffix.lower() == ".prm":
        if len(p.input) != 1 or p.model:
            raise UsageError("--input: one .prm is expected, without --model: it names its models.")
        prm, tomograms = read_peet_project(p.input[0], p.iteration)
        return prm, particles_of_peet(tomograms, y_is_axis)
    if len(p.input) != len(p.model):
        raise UsageError(f"--input: {len(p.input)} motive lists and {len(p.model)} models. Give "
                         "one --model for each, in the same order.")
    tomograms = [PeetTomogram(model.stem, "", read_imod_model(model), read_motive_list(motives),
                              str(motives))
                 for motives, model in zip(p.input, p.model, strict=True)]
    return None, particles_of_peet(tomograms, y_is_axis)


def _keep_scores(foreign: ForeignParticles, p: ConvertParameters) -> ForeignParticles:
    if p.min_score is None:
        return foreign
    keep = foreign.score >= p.min_score
    if not keep.any():
        best = np.nanmax(foreign.score) if np.isfinite(foreign.score).any() else np.nan
        raise InputError(f"--min-score {p.min_score:g}: no particle of {len(keep)} is left, the "
                         f"best score is {best:g}. Lower it, or leave it away.")
    return foreign.select(keep)


def named_tomograms(foreign: ForeignParticles, known: list[str], p: ConvertParameters
                    ) -> ForeignParticles:
    """The particles with the names that their tomograms have in this project.

    Options come first, then the list of tomograms, then a name of `known` that is the same or
    whose digits at the end are the number, where that is so for one name alone.
    """
    given = dict(name.split("=") for name in p.tomogram_name)
    grids = dict(foreign.grids)
    listed: dict[str, str] = {}
    if p.tomogram_list is not None:
        files = read_tomogram_list(p.tomogram_list)
        listed = {str(number): tomogram_stem(name) for number, name in files.items()}
        grids |= grids_of_list(files)
    unknown = sorted(set(given) - set(foreign.tomo_names))
    if unknown:
        raise InputError(f"--tomogram-name {unknown[0]}=...: the input has no such tomogram ("
                         f"{', '.join(foreign.tomo_names[:10])}). Correct the name.")
    new = [_name(old, given, listed, known) for old in foreign.tomo_names]
    names, index = names_and_indices(new)
    return replace(
        foreign, tomo_names=names, i_tomo=index[foreign.i_tomo],
        grids={n: grids[old] for old, n in zip(foreign.tomo_names, new, strict=True)
               if old in grids})


def _name(old: str, given: dict[str, str], listed: dict[str, str], known: list[str]) -> str:
    if old in given:
        return given[old]
    for name in (listed.get(old), old):
        if name is not None and (name in known or not known):
            return name if not name.isdecimal() or known else f"tomo_{name}"
    if old.isdecimal():
        same = [name for name in known
                if (m := re.search(r"(\d+)$", name)) and int(m[1]) == int(old)]
        if len(same) == 1:
            return same[0]
    raise InputError(f"tomogram {listed.get(old, old)!r} of the input is none of "
                     f"{_listing(known)}. Name it with --tomogram-name {old}=NAME or "
                     "--tomogram-list.")


def _listing(known: list[str]) -> str:
    return f"{len(known)} names: {', '.join(known[:10])}{', ...' if len(known) > 10 else ''}"


def tomogram_numbers(names: list[str]) -> list[int]:
    """A number for every tomogram: its digits at the end where all differ, else 1, 2, ..."""
    found = [re.search(r"(\d{1,9})$", name) for name in names]
    numbers = [int(m[1]) for m in found if m]
    if len(numbers) == len(names) and len(set(numbers)) == len(names) and all(numbers):
        return numbers
    return list(range(1, len(names) + 1))


def input_files_of(path: Path) -> list[Path]:
    """A parameter file of PEET and the motive lists and models beside it, or the file alone."""
    if path.suffix.lower() != ".prm" or not path.parent.is_dir():
        return [path]
    beside = sorted(f for f in path.parent.iterdir() if f.suffix.lower() in (".csv", ".mod"))
    return [path, *beside]


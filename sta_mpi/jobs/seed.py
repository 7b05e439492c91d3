"""`seed`: points with outward normals on marked shapes, as RELION 5 particles with priors."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.relion_particle_table import RelionParticles, new_names
from sta_mpi.formats.relion_priors import BOX_OF_PRIORS, PRIOR_COLUMNS
from sta_mpi.formats.relion_sets import OptimisationSet, read_optimisation_set
from sta_mpi.formats.relion_tomograms import TomogramSet, read_tomograms
from sta_mpi.formats.star_table import text_column
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.foreign_tomograms import ForeignTomogram, foreign_tomogram_set
from sta_mpi.jobs.parameters.seed import SeedParameters
from sta_mpi.jobs.seed_input import read_objects
from sta_mpi.jobs.seed_objects import (
    SeededObject,
    seed_mark,
    seed_masks,
    seed_stream,
    within_tomogram,
)
from sta_mpi.jobs.seed_report import seed_sections
from sta_mpi.jobs.set_output import write_particle_set


def input_files(parameters: SeedParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [*parameters.points, *parameters.mask]
    missing = [path for path in (*files, *parameters.tomogram) if not path.is_file()]
    if missing:
        raise InputError(f"no file {missing[0]}. Correct the path.")
    if not parameters.tomogram:
        path = _tomogram_table(parameters)
        files += [path, *read_tomograms(path).table_files()]
    return files


def run(parameters: SeedParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Seed all objects; write particles and set."""
    if not runtime.is_root:
        return JobOutcome()
    tomograms = _tomograms(parameters)
    objects = seed_masks(parameters, tomograms) if parameters.mask else \
        [seed_mark(parameters, mark, k) for k, mark in
         enumerate(read_objects(parameters, tomograms))]
    objects = [within_tomogram(parameters, one, tomograms) for one in objects]
    particles = make_particles(parameters, objects, tomograms)
    if not len(particles):
        raise InputError("all seeds lie outside their tomograms: the coordinates are probably in "
                         "other units. Pass --coordinate-pixel-A.")
    outputs = write_particle_set(folder, particles, tomograms, _members(parameters))
    if parameters.tomogram:
        (folder.path / outputs.pop("optimisation_set")).unlink()
    n_outside = sum(one.n_outside for one in objects)
    results = {"objects": len(objects), "seeds": len(particles),
               "tomograms": len({one.tomo_name for one in objects}), "left_out": n_outside}
    warnings = [f"{n_outside} seeds lie outside their tomograms or at an edge and are left out."] \
        if n_outside else []
    return JobOutcome(results, outputs, seed_sections(parameters, objects, tomograms, particles),
                      warnings)


def _tomogram_table(p: SeedParameters) -> Path:
    path = p.tomograms
    if path is None and p.optimisation_set is not None:
        path = read_optimisation_set(p.optimisation_set).require("tomograms")[0]
    if path is None or not path.is_file():
        raise InputError(f"no file {path}. Give --tomograms, the tomogram STAR file.")
    return path


def _tomograms(p: SeedParameters) -> TomogramSet:
    if not p.tomogram:
        return read_tomograms(_tomogram_table(p))
    return foreign_tomogram_set([
        ForeignTomogram(path, path.name.removesuffix(".gz").rsplit(".", 1)[0])
        for path in p.tomogram])


def _members(p: SeedParameters) -> OptimisationSet:
    """The given set without what belongs to other particles."""
    given = OptimisationSet() if p.optimisation_set is None else \
        read_optimisation_set(p.optimisation_set)
    return replace(given, tomograms=None if p.tomogram else _tomogram_table(p), manifolds=None)


def make_particles(p: SeedParameters, objects: list[SeededObject], tomograms: TomogramSet
                   ) -> RelionParticles:
    """The seeds as particles; object numbers from 1 in rlnTomoManifoldIndex, or
    rlnHelicalTubeID for tubes and stalks."""
    counts = [len(one.seeds.xyz_A) for one in objects]
    n = sum(counts)
    number = np.repeat(np.arange(len(objects)), counts)
    i_tomo = np.array([tomograms.names.index(objects[k].tomo_name) for k in number], np.int32)
    R_p2t = np.concatenate([np.zeros((0, 3, 3)), *(one.R_p2t for one in objects)])
    is_line = p.shape in ("tube", "stalk") and not p.mask
    columns = {"rlnTomoName": text_column(tomograms.names)[i_tomo]}
    columns |= {label: text_column([text] * n) for label, text in PRIOR_COLUMNS.items()}
    columns["rlnHelicalTubeID" if is_line else "rlnTomoManifoldIndex"] = number + 1
    return RelionParticles(
        tomo_names=list(tomograms.names), i_tomo=i_tomo,
        names=new_names(list(tomograms.names), i_tomo),
        xyz_A=np.concatenate([np.zeros((0, 3)), *(one.seeds.xyz_A for one in objects)]),
        offset_A=np.zeros((n, 3)), R_p2t=R_p2t, R_box2t=R_p2t @ BOX_OF_PRIORS.T,
        half=_halves(p, number), optics_group=np.ones(n, np.int32), columns=columns)


def _halves(p: SeedParameters, number: NDArray[np.intp]) -> NDArray[np.int8]:
    """Half-set of every seed: 0, random of equal size, or that of its object."""
    n = len(number)
    if p.halves == "none" or not n:
        return np.zeros(n, np.int8)
    rng = seed_stream(p, 1 << 31)
    if p.halves == "random":
        half = (np.arange(n) % 2 + 1).astype(np.int8)
        rng.shuffle(half)
        return half
    counts = np.bincount(number)
    of_object, sums = np.zeros(len(counts), np.int8), [0, 0]
    # large objects first, each to the smaller half; equal ones in random order
    for k in sorted(rng.permutation(len(counts)), key=lambda k: -counts[k]):
        side = int(sums[1] < sums[0])
        of_object[k] = side + 1
        sums[side] += int(counts[k])
    return of_object[number]

"""Scores, duplicates and choice of particles after an iteration of a PEET run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.peet_search import twist_matrices
from sta_mpi.errors import InputError
from sta_mpi.formats.peet_motive_list import DUPLICATE_CLASS
from sta_mpi.geometry.peet import peet_from_rp2t
from sta_mpi.jobs.peet_input import PeetProject
from sta_mpi.pick.peet_selection import (
    Choice,
    adjusted_by_elevation,
    adjusted_by_group,
    choose,
    duplicates,
)

Floats = NDArray[np.float64]
Chosen = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """n particles after an iteration.

    Parameters
    ----------
    score : (n,)               correlation, NaN for those that were not aligned
    adjusted : (n,)            after groups and elevation
    is_duplicate : (n,) bool
    may : (n,) bool            those that averages may take
    """

    score: Floats
    adjusted: Floats
    is_duplicate: Chosen
    may: Chosen


def judge_particles(project: PeetProject, i_round: int, R_p2t: Floats, position_px: Floats,
                    score: Floats, is_aligned: Chosen) -> Judged:
    """Adjust scores and mark duplicates with the poses of the iteration.

    Parameters
    ----------
    i_round : int         iteration from 0
    position_px : (n, 3)  in the tomograms [voxels]
    """
    run, iteration = project.run, project.run.iterations[i_round]
    R = peet_from_rp2t(R_p2t)
    score = np.where(is_aligned, score, np.nan)
    groups = 1 if run.is_random else run.n_weight_groups
    adjusted = adjusted_by_group(score, R, groups)
    if run.has_elevation:
        adjusted = adjusted_by_elevation(adjusted, R)
    twice = np.zeros(len(score), bool)
    if run.has_duplicates:
        twice = duplicates(position_px, project.inputs.particles.i_tomo, score, R,
                           iteration.duplicate_shift_px, iteration.duplicate_angle_deg,
                           twist_matrices(360.0 / run.fold * np.arange(run.fold)))
    may = is_aligned & ~twice & _is_listed(project)
    if not may.any():
        raise InputError(
            f"{run.source}: no particle is left for the average of iteration {i_round + 1} "
            f"({int(is_aligned.sum())} aligned, {int(twice.sum())} duplicates, classes and lists "
            "leave none). Check selectClassID, includeList, excludeList and the duplicate "
            "tolerances.")
    return Judged(score, adjusted, twice, may)


def _is_listed(project: PeetProject) -> Chosen:
    """Whether classes and lists let each particle into averages."""
    run, classes = project.run, project.class_number
    keep = classes != DUPLICATE_CLASS
    if run.classes:
        keep &= np.isin(classes, run.classes)
    if run.include:
        keep &= _in_list(project, run.include)
    return np.asarray(keep & ~_in_list(project, run.exclude))


def _in_list(project: PeetProject, listed: Sequence[Any]) -> Chosen:
    """Particles of a list of numbers over all tomograms, or of (tomogram, number)."""
    out = np.zeros(len(project.number), bool)
    for item in listed:
        if isinstance(item, tuple):
            out |= (project.tomogram == item[0]) & (project.number == item[1])
        elif 1 <= item <= len(out):
            out[item - 1] = True
    return out


def choose_for_reference(project: PeetProject, i_round: int, judged: Judged, seed: int) -> Chosen:
    """Particles of the reference of the next iteration."""
    run = project.run
    threshold = run.iterations[i_round].ref_threshold
    return _choose(project, judged, Choice(threshold, run.ref_all_tomograms, run.is_random),
                   [seed, 0x4EF, i_round], f"refThreshold {threshold:g}")


def choose_for_average(project: PeetProject, n: int, judged: Judged, seed: int) -> Chosen:
    """Particles of a final average of `n`."""
    run = project.run
    # a count of 1 is a count, not a score
    count = max(float(n), 1.0 + 1e-9)
    return _choose(project, judged, Choice(count, run.final_all_tomograms, run.is_random),
                   [seed, 0xA76, n], f"lstThresholds {n}")


def _choose(project: PeetProject, judged: Judged, choice: Choice, seeds: list[int], what: str
            ) -> Chosen:
    rng = np.random.default_rng(np.random.SeedSequence(seeds))
    chosen = choose(judged.adjusted, judged.may, project.tomogram, choice, rng)
    if not chosen.any():
        best = float(np.nanmax(judged.adjusted[judged.may]))
        raise InputError(f"{project.run.source}: {what} leaves no particle: the best score is "
                         f"{best:.4g}. Use a lower score, or a number of particles.")
    return chosen

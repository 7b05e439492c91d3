"""What `align` writes at its end: maps, particles, poses, scores, set, warnings."""

from dataclasses import replace
from typing import Any

import numpy as np

from sta_mpi.data import Particles
from sta_mpi.formats.containers import write_h5
from sta_mpi.formats.poses_h5 import write_poses
from sta_mpi.formats.relion_particles import write_particles
from sta_mpi.formats.relion_sets import OptimisationSet, write_optimisation_set
from sta_mpi.jobs.align_check import check_warnings
from sta_mpi.jobs.align_report import align_sections
from sta_mpi.jobs.align_state import LoopPoses
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.engine import engine_results, left_out_warnings
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.map_report import map_results
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.reconstruction import Maps, write_maps
from sta_mpi.jobs.volume_setup import contrast_warnings
from sta_mpi.version import __version__

AT_EDGE = 0.1
"""Share of poses at a limit of the search from which a warning is due."""


def write_outputs(parameters: AlignParameters, folder: JobFolder, setup: Setup,
                  state: LoopPoses, maps: list[Maps], stages: list[Any]) -> JobOutcome:
    """Write everything but the report; the maps are those of the last round (rank 0 alone)."""
    largest = int(np.argmax(np.bincount(
        state.columns["i_reference"][state.columns["n_slices"] > 0], minlength=len(maps))))
    outputs: dict[str, str] = {}
    for k, m in enumerate(maps):
        prefix = "" if len(maps) == 1 else f"class{k + 1:03d}_"
        outputs |= {prefix + name: file
                    for name, file in write_maps(folder.path, m, prefix).items()}
    particles = result_particles(setup, state, len(maps))
    outputs |= {"particles": "particles.star", "poses": "poses.h5", "scores": "scores.h5",
                "optimisation_set": "optimisation_set.star"}
    write_particles(folder.file("particles.star"), particles, setup.inputs.tomograms)
    write_poses(folder.file("poses.h5"), particles, attributes={
        "fingerprint": folder.fingerprint, "version": __version__})
    write_h5(folder.file("scores.h5"), {
        name: values for name, values in state.columns.items()
        if name not in ("R_p2t", "offset_A")}, {"what": "scores of align"})
    prefix = "" if len(maps) == 1 else f"class{largest + 1:03d}_"
    write_optimisation_set(folder.file("optimisation_set.star"), OptimisationSet(
        particles=folder.path / "particles.star", tomograms=setup.inputs.paths.tomograms,
        reference1=folder.path / f"{prefix}half1.mrc",
        reference2=folder.path / f"{prefix}half2.mrc"))
    results = {"particles": len(particles), "rounds": state.round_done, **state.history[-1],
               **map_results(maps[largest]), **engine_results(*stages)}
    sections = align_sections(
        maps[largest], particles, setup, state, state.history, parameters)
    warnings = [*left_out_warnings(stages), *_empty_halves(maps), *_warnings(state),
                *contrast_warnings(setup.source.kind, maps[largest].merged.data)]
    return JobOutcome(results, outputs, sections, warnings, stages)


def result_particles(setup: Setup, state: LoopPoses,
                     n_classes: int) -> Particles:
    """The particles with their new poses, half-sets and scores."""
    columns = state.columns
    particles = setup.inputs.particles.with_poses(state.R_p2t, state.offset_A)
    particles.half = setup.half
    added = {"rlnLogLikeliContribution": np.nan_to_num(columns["loglik"]),
             "rlnMaxValueProbDistribution": np.nan_to_num(columns["p_max"])}
    if n_classes > 1:
        added["rlnClassNumber"] = columns["i_reference"] + 1
    if "grey_scale" in columns and np.isfinite(columns["grey_scale"]).any():
        added["staGreyScale"] = np.nan_to_num(columns["grey_scale"])
    if np.isfinite(columns["sigma_angle_deg"]).any():
        added["staSigmaAngle"] = np.nan_to_num(columns["sigma_angle_deg"])
        added["staSigmaShiftAngst"] = np.nan_to_num(columns["sigma_shift_A"])
    return replace(particles, columns={**particles.columns, **added})


def _empty_halves(maps: list[Maps]) -> list[str]:
    """One line on classes without an FSC; that of a single reference is known from the start."""
    empty = [k + 1 for k, m in enumerate(maps) if np.isnan(m.fsc.corrected).all()]
    if len(maps) == 1 or not empty:
        return []
    return [f"class {', '.join(map(str, empty))}: no particle of one half-set is in it, so it has "
            "no FSC and no resolution. Leave its reference out, or give more particles."]


def _warnings(state: LoopPoses) -> list[str]:
    columns, warnings = state.columns, []
    lost = int((columns["n_slices"] == 0).sum())
    if lost:
        warnings.append(f"{lost} particles were not aligned: no tilt image holds their whole "
                        "box, or they are in the quarantine.")
    at_edge = state.history[-1]["at_edge_share"]
    if at_edge > AT_EDGE:
        warnings.append(
            f"{100 * at_edge:.0f} % of the best poses lie at the edge of the search. Widen "
            "--angle-range-deg or --shift-range-A.")
    for entry in state.history:
        warnings += check_warnings(entry)
    return warnings

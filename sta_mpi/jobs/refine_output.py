"""What `refine` writes at its end, with RELION's names, and its report."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.convergence import is_worse
from sta_mpi.align.half_sets import collapsed_share, shared_share
from sta_mpi.formats.containers import write_h5
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.poses_h5 import write_poses
from sta_mpi.formats.relion_model import ModelClass, write_model
from sta_mpi.formats.relion_particles import write_particles
from sta_mpi.formats.relion_sets import OptimisationSet, write_optimisation_set
from sta_mpi.jobs.align_check import check_warnings
from sta_mpi.jobs.align_output import result_particles
from sta_mpi.jobs.align_report import align_sections
from sta_mpi.jobs.align_state import LoopPoses
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.engine import engine_results, left_out_warnings
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.foreign_tables import with_table
from sta_mpi.jobs.map_report import map_results
from sta_mpi.jobs.parameters.refine import RefineParameters
from sta_mpi.jobs.reconstruction import Maps, write_fsc_table
from sta_mpi.jobs.refine_report import round_section
from sta_mpi.version import __version__

Floats = NDArray[np.float64]

CROWDED = 0.1
"""Share of particles with a neighbour in the other half-set from which a warning is due."""


COLLAPSED = 0.02
"""Share of particles that moved onto a neighbour from which a warning is due."""


def write_refinement(parameters: RefineParameters, folder: JobFolder, setup: Setup,
                     state: LoopPoses, maps: Maps, stages: list[Any]) -> JobOutcome:
    """Write maps, particles, model, set and report (rank 0 alone)."""
    outputs = _write_maps(folder, maps)
    particles = result_particles(setup, state, 1)
    span_A = setup.sizes.box_px * setup.sizes.voxel_A
    sigma_A = float(np.sqrt(np.mean(state.offset_A**2)))
    write_particles(folder.file("run_data.star"), particles, setup.inputs.tomograms)
    write_poses(folder.file("poses.h5"), particles, attributes={
        "fingerprint": folder.fingerprint, "version": __version__})
    write_h5(folder.file("scores.h5"), {
        name: state.columns[name] for name in sorted(state.columns)
        if name not in ("R_p2t", "offset_A")}, {"what": "scores of refine"})
    half = np.clip(maps.fsc.corrected, 0.001, 0.999)
    noise = 1.0 / np.maximum(maps.weights[2], 1e-30)
    model = ModelClass(outputs["map"], 1.0, maps.fsc.corrected, noise * 2 * half / (1 - half),
                       noise, maps.fsc.resolution_A())
    write_model(folder.file("run_model.star"), [model], setup.sizes.box_px, setup.sizes.voxel_A,
                setup.sizes.pad, float(np.nanmean(state.columns["p_max"])), sigma_A)
    write_optimisation_set(folder.file("run_optimisation_set.star"), OptimisationSet(
        particles=folder.path / "run_data.star",
        tomograms=with_table(setup.inputs, folder.path).paths.tomograms,
        trajectories=setup.inputs.paths.trajectories,
        reference1=folder.path / outputs["half1"], reference2=folder.path / outputs["half2"]))
    outputs |= {"particles": "run_data.star", "poses": "poses.h5", "scores": "scores.h5",
                "model": "run_model.star", "optimisation_set": "run_optimisation_set.star"}
    results = {"particles": len(particles), **_summary(state, span_A), **map_results(maps),
               **engine_results(*stages)}
    rounds = [h for h in state.history if h["round"] > 0]
    sections = [round_section(folder, setup.sizes, state.history),
                *align_sections(maps, particles, setup, state, rounds, parameters)]
    warnings = [*left_out_warnings(stages), *_warnings(setup, state, span_A)]
    return JobOutcome(results, outputs, sections, warnings, stages)


def _write_maps(folder: JobFolder, maps: Maps) -> dict[str, str]:
    """Half maps unfiltered, the filtered map of all data, FSC and its mask."""
    voxel_A = maps.merged.voxel_A
    outputs = {"half1": "run_half1_class001_unfil.mrc", "half2": "run_half2_class001_unfil.mrc",
               "map": "run_class001.mrc", "mask_fsc": "mask_fsc.mrc", "fsc": "fsc.star"}
    volumes = {"half1": maps.halves.half1.data, "half2": maps.halves.half2.data,
               "map": maps.merged.data, "mask_fsc": maps.mask}
    for name, data in volumes.items():
        write_mrc(folder.file(outputs[name]), data, voxel_A)
    write_fsc_table(folder.file(outputs["fsc"]), maps.fsc)
    return outputs


def _summary(state: LoopPoses, span_A: float) -> dict[str, Any]:
    rounds = [h for h in state.history if h["round"] > 0]
    start = [h for h in state.history if h["round"] == 0]
    summary: dict[str, Any] = {
        "rounds": len(rounds), "rounds_rejected": sum(h.get("accepted", 1.0) == 0 for h in rounds),
        "converged": bool(rounds and rounds[-1].get("finished", 0.0) > 0)}
    if start:
        summary["resolution_of_given_poses_A"] = start[0]["resolution_A"]
        summary["given_poses_kept"] = bool(rounds and rounds[-1].get("given_kept", 0.0) > 0)
    last = [h for h in rounds if h.get("accepted", 1.0) > 0]
    if last:
        summary |= {name: last[-1][name] for name in (
            "median_turn_deg", "median_move_A", "median_sigma_angle_deg", "median_sigma_shift_A",
            "mean_loglik", "settled_share", "settled_loss") if name in last[-1]}
    return summary


def _warnings(setup: Setup, state: LoopPoses, span_A: float) -> list[str]:
    warnings = []
    for entry in state.history:
        warnings += check_warnings(entry)
        if entry.get("worse", 0.0) > 0:
            end = ("its poses were taken back and the refinement ended"
                   if entry.get("accepted", 1.0) == 0 else "it was kept (--no-accept-if-better)")
            warnings.append(f"round {entry['round']:.0f} made things worse (resolution "
                            f"{entry['resolution_A']:.2f} Å, unseen tilts "
                            f"{entry.get('unseen_gain', float('nan')):+.2f}): {end}.")
    start = [h for h in state.history if h["round"] == 0]
    rounds = [h for h in state.history if h["round"] > 0 and h.get("accepted", 1.0) > 0]
    if start and rounds and is_worse(rounds[-1], start[0], span_A):
        end = ("the given poses were kept (scores.h5 tells of the search)"
               if state.history[-1].get("given_kept", 0.0) > 0
               else "the new poses were kept (--no-accept-if-better)")
        warnings.append(
            f"the rounds reached {rounds[-1]['resolution_A']:.2f} Å, the given poses "
            f"{start[0]['resolution_A']:.2f} Å: {end}. Try a narrower range, a prior, another "
            "reference or mask.")
    particles = setup.inputs.particles
    collapsed = collapsed_share(
        particles.position_A, particles.with_poses(state.R_p2t, state.offset_A).position_A,
        particles.i_tomo.astype(np.intp))
    if collapsed > COLLAPSED:
        warnings.append(
            f"{100 * collapsed:.0f} % of the particles moved onto a neighbour (nearer than half of "
            "the usual distance): they slid along a lattice, or one site was picked twice. Hold "
            "them with --shift-prior-A or a smaller --shift-range-A, let the reference show its "
            "neighbours (--mask-diameter-A), and remove duplicates (`sta-mpi select`).")
    crowded = shared_share(particles.position_A, particles.i_tomo.astype(np.intp), setup.half,
                           0.5 * span_A)
    if crowded > CROWDED:
        warnings.append(
            f"{100 * crowded:.0f} % of the particles have a neighbour within half a box in the "
            "other half-set: common pixels inflate the FSC. Use --halves clusters"
            + (" with a smaller --cluster-distance-A." if setup.parameters.halves == "clusters"
               else "."))
    if not (state.history and state.history[-1].get("finished", 0.0) > 0):
        warnings.append(f"not converged after {state.round_done} rounds. Raise --iterations.")
    return warnings

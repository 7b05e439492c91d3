"""What `reference` writes at its end: maps, particles, set, starts, report."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.half_sets import shared_share
from sta_mpi.align.support import LEAST_Z_SHAPE, LEAST_Z_SIGNAL, Verdict
from sta_mpi.data import Particles
from sta_mpi.formats.mrc_write import write_mrc
from sta_mpi.formats.relion_particle_table import RelionParticles
from sta_mpi.jobs.align_output import result_particles
from sta_mpi.jobs.engine import engine_results, left_out_warnings
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.map_report import map_results, map_sections
from sta_mpi.jobs.reconstruction import Maps, write_maps
from sta_mpi.jobs.reference_orient import Orientation, orientation_results
from sta_mpi.jobs.reference_plan import ReferencePlan
from sta_mpi.jobs.reference_report import (
    lattice_section,
    map_move_section,
    starts_section,
    symmetry_section,
)
from sta_mpi.jobs.reference_scores import SymmetryScore, score_warnings
from sta_mpi.jobs.reference_state import ReferenceState
from sta_mpi.jobs.set_output import given_members, write_particle_set
from sta_mpi.signal.filters import lowpass_map

Map = NDArray[np.float32]

CROWDED, SAME_PIXELS = 0.1, 0.25
"""Share of particles with a neighbour of the other half-set, nearer than this share of the box,
from which a warning is due."""


@dataclass(frozen=True)
class Finished:
    """All that a run found, on rank 0."""

    state: ReferenceState
    maps: Maps
    orientation: Orientation
    verdict: Verdict | None
    scores: list[SymmetryScore]
    stages: list[Any]


def write_reference(plan: ReferencePlan, folder: JobFolder, done: Finished) -> JobOutcome:
    """Write everything but the report's page."""
    maps, loop, voxel_A = done.maps, done.state.loop, plan.setup.sizes.voxel_A
    outputs = write_maps(folder.path, maps)
    reference = maps.merged.data
    if done.verdict is None:
        reference = lowpass_map(reference, voxel_A, plan.lowpass_A)
    write_mrc(folder.file("reference.mrc"), reference, voxel_A)
    outputs["reference"] = "reference.mrc"
    outputs |= write_starts(folder, done.state, voxel_A * plan.setup.sizes.box_px)
    if loop.columns:
        particles = result_particles(plan.setup, loop, 1)
    else:
        particles = plan.setup.inputs.particles.with_poses(loop.R_p2t, loop.offset_A)
        particles.half = plan.setup.half
    inputs = plan.setup.inputs
    members = replace(
        given_members(plan.parameters), tomograms=inputs.paths.tomograms,
        reference1=folder.path / "half1.mrc", reference2=folder.path / "half2.mrc")
    assert isinstance(particles, RelionParticles)
    outputs |= write_particle_set(
        folder, particles, inputs.tomograms, members, inputs.motion_A)
    results: dict[str, Any] = {
        "particles": len(particles), "method": plan.parameters.method,
        **orientation_results(done.orientation, voxel_A), **_verdict_results(done.verdict),
        **map_results(maps), **engine_results(*done.stages)}
    sections = [*([] if done.verdict is None else [
        starts_section(plan, done.state, done.verdict)]),
        symmetry_section(plan, done.orientation, done.scores),
        map_move_section(plan, done.orientation),
        *lattice_section(plan, done.orientation),
        *map_sections(maps, particles, done.orientation.symmetry)]
    warnings = [*left_out_warnings(done.stages), *_shape_warnings(done.verdict),
                *done.orientation.notes,
                *score_warnings(done.orientation.symmetry, done.scores),
                *_crowd_warnings(plan, particles)]
    return JobOutcome(results, outputs, sections, warnings, done.stages)


def write_unsupported(plan: ReferencePlan, folder: JobFolder, state: ReferenceState,
                      verdict: Verdict, stages: list[Any]) -> JobOutcome:
    """No reference: the maps of the starts alone, and why."""
    outputs = write_starts(folder, state, plan.span_A)
    warning = (
        "no reference is supported: particles that no start saw are explained by the best map at "
        f"z = {verdict.z_signal[verdict.winner]:.1f} against its inverted contrast, expected at "
        f"least {LEAST_Z_SIGNAL:g}, and by {verdict.gain[verdict.winner]:+.3f} in log evidence "
        "against nothing. No reference.mrc is written; the maps in starts/ are what noise gives. "
        "Look at the picks, the binning and the sign of the contrast, give more particles "
        "(--subset), or normals (--cone-deg).")
    results = {"particles": len(plan.setup.half), "method": plan.parameters.method,
               **_verdict_results(verdict), **engine_results(*stages)}
    return JobOutcome(results, outputs, [starts_section(plan, state, verdict)],
                      [*left_out_warnings(stages), warning], stages)


def write_starts(folder: JobFolder, state: ReferenceState, span_A: float) -> dict[str, str]:
    """Maps of all starts on the grid of the competition; name -> file."""
    outputs = {}
    for i, data in enumerate(state.starts.get("map", ())):
        name = f"starts/start{i + 1:02d}.mrc"
        write_mrc(folder.file(name), data, span_A / len(data))
        outputs[f"start{i + 1:02d}"] = name
    return outputs


def _crowd_warnings(plan: ReferencePlan, particles: Particles) -> list[str]:
    crowded = shared_share(particles.position_A, particles.i_tomo.astype(np.intp),
                           particles.half, SAME_PIXELS * plan.span_A)
    if crowded <= CROWDED:
        return []
    return [f"{100 * crowded:.0f} % of the particles lie within "
            f"{SAME_PIXELS * plan.span_A:.0f} Å of one in the other half-set: common pixels "
            "inflate the FSC. Thin them out with `sta-mpi select`, or use --halves clusters."]


def _verdict_results(verdict: Verdict | None) -> dict[str, Any]:
    if verdict is None:
        return {}
    i = verdict.winner
    return {"is_supported": verdict.has_signal, "has_shape": verdict.has_shape,
            "winner": i + 1, "evidence_a_particle": float(verdict.gain[i]),
            "z_signal": float(verdict.z_signal[i]), "z_shape": float(verdict.z_shape[i]),
            "z_over_second": verdict.z_next}


def _shape_warnings(verdict: Verdict | None) -> list[str]:
    if verdict is None or verdict.has_shape:
        return []
    return [f"the shape of the reference is not supported (z = "
            f"{verdict.z_shape[verdict.winner]:.1f} against its average over all directions, "
            f"expected at least {LEAST_Z_SHAPE:g}): particles are seen, but not how they are "
            "turned. Orientations and map are to be mistrusted; give more particles or a larger "
            "--subset."]

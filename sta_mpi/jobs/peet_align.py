"""`align` of a PEET project: its iterations with this program's engine, and PEET's files.

Each iteration searches all particles (`align_loop`), then scores are adjusted, duplicates marked
and the particles of the next reference chosen as the parameter file says, and averaged. Half-sets
are kept apart throughout; maps under PEET's names are the means of both.
"""

import logging
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputWarning, UsageError
from sta_mpi.jobs.align_loop import RoundLoop, open_store, shared_references
from sta_mpi.jobs.align_output import write_outputs
from sta_mpi.jobs.align_rounds import AlignRound, round_memory
from sta_mpi.jobs.align_search import Search
from sta_mpi.jobs.align_state import LoopPoses, pack, start_state, unpack
from sta_mpi.jobs.averaging import Setup, make_setup
from sta_mpi.jobs.engine import describe_job, open_checkpoints, run_stage
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.foreign_tables import with_own_table
from sta_mpi.jobs.inputs import assign_halves
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.peet_aligned import AlignedParticles
from sta_mpi.jobs.peet_choice import (
    Judged,
    choose_for_average,
    choose_for_reference,
    judge_particles,
)
from sta_mpi.jobs.peet_first import first_reference
from sta_mpi.jobs.peet_input import PeetProject, load_project
from sta_mpi.jobs.peet_keys import reports, unknown_keys, uses_of
from sta_mpi.jobs.peet_output import PeetWriter
from sta_mpi.jobs.peet_rounds import (
    describe_search,
    effective_parameters,
    peet_search,
    reference_mask,
    shell_gains,
)
from sta_mpi.jobs.peet_settings import PeetRun, read_peet_run
from sta_mpi.jobs.reconstruction import MapOptions, Maps, map_options, write_maps
from sta_mpi.jobs.source_volumes import VolumeSource
from sta_mpi.jobs.store_plan import describe_store
from sta_mpi.parallel.accumulators import engine_memory
from sta_mpi.report.content import Section, Table
from sta_mpi.report.runlog import LOGGER_NAME

Floats = NDArray[np.float64]
Chosen = NDArray[np.bool_]

SAID_BY_FILE = (
    "optimisation_set", "particles", "trajectories", "coordinate_pixel_A", "tomogram", "box_px",
    "binning", "symmetry", "wedge", "wedge_mask", "tilt_min_deg", "tilt_max_deg", "edge_shift_px",
    "reference", "reference_mask", "iterations", "lowpass_A", "highpass_A", "band_schedule",
    "global_order", "global_rounds", "angle_range_deg", "angle_step_deg", "shift_range_A",
    "shift_step_A", "refine_factor", "cone_deg", "rotation_share", "relax_symmetry",
    "angle_prior_deg", "tilt_prior_deg", "shift_prior_A", "mirror_decoy", "fix", "fix_tomograms")
"""Options that have no say in a PEET project."""

NOT_JOINED_A = 1e6
"""References are half maps divided with the prior of their FSC, joined at no resolution: particles
of one filament or membrane leave directions that none has measured."""


def input_files(parameters: AlignParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    assert parameters.prm is not None
    run = read_peet_run(parameters.prm)
    files = [parameters.prm, *run.models, *(run.init if isinstance(run.init, list) else [])]
    if isinstance(run.reference, Path):
        files.append(run.reference)
    if run.mask.file is not None:
        files.append(run.mask.file)
    return files + ([parameters.tomograms] if parameters.tomograms else [])


def prepare(parameters: AlignParameters) -> tuple[PeetProject, Setup, AlignParameters]:
    """Read and check the project; sizes, source and the engine's parameters."""
    _refuse_options(parameters)
    assert parameters.prm is not None
    run = read_peet_run(parameters.prm)
    project = load_project(run, parameters.tomograms, parameters.seed)
    effective = effective_parameters(parameters, run)
    half = assign_halves(project.inputs.particles, parameters.halves, parameters.seed,
                         parameters.cluster_distance_A)
    setup = make_setup(project.inputs, effective, half)
    start = _empty(setup)
    for i_round in range(effective.iterations):    # the last one too is refused before any work
        _search(i_round, start, effective, project, setup, None)
    return project, setup, effective


def _refuse_options(parameters: AlignParameters) -> None:
    """UsageError for options that would be passed over: the parameter file says them."""
    for name in SAID_BY_FILE:
        if getattr(parameters, name) != type(parameters).model_fields[name].default:
            raise UsageError(f"--{name.replace('_', '-')} does not go with a PEET parameter file, "
                             "which says it. Change the file, or leave the option out.")
    if parameters.search not in ("auto", "grid"):
        raise UsageError(f"--search {parameters.search} does not go with a PEET parameter file: "
                         "its ranges and sampleSphere say what is searched. Use --search grid for "
                         "its literal lists, or leave the option out.")
    if parameters.source not in ("auto", "tomograms"):
        raise UsageError(f"--source {parameters.source}: particles of a PEET project are cut from "
                         "its tomograms. Leave the option out.")


def describe(parameters: AlignParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    project, setup, effective = prepare(parameters)
    state = _empty(setup)
    search = _search(0, state, effective, project, setup, None)
    job = AlignRound(setup, search, (1.0, 1.0), map_options(effective, setup.sizes), "dry run")
    others = round_memory(setup, search).plus(engine_memory(job, "rank"))
    return {**describe_search(search), "rounds": effective.iterations,
            **describe_job(job, setup), **describe_store(setup, effective, others)}


@dataclass
class _Run:
    """What the iterations of a run share."""

    project: PeetProject
    setup: Setup
    parameters: AlignParameters
    options: MapOptions
    mask: NDArray[np.float32] | None
    loop: RoundLoop
    writer: PeetWriter


def run(parameters: AlignParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Run the iterations and write PEET's files, the set, maps and report."""
    project, setup, effective = prepare(parameters)
    setup = replace(setup, folder=folder.path)
    own = project.run
    if runtime.is_root:
        _log_keys(own)
    options = map_options(effective, setup.sizes, join_A=NOT_JOINED_A)
    mask = reference_mask(own, setup.sizes.box_px)
    checkpoints = open_checkpoints(folder, effective)
    assert isinstance(setup.source, VolumeSource)
    dark = [made.is_dark for made in setup.source.volume_options.made.values()]
    writer = PeetWriter(project, folder.path, setup.sizes.voxel_A, -1.0 if all(dark) else 1.0)
    search = _search(0, _empty(setup), effective, project, setup, None)
    with open_store(setup, search, runtime) as store:
        setup = replace(setup, source=store)
        loop = RoundLoop(setup, store, folder, runtime, checkpoints)
        state = unpack(checkpoints.load_state(runtime))
        shared = _Run(project, setup, effective, options, mask, loop, writer)
        if state is None:
            state = start_state(setup, first_reference(
                project, setup, loop, float(writer.sign), effective))
            checkpoints.save_state(runtime, *pack(state))
        maps: list[Maps | None] = []
        for i_round in range(state.round_done, effective.iterations):
            maps = _iteration(i_round, state, shared)
            if state.round_done < effective.iterations:
                checkpoints.save_state(runtime, *pack(state))
        judged = _judged(effective.iterations - 1, state, shared)
        _final_averages(state, judged, shared)
        if own.aligned_base:
            run_stage(AlignedParticles(
                project, setup, state, own.aligned_base, folder.path, float(writer.sign),
                folder.fingerprint), folder, runtime, effective, checkpoints)
    if not runtime.is_root:
        return JobOutcome()
    setup = replace(setup, inputs=with_own_table(setup.inputs, folder.path))
    outcome = write_outputs(effective, folder, setup, state, [m for m in maps if m is not None],
                            loop.stages)
    outcome.outputs.update(writer.outputs)
    outcome.sections.append(_keys_section(own))
    return outcome


def _search(i_round: int, state: LoopPoses, parameters: AlignParameters, project: PeetProject,
            setup: Setup, mask: NDArray[np.float32] | None) -> Search:
    given = project.inputs.particles
    return peet_search(i_round, state, parameters, project.run, setup, mask,
                       (given.R_p2t, given.offset_A))


def _iteration(i_round: int, state: LoopPoses, shared: _Run) -> list[Maps | None]:
    """Search, judge, choose and average; `state` and PEET's files are brought up to date."""
    project, loop, writer = shared.project, shared.loop, shared.writer
    is_root = loop.runtime.is_root
    search = _search(i_round, state, shared.parameters, project, shared.setup, shared.mask)
    if is_root:
        gain = _shown_gain(project.run, i_round, shared.setup.sizes.box_px)
        writer.reference(i_round + 1, state.references, shared.mask, gain)
        if i_round == 0:
            writer.motives(1, state.R_p2t, state.offset_A, None)
    before, fsc_before = state.references, state.fsc
    maps = loop.round(search, state, shared.options)
    judged = _judged(i_round, state, shared)
    chosen = choose_for_reference(project, i_round, judged, shared.parameters.seed)
    if is_root:
        writer.motives(i_round + 2, state.R_p2t, state.offset_A, judged)
    state.history[-1]["chosen"] = float(chosen.sum())
    state.history[-1]["duplicates"] = float(judged.is_duplicate.sum())
    is_last = i_round + 1 == shared.parameters.iterations
    if not (chosen | ~(state.columns["n_slices"] > 0)).all():
        maps = _average(state, search, chosen, shared, f"reference {i_round + 2}")
        state.references = shared_references(maps, loop.runtime)
        state.fsc, resolution = loop.runtime.bcast(None if maps[0] is None else (
            maps[0].fsc.corrected[None], maps[0].fsc.resolution_A()))
        state.history[-1]["resolution_A"] = float(resolution)
        if maps[0] is not None:
            write_maps(loop.folder.path, maps[0], f"round{i_round + 1:02d}_")
    if is_root and is_last:
        gain = _shown_gain(project.run, i_round, shared.setup.sizes.box_px)
        writer.reference(i_round + 2, state.references, shared.mask, gain)
    if project.run.keeps_reference:
        state.references, state.fsc = before, fsc_before
    return maps


def _judged(i_round: int, state: LoopPoses, shared: _Run) -> Judged:
    particles, voxel_A = shared.project.inputs.particles, shared.setup.sizes.voxel_A
    return judge_particles(
        shared.project, i_round, state.R_p2t, (particles.xyz_A + state.offset_A) / voxel_A,
        state.columns["ncc"], state.columns["n_slices"] > 0)


def _average(state: LoopPoses, search: Search, chosen: Chosen, shared: _Run, what: str
             ) -> list[Maps | None]:
    """Half maps of the chosen particles at their poses; collective."""
    loop = shared.loop
    given = replace(search, kind="given", is_global=False, labels=np.where(chosen, 0, -1),
                    R_p2t=state.R_p2t, offset_A=state.offset_A, anchor_A=state.anchor_A)
    job = AlignRound(shared.setup, given, (1.0, 1.0), shared.options,
                     f"{loop.folder.fingerprint}{what}")
    job.name = what
    result = run_stage(job, loop.folder, loop.runtime, shared.parameters, loop.checkpoints, None,
                       loop.holders)
    loop.keep_holders(result)
    maps: list[Maps | None] = list(result.outputs[0])
    return maps


def _final_averages(state: LoopPoses, judged: Judged, shared: _Run) -> None:
    """One average for each of lstThresholds."""
    run, n_most = shared.project.run, int(judged.may.sum())
    last = shared.parameters.iterations
    search = _search(last - 1, state, shared.parameters, shared.project, shared.setup, shared.mask)
    for n in sorted({min(t, n_most) for t in run.thresholds}):
        chosen = choose_for_average(shared.project, n, judged, shared.parameters.seed)
        maps = _average(state, search, chosen, shared, f"average of {n}")
        if maps[0] is not None:
            shared.writer.average(last + 1, n, maps[0].merged.data)
    too_many = [t for t in run.thresholds if t > n_most]
    if too_many and shared.loop.runtime.is_root:
        warnings.warn(f"lstThresholds asks for {too_many[-1]} particles, {n_most} may be averaged: "
                      "all of them are.", InputWarning)


def _empty(setup: Setup) -> LoopPoses:
    """The start with an empty reference, for sizes."""
    return start_state(setup, np.zeros((2, 1, *(setup.sizes.box_px,) * 3), np.float32))


def _shown_gain(run: PeetRun, i_round: int, box_px: int) -> Floats:
    """The filter of an iteration as PEET writes it into its reference: once."""
    return shell_gains(run.iterations[i_round], box_px, True)[1]


def _log_keys(run: PeetRun) -> None:
    log = logging.getLogger(LOGGER_NAME)
    for line in reports(run.prm):
        log.info(f"PEET key not done as in PEET: {line}")
    unknown = unknown_keys(run.prm)
    if unknown:
        warnings.warn(f"{run.source}: unknown keys {', '.join(unknown)} are not used. Check their "
                      "spelling.", InputWarning)


def _keys_section(run: PeetRun) -> Section:
    asked = {line.split(" = ")[0] for line in reports(run.prm)}
    rows = [(key, value[:60], "not as in PEET" if key in asked else
             "honoured" if status == "honoured" else
             "unknown" if status == "unknown" else "asks for nothing", use)
            for key, value, status, use in uses_of(run.prm)]
    return Section("PEET keys", tables=[Table(
        "PEET keys", ("key", "value", "status", "what is done"), rows,
        "Every key of the parameter file. Not as in PEET: the program does it in its own way, or "
        "not at all, although the value asks for it.")])

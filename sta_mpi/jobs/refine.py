"""`refine`: gold-standard refinement of poses and map (RELION's 3D auto-refine).

Each round searches poses against references of the particle's own half-set, averages, and
measures the solvent-corrected FSC. From it follow the band of the next round, the prior of the
reconstruction, and whether to go on. A round that made things worse is taken back. The last
pass cuts all particles at their final positions and averages them to Nyquist.
"""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.convergence import has_converged, is_worse, judge, shell
from sta_mpi.align.grid_search import Band
from sta_mpi.errors import UsageError
from sta_mpi.formats.relion_priors import prior_orientations
from sta_mpi.geometry.sampling import (
    healpix_rotations,
    healpix_step_deg,
    local_rotations,
    shift_grid,
)
from sta_mpi.jobs.align import GLOBAL_ORDER, search_kind
from sta_mpi.jobs.align_loop import RoundLoop, fsc_numbers, open_store, shared_references
from sta_mpi.jobs.align_search import Search, has_priors
from sta_mpi.jobs.align_state import LoopPoses, pack, start_state, unpack
from sta_mpi.jobs.average import AverageJob
from sta_mpi.jobs.averaging import Setup, make_setup
from sta_mpi.jobs.engine import describe_job, open_checkpoints, run_stage
from sta_mpi.jobs.fixed_parts import check_fixed, without_fixed
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import assign_halves, load_set, require_both_halves, set_files
from sta_mpi.jobs.parameters.refine import RefineParameters
from sta_mpi.jobs.reconstruction import MapOptions, Maps, map_options, write_maps
from sta_mpi.jobs.reference_files import read_mask, read_references, reference_files
from sta_mpi.jobs.refine_output import write_refinement
from sta_mpi.jobs.search_options import LEAST_SHELLS, check_band, check_options
from sta_mpi.jobs.tilt_weights import weight_section
from sta_mpi.parallel.memory import MemoryPlan

Floats = NDArray[np.float64]

MOST_GLOBAL = 5
"""Rounds that search all orientations at most."""

SETTLED_SHARE = 0.05
"""Share of particles that still change their optimum below which searches become local."""

WIDEST = 3
"""Shells below Nyquist at which the widest band ends."""

RANGE_OF_CHANGES = 8.0
"""Limits of a round as a multiple of the median change in the round before."""


def input_files(parameters: RefineParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [*set_files(parameters), *reference_files(parameters.reference)]
    return files + ([parameters.reference_mask] if parameters.reference_mask else [])


def prepare_setup(parameters: RefineParameters) -> Setup:
    """Read and check the input, choose sizes."""
    inputs = load_set(parameters)
    if parameters.start_at_fsc and (parameters.halves != "keep"
                                    or not (inputs.particles.half > 0).any()):
        raise UsageError("--start-at-fsc needs the half-sets in which the poses were found "
                         "(rlnRandomSubset, --halves keep): new ones share what the search saw, "
                         "and their FSC is too good. Give --lowpass-A instead.")
    half = assign_halves(inputs.particles, parameters.halves, parameters.seed,
                         parameters.cluster_distance_A)
    require_both_halves(half)
    setup = make_setup(inputs, parameters, half)
    check_band(parameters.lowpass_A, parameters.highpass_A, setup.sizes)
    kind = search_kind(parameters.search, parameters.global_order, inputs.particles.R_p2t)
    check_options(parameters, kind, kind == "local" or parameters.iterations > 1)
    check_fixed(parameters, kind, inputs.particles)
    if parameters.start_at_fsc and (kind != "local" or parameters.reference):
        raise UsageError("--start-at-fsc begins at the given poses with their own average: it "
                         "goes with --search local, and without --reference.")
    if len(parameters.reference) > 1:
        raise UsageError("refine takes one reference (or a pair with half1 and half2 in their "
                         "names: give one of the two). For several use classify.")
    return setup


def describe(parameters: RefineParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    setup = prepare_setup(parameters)
    read_references(parameters.reference, setup.sizes)
    read_mask(parameters.reference_mask, setup.sizes)
    search = _empty_search(parameters, setup)
    return {"search": search.kind, "most_rounds": parameters.iterations,
            **describe_job(AverageJob(setup, "dry run"), setup)}


def run(parameters: RefineParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Refine, and write what RELION's refinement writes."""
    setup = replace(prepare_setup(parameters), folder=folder.path)
    # the reference is masked in any case: neighbours in it would pull particles from lattice site
    # to lattice site
    mask = read_mask(parameters.reference_mask, setup.sizes)
    options = map_options(parameters, setup.sizes, mask, parameters.join_A)
    checkpoints = open_checkpoints(folder, parameters)
    with open_store(setup, _empty_search(parameters, setup), runtime) as store:
        own = replace(setup, source=store)
        loop = RoundLoop(own, store, folder, runtime, checkpoints)
        state = unpack(checkpoints.load_state(runtime))
        if state is None:
            state = _start(parameters, own, options, loop)
            checkpoints.save_state(runtime, *pack(state))
        state = _rounds(parameters, own, options, loop, state)
    state = _given_if_better(parameters, setup, state)
    maps = _final_pass(setup, state, options, loop)
    if maps is None:
        return JobOutcome()
    outcome = write_refinement(parameters, folder, setup, state, maps, loop.stages)
    outcome.sections += weight_section(setup, loop.tilt_weights)
    return outcome


def _rounds(parameters: RefineParameters, setup: Setup, options: MapOptions, loop: RoundLoop,
            state: LoopPoses) -> LoopPoses:
    """Go on until converged, at the last round, or made worse."""
    span_A = setup.sizes.box_px * setup.sizes.voxel_A
    while state.round_done < parameters.iterations and not _is_finished(state):
        search = make_search(state, parameters, setup, options.mask)
        trial = deepcopy(state)
        loop.round(search, trial, options)
        verdict = judge(_accepted(state), trial.history[-1], span_A)
        entry = trial.history[-1]
        entry["accepted"] = 1.0
        if not verdict.is_accepted:
            entry["worse"] = 1.0
            if parameters.accept_if_better:
                entry["accepted"], entry["finished"] = 0.0, 1.0
                trial = replace(state, history=trial.history, round_done=trial.round_done)
        elif has_converged(_accepted(trial), span_A, _before(parameters, trial)):
            entry["finished"] = 1.0
        state = trial
        loop.checkpoints.save_state(loop.runtime, *pack(state))
    return state


def _given_if_better(parameters: RefineParameters, setup: Setup, state: LoopPoses) -> LoopPoses:
    """The given poses again where their average was better than what the rounds reached."""
    start = [h for h in state.history if h["round"] == 0]
    rounds = _accepted(state)
    span_A = setup.sizes.box_px * setup.sizes.voxel_A
    if not (start and rounds and parameters.accept_if_better):
        return state
    if not is_worse(rounds[-1], start[0], span_A):
        return state
    given = setup.inputs.particles
    state.history[-1]["given_kept"] = 1.0
    return replace(state, R_p2t=given.R_p2t.copy(), offset_A=given.offset_A.copy())


def _accepted(state: LoopPoses) -> list[dict[str, float]]:
    """Rounds that count; the average at the given poses, round 0, is for comparison alone."""
    return [h for h in state.history if h["round"] > 0 and h.get("accepted", 1.0) > 0]


def _before(parameters: RefineParameters, state: LoopPoses) -> dict[str, float] | None:
    """What the given poses reached where the first round begins there."""
    start = [h for h in state.history if h["round"] == 0]
    return start[0] if parameters.start_at_fsc and start else None


def _is_finished(state: LoopPoses) -> bool:
    return bool(state.history) and state.history[-1].get("finished", 0.0) > 0


def _start(parameters: RefineParameters, setup: Setup, options: MapOptions, loop: RoundLoop
           ) -> LoopPoses:
    """References, and what the given poses reach where there are any."""
    references = read_references(parameters.reference, setup.sizes)
    baseline = None
    kind = search_kind(parameters.search, parameters.global_order,
                       setup.inputs.particles.R_p2t)
    if references is None or kind == "local":
        job = AverageJob(setup, loop.folder.fingerprint + "start", options=options)
        maps = _average(job, loop, loop.first_memory(_empty_search(parameters, setup)))
        if maps is not None:
            write_maps(loop.folder.path, maps, "round00_")
        baseline = loop.runtime.bcast(None if maps is None else fsc_numbers([maps]))
        if references is None:
            references = shared_references([maps], loop.runtime)
    state = start_state(setup, references)
    if baseline is not None:
        state.history.append({"round": 0.0, **baseline})
    return state


def _average(job: AverageJob, loop: RoundLoop, memory: MemoryPlan | None = None) -> Maps | None:
    """Run a pass at given poses, which counts as a stage of the refinement."""
    result = run_stage(job, loop.folder, loop.runtime, job.setup.parameters, loop.checkpoints,
                       memory)
    loop.keep_holders(result)
    loop.tilt_weights = job.tilt_weights
    return result.outputs[0]  # type: ignore[no-any-return]


def _final_pass(setup: Setup, state: LoopPoses, options: MapOptions, loop: RoundLoop
                ) -> Maps | None:
    """All data at the final poses, cut there, to Nyquist."""
    particles = setup.inputs.particles.with_poses(state.R_p2t, state.offset_A)
    at_end = setup.with_particles(particles)
    job = AverageJob(at_end, loop.folder.fingerprint + "final",
                     options=replace(options, join_A=None))
    return _average(job, loop)


def _empty_search(parameters: RefineParameters, setup: Setup) -> Search:
    """A first round with empty references and the widest band, for sizes."""
    box = setup.sizes.box_px
    state = start_state(setup, np.zeros((2, 1, *(box,) * 3), np.float32))
    search = make_search(state, parameters, setup, None)
    return replace(search, band=Band(search.band.r_min, float(box // 2 - WIDEST)))


def make_search(state: LoopPoses, parameters: RefineParameters, setup: Setup,
                mask: NDArray[np.float32] | None) -> Search:
    """What the next round searches, from what the rounds so far have reached."""
    voxel_A, box = setup.sizes.voxel_A, setup.sizes.box_px
    rounds = _accepted(state)
    last = rounds[-1] if rounds else None
    band = _band(parameters, state, box, voxel_A)
    kind = search_kind(parameters.search, parameters.global_order, setup.inputs.particles.R_p2t)
    is_global = kind == "global" and (last is None or (
        len(rounds) < MOST_GLOBAL and last["is_global"] > 0
        and last["far_turn_share"] > SETTLED_SHARE))
    max_deg, max_A = parameters.angle_range_deg, parameters.shift_range_A
    if last is not None and not (is_global or last["is_global"] > 0):
        # a change of 2 px at the edge of the box, or at the edge of the band, is always allowed;
        # limits about a prior's centre must not shrink, or particles away from it are pulled back
        holds_turn, holds_shift = has_priors(parameters)
        if not holds_turn:
            max_deg = min(max_deg, max(RANGE_OF_CHANGES * last["median_turn_deg"],
                                       float(np.degrees(2.0 / band.r_max))))
        if not holds_shift:
            max_A = min(max_A, max(RANGE_OF_CHANGES * last["median_move_A"], 2 * voxel_A))
    if is_global:
        order = GLOBAL_ORDER if parameters.global_order is None else parameters.global_order
        rotations, step_deg = healpix_rotations(order, parameters.symmetry), healpix_step_deg(order)
    else:
        step_deg = max_deg / 3
        rotations = local_rotations(max_deg, step_deg)
    # two points a period at the edge of the low band that a global search uses
    step_A = min(max_A, max(voxel_A, box * voxel_A / 4 / 7.0)) if is_global else max_A / 2
    search = Search(
        state.R_p2t, state.offset_A, state.anchor_A, state.references, 1,
        np.ones_like(state.fsc), mask,
        "global" if is_global else "local", rotations, is_global,
        shift_grid(max_A / voxel_A, step_A / voxel_A), step_A,
        prior_orientations(setup.inputs.particles), max_deg, max_A, step_deg, band,
        state.round_done, parameters)
    return without_fixed(search, setup.inputs.particles)


def _band(parameters: RefineParameters, state: LoopPoses, box: int, voxel_A: float) -> Band:
    """The first round's low-pass, then as far as the FSC of the last accepted round."""
    span_A = box * voxel_A
    rounds, before = _accepted(state), _before(parameters, state)
    # half maps that agree nowhere leave the low-pass
    first = 0.0 if before is None else shell(before, span_A)
    r_max = shell(rounds[-1], span_A) if rounds else first or span_A / parameters.lowpass_A
    r_min = 0.0 if parameters.highpass_A is None else span_A / parameters.highpass_A
    return Band(r_min, float(np.clip(r_max, max(LEAST_SHELLS, r_min + 1),
                                     box // 2 - WIDEST)))

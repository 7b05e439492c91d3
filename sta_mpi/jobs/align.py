"""`align`: search of poses against references, then averaging, in rounds.

Half-sets never meet: particles of half h see only the references of half h, which are the
input references low-passed at `lowpass_A`, and from the second round on the averages of
half h alone, low-passed at the same limit or (`--band-schedule fsc`) at that of the FSC.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import Band
from sta_mpi.errors import UsageError
from sta_mpi.formats.relion_priors import prior_orientations
from sta_mpi.geometry.sampling import (
    healpix_rotations,
    healpix_step_deg,
    local_rotations,
    shift_grid,
)
from sta_mpi.jobs import peet_align
from sta_mpi.jobs.align_global import searched_shifts_px
from sta_mpi.jobs.align_loop import RoundLoop, open_store, shared_references
from sta_mpi.jobs.align_output import write_outputs
from sta_mpi.jobs.align_rounds import AlignRound, round_memory
from sta_mpi.jobs.align_search import Search, has_priors
from sta_mpi.jobs.align_state import LoopPoses, pack, start_state, unpack
from sta_mpi.jobs.average import AverageJob
from sta_mpi.jobs.averaging import Setup, make_setup
from sta_mpi.jobs.engine import describe_job, open_checkpoints, run_stage
from sta_mpi.jobs.fixed_parts import check_fixed, without_fixed
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.foreign_tables import with_table
from sta_mpi.jobs.inputs import assign_halves, load_set, set_files
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.reconstruction import Maps, map_options
from sta_mpi.jobs.reference_files import read_mask, read_references, reference_files
from sta_mpi.jobs.search_options import (
    LEAST_SHELLS,
    check_band,
    check_candidate_band,
    check_options,
)
from sta_mpi.jobs.store_plan import describe_store
from sta_mpi.jobs.tilt_weights import weight_section
from sta_mpi.parallel.accumulators import engine_memory

Floats = NDArray[np.float64]

GLOBAL_ORDER = 2
"""HEALPix order of the global search, 15 degrees."""

LARGEST_ROTATION_LIST = 10_000_000
LARGEST_SHIFT_LIST = 1_000_000
"""Longest lists of one search; finer ones are searched in rounds (--iterations)."""


def input_files(parameters: AlignParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    if parameters.prm is not None:
        return peet_align.input_files(parameters)
    files = [*set_files(parameters), *reference_files(parameters.reference)]
    return files + ([parameters.reference_mask] if parameters.reference_mask else [])


def prepare_setup(parameters: AlignParameters) -> Setup:
    """Read and check the input, choose sizes."""
    inputs = load_set(parameters)
    half = assign_halves(inputs.particles, parameters.halves, parameters.seed,
                         parameters.cluster_distance_A)
    setup = make_setup(inputs, parameters, half)
    _check(parameters, setup)
    return setup


def describe(parameters: AlignParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    if parameters.prm is not None:
        return peet_align.describe(parameters)
    setup = prepare_setup(parameters)
    read_references(parameters.reference, setup.sizes)
    mask = read_mask(parameters.reference_mask, setup.sizes)
    search = make_search(0, _empty_start(parameters, setup), parameters, setup, mask)
    job = AlignRound(setup, search, (1.0, 1.0), map_options(parameters, setup.sizes), "dry run")
    others = round_memory(setup, search).plus(engine_memory(job, "rank"))
    return {"search": search.kind, "rotations": len(search.rotations),
            "shifts": len(searched_shifts_px(search)), "rounds": parameters.iterations,
            **describe_job(job, setup), **describe_store(setup, parameters, others)}


def run(parameters: AlignParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Search, average, repeat; write particles, maps and report."""
    if parameters.prm is not None:
        return peet_align.run(parameters, folder, runtime)
    setup = replace(prepare_setup(parameters), folder=folder.path)
    options = map_options(parameters, setup.sizes)
    mask = read_mask(parameters.reference_mask, setup.sizes)
    mask = options.mask if mask is None else mask
    checkpoints = open_checkpoints(folder, parameters)
    maps: list[Maps | None] = []
    search = make_search(0, _empty_start(parameters, setup), parameters, setup, None)
    with open_store(setup, search, runtime) as store:
        setup = replace(setup, source=store)
        loop = RoundLoop(setup, store, folder, runtime, checkpoints)
        state = unpack(checkpoints.load_state(runtime))
        if state is None:
            state = _start(parameters, loop, search)
            checkpoints.save_state(runtime, *pack(state))
        for i_round in range(state.round_done, parameters.iterations):
            search = make_search(i_round, state, parameters, setup, mask)
            maps = loop.round(search, state, options)
            # the last round ends with the outputs: until they are written, its own units count
            if state.round_done < parameters.iterations:
                checkpoints.save_state(runtime, *pack(state))
    if not runtime.is_root:
        return JobOutcome()
    setup = replace(setup, inputs=with_table(setup.inputs, folder.path))
    outcome = write_outputs(parameters, folder, setup, state, [m for m in maps if m is not None],
                            loop.stages)
    outcome.sections += weight_section(setup, loop.tilt_weights)
    return outcome


def _check(parameters: AlignParameters, setup: Setup) -> None:
    check_band(parameters.lowpass_A, parameters.highpass_A, setup.sizes)
    _check_search_size(parameters)
    kind = search_kind(parameters.search, parameters.global_order, setup.inputs.particles.R_p2t)
    check_candidate_band(parameters.highpass_A, kind, setup.sizes)
    check_options(parameters, kind,
                  kind != "global" or parameters.iterations > parameters.global_rounds)
    check_fixed(parameters, kind, setup.inputs.particles)


def _check_search_size(parameters: AlignParameters) -> None:
    """UsageError for lists of rotations or shifts that no run would finish, or hold in memory."""
    n_shifts = 4.2 * (parameters.shift_range_A / parameters.shift_step_A) ** 3
    n_rotations = 4.2 * (parameters.angle_range_deg / parameters.angle_step_deg) ** 3
    for n, limit, what in ((n_shifts, LARGEST_SHIFT_LIST, "shift"),
                           (n_rotations, LARGEST_ROTATION_LIST, "angle")):
        if n > limit:
            unit = "A" if what == "shift" else "deg"
            raise UsageError(f"--{what}-range-{unit} over --{what}-step-{unit} gives about {n:.2g} "
                             f"candidates, expected at most {limit:,}. Use a smaller range or a "
                             "coarser step.")


def _empty_start(parameters: AlignParameters, setup: Setup) -> LoopPoses:
    """The start with empty references, for sizes."""
    shape = (2, max(1, len(parameters.reference)), *(setup.sizes.box_px,) * 3)
    return start_state(setup, np.zeros(shape, np.float32))


def _start(parameters: AlignParameters, loop: RoundLoop, search: Search) -> LoopPoses:
    references = read_references(parameters.reference, loop.setup.sizes)
    if references is None:
        job = AverageJob(loop.setup, loop.folder.fingerprint + "start")
        maps, _ = run_stage(job, loop.folder, loop.runtime, parameters, loop.checkpoints,
                            loop.first_memory(search)).outputs
        references = shared_references([maps], loop.runtime)
    return start_state(loop.setup, references)


def search_kind(asked: str, global_order: int | None, R_p2t: Floats) -> str:
    """`auto` resolved: global where asked for, or where no orientations are known, else local."""
    if asked != "auto":
        return asked
    is_unknown = len(R_p2t) > 1 and float(np.ptp(R_p2t, axis=0).max()) < 1e-6
    return "global" if is_unknown or global_order is not None else "local"


def make_search(i_round: int, state: LoopPoses, parameters: AlignParameters, setup: Setup,
                mask: NDArray[np.float32] | None) -> Search:
    """Lists of rotations and shifts of a round; ranges and steps shrink round by round."""
    factor = parameters.refine_factor**i_round
    kind = search_kind(parameters.search, parameters.global_order, setup.inputs.particles.R_p2t)
    order = parameters.global_order
    if order is None and kind == "global":
        order = GLOBAL_ORDER
    is_global = order is not None and i_round < parameters.global_rounds
    if order is not None and is_global:
        rotations, step_deg = healpix_rotations(order, parameters.symmetry), healpix_step_deg(order)
    else:
        step_deg = parameters.angle_step_deg * factor
        rotations = local_rotations(parameters.angle_range_deg * factor, step_deg)
    voxel_A = setup.sizes.voxel_A
    shifts_px = shift_grid(parameters.shift_range_A * factor / voxel_A,
                           parameters.shift_step_A * factor / voxel_A)
    references = state.references
    n_classes = references.shape[1]
    # limits about a prior's centre must not shrink, or particles away from it are pulled back
    holds_turn, holds_shift = has_priors(parameters)
    if parameters.mirror_decoy:
        references = np.concatenate([references, _mirrored(references[:, :1])], axis=1)
    search = Search(state.R_p2t, state.offset_A, state.anchor_A, references, n_classes, state.fsc,
                    mask, kind, rotations, is_global, shifts_px,
                    parameters.shift_step_A * factor, prior_orientations(setup.inputs.particles),
                    parameters.angle_range_deg * (1.0 if holds_turn else factor),
                    parameters.shift_range_A * (1.0 if holds_shift else factor),
                    step_deg, _band(i_round, state, parameters, setup), i_round, parameters)
    return without_fixed(search, setup.inputs.particles)


def _mirrored(references: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps (..., b, b, b) mirrored along x about the centre voxel b // 2 (b even)."""
    return np.ascontiguousarray(np.roll(references[..., ::-1], 1, axis=-1))


def _band(i_round: int, state: LoopPoses, parameters: AlignParameters, setup: Setup) -> Band:
    box = setup.sizes.box_px
    span_A = box * setup.sizes.voxel_A
    finest_A = parameters.lowpass_A
    if parameters.band_schedule == "fsc" and i_round > 0:
        # without an FSC the limit stays
        finest_A = float(np.nan_to_num(state.history[-1]["resolution_A"], nan=finest_A))
    coarsest = 0.0 if parameters.highpass_A is None else span_A / parameters.highpass_A
    # a resolution that is coarser than the high-pass limit leaves the least band beyond that
    return Band(coarsest, float(np.clip(
        span_A / finest_A, coarsest + LEAST_SHELLS, max(box // 2 - 3, coarsest + 1))))

"""`align`: search of poses against references, then averaging, in rounds.

Half-sets never meet: particles of half h see only the references of half h, which are the
input references low-passed at `lowpass_A`, and from the second round on the averages of
half h alone, low-passed at the same limit or (`--band-schedule fsc`) at that of the FSC.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.grid_search import Band
from sta_mpi.errors import UsageError
from sta_mpi.formats.relion_priors import prior_orientations
from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.geometry.sampling import (
    healpix_rotations,
    healpix_step_deg,
    local_rotations,
    shift_grid,
)
from sta_mpi.jobs.align_check import OracleCheck, summarise
from sta_mpi.jobs.align_output import write_outputs
from sta_mpi.jobs.align_rounds import AlignRound, GreyScaleJob, fit_grey_scale, round_memory
from sta_mpi.jobs.align_search import Search
from sta_mpi.jobs.align_state import LoopPoses, pack, start_state, unpack
from sta_mpi.jobs.average import AverageJob
from sta_mpi.jobs.averaging import Setup, check_any_seen, make_setup
from sta_mpi.jobs.engine import describe_job, open_checkpoints, run_stage
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import assign_halves, load_set, set_files
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.particle_store import ParticleStore
from sta_mpi.jobs.reconstruction import Maps, write_maps
from sta_mpi.jobs.reference_files import read_mask, read_references, reference_files
from sta_mpi.jobs.store_plan import describe_store, make_store_plan
from sta_mpi.parallel.accumulators import choose_storage, engine_memory
from sta_mpi.report.runlog import LOGGER_NAME

Floats = NDArray[np.float64]

GLOBAL_ORDER = 2
"""HEALPix order of the global search, 15 degrees."""

LEAST_SHELLS = 2
"""Fourier shells that a search needs to tell poses apart."""
LARGEST_ROTATION_LIST = 10_000_000
LARGEST_SHIFT_LIST = 1_000_000
"""Longest lists of one search; finer ones are searched in rounds (--iterations)."""


def input_files(parameters: AlignParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    files = [*set_files(parameters), *reference_files(parameters.reference)]
    return files + ([parameters.reference_mask] if parameters.reference_mask else [])


def prepare_setup(parameters: AlignParameters) -> Setup:
    """Read and check the input, choose sizes."""
    inputs = load_set(parameters)
    half = assign_halves(inputs.particles, parameters.halves, parameters.seed)
    setup = make_setup(inputs, parameters, half)
    _check(parameters, setup)
    return setup


def describe(parameters: AlignParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    setup = prepare_setup(parameters)
    read_references(parameters.reference, setup.sizes)
    mask = read_mask(parameters.reference_mask, setup.sizes)
    search = make_search(0, _empty_start(parameters, setup), parameters, setup, mask)
    job = AlignRound(setup, search, (1.0, 1.0), "dry run", 0)
    others = round_memory(setup, search).plus(engine_memory(job, "rank"))
    return {"search": search.kind, "rotations": len(search.rotations),
            "shifts": len(search.shifts_px), "rounds": parameters.iterations,
            **describe_job(job, setup), **describe_store(setup, parameters, others)}


def run(parameters: AlignParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Search, average, repeat; write particles, maps and report."""
    setup = replace(prepare_setup(parameters), folder=folder.path)
    mask = read_mask(parameters.reference_mask, setup.sizes)
    checkpoints = open_checkpoints(folder, parameters)
    state = unpack(checkpoints.load_state(runtime))
    if state is None:
        state = _start(parameters, setup, folder, runtime, checkpoints)
        checkpoints.save_state(runtime, *pack(state))
    maps: list[Maps | None] = []
    with open_store(setup, parameters, runtime) as store:
        loop = _Loop(parameters, setup, store, mask, folder, runtime, checkpoints)
        for i_round in range(state.round_done, parameters.iterations):
            maps = loop.round(i_round, state)
            # the last round ends with the outputs: until they are written, its own units count
            if state.round_done < parameters.iterations:
                checkpoints.save_state(runtime, *pack(state))
    if not runtime.is_root:
        return JobOutcome()
    return write_outputs(parameters, folder, setup, state, [m for m in maps if m is not None],
                         loop.stages)


def _check(parameters: AlignParameters, setup: Setup) -> None:
    nyquist_A = 2 * setup.sizes.voxel_A
    if parameters.lowpass_A < nyquist_A:
        raise UsageError(f"--lowpass-A {parameters.lowpass_A:g} is beyond Nyquist "
                         f"({nyquist_A:.2f} Å at this binning). Use a coarser limit or less "
                         "binning.")
    span_A = setup.sizes.box_px * setup.sizes.voxel_A
    if parameters.lowpass_A > span_A / LEAST_SHELLS:
        raise UsageError(f"--lowpass-A {parameters.lowpass_A:g} leaves fewer than {LEAST_SHELLS} "
                         f"Fourier shells of a box of {span_A:g} Å. Use at most "
                         f"{span_A / LEAST_SHELLS:.4g} Å, or a larger box.")
    _check_search_size(parameters)
    if parameters.highpass_A is not None and parameters.highpass_A <= parameters.lowpass_A:
        raise UsageError(f"--highpass-A {parameters.highpass_A:g} must be coarser than "
                         f"--lowpass-A {parameters.lowpass_A:g}. Use a larger number of Å, or "
                         "leave it out.")
    priors = parameters.angle_prior_deg, parameters.tilt_prior_deg, parameters.shift_prior_A
    if parameters.score != "loglik" and any(priors):
        raise UsageError("priors weigh against a likelihood: use --score loglik with "
                         "--angle-prior-deg, --tilt-prior-deg or --shift-prior-A.")


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


def open_store(setup: Setup, parameters: AlignParameters, runtime: Any) -> ParticleStore:
    """Room for the particles of this rank between rounds; collective, the plan is logged."""
    search = make_search(0, _empty_start(parameters, setup), parameters, setup, None)
    job = AlignRound(setup, search, (1.0, 1.0), "plan", 0)
    others = round_memory(setup, search).plus(engine_memory(job, choose_storage(job, runtime)))
    plan = make_store_plan(setup, runtime, parameters, others)
    if runtime.is_root:
        logging.getLogger(LOGGER_NAME).info(plan.line())
    return ParticleStore(setup.source, plan, setup.sizes.box_px)


def _empty_start(parameters: AlignParameters, setup: Setup) -> LoopPoses:
    """The start with empty references, for sizes."""
    shape = (2, max(1, len(parameters.reference)), *(setup.sizes.box_px,) * 3)
    return start_state(setup, np.zeros(shape, np.float32))


def _start(parameters: AlignParameters, setup: Setup, folder: JobFolder, runtime: Any,
           checkpoints: Any) -> LoopPoses:
    references = read_references(parameters.reference, setup.sizes)
    if references is None:
        job = AverageJob(setup, folder.fingerprint + "start")
        maps, _ = run_stage(job, folder, runtime, parameters, checkpoints).outputs
        references = shared_references([maps], runtime)
    return start_state(setup, references)


def shared_references(maps: list[Maps | None], runtime: Any) -> NDArray[np.float32]:
    """Half maps of all classes on all ranks, (2, K, b, b, b)."""
    stack = None
    if all(m is not None for m in maps):
        stack = np.stack([[m.halves.half1.data, m.halves.half2.data]  # type: ignore[union-attr]
                          for m in maps], axis=1)
    shared: NDArray[np.float32] = runtime.bcast_array(stack)
    return shared


class _Loop:
    """The rounds of one run."""

    def __init__(self, parameters: AlignParameters, setup: Setup, store: ParticleStore,
                 mask: NDArray[np.float32] | None, folder: JobFolder, runtime: Any,
                 checkpoints: Any) -> None:
        self.parameters, self.mask = parameters, mask
        self.setup, self._store = replace(setup, source=store), store
        self.folder, self.runtime, self.checkpoints = folder, runtime, checkpoints
        self.stages: list[Any] = []
        self._holders: dict[int, int] = {}

    def round(self, i_round: int, state: LoopPoses) -> list[Maps | None]:
        """Search, average and check once; `state` is brought up to date on all ranks."""
        parameters, setup, runtime = self.parameters, self.setup, self.runtime
        search = make_search(i_round, state, parameters, setup, self.mask)
        tag = f"{self.folder.fingerprint}round{i_round}"
        if search.kind == "grid" and parameters.score == "loglik" and state.grey is None:
            job = GreyScaleJob(setup, search, tag)
            rows = run_stage(job, self.folder, runtime, parameters, self.checkpoints).outputs
            state.grey = fit_grey_scale(rows, setup.half)
            # a resume goes straight to the round: checkpoints of a repeated fit would hide its own
            self.checkpoints.save_state(runtime, *pack(state))
        grey, state.grey = state.grey or (1.0, 1.0), None
        result = run_stage(
            AlignRound(setup, search, grey, tag, i_round), self.folder, runtime, parameters,
            self.checkpoints,
            round_memory(setup, search).plus(self._store.plan.memory()), self._holders)
        self._holders = {**self._holders, **result.unit_rank}
        self.stages.append(result)
        maps, columns = result.outputs
        check_any_seen(columns["n_slices"], setup)
        numbers = self._check(search, columns, i_round, tag)
        before_R, before_offset = state.R_p2t, state.offset_A
        aligned = columns["n_slices"] > 0
        state.move(columns["R_p2t"].reshape(-1, 3, 3), columns["offset_A"], aligned,
                   setup.sizes.voxel_A)
        state.columns = columns
        state.references = shared_references(maps, runtime)
        state.fsc = runtime.bcast(None if maps[0] is None else np.stack(
            [m.fsc.corrected for m in maps]))
        resolution = runtime.bcast(None if maps[0] is None else min(
            m.fsc.resolution_A() for m in maps))
        state.history.append({**_round_summary(
            before_R, before_offset, state, aligned, search), "resolution_A": float(resolution),
            **numbers})
        state.round_done = i_round + 1
        for k, m in enumerate(maps):
            if m is not None:
                of_class = "" if len(maps) == 1 else f"class{k + 1:03d}_"
                write_maps(self.folder.path, m, prefix=f"round{i_round + 1:02d}_{of_class}")
        return list(maps)

    def _check(self, search: Search, columns: dict[str, NDArray[Any]], i_round: int, tag: str
               ) -> dict[str, float]:
        """Numbers of the oracle's sample."""
        if search.kind == "grid" or self.parameters.oracle_particles == 0:
            return {}
        # the round's checkpoint stays: a resume takes its sums from there and checks again
        result = run_stage(OracleCheck(self.setup, search, columns, i_round, tag), self.folder,
                           self.runtime, self.parameters, None)
        return summarise(result.outputs)


def search_kind(parameters: AlignParameters, R_p2t: Floats) -> str:
    """`auto` resolved: global where asked for, or where no orientations are known, else local."""
    if parameters.search != "auto":
        return parameters.search
    is_unknown = len(R_p2t) > 1 and float(np.ptp(R_p2t, axis=0).max()) < 1e-6
    return "global" if is_unknown or parameters.global_order is not None else "local"


def make_search(i_round: int, state: LoopPoses, parameters: AlignParameters, setup: Setup,
                mask: NDArray[np.float32] | None) -> Search:
    """Lists of rotations and shifts of a round; ranges and steps shrink round by round."""
    factor = parameters.refine_factor**i_round
    kind = search_kind(parameters, setup.inputs.particles.R_p2t)
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
    if parameters.mirror_decoy:
        references = np.concatenate([references, _mirrored(references[:, :1])], axis=1)
    return Search(state.R_p2t, state.offset_A, state.anchor_A, references, n_classes, state.fsc,
                  mask, kind, rotations, is_global, shifts_px,
                  parameters.shift_step_A * factor, prior_orientations(setup.inputs.particles),
                  parameters.angle_range_deg * factor, parameters.shift_range_A * factor,
                  step_deg, _band(i_round, state, parameters, setup), i_round, parameters)


def _mirrored(references: NDArray[np.float32]) -> NDArray[np.float32]:
    """Maps (..., b, b, b) mirrored along x about the centre voxel b // 2 (b even)."""
    return np.ascontiguousarray(np.roll(references[..., ::-1], 1, axis=-1))


def _band(i_round: int, state: LoopPoses, parameters: AlignParameters, setup: Setup) -> Band:
    box = setup.sizes.box_px
    span_A = box * setup.sizes.voxel_A
    finest_A = parameters.lowpass_A
    if parameters.band_schedule == "fsc" and i_round > 0:
        finest_A = np.nan_to_num(state.history[-1]["resolution_A"], nan=span_A)
    return Band(0.0 if parameters.highpass_A is None else span_A / parameters.highpass_A,
                float(np.clip(span_A / finest_A, LEAST_SHELLS, box // 2 - 3)))


def _round_summary(before_R: Floats, before_offset: Floats, state: LoopPoses,
                   aligned: NDArray[np.bool_], search: Search) -> dict[str, float]:
    turned = angular_distance_deg(before_R, state.R_p2t)[aligned]
    moved = np.linalg.norm(state.offset_A - before_offset, axis=1)[aligned]
    columns = {name: values[aligned] for name, values in state.columns.items()}
    settled = columns["is_settled"] > 0
    summary = {
        "round": float(state.round_done + 1),
        "median_turn_deg": float(np.median(turned)),
        "median_move_A": float(np.median(moved)),
        "mean_ncc": float(np.mean(columns["ncc"])),
        "mean_loglik": float(np.mean(columns["loglik"])),
        "median_grey_scale": float(np.median(columns["grey_scale"])),
        "mean_p_max": float(np.mean(columns["p_max"])),
        "settled_share": float(settled.mean()),
        "settled_loss": float(columns["gain"][settled].mean()) if settled.any() else 0.0,
        "at_edge_share": float(np.mean(columns["at_edge"] > 0)),
        "is_global": float(search.is_global),
        "band_px": search.band.r_max}
    if search.references.shape[1] > search.n_classes:
        scores = columns["reference_scores"]
        summary["mirror_wins_share"] = float(np.mean(
            scores[:, search.n_classes] > scores[:, : search.n_classes].max(axis=1)))
    return summary

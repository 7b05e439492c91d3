"""Rounds of search and average on all ranks, for `align`, `refine` and `classify`."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.geometry.rotations import angular_distance_deg
from sta_mpi.jobs.align_check import OracleCheck, summarise
from sta_mpi.jobs.align_rounds import AlignRound, GreyScaleJob, fit_grey_scale, round_memory
from sta_mpi.jobs.align_search import Search
from sta_mpi.jobs.align_state import LoopPoses, Packed, pack
from sta_mpi.jobs.averaging import Setup, check_any_seen
from sta_mpi.jobs.engine import run_stage
from sta_mpi.jobs.folder import JobFolder
from sta_mpi.jobs.held_series import leave_room
from sta_mpi.jobs.noise_fit import NoiseJob, excess_noise, is_fitted
from sta_mpi.jobs.particle_store import ParticleStore
from sta_mpi.jobs.reconstruction import MapOptions, Maps, map_options, write_maps
from sta_mpi.jobs.store_plan import make_store_plan
from sta_mpi.parallel.accumulators import choose_storage, engine_memory
from sta_mpi.parallel.memory import MemoryPlan
from sta_mpi.report.runlog import LOGGER_NAME

Floats = NDArray[np.float64]

FAR_TURN_DEG = 10.0
"""A particle that turned farther than this went to another optimum."""


def open_store(setup: Setup, search: Search, runtime: Any) -> ParticleStore:
    """Room for the particles of this rank between rounds; collective, the plan is logged.

    `search` is that of the largest round.
    """
    parameters = search.parameters
    job = AlignRound(setup, search, (1.0, 1.0), map_options(parameters, setup.sizes), "plan")
    engine = engine_memory(job, choose_storage(job, runtime))

    def others() -> MemoryPlan:
        return round_memory(setup, search, runtime.size).plus(engine)

    leave_room(setup.source, runtime, parameters.max_memory_GiB, others)
    plan = make_store_plan(setup, runtime, parameters, others())
    if runtime.is_root:
        logging.getLogger(LOGGER_NAME).info(plan.line())
    return ParticleStore(setup.source, plan)


def shared_references(maps: list[Maps | None], runtime: Any) -> NDArray[np.float32]:
    """References of all classes on all ranks, (2, K, b, b, b): half maps, or those with a prior."""
    stack = None
    if all(m is not None for m in maps):
        stack = np.stack([_references(m) for m in maps if m is not None], axis=1)
    shared: NDArray[np.float32] = runtime.bcast_array(stack)
    return shared


def _references(maps: Maps) -> NDArray[np.float32]:
    if maps.references is not None:
        return maps.references
    return np.stack([maps.halves.half1.data, maps.halves.half2.data])


class RoundLoop:
    """The rounds of one run; the source of `setup` is `store`.

    `packed` makes of the poses what a checkpoint of the command holds; a round writes some.
    """

    def __init__(self, setup: Setup, store: ParticleStore, folder: JobFolder, runtime: Any,
                 checkpoints: Any, packed: Callable[[LoopPoses], Packed] = pack) -> None:
        self.setup, self._store, self._packed = setup, store, packed
        self.folder, self.runtime, self.checkpoints = folder, runtime, checkpoints
        self.stages: list[Any] = []
        self.tilt_weights: Floats | None = None
        self._has_room = False
        self.holders: dict[int, int] = {}

    def round(self, search: Search, state: LoopPoses, options: MapOptions) -> list[Maps | None]:
        """Search, average and check once; `state` is brought up to date on all ranks."""
        runtime, setup = self.runtime, self.setup
        tag = f"{self.folder.fingerprint}round{search.i_round}"
        search = replace(search, noise_gain=self._noise(search, state, tag))
        grey = self._grey(search, state, tag)
        state.noise_gain = state.grey = None
        parameters = search.parameters
        job = AlignRound(setup, search, grey, options, tag)
        memory = self.first_memory(search)
        self._store.keep_only([
            int(row) for unit in job.units() for row in unit.payload[1]
            if self.holders.get(unit.id, runtime.rank) == runtime.rank])
        result = run_stage(
            job, self.folder, runtime, parameters, self.checkpoints, memory, self.holders)
        self.tilt_weights = job.tilt_weights
        self.keep_holders(result)
        maps, columns = result.outputs
        check_any_seen(columns["n_slices"], setup)
        numbers = self._check(search, columns, tag)
        search.shelf.release(runtime)
        before_R, before_offset = state.R_p2t, state.offset_A
        aligned = columns["n_slices"] > 0
        state.move(columns["R_p2t"].reshape(-1, 3, 3), columns["offset_A"], aligned,
                   setup.sizes.voxel_A)
        state.columns = columns
        state.references = shared_references(maps, runtime)
        state.fsc, of_maps = runtime.bcast(None if maps[0] is None else (
            np.stack([m.fsc.corrected for m in maps]), fsc_numbers(maps)))
        state.history.append({
            **round_summary(before_R, before_offset, state, aligned, search),
            **of_maps, **numbers})
        state.round_done = search.i_round + 1
        if search.noise_gain is not None:
            state.excess[state.round_done] = excess_noise(search)
        for k, m in enumerate(maps):
            if m is not None:
                of_class = "" if len(maps) == 1 else f"class{k + 1:03d}_"
                write_maps(self.folder.path, m, f"round{state.round_done:02d}_{of_class}")
        return list(maps)

    def first_memory(self, search: Search) -> MemoryPlan | None:
        """What the first stage is checked for; None for later ones, which find it taken.

        Particles that a stage has left in the store are part of the process then: they must not be
        asked for again.
        """
        if self._has_room:
            return None
        self._has_room = True
        return round_memory(self.setup, search, self.runtime.size).plus(self._store.plan.memory())

    def keep_holders(self, result: Any) -> None:
        """Note a finished stage, and which rank holds the particles of each unit."""
        self.holders = {**self.holders, **result.unit_rank}
        # without the maps of each round
        self.stages.append(replace(result, outputs=None))

    def _grey(self, search: Search, state: LoopPoses, tag: str) -> tuple[float, float]:
        """Grey scales of the references for the grid's likelihood; polish fits its own."""
        if search.kind == "grid" and search.parameters.score == "loglik" and state.grey is None:
            job = GreyScaleJob(self.setup, search, tag)
            rows = run_stage(job, self.folder, self.runtime, search.parameters,
                             self.checkpoints).outputs
            state.grey = fit_grey_scale(rows, self.setup.half)
            # a resume goes straight to the round: checkpoints of a repeated fit would hide its own
            self.checkpoints.save_state(self.runtime, *self._packed(state))
        return state.grey or (1.0, 1.0)

    def _noise(self, search: Search, state: LoopPoses, tag: str) -> Floats | None:
        """Factors that bring the noise of the search to what the references leave."""
        if not is_fitted(search):
            return None
        if state.noise_gain is None:
            job = NoiseJob(self.setup, search, tag)
            result = run_stage(
                job, self.folder, self.runtime, search.parameters, self.checkpoints,
                holders=job.sample.holders(self.holders))
            # the particles that were cut for the sample need not be cut again by another rank
            self.holders = self.holders or job.sample.holders_of_round(result.unit_rank)
            state.noise_gain = result.outputs
            # as for the grey scale
            self.checkpoints.save_state(self.runtime, *self._packed(state))
        return state.noise_gain

    def _check(self, search: Search, columns: dict[str, NDArray[Any]], tag: str
               ) -> dict[str, float]:
        """Numbers of the oracle's sample."""
        if (search.kind in ("grid", "still", "given")
                or search.parameters.oracle_particles == 0):
            return {}
        # the round's checkpoint stays: a resume takes its sums from there and checks again
        job = OracleCheck(self.setup, search, columns, tag)
        result = run_stage(job, self.folder, self.runtime, search.parameters, None,
                           holders=job.sample.holders(self.holders))
        return summarise(result.outputs)


def fsc_numbers(maps: list[Maps]) -> dict[str, float]:
    """Resolution and shell that the FSC of the best class reaches."""
    return {"resolution_A": float(np.fmin.reduce([m.fsc.resolution_A() for m in maps])),
            "crossing_shell": float(np.fmax.reduce([m.fsc.mean_crossing_shell() for m in maps]))}


def round_summary(before_R: Floats, before_offset: Floats, state: LoopPoses,
                  aligned: NDArray[np.bool_], search: Search) -> dict[str, float]:
    """What a round did, in numbers for the report and the next round's choices."""
    turned = angular_distance_deg(before_R, state.R_p2t)[aligned]
    moved = np.linalg.norm(state.offset_A - before_offset, axis=1)[aligned]
    columns = {name: values[aligned] for name, values in state.columns.items()}
    settled = columns["is_settled"] > 0
    summary = {
        "round": float(search.i_round + 1),
        "median_turn_deg": float(np.median(turned)),
        "median_move_A": float(np.median(moved)),
        "far_turn_share": float(np.mean(turned > FAR_TURN_DEG)),
        "mean_ncc": float(np.mean(columns["ncc"])),
        "mean_loglik": float(np.mean(columns["loglik"])),
        "median_sigma_angle_deg": _median(columns["sigma_angle_deg"]),
        "median_sigma_shift_A": _median(columns["sigma_shift_A"]),
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


def _median(values: Floats) -> float:
    """Median of what is finite; 0 without any."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else 0.0

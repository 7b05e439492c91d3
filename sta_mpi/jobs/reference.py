"""`reference`: an initial reference from particles alone.

1. Particles of the competition are merged into a low band (`reference_starts.BandJob`).
2. Starts (random poses, single particles, trees of pairs) run to their end, one unit each, and
   are judged by particles that none of them saw (`StartsJob`, `align.support`).
3. All particles are aligned to the winner: one global round, then local ones, half-sets apart.
4. Symmetry, centre and twist of the map are found; map and particles move together (`orient`).
5. Last rounds with the symmetry imposed give the half maps: all twists again, where there is a
   symmetry, and a local one.

`--method average` leaves out 1 to 3: the average at the given poses is the map that is oriented,
and 5 is a second average. Where no start is supported, nothing after 2 is done.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.align.band_em import expectation_bytes
from sta_mpi.align.band_set import BandSet
from sta_mpi.align.support import Verdict, judge_starts
from sta_mpi.geometry.rotations import rotation_from_vector
from sta_mpi.jobs.align import make_search
from sta_mpi.jobs.align_loop import RoundLoop, open_store, shared_references
from sta_mpi.jobs.align_state import start_state
from sta_mpi.jobs.average import AverageJob
from sta_mpi.jobs.averaging import check_any_seen, memory_plan
from sta_mpi.jobs.engine import describe_job, open_checkpoints, run_stage
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import set_files
from sta_mpi.jobs.parameters.align import AlignParameters
from sta_mpi.jobs.parameters.reference import ReferenceParameters
from sta_mpi.jobs.reconstruction import Maps, map_options
from sta_mpi.jobs.reference_orient import Orientation, moved_state, orient
from sta_mpi.jobs.reference_output import Finished, write_reference, write_unsupported
from sta_mpi.jobs.reference_plan import (
    ReferencePlan,
    draw_particles,
    first_rows,
    make_plan,
    round_parameters,
    split_seen,
)
from sta_mpi.jobs.reference_scores import score_symmetries
from sta_mpi.jobs.reference_starts import BandJob, Entrants, StartsJob
from sta_mpi.jobs.reference_state import (
    AVERAGED,
    ORIENTED,
    STARTED,
    ReferenceState,
    pack_reference,
    unpack_reference,
)
from sta_mpi.parallel.memory import GiB, MemoryPlan
from sta_mpi.signal.fft import FftPlans, crop_rft3

Floats = NDArray[np.float64]
Map = NDArray[np.float32]


def input_files(parameters: ReferenceParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    return set_files(parameters)


def describe(parameters: ReferenceParameters) -> dict[str, Any]:
    """What --dry-run prints."""
    plan = make_plan(parameters)
    own: dict[str, Any] = {"method": parameters.method}
    if parameters.method != "average":
        settings = plan.settings(max(1, int((1 - parameters.unseen_share) * parameters.subset)))
        last = settings.stages[-1]
        own |= {"starts": parameters.starts,
                "particles_in_competition": len(draw_particles(plan).rows),
                "normals": "unknown" if plan.cone_deg is None
                else f"known within {plan.cone_deg:g} deg",
                "rotations": len(settings.lists.rotations(last.order, None)),
                "shifts": len(settings.lists.shifts_px(plan.setup.sizes.box_px, last.r_max)),
                "voxels_of_the_band": len(plan.band().index),
                "competition_memory_GiB": sum(competition_bytes(
                    plan, len(draw_particles(plan).rows)).values()) / GiB}
    return {**own, "lowpass_A": plan.lowpass_A,
            **describe_job(AverageJob(plan.setup, "dry run"), plan.setup)}


def run(parameters: ReferenceParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Make the reference; write maps, particles, set and report."""
    plan = make_plan(parameters)
    plan = replace(plan, setup=replace(plan.setup, folder=folder.path))
    work = _Work(plan, folder, runtime)
    if parameters.method == "average":
        return work.average()
    state = work.state or work.compete()
    verdict = verdict_of(state)
    if not verdict.has_signal:
        return write_unsupported(plan, folder, state, verdict, work.stages) \
            if runtime.is_root else JobOutcome()
    return work.search(state, verdict)


def competition_bytes(plan: ReferencePlan, n_particles: int) -> dict[str, float]:
    """Arrays that one rank holds while a start runs [bytes]."""
    settings = plan.settings(n_particles)
    rotations = settings.lists.rotations(settings.stages[-1].order, None)
    return expectation_bytes(n_particles, len(plan.band().index), len(rotations))


def verdict_of(state: ReferenceState) -> Verdict:
    """Who won the competition."""
    starts = state.starts
    return judge_starts(starts["gain"], starts["inverted"], starts["blob"])


class _Work:
    """One run: what its steps share."""

    def __init__(self, plan: ReferencePlan, folder: JobFolder, runtime: Any) -> None:
        self.plan, self.folder, self.runtime = plan, folder, runtime
        self.checkpoints = open_checkpoints(folder, plan.parameters)
        self.stages: list[Any] = []
        self.state = unpack_reference(self.checkpoints.load_state(runtime))

    def save(self, state: ReferenceState) -> None:
        """Write a checkpoint of the state."""
        self.checkpoints.save_state(self.runtime, *pack_reference(state))

    def stage(self, job: Any, memory: MemoryPlan | None = None) -> Any:
        """Run a stage of the engine; its outputs."""
        if memory is None and not self.stages:
            memory = memory_plan(self.plan.setup)
        result = run_stage(job, self.folder, self.runtime, self.plan.parameters,
                           self.checkpoints, memory)
        self.stages.append(result)
        return result.outputs

    # ---- competition -------------------------------------------------------------------

    def compete(self) -> ReferenceState:
        """Let starts compete; the winner is the reference of the first round."""
        plan, p = self.plan, self.plan.parameters
        drawn, tag = draw_particles(plan), self.folder.fingerprint
        bands, is_seen = self.stage(BandJob(plan.setup, plan.band(), drawn, tag))
        train, test = split_seen(plan, drawn, is_seen)
        first = first_rows(plan, drawn, train)
        entrants = Entrants(bands, plan.setup.half[drawn.rows], train, test,
                            plan.settings(len(train)), first, p.method, p.seed)
        levels = first.shape[1].bit_length() if p.method == "tree" else 1
        starts = self.stage(StartsJob(entrants, levels, tag, self.folder.path),
                            MemoryPlan(competition_bytes(plan, len(drawn.rows))))
        starts |= {"first_rows": drawn.rows[first] if first.size else first,
                   "test_data": bands.data[test],
                   "test_weight": bands.weight[test]}
        verdict = judge_starts(starts["gain"], starts["inverted"], starts["blob"])
        winner = widened(starts["map"][verdict.winner], plan.setup.sizes.box_px)
        loop = start_state(plan.setup, np.stack([winner, winner])[:, None])
        state = ReferenceState(STARTED, loop, starts)
        self.save(state)
        return state

    # ---- all particles -----------------------------------------------------------------

    def search(self, state: ReferenceState, verdict: Verdict) -> JobOutcome:
        """Align all particles to the winner, orient the reference, average with its symmetry."""
        plan, runtime, options = self.plan, self.runtime, map_options(
            self.plan.align, self.plan.setup.sizes)
        search = make_search(0, state.loop, plan.align, plan.setup, options.mask)
        with open_store(plan.setup, search, runtime) as store:
            own = replace(plan.setup, source=store)
            loop = RoundLoop(own, store, self.folder, runtime, self.checkpoints,
                             lambda poses: pack_reference(replace(state, loop=poses)))
            while state.step == STARTED:
                round_search = make_search(
                    state.loop.round_done, state.loop, plan.align, own, options.mask)
                loop.round(round_search, state.loop, options)
                if state.loop.round_done == plan.rounds:
                    state.step = AVERAGED
                self.save(state)
            found = self.oriented(state)
            p = round_parameters(plan, state.notes["symmetry"])
            loop.setup = own = replace(own, parameters=p)
            last = plan.rounds + (1 if p.symmetry == "C1" else 2)
            maps: list[Maps | None] = []
            while state.loop.round_done < last:
                i = state.loop.round_done
                of_round = last_search(plan, p, i, last)
                options = map_options(of_round, own.sizes)
                maps = loop.round(make_search(i, state.loop, of_round, own, options.mask),
                                  state.loop, options)
                # the last round ends with the outputs: until they are written, its units count
                if state.loop.round_done < last:
                    self.save(state)
        self.stages += loop.stages
        return self.finish(state, maps[0], found, verdict)

    def average(self) -> JobOutcome:
        """Average at the given poses, orient, average again."""
        plan, state = self.plan, self.state
        if state is None:
            setup = plan.setup.with_particles(given_twists(plan))
            maps = self._averaged(setup, "first")
            loop = start_state(setup, shared_references([maps], self.runtime))
            resolution_A = self.runtime.bcast(
                None if maps is None else float(maps.fsc.resolution_A(0.5)))
            loop.history.append({"resolution_A": resolution_A})
            state = ReferenceState(AVERAGED, loop)
            self.save(state)
        found = self.oriented(state)
        particles = plan.setup.inputs.particles.with_poses(
            state.loop.R_p2t, state.loop.offset_A)
        setup = replace(plan.setup.with_particles(particles), parameters=round_parameters(
            plan, state.notes["symmetry"]))
        return self.finish(state, self._averaged(setup, "last"), found, None)

    def _averaged(self, setup: Any, which: str) -> Maps | None:
        job = AverageJob(setup, self.folder.fingerprint + which,
                         map_options(setup.parameters, setup.sizes))
        job.name = f"{which} average"
        maps, counts = self.stage(job)
        check_any_seen(counts, setup)
        return maps  # type: ignore[no-any-return]

    # ---- orientation and end -----------------------------------------------------------

    def oriented(self, state: ReferenceState) -> Orientation | None:
        """Orient the reference, once; what was found (rank 0 alone)."""
        plan, runtime = self.plan, self.runtime
        halves = state.loop.references[:, 0]
        if state.step == ORIENTED:
            return self._again(state)
        found = None
        if runtime.is_root:
            limit_A = float(np.nan_to_num(
                state.loop.history[-1]["resolution_A"], nan=plan.lowpass_A))
            found = orient(plan, halves, limit_A, (state.loop.R_p2t, state.loop.offset_A))
        found = runtime.bcast(found)
        state.starts |= {"halves": halves.copy(), "R_p2t": state.loop.R_p2t.copy(),
                         "offset_A": state.loop.offset_A.copy()}
        state.notes = {"symmetry": found.symmetry,
                       "limit_A": float(state.loop.history[-1]["resolution_A"])}
        moved_state(state.loop, found, plan.setup.sizes.voxel_A)
        state.step = ORIENTED
        self.save(state)
        return found if runtime.is_root else None

    def _again(self, state: ReferenceState) -> Orientation | None:
        """What a run before found: the same again, for the report."""
        if not self.runtime.is_root:
            return None
        limit_A = float(np.nan_to_num(state.notes["limit_A"], nan=self.plan.lowpass_A))
        return orient(self.plan, state.starts["halves"], limit_A,
                      (state.starts["R_p2t"], state.starts["offset_A"]))

    def finish(self, state: ReferenceState, maps: Maps | None, found: Orientation | None,
               verdict: Verdict | None) -> JobOutcome:
        """Write everything (rank 0 alone)."""
        if maps is None or found is None:
            return JobOutcome()
        scores = [] if verdict is None or found.fit is None else score_symmetries(
            self.plan, state.starts["map"][verdict.winner],
            BandSet(self.plan.band(), state.starts["test_data"], state.starts["test_weight"]),
            found.symmetry, found.fit)
        done = Finished(state, maps, found, verdict, scores, self.stages)
        return write_reference(self.plan, self.folder, done)


def given_twists(plan: ReferencePlan) -> Any:
    """The particles of the input, with random turns about their own z axes where asked for."""
    particles = plan.setup.inputs.particles
    if plan.parameters.twist == "keep":
        return particles
    rng = np.random.default_rng([plan.parameters.seed, 0x7415])
    turn = np.zeros((len(particles), 3))
    turn[:, 2] = rng.random(len(particles)) * 2 * np.pi
    return particles.with_poses(particles.R_p2t @ rotation_from_vector(turn), particles.offset_A)


def last_search(plan: ReferencePlan, p: AlignParameters, i_round: int, last: int
                ) -> AlignParameters:
    """Parameters of a round with the symmetry.

    The one before the last searches all twists again: the map was another one before. The last
    one sees long waves and neighbours as well, since the shape of a surface tells its normals.
    """
    if p.symmetry == "C1":
        return p
    if i_round + 2 == last:
        return p.model_copy(update={"global_rounds": i_round + 1})
    return p.model_copy(update={
        "highpass_A": None, "mask_diameter_A": plan.parameters.mask_diameter_A})


def widened(data: Map, box_px: int) -> Map:
    """A map of few voxels (g, g, g) as one of the box (n, n, n): the same transform."""
    plans = FftPlans(effort="estimate")
    return plans.irfft3(crop_rft3(plans.rfft3(data), box_px))

"""`plan`: units, memory, disk and time of a job before it is started."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from sta_mpi.errors import StaMpiError
from sta_mpi.jobs import average
from sta_mpi.jobs.align import input_files, make_search
from sta_mpi.jobs.align_rounds import AlignRound
from sta_mpi.jobs.align_state import start_state
from sta_mpi.jobs.averaging import Setup, memory_plan
from sta_mpi.jobs.engine import describe_job
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.parameters.plan import PlanParameters
from sta_mpi.jobs.reconstruction import map_options
from sta_mpi.parallel.accumulators import SHARE_FOR_COPIES, engine_memory, sums_bytes
from sta_mpi.parallel.job import Unit
from sta_mpi.parallel.memory import GiB, MemoryPlan, available_GiB, process_bytes
from sta_mpi.report.content import Section, Table

__all__ = ["describe", "input_files", "run"]


@dataclass(frozen=True)
class _Prediction:
    """A planned job and what is predicted of it."""

    setup: Setup
    job: Any
    memory: MemoryPlan
    numbers: dict[str, Any]


def _predict(parameters: PlanParameters) -> _Prediction:
    setup = average.prepare_setup(parameters)
    job = _make_job(setup, parameters)
    storage = "node" if _copies_are_large(job, parameters) else "rank"
    memory = memory_plan(setup).plus(engine_memory(job, storage))
    numbers = {
        "job": parameters.job, **describe_job(job, setup),
        "node_memory_GiB": memory.node_peak_GiB(parameters.ranks_per_node, process_bytes()),
        "this_node_has_GiB": available_GiB(),
        "checkpoint_disk_GiB": 2 * sums_bytes(job) / GiB,
        "output_disk_GiB": _output_bytes(setup, parameters) / GiB}
    return _Prediction(setup, job, memory, numbers)


def describe(parameters: PlanParameters) -> dict[str, Any]:
    """What --dry-run prints: the prediction without the probe."""
    return _predict(parameters).numbers


def run(parameters: PlanParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Predict; rank 0 alone works."""
    if not runtime.is_root:
        return JobOutcome()
    plan = _predict(parameters)
    warnings = []
    if plan.numbers["units"] < 4 * parameters.ranks:
        warnings.append(
            f"{plan.numbers['units']} units for {parameters.ranks} ranks: fewer than 4 each, so "
            "ranks will wait. Use fewer ranks or a smaller --unit-particles.")
    results = dict(plan.numbers)
    if parameters.probe_particles:
        results |= _probe(plan.job, plan.setup, parameters, runtime)
    rows = [list(row) for row in plan.memory.table()]
    table = Table("Memory", ["what", "held once a", "GiB"], rows)
    return JobOutcome(results, {}, [Section("Memory", tables=[table])], warnings)


def _make_job(setup: Setup, parameters: PlanParameters) -> Any:
    """The job that is planned; align is probed with noise as the reference."""
    if parameters.job == "average":
        return average.AverageJob(setup, "plan")
    box = setup.sizes.box_px
    noise = np.random.default_rng(parameters.seed).normal(size=(2, 1, box, box, box))
    state = start_state(setup, noise.astype(np.float32))
    search = make_search(0, state, parameters, setup, None)
    return AlignRound(setup, search, (1.0, 1.0), map_options(parameters, setup.sizes), "plan")


def _copies_are_large(job: Any, parameters: PlanParameters) -> bool:
    return sums_bytes(job) * parameters.ranks_per_node > SHARE_FOR_COPIES * GiB * available_GiB()


def _output_bytes(setup: Setup, parameters: PlanParameters) -> float:
    maps = 4 * 4.0 * setup.sizes.box_px**3
    rounds = parameters.iterations + 1 if parameters.job == "align" else 1
    return maps * rounds + 500.0 * len(setup.half)


def _probe(job: Any, setup: Setup, parameters: PlanParameters, runtime: Any
           ) -> dict[str, Any]:
    """CPU time of some particles of one unit, after one that reads the series."""
    begin = time.perf_counter()
    context = job.prepare(runtime)
    prepare_s = time.perf_counter() - begin
    half, rows = job.units()[0].payload
    rows = rows[: parameters.probe_particles + 1]
    seconds = []
    for part in (rows[:1], rows[1:]):
        started = time.process_time()
        try:
            job.work(context, Unit(0, "probe", 1.0, (half, part)))
        except StaMpiError as error:
            return {"probe": f"failed: {error}"}
        seconds.append(time.process_time() - started)
    if len(rows) < 2:
        return {"probe": "needs two particles in a unit"}
    each_s = seconds[1] / (len(rows) - 1)
    n_series = len(setup.inputs.used_series)
    rounds = parameters.iterations if parameters.job == "align" else 1
    core_s = each_s * len(setup.half) * rounds + seconds[0] * n_series
    return {"prepare_s": prepare_s, "series_s": seconds[0], "particle_s": each_s,
            "core_hours": core_s / 3600.0,
            "wall_time_s": core_s / parameters.ranks + rounds * prepare_s}

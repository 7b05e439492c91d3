"""`plan`: units, memory, disk and time of a job before it is started."""

import time
from pathlib import Path
from typing import Any

import numpy as np

from sta_mpi.errors import StaMpiError
from sta_mpi.jobs.align import make_search, start_state
from sta_mpi.jobs.align_rounds import AlignRound
from sta_mpi.jobs.average import AverageJob
from sta_mpi.jobs.averaging import Setup, make_setup, make_units, memory_plan
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import assign_halves, find_set, load_set
from sta_mpi.jobs.parameters.plan import PlanParameters
from sta_mpi.parallel.accumulators import engine_memory, sums_bytes
from sta_mpi.parallel.job import Unit
from sta_mpi.parallel.memory import available_GiB, process_bytes
from sta_mpi.report.content import Section, Table

GiB = 1024.0**3


def input_files(parameters: PlanParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    paths = find_set(parameters)
    return [p for p in (paths.particles, paths.tomograms, paths.trajectories) if p is not None]


def run(parameters: PlanParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Predict; rank 0 alone works."""
    if not runtime.is_root:
        return JobOutcome()
    inputs = load_set(parameters)
    half = assign_halves(inputs.particles, parameters.halves, parameters.seed)
    setup = make_setup(inputs, parameters, half)
    job = _make_job(setup, parameters)
    units = make_units(setup)
    storage = "node" if _copies_are_large(job, parameters) else "rank"
    memory = memory_plan(setup).plus(engine_memory(job, storage))
    node_GiB = memory.node_peak_GiB(parameters.ranks_per_node, process_bytes())
    results: dict[str, Any] = {
        "job": parameters.job, "particles": len(inputs.particles), "units": len(units),
        "source": setup.source.kind, "window_px": setup.frame.cut_px * setup.frame.binning,
        "rank_memory_GiB": memory.node_peak_GiB(1, process_bytes())
        - sum(memory.node_bytes.values()) / GiB,
        "node_memory_GiB": node_GiB, "this_node_has_GiB": available_GiB(),
        "checkpoint_disk_GiB": 2 * sums_bytes(job) / GiB,
        "output_disk_GiB": _output_bytes(setup, parameters) / GiB}
    warnings = []
    if len(units) < 4 * parameters.ranks:
        warnings.append(f"{len(units)} units for {parameters.ranks} ranks: fewer than 4 each, so "
                        "ranks will wait. Use fewer ranks or a smaller --unit-particles.")
    if parameters.probe_particles:
        results |= _probe(job, setup, parameters, runtime)
    table = Table("Memory", ["what", "held once a", "GiB"], [list(row) for row in memory.table()])
    return JobOutcome(results, {}, [Section("Memory", tables=[table])], warnings)


def _make_job(setup: Setup, parameters: PlanParameters) -> AverageJob | AlignRound:
    """The job that is planned; align is probed with noise as the reference."""
    if parameters.job == "average":
        return AverageJob(setup, "plan")
    box = setup.sizes.box_px
    noise = np.random.default_rng(parameters.seed).normal(size=(2, box, box, box))
    state = start_state(setup, noise.astype(np.float32))
    search = make_search(0, state, parameters, setup, None)
    return AlignRound(setup, search, (1.0, 1.0), "plan", 0)


def _copies_are_large(job: AverageJob | AlignRound, parameters: PlanParameters) -> bool:
    return sums_bytes(job) * parameters.ranks_per_node > 0.25 * GiB * available_GiB()


def _output_bytes(setup: Setup, parameters: PlanParameters) -> float:
    maps = 4 * 4.0 * setup.sizes.box_px**3
    rounds = parameters.iterations + 1 if parameters.job == "align" else 1
    return maps * rounds + 500.0 * len(setup.half)


def _probe(job: Any, setup: Setup, parameters: PlanParameters, runtime: Any
           ) -> dict[str, Any]:
    """CPU time of some particles in this process, after one that compiles and reads."""
    start = time.perf_counter()
    context = job.prepare(runtime)
    prepare_s = time.perf_counter() - start
    rows = np.linspace(0, len(setup.half) - 1, parameters.probe_particles + 1).astype(np.intp)
    seconds = []
    for row in rows:
        begin = time.process_time()
        try:
            job.work(context, Unit(0, "probe", 1.0, (int(setup.half[row]), np.array([row]))))
        except StaMpiError:
            continue
        seconds.append(time.process_time() - begin)
    if len(seconds) < 2:
        return {"probe": "no particle could be computed; run `sta-mpi check`"}
    each_s = float(np.median(seconds[1:]))
    rounds = parameters.iterations if parameters.job == "align" else 1
    core_s = each_s * len(setup.half) * rounds
    return {"prepare_s": prepare_s, "first_particle_s": seconds[0], "particle_s": each_s,
            "core_hours": core_s / 3600.0,
            "wall_time_s": core_s / parameters.ranks + rounds * prepare_s + seconds[0]}

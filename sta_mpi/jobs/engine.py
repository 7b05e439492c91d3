"""Between a command and the parallel engine: checkpoints, progress, memory, timings."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sta_mpi.jobs.averaging import Setup, memory_plan
from sta_mpi.jobs.folder import JobFolder
from sta_mpi.jobs.parameters.base import ParallelParameters
from sta_mpi.parallel.accumulators import choose_storage, engine_memory
from sta_mpi.parallel.checkpoint import CheckpointStore
from sta_mpi.parallel.engine import run_job
from sta_mpi.parallel.job import Job, JobResult, ProgressEvent
from sta_mpi.parallel.memory import GiB, MemoryPlan, process_bytes
from sta_mpi.report.progress import Progress


def open_checkpoints(folder: JobFolder, parameters: ParallelParameters) -> CheckpointStore:
    """The checkpoints of a job folder."""
    return CheckpointStore(folder.checkpoint, folder.fingerprint,
                           60.0 * parameters.checkpoint_minutes)


def run_stage(job: Job, folder: JobFolder, runtime: Any, parameters: ParallelParameters,
              checkpoints: CheckpointStore | None = None, memory: MemoryPlan | None = None,
              holders: Mapping[int, int] | None = None) -> JobResult:
    """Run one parallel stage with progress on rank 0.

    A command of several stages opens its checkpoints itself and hands them to each, and lets
    units go back to the ranks that hold their particles (`holders`: `JobResult.unit_rank` of
    the stage before, with equal units).
    """
    if checkpoints is None:
        checkpoints = open_checkpoints(folder, parameters)
    if memory is not None:
        storage = choose_storage(job, runtime)
        runtime.check_memory(memory.plus(engine_memory(job, storage)), parameters.max_memory_GiB)
    show, close = _progress(job, folder, runtime, parameters)
    state = "failed"
    try:
        result = run_job(job, runtime, checkpoints=checkpoints, progress=show,
                         max_bad_share=parameters.max_bad_share,
                         dedicated_master=parameters.dedicated_master, holders=holders)
        state = "finished"
    finally:
        close(state)
    return result


def _progress(job: Job, folder: JobFolder, runtime: Any, parameters: ParallelParameters
              ) -> tuple[Callable[[ProgressEvent], None] | None, Callable[[str], None]]:
    """Adapters from the engine's events to the display; nothing on other ranks."""
    if not runtime.is_root:
        return None, lambda state: None
    units = job.units()
    display = Progress(
        sum(u.cost for u in units), len(units), f"{folder.command}: {job.name}", sys.stderr,
        folder.path, command=folder.command, stage=job.name, ranks=runtime.size,
        quiet=parameters.quiet)
    seen = [0, 0.0, 0]

    def show(event: ProgressEvent) -> None:
        bad = event.quarantined - seen[2]
        if bad:
            display.quarantine(0.0, int(bad))
        display.advance(event.done_cost - seen[1], event.done - int(seen[0]))
        seen[:] = [event.done, event.done_cost, event.quarantined]

    return show, display.close


def describe_job(job: Job, setup: Setup) -> dict[str, Any]:
    """Sizes, units and memory of one rank, for --dry-run."""
    plan = memory_plan(setup).plus(engine_memory(job, "rank"))
    shared = sum(plan.node_bytes.values()) / GiB
    return {
        "particles": len(setup.half), "tilt_series": len(setup.inputs.used_series),
        "source": setup.source.kind, "units": len(job.units()),
        "box_px": setup.sizes.box_px, "voxel_A": setup.sizes.voxel_A,
        "sums_px": setup.sizes.grid_px,
        "window_px": setup.frame.cut_px * setup.frame.binning,
        "rank_memory_GiB": plan.node_peak_GiB(1, process_bytes()) - shared,
        "shared_memory_GiB": shared}


def predicted_parts_GiB(job: Job, runtime: Any, memory: MemoryPlan) -> dict[str, float]:
    """Predicted memory of one rank by part, node-shared parts counted whole."""
    plan = memory.plus(engine_memory(job, choose_storage(job, runtime)))
    parts = {name: size for name, _, size in plan.table()}
    return {"program": process_bytes() / GiB, **parts}


def left_out_warnings(stages: Sequence[JobResult]) -> list[str]:
    """One line on the particles whose own data are bad, in any stage."""
    reasons = {bad.row: bad.message for stage in stages for bad in stage.left_out}
    if not reasons:
        return []
    first = min(reasons)
    return [f"{len(reasons)} particles have bad data and were left out, first row {first + 1}: "
            f"{reasons[first].rstrip('.')}. The report lists them."]


def engine_results(*stages: JobResult) -> dict[str, Any]:
    """Numbers of all stages for job.json."""
    busy_s = sum(t.busy_s for stage in stages for t in stage.timings)
    wait_s = sum(t.wait_s for stage in stages for t in stage.timings)
    return {
        "units": sum(s.n_units for s in stages),
        "units_resumed": sum(s.resumed_units for s in stages),
        "units_quarantined": sum(len(s.quarantined) for s in stages),
        "particles_quarantined": len({bad.row for s in stages for bad in s.left_out}),
        "checkpoints": sum(s.checkpoints for s in stages),
        "busy_s": round(busy_s, 3), "wait_s": round(wait_s, 3),
        "peak_memory_GiB": round(
            max(t.peak_memory_GiB for stage in stages for t in stage.timings), 3)}

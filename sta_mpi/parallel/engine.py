"""`run_job`: one job on all ranks, from its units to its outputs.

Every rank runs the same loop over the units it is leased; rank 0 also runs the
scheduler, from a second thread where MPI allows that, else between its own units.
Ranks meet for checkpoints and at the end, after the unit they have in hand.
"""

import hashlib
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sta_mpi.errors import Stopped, WorkerError
from sta_mpi.parallel.accumulators import Accumulators, choose_storage, sums_bytes
from sta_mpi.parallel.allocator import trim_heap
from sta_mpi.parallel.job import (
    Job,
    JobResult,
    LeftOut,
    ProgressEvent,
    Quarantined,
    RankTiming,
    Unit,
    check_units,
)
from sta_mpi.parallel.master import Master
from sta_mpi.parallel.memory import GiB, peak_memory_GiB
from sta_mpi.parallel.reduce import Reduced
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.parallel.scheduler import Reason, Scheduler
from sta_mpi.parallel.worker import Worker

if TYPE_CHECKING:
    from sta_mpi.parallel.checkpoint import CheckpointStore

NAMED_BAD_UNITS = 5


@dataclass
class _Settings:
    progress: Callable[[ProgressEvent], None] | None
    max_bad_share: float
    shuffle_seed: int | None
    dedicated_master: bool
    look_ahead: int
    holders: Mapping[int, int] | None


def run_job(job: Job, runtime: Runtime, *, checkpoints: "CheckpointStore | None" = None,
            progress: Callable[[ProgressEvent], None] | None = None,
            max_bad_share: float = 0.05, shuffle_seed: int | None = None,
            dedicated_master: bool = False, look_ahead: int = 1,
            storage: str = "auto", holders: Mapping[int, int] | None = None) -> JobResult:
    """Run a job on all ranks and return its outputs; collective.

    Parameters
    ----------
    checkpoints : CheckpointStore or None   where to resume from and write to
    progress : callable or None             called on rank 0, at most a few times a second,
                                            possibly from its second thread
    max_bad_share : float                   share of units, and of rows, with bad data that is
                                            accepted
    shuffle_seed : int or None              lease units in a random order (tests)
    dedicated_master : bool                 rank 0 computes no units (for large runs)
    look_ahead : int                        units a rank holds besides the one in hand
    storage : "auto", "rank" or "node"      where running sums are kept
    holders : mapping or None               unit id -> rank that has its data and does it if it
                                            can: `JobResult.unit_rank` of a job with equal units

    Raises
    ------
    Stopped       on all ranks, after a checkpoint, when any rank got SIGTERM or SIGUSR1
    WorkerError   on all ranks, when more units or rows are bad than accepted
    """
    start = time.monotonic()
    settings = _Settings(progress, max_bad_share, shuffle_seed,
                         dedicated_master and runtime.size > 1, look_ahead, holders)
    units = job.units()
    check_units(units)
    _check_same_everywhere(job, units, runtime)
    kept = Accumulators(job, runtime, choose_storage(job, runtime, storage))
    if checkpoints is not None:
        checkpoints.load_sums(job, runtime, kept)
    resumed = sum(runtime.allgather(len(kept.finished)))
    runtime.activity = f"preparation of job {job.name}"
    trim_heap()
    context = job.prepare(runtime)
    runtime.barrier()

    master, worker = _make_loop(job, runtime, kept, units, settings, context, checkpoints)
    del context
    reason = worker.run(master)
    worker.let_go()    # `finish` may need the memory of what the units needed
    quarantined = _all_quarantined(runtime, kept)
    if reason is Reason.STOP:
        raise Stopped(_stop_message(job, checkpoints))
    if reason is Reason.TOO_MANY_BAD:
        raise WorkerError(_bad_message(job, units, quarantined, max_bad_share))
    left_out = _all_left_out(runtime, kept)
    n_rows = max((shape[0] for shape, _ in job.row_specs().values()), default=0)
    if len(left_out) > max_bad_share * n_rows:
        raise WorkerError(_left_out_message(job, n_rows, left_out, max_bad_share))

    runtime.activity = f"finish of job {job.name}"
    finish_start = time.monotonic()
    reduced = Reduced(runtime, kept.sums, kept.rows, kept.is_owner)
    outputs = job.finish(reduced, runtime)
    kept.release()
    reduced_GiB = sums_bytes(job) / GiB if kept.is_owner else 0.0
    timing = RankTiming(runtime.rank, runtime.host, worker.n_units, worker.busy_s, worker.wait_s,
                        worker.checkpoint_s, peak_memory_GiB(),
                        time.monotonic() - finish_start, worker.n_messages, reduced_GiB)
    seconds, ranks = runtime.bcast(
        ({}, {}) if master is None else (master.unit_seconds, master.unit_rank))
    return JobResult(outputs, quarantined, runtime.allgather(timing), seconds, resumed,
                     len(units), time.monotonic() - start, worker.n_checkpoints, ranks, left_out)


def _make_loop(job: Job, runtime: Runtime, kept: Accumulators, units: list[Unit],
               settings: _Settings, context: Any, checkpoints: "CheckpointStore | None"
               ) -> tuple[Master | None, Worker]:
    master_end, worker_end = runtime.open_channel()
    worker = Worker(job, runtime, kept, units, context, worker_end, checkpoints)
    finished = runtime.gather(kept.finished)
    quarantined = _all_quarantined(runtime, kept)
    if master_end is None or finished is None:
        return None, worker
    order = None
    if settings.shuffle_seed is not None:
        order = list(range(len(units)))
        random.Random(settings.shuffle_seed).shuffle(order)
    first = 1 if settings.dedicated_master else 0
    scheduler = Scheduler(
        units, {rank: runtime.node_of[rank] for rank in range(first, runtime.size)},
        finished=[i for part in finished for i in part], quarantined=quarantined,
        look_ahead=settings.look_ahead, max_bad_share=settings.max_bad_share, order=order,
        holders=settings.holders)
    interval = checkpoints.interval_s if checkpoints is not None else None
    in_thread = runtime.can_serve_in_thread and not settings.dedicated_master
    return Master(job.name, units, scheduler, master_end, runtime, settings.progress, interval,
                  in_thread), worker


def _check_same_everywhere(job: Job, units: list[Unit], runtime: Runtime) -> None:
    """Raise where ranks made different lists of units: a job that depends on its rank."""
    text = repr((job.name, [(unit.group, unit.cost) for unit in units]))
    digests = runtime.allgather(hashlib.sha256(text.encode()).hexdigest())
    if len(set(digests)) > 1:
        raise WorkerError(f"the ranks made different lists of units for job {job.name}; "
                          "units() must not depend on the rank")


def _all_quarantined(runtime: Runtime, kept: Accumulators) -> list[Quarantined]:
    parts = runtime.allgather(kept.quarantined)
    return sorted((bad for part in parts for bad in part), key=lambda bad: bad.id)


def _all_left_out(runtime: Runtime, kept: Accumulators) -> list[LeftOut]:
    parts = runtime.allgather(kept.left_out)
    return sorted((one for part in parts for one in part), key=lambda one: one.row)


def _stop_message(job: Job, checkpoints: "CheckpointStore | None") -> str:
    if checkpoints is None:
        return f"job {job.name} was stopped by a signal; it keeps no checkpoints"
    return (f"job {job.name} was stopped by a signal; a checkpoint is in {checkpoints.folder}. "
            "Run the same command to go on")


def _bad_message(job: Job, units: list[Unit], bad: list[Quarantined], share: float) -> str:
    named = [f"Unit {q.id} ({q.group}): {q.message.rstrip('.')}." for q in bad]
    return _too_many(f"{len(bad)} of {len(units)} units", job, named, share)


def _left_out_message(job: Job, n_rows: int, bad: list[LeftOut], share: float) -> str:
    named = [f"{one.message.rstrip('.')}." for one in bad]
    return _too_many(f"{len(bad)} of {n_rows} particles", job, named, share)


def _too_many(what: str, job: Job, named: list[str], share: float) -> str:
    more = f" And {len(named) - NAMED_BAD_UNITS} more." if len(named) > NAMED_BAD_UNITS else ""
    return (f"{what} of job {job.name} have bad data, more than the accepted share of "
            f"{share:.0%}. {' '.join(named[:NAMED_BAD_UNITS])}{more} Correct or remove these "
            "data, or raise --max-bad-share.")

"""Ranks, scheduler, node-shared arrays, exact sums and checkpoints; the home of mpi4py."""

from sta_mpi.parallel.abort import run_main
from sta_mpi.parallel.checkpoint import CheckpointStore, LoopState
from sta_mpi.parallel.engine import run_job
from sta_mpi.parallel.fourier import DistributedFft
from sta_mpi.parallel.job import (
    Job,
    JobResult,
    Partial,
    ProgressEvent,
    Quarantined,
    RankTiming,
    SumSpec,
    Unit,
    chunk_groups,
    chunk_rows,
)
from sta_mpi.parallel.memory import MemoryPlan
from sta_mpi.parallel.reduce import Reduced, fill_shared, ordered_plane_sum, slab_bounds
from sta_mpi.parallel.runtime import Runtime, start_runtime

__all__ = [
    "CheckpointStore",
    "DistributedFft",
    "Job",
    "JobResult",
    "LoopState",
    "MemoryPlan",
    "Partial",
    "ProgressEvent",
    "Quarantined",
    "RankTiming",
    "Reduced",
    "Runtime",
    "SumSpec",
    "Unit",
    "chunk_groups",
    "chunk_rows",
    "fill_shared",
    "ordered_plane_sum",
    "run_job",
    "run_main",
    "slab_bounds",
    "start_runtime",
]

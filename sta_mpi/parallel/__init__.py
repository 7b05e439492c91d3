"""Ranks, scheduler, node-shared arrays, exact sums and checkpoints; the home of mpi4py."""

from sta_mpi.parallel.job import (
    Job,
    JobResult,
    Partial,
    ProgressEvent,
    Quarantined,
    RankTiming,
    SumSpec,
    Unit,
    chunk_rows,
)

__all__ = [
    "Job",
    "JobResult",
    "Partial",
    "ProgressEvent",
    "Quarantined",
    "RankTiming",
    "SumSpec",
    "Unit",
    "chunk_rows",
]

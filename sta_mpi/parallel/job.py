"""The contract between a command and the engine: units of work, sums, results.

A job declares a list of units that does not depend on the number of ranks, the sums it
needs with a bound on each of them, and what one unit computes. The engine leases units,
adds the sums exactly (`exact.py`), keeps the rows, writes checkpoints and hands the
reduced result to `finish` on all ranks. Nothing here imports MPI.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sta_mpi.parallel.reduce import Reduced
    from sta_mpi.parallel.runtime import Runtime


@dataclass(frozen=True)
class Unit:
    """One piece of work, small and picklable.

    Parameters
    ----------
    id : int          0 .. n-1, its place in the list of units
    group : str       units of a group share data (a tilt series) and are kept on few nodes
    cost : float      expected work, any unit, > 0
    payload : object  what the job needs to do it (row numbers, names)
    """

    id: int
    group: str
    cost: float
    payload: Any = None


@dataclass(frozen=True)
class SumSpec:
    """A sum over units that is added exactly.

    Parameters
    ----------
    shape : tuple of int   full shape; axis 0 is the axis that is distributed in slabs
    bound : float          |element of the sum| and of every contribution stays <= bound
    """

    shape: tuple[int, ...]
    bound: float


@dataclass
class Partial:
    """What one unit contributes.

    Parameters
    ----------
    sums : dict of str to float array     contributions, shape of their `SumSpec`; a missing
                                          name contributes nothing
    rows : (m,) intp or None              rows of the per-row results that this unit owns;
                                          no other unit owns them
    values : dict of str to (m, ...) array   results of those rows
    left_out : list of (row, reason)      rows of this unit whose data are bad: they are in no sum
    """

    sums: dict[str, NDArray[Any]] = field(default_factory=dict)
    rows: NDArray[np.intp] | None = None
    values: dict[str, NDArray[Any]] = field(default_factory=dict)
    left_out: list[tuple[int, str]] = field(default_factory=list)


class Job(Protocol):
    """What a parallel command implements. `work` is pure: no MPI, no output files."""

    name: str

    def units(self) -> list[Unit]:
        """Return the list of units, the same on every rank and for any number of ranks."""

    def sum_specs(self) -> dict[str, SumSpec]:
        """Return the sums, by name."""

    def row_specs(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return name -> (full shape with the rows first, dtype) of per-row results.

        Rows that no unit fills stay NaN (float) or 0 (integer).
        """

    def fingerprint(self) -> str:
        """Return a digest of inputs, parameters and code version."""

    def prepare(self, runtime: "Runtime") -> Any:
        """Make plans, references and masks, once a rank; may be collective."""

    def work(self, context: Any, unit: Unit) -> Partial:
        """Compute one unit. `errors.DataError` quarantines it, others end the run."""

    def finish(self, reduced: "Reduced", runtime: "Runtime") -> Any:
        """Turn the reduced sums into outputs; collective, called on all ranks."""


@dataclass(frozen=True)
class Quarantined:
    """A unit whose data were bad: it is in no sum and its rows are not filled."""

    id: int
    group: str
    message: str


@dataclass(frozen=True)
class LeftOut:
    """A row of a finished unit whose data were bad: it is in no sum."""

    row: int
    message: str


@dataclass(frozen=True)
class RankTiming:
    """Where one rank spent its time, and its peak memory.

    Parameters
    ----------
    busy_s : float      inside `work` and in adding its result
    wait_s : float      waiting for a unit or for the other ranks
    checkpoint_s : float   inside checkpoints, the wait for other ranks included
    finish_s : float    after the last unit: reduction of sums, and what `finish` makes of them
    messages : int      between its worker and rank 0
    reduced_GiB : float    running sums that it sent into the reduction
    """

    rank: int
    host: str
    units: int
    busy_s: float
    wait_s: float
    checkpoint_s: float
    peak_memory_GiB: float
    finish_s: float
    messages: int
    reduced_GiB: float


@dataclass(frozen=True)
class ProgressEvent:
    """State of a running job, given to the progress function on rank 0."""

    job: str
    done: int
    total: int
    done_cost: float
    total_cost: float
    quarantined: int
    elapsed_s: float
    checkpoints: int


@dataclass
class JobResult:
    """What `run_job` returns, on all ranks.

    Parameters
    ----------
    outputs : object            whatever the job's `finish` returned on this rank
    quarantined : list          units with bad data, by id
    timings : list              one entry a rank
    unit_seconds : dict         unit id -> measured seconds of the units run now (not resumed)
    resumed_units : int         units taken from a checkpoint
    unit_rank : dict            unit id -> rank that did it, of the same units as unit_seconds
    left_out : list             rows with bad data in units that are otherwise good, by row
    """

    outputs: Any
    quarantined: list[Quarantined]
    timings: list[RankTiming]
    unit_seconds: dict[int, float]
    resumed_units: int
    n_units: int
    elapsed_s: float
    checkpoints: int
    unit_rank: dict[int, int] = field(default_factory=dict)
    left_out: list[LeftOut] = field(default_factory=list)


def chunk_rows(rows: NDArray[np.intp], size: int, tail_share: float = 0.15
               ) -> list[NDArray[np.intp]]:
    """Split rows into chunks of `size`, the last share of them into chunks of a quarter.

    The small chunks are leased last by the scheduler, so that all ranks end together.

    Examples
    --------
    >>> [len(c) for c in chunk_rows(np.arange(40), 8, tail_share=0.2)]
    [8, 8, 8, 8, 2, 2, 2, 2]
    """
    if size < 1:
        raise ValueError(f"chunks need at least one row, got {size}")
    n_tail = int(len(rows) * tail_share)
    n_head = (len(rows) - n_tail) // size * size
    small = max(1, size // 4)
    head = [rows[i:i + size] for i in range(0, n_head, size)]
    return head + [rows[i:i + small] for i in range(n_head, len(rows), small)]


MANY = 128
"""Units of full size from which a job is large: small groups stay whole, if need be."""

WHOLE = 8
"""Units of full size from which a group has small ones at its end in a large job too."""


def chunk_groups(groups: Sequence[NDArray[np.intp]], size: int, tail_share: float = 0.15
                 ) -> list[list[NDArray[np.intp]]]:
    """Split the rows of each group as `chunk_rows` does; small groups of a large job evenly.

    Every unit costs the addition of its sums, as much as one or two of its particles. Where
    there are many units, small ones are needed at the end of the job alone: groups of a few
    units before the last share of all rows are split into as few chunks as their rows allow.

    Examples
    --------
    >>> few = [np.arange(5)] * 3
    >>> [[len(c) for c in chunks] for chunks in chunk_groups(few, 8)]
    [[2, 2, 1], [2, 2, 1], [2, 2, 1]]
    >>> many = [np.arange(5)] * 300
    >>> [[len(c) for c in chunks] for chunks in chunk_groups(many, 8)][::299]
    [[5], [2, 2, 1]]
    """
    total = sum(map(len, groups))
    chunks, before = [], 0
    for rows in groups:
        before += len(rows)
        if (total < MANY * size or len(rows) >= WHOLE * size
                or before > (1.0 - tail_share) * total):
            chunks.append(chunk_rows(rows, size, tail_share))
        else:
            chunks.append(np.array_split(rows, -(-len(rows) // size)) if len(rows) else [])
    return chunks


def check_units(units: Sequence[Unit]) -> None:
    """Raise ValueError where ids are not 0 .. n-1 in order or a cost is not positive."""
    for place, unit in enumerate(units):
        if unit.id != place:
            raise ValueError(f"unit at place {place} has id {unit.id}; ids are 0 .. n-1 in order")
        if not (unit.cost > 0 and np.isfinite(unit.cost)):
            raise ValueError(f"unit {unit.id} ({unit.group}) has cost {unit.cost}; it must be > 0")

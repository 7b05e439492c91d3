"""What a rank keeps while a job runs: exact sums, rows, ids of the units in them.

Sums are stored once a rank, or once a node where copies for every rank would take too
much of its memory; ranks of a node then add under locks. Either way the bits are the
same.
"""

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from sta_mpi.errors import UsageError
from sta_mpi.parallel.exact import ExactSum, ExactSums, merge_partial, n_blocks
from sta_mpi.parallel.job import Job, LeftOut, Partial, Quarantined, SumSpec
from sta_mpi.parallel.memory import GiB, MemoryPlan, available_GiB
from sta_mpi.parallel.reduce import RowTable

if TYPE_CHECKING:
    from sta_mpi.parallel.runtime import Runtime

SHARE_FOR_COPIES = 0.1
"""Share of the free memory of a node that one copy of the sums for each rank may take."""


class Accumulators:
    """Sums, rows and finished units of one rank.

    Attributes
    ----------
    finished : list of int          ids of units merged on this rank
    quarantined : list              units with bad data met on this rank
    left_out : list                 rows with bad data in units merged on this rank
    is_owner : bool                 whether the storage of the sums counts for this rank
    """

    def __init__(self, job: Job, runtime: "Runtime", storage: str) -> None:
        self._runtime = runtime
        self._shared: list[Any] = []
        self.rows = RowTable(job.row_specs())
        self.finished: list[int] = []
        self.quarantined: list[Quarantined] = []
        self.left_out: list[LeftOut] = []
        self.is_owner = storage == "rank" or runtime.node_rank == 0
        specs = job.sum_specs()
        if storage == "rank":
            self.sums = ExactSums.on_rank(specs)
        else:
            self.sums = ExactSums({name: self._on_node(name, spec)
                                   for name, spec in sorted(specs.items())})

    def _on_node(self, name: str, spec: SumSpec) -> ExactSum:
        runtime = self._runtime
        data = runtime.shared_array((math.prod(spec.shape),), np.int64)
        reach = runtime.shared_array((n_blocks(spec),), np.float64)
        self._shared += [data, reach]
        first = runtime.node_rank * n_blocks(spec) // runtime.node_size
        return ExactSum(name, spec, data, reach, runtime.node_locks(), first)

    def merge(self, unit_id: int, partial: Partial) -> None:
        """Add the result of a unit: all of it, or nothing and DataError."""
        for name, values in partial.values.items():
            if values.dtype == object:
                raise ValueError(f"row result '{name}' holds objects; give numbers")
        merge_partial(self.sums, partial)
        self.rows.add(partial.rows, partial.values)
        self.left_out += [LeftOut(row, message) for row, message in partial.left_out]
        self.finished.append(unit_id)

    def release(self) -> None:
        """Give node-shared storage back; collective."""
        for array in self._shared:
            self._runtime.release_shared(array)
        self._shared.clear()


def sums_bytes(job: Job) -> int:
    """Return the size of one copy of the running sums [bytes]."""
    return sum(8 * math.prod(spec.shape) for spec in job.sum_specs().values())


def choose_storage(job: Job, runtime: "Runtime", storage: str = "auto") -> str:
    """Return "rank" or "node": where the running sums are kept; collective for "auto"."""
    if storage not in ("auto", "rank", "node"):
        raise UsageError(f"storage of sums is 'auto', 'rank' or 'node', not '{storage}'")
    if storage != "auto":
        return storage
    copies_GiB = sums_bytes(job) * runtime.node_size / GiB
    is_large = copies_GiB > SHARE_FOR_COPIES * available_GiB()
    return "node" if runtime.bcast(is_large) else "rank"


def engine_memory(job: Job, storage: str) -> MemoryPlan:
    """Return what the engine holds for a job, to be added to the job's own plan."""
    size = float(sums_bytes(job))
    rows = float(sum(math.prod(shape) * np.dtype(kind).itemsize
                     for shape, kind in job.row_specs().values()))
    kept = {"running sums": size}
    return MemoryPlan({"per-row results": 3 * rows, **(kept if storage == "rank" else {})},
                      kept if storage == "node" else {})

"""The ranks of a run, as one object: who am I, who else is there, and how to meet them.

`Runtime` is complete for one process without MPI; `mpi.MpiRuntime` overrides what needs
other ranks. Collective methods must be called by all ranks in the same order. Only
`start_runtime` decides which of the two a run gets.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sta_mpi.errors import UsageError
from sta_mpi.parallel.allocator import give_back_freed_memory
from sta_mpi.parallel.channel import LocalChannel, MasterChannel, WorkerChannel
from sta_mpi.parallel.exact import BlockLocks
from sta_mpi.parallel.memory import MemoryPlan, check_memory
from sta_mpi.parallel.signals import StopFlag
from sta_mpi.parallel.slots import SlotCache
from sta_mpi.parallel.watchdog import wait_limit_s

T = TypeVar("T")


class Runtime:
    """One rank of a run; this class is the run of a single process.

    Attributes
    ----------
    rank, size : int             this rank and the number of ranks
    node, n_nodes : int          index of this rank's node and number of nodes
    node_rank, node_size : int   this rank within its node and ranks on the node
    host : str
    stop : StopFlag              set by SIGTERM or SIGUSR1 in this process
    activity : str               what this rank is doing, for error reports
    node_of : sequence of int    node of every rank
    can_serve_in_thread : bool   whether rank 0 may use MPI from a second thread
    library : str                MPI library
    wait_limit_s : float         longest wait for another rank
    is_in_unit : bool            a unit of work is being done
    """

    rank = 0
    size = 1
    node = 0
    n_nodes = 1
    node_rank = 0
    node_size = 1
    can_serve_in_thread = False
    library = "none"
    node_of: Sequence[int] = (0,)

    def __init__(self) -> None:
        self.host = socket.gethostname()
        self.stop = StopFlag()
        self.stop.install()
        self.activity = "start"
        self.wait_limit_s = wait_limit_s()
        self.is_in_unit = False
        self._at_unit_end: list[Callable[[], None]] = []

    @property
    def is_root(self) -> bool:
        """Whether this is rank 0."""
        return self.rank == 0

    @contextmanager
    def unit(self) -> Iterator[None]:
        """One unit of work: what was taken for it is given back at its end."""
        self.is_in_unit = True
        try:
            yield
        finally:
            self.is_in_unit = False
            for give_back in self._at_unit_end:
                give_back()

    def at_unit_end(self, give_back: Callable[[], None]) -> None:
        """Call this whenever a unit has ended."""
        self._at_unit_end.append(give_back)

    # ---- objects -----------------------------------------------------------------

    def barrier(self, limit_s: float | None = None) -> bool:
        """Wait for all ranks, without using the processor; False where `limit_s` ran out."""
        return True

    def bcast(self, value: T) -> T:
        """Return rank 0's small object on all ranks."""
        return value

    def gather(self, value: T) -> list[T] | None:
        """Return the small objects of all ranks on rank 0, None elsewhere."""
        return [value]

    def scatter(self, values: Sequence[T]) -> T:
        """Return this rank's one of rank 0's objects; they are as many as ranks."""
        return values[0]

    def allgather(self, value: T) -> list[T]:
        """Return the small objects of all ranks on all ranks."""
        return [value]

    def bcast_bytes(self, data: bytes | None) -> bytes:
        """Return rank 0's bytes on all ranks, sent as a buffer (FFTW wisdom)."""
        if data is None:
            raise ValueError("rank 0 must give the bytes to send")
        return data

    def stop_requested(self) -> bool:
        """Return whether any rank got a stop signal; collective."""
        return self.stop.is_set

    # ---- arrays ------------------------------------------------------------------

    def bcast_array(self, array: NDArray[Any] | None) -> NDArray[Any]:
        """Return rank 0's array on all ranks, sent as a buffer."""
        if array is None:
            raise ValueError("rank 0 must give the array to send")
        return array

    def allreduce_sum(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the element-wise sum over ranks; use it for integers or single terms only."""
        return array.copy()

    def reduce_sum(self, array: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """Return the element-wise sum over ranks on rank 0, None elsewhere."""
        return array

    def reduce_scatter_sum(self, flat: NDArray[np.int64], counts: Sequence[int]
                           ) -> NDArray[np.int64]:
        """Return this rank's piece (`counts[rank]` elements) of the sum over ranks."""
        return flat

    def alltoall(self, pieces: Sequence[NDArray[Any]], counts: Sequence[int]
                 ) -> NDArray[Any]:
        """Send piece r to rank r; return what was received, `counts` elements of each, flat."""
        return pieces[0].reshape(-1)

    def allgather_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows (axis 0) of all ranks, in rank order, on all ranks."""
        return rows

    def gather_rows(self, rows: NDArray[Any]) -> NDArray[Any] | None:
        """Return the rows (axis 0) of all ranks, in rank order, on rank 0."""
        return rows

    # ---- memory of the node ------------------------------------------------------

    def shared_array(self, shape: Sequence[int], dtype: DTypeLike, zero: bool = True
                     ) -> NDArray[Any]:
        """Make an array that all ranks of a node see; collective on the node.

        One rank fills it, then `barrier`; or each rank fills a part. `zero=False` leaves
        the content undefined and the memory untouched until it is used.
        """
        return np.zeros(tuple(shape), dtype)

    def release_shared(self, array: NDArray[Any]) -> None:
        """Give a shared array back; collective on the node. It must not be used afterwards."""

    def release_all_shared(self) -> None:
        """Give back what was not given back singly: a stage of a chain ends; collective."""
        self._at_unit_end.clear()

    def spread_slabs(self, full: NDArray[Any], bounds: Sequence[tuple[int, int]]) -> None:
        """Complete a node-shared array whose planes `bounds[rank]` each rank has filled."""

    def node_locks(self, folder: Path | None = None) -> BlockLocks | None:
        """Return locks between the ranks of this node, None where it has one; collective."""
        return None

    def slots(self, n_slots: int, shape: Sequence[int], dtype: DTypeLike) -> SlotCache:
        """Make a node-shared cache of equal arrays (`SlotCache.load_once`); collective."""
        return SlotCache(self, n_slots, tuple(shape), dtype)

    def check_memory(self, plan: MemoryPlan, max_memory_GiB: float | None = None) -> float:
        """Return the predicted peak of this node [GiB]; ResourceError where it does not fit."""
        give_back_freed_memory()
        return check_memory(plan, self.node_size, self.host, max_memory_GiB)

    # ---- messages and the end ----------------------------------------------------

    def open_channel(self) -> tuple[MasterChannel | None, WorkerChannel]:
        """Open the channel of one run_job: (master's end on rank 0, this rank's end)."""
        channel = LocalChannel()
        return channel.master, channel.worker

    def agree(self, limit_s: float) -> bool:
        """Return whether all ranks call this within `limit_s`; used at the end of a failed run."""
        return True

    def abort(self, code: int) -> None:
        """End all ranks at once with an exit code."""
        os._exit(code)


def start_runtime(environ: Mapping[str, str] | None = None) -> Runtime:
    """Make the runtime of this process; imports mpi4py only where there are several ranks.

    A process is a rank of an MPI run when its launcher says so in the environment
    (mpirun of MPICH or Open MPI, srun with PMI-2 or PMIx).
    """
    environ = os.environ if environ is None else environ
    tasks = launched_ranks(environ)
    if tasks == 1:
        return Runtime()
    from sta_mpi.parallel.mpi import MpiRuntime

    runtime = MpiRuntime()
    if runtime.size == 1 and tasks > 1:
        raise UsageError(
            f"the launcher started {tasks} processes, but MPI ({runtime.library}) sees one: the "
            "launcher belongs to another MPI. Use that MPI's own mpirun, or srun --mpi=pmi2 "
            "(MPICH) / --mpi=pmix (Open MPI)")
    return runtime


def launched_ranks(environ: Mapping[str, str]) -> int:
    """Return how many ranks the launcher started; 0 when it does not say, 1 without one."""
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"):
        if environ.get(name, "").isdigit():
            return int(environ[name])
    if "PMIX_RANK" in environ and "PMIX_NAMESPACE" in environ:
        tasks = environ.get("SLURM_STEP_NUM_TASKS", "0")
        return int(tasks) if tasks.isdigit() else 0
    # set in a step of srun only; the batch script itself is one process
    tasks = environ.get("SLURM_STEP_NUM_TASKS", "1")
    return int(tasks) if tasks.isdigit() and "SLURM_STEP_ID" in environ else 1

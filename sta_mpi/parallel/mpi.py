"""The ranks of an MPI run; the one module that imports mpi4py.

Waits that may be long (barriers before a collective) poll with short sleeps, so that a
waiting rank leaves its processor to others; blocking collectives run under a watchdog.
Node-shared arrays are windows of `MPI_Win_allocate_shared`. Arrays go as buffers; only
small objects are pickled.
"""

import fcntl
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import mpi4py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from sta_mpi.errors import ResourceError, WorkerError
from sta_mpi.parallel.abort import install_excepthook, report
from sta_mpi.parallel.channel import MasterChannel, WorkerChannel
from sta_mpi.parallel.mpi_channel import RankMasterChannel, RankWorkerChannel
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.parallel.watchdog import Watchdog

mpi4py.rc.thread_level = "multiple"
from mpi4py import MPI  # noqa: E402  (starts MPI)

T = TypeVar("T")
FIRST_TAG = 100
SHM_FOLDER = Path("/dev/shm")
BCAST_ELEMENTS = 1 << 27


class MpiRuntime(Runtime):
    """One rank of several; collective methods as in `Runtime`."""

    def __init__(self) -> None:
        super().__init__()
        world = MPI.COMM_WORLD
        self.rank, self.size = world.rank, world.size
        self.library = MPI.Get_library_version().split("\n")[0].strip("\0 ")
        self.can_serve_in_thread = MPI.Query_thread() >= MPI.THREAD_SERIALIZED
        self._watchdog = Watchdog(self._on_timeout, self.wait_limit_s, watch_parent=True)
        self._comm = world.Dup()
        self._messages = world.Dup()
        self._ending = world.Dup()
        self._node_comm: Any = world.Split_type(MPI.COMM_TYPE_SHARED)
        self.node_rank, self.node_size = self._node_comm.rank, self._node_comm.size
        self._leaders: Any = world.Split(0 if self.node_rank == 0 else 1)
        place: tuple[int, int] = (self._leaders.rank, self._leaders.size)
        place = self._node_comm.bcast(place)
        self.node, self.n_nodes = place
        self.node_of: list[int] = self._comm.allgather(self.node)
        self._windows: dict[int, Any] = {}
        self._channels_opened = 0
        install_excepthook(self)

    def _on_timeout(self, message: str) -> None:
        report(self, WorkerError(f"{message} (STA_MPI_WAIT_TIMEOUT_S sets the limit)"))
        os._exit(WorkerError.exit_code)

    # ---- objects -----------------------------------------------------------------

    def barrier(self, limit_s: float | None = None) -> bool:
        if _wait(self._comm.Ibarrier(), self.wait_limit_s if limit_s is None else limit_s):
            return True
        if limit_s is None:
            raise WorkerError(f"the other ranks did not come within {self.wait_limit_s:.0f} s; "
                              "STA_MPI_WAIT_TIMEOUT_S sets the limit")
        return False

    def bcast(self, value: T) -> T:
        with self._watchdog.guard("bcast"):
            return self._comm.bcast(value)

    def gather(self, value: T) -> list[T] | None:
        with self._watchdog.guard("gather"):
            return self._comm.gather(value)

    def scatter(self, values: Sequence[T]) -> T:
        with self._watchdog.guard("scatter"):
            return self._comm.scatter(values if self.is_root else None)

    def allgather(self, value: T) -> list[T]:
        with self._watchdog.guard("allgather"):
            return self._comm.allgather(value)

    def bcast_bytes(self, data: bytes | None) -> bytes:
        array = np.frombuffer(data, np.uint8) if data is not None and self.is_root else None
        return self.bcast_array(array).tobytes()

    def stop_requested(self) -> bool:
        return any(self.allgather(self.stop.is_set))

    # ---- arrays ------------------------------------------------------------------

    def bcast_array(self, array: NDArray[Any] | None) -> NDArray[Any]:
        head: tuple[tuple[int, ...], str] = ((), "")
        if self.is_root:
            array = super().bcast_array(array)
            head = (array.shape, array.dtype.str)
        shape, dtype = self.bcast(head)
        full = (np.asarray(array, order="C") if self.is_root else np.empty(shape, dtype))
        flat = full.reshape(-1).view(np.uint8) if full.size else full
        with self._watchdog.guard("bcast of an array"):
            for start in range(0, flat.size, BCAST_ELEMENTS):
                self._comm.Bcast(flat[start:start + BCAST_ELEMENTS])
        return full

    def allreduce_sum(self, array: NDArray[Any]) -> NDArray[Any]:
        total = np.empty_like(array)
        with self._watchdog.guard("allreduce"):
            self._comm.Allreduce(np.ascontiguousarray(array), total)
        return total

    def reduce_sum(self, array: NDArray[np.int64]) -> NDArray[np.int64] | None:
        total = np.empty_like(array) if self.is_root else None
        with self._watchdog.guard("reduce"):
            self._comm.Reduce(np.ascontiguousarray(array), total)
        return total

    def reduce_scatter_sum(self, flat: NDArray[np.int64], counts: Sequence[int]
                           ) -> NDArray[np.int64]:
        mine = np.empty(counts[self.rank], flat.dtype)
        with self._watchdog.guard("reduce-scatter"):
            self._comm.Reduce_scatter(np.ascontiguousarray(flat), mine, list(counts))
        return mine

    def alltoall(self, pieces: Sequence[NDArray[Any]], counts: Sequence[int]
                 ) -> NDArray[Any]:
        sizes = [piece.size for piece in pieces]
        send = np.empty(sum(sizes), pieces[0].dtype)
        for piece, end in zip(pieces, np.cumsum(sizes), strict=True):
            send[end - piece.size : end].reshape(piece.shape)[...] = piece
        received = np.empty(sum(counts), send.dtype)
        with self._watchdog.guard("alltoall"):
            self._comm.Alltoallv([send, sizes], [received, list(counts)])
        return received

    def allgather_rows(self, rows: NDArray[Any]) -> NDArray[Any]:
        rows = np.ascontiguousarray(rows)
        counts = self.allgather(len(rows))
        everything = np.empty((sum(counts), *rows.shape[1:]), rows.dtype)
        with _row_type(rows) as row, self._watchdog.guard("allgather of rows"):
            self._comm.Allgatherv([rows, len(rows), row], [everything, counts, row])
        return everything

    def gather_rows(self, rows: NDArray[Any]) -> NDArray[Any] | None:
        rows = np.ascontiguousarray(rows)
        counts = self.allgather(len(rows))
        everything = np.empty((sum(counts) if self.is_root else 0, *rows.shape[1:]), rows.dtype)
        with _row_type(rows) as row, self._watchdog.guard("gather of rows"):
            self._comm.Gatherv([rows, len(rows), row], [everything, counts, row])
        return everything if self.is_root else None

    # ---- memory of the node ------------------------------------------------------

    def shared_array(self, shape: Sequence[int], dtype: DTypeLike, zero: bool = True
                     ) -> NDArray[Any]:
        kind = np.dtype(dtype)
        n_bytes = math.prod(shape) * kind.itemsize
        if n_bytes == 0:
            return np.zeros(tuple(shape), kind)
        if SHM_FOLDER.is_dir() and shutil.disk_usage(SHM_FOLDER).free < n_bytes:
            raise ResourceError(
                f"{SHM_FOLDER} on {self.host} has {shutil.disk_usage(SHM_FOLDER).free / 2**30:.2f} "
                f"GiB free, a node-shared array needs {n_bytes / 2**30:.2f} GiB. Enlarge it "
                "(containers: --shm-size) or use more binning")
        with self._watchdog.guard("allocation of shared memory"):
            window = MPI.Win.Allocate_shared(n_bytes if self.node_rank == 0 else 0, 1,
                                             comm=self._node_comm)
            memory: Any = window.Shared_query(0)[0]
            array: NDArray[Any] = np.ndarray(tuple(shape), kind, buffer=memory)
            if zero and self.node_rank == 0:
                array[...] = 0
            self._node_comm.Barrier()
        self._windows[array.ctypes.data] = window
        return array

    def release_shared(self, array: NDArray[Any]) -> None:
        window = self._windows.pop(array.ctypes.data, None)
        if window is not None:
            with self._watchdog.guard("release of shared memory"):
                window.Free()

    def release_all_shared(self) -> None:
        super().release_all_shared()
        with self._watchdog.guard("release of shared memory"):
            while self._windows:
                self._windows.pop(next(iter(self._windows))).Free()

    def spread_slabs(self, full: NDArray[Any], bounds: Sequence[tuple[int, int]]) -> None:
        with self._watchdog.guard("spreading of slabs"):
            self._node_comm.Barrier()
            if self.node_rank == 0 and self.n_nodes > 1:
                for owner, (z0, z1) in enumerate(bounds):
                    for z in range(z0, z1):
                        self._leaders.Bcast(full[z:z + 1], root=self.node_of[owner])
            self._node_comm.Barrier()

    def node_locks(self, folder: Path | None = None) -> "NodeLocks | None":
        if self.node_size == 1:
            return None
        name = ""
        if self.node_rank == 0:
            descriptor, name = tempfile.mkstemp(prefix="sta_mpi_lock_", dir=folder)
            os.close(descriptor)
        with self._watchdog.guard("making of locks"):
            locks = NodeLocks(Path(self._node_comm.bcast(name)))
            self._node_comm.Barrier()
        if self.node_rank == 0:
            os.unlink(name)
        return locks

    # ---- messages and the end ----------------------------------------------------

    def open_channel(self) -> tuple[MasterChannel | None, WorkerChannel]:
        tag = FIRST_TAG + self._channels_opened % 10000
        self._channels_opened += 1
        if not self.is_root:
            return None, RankWorkerChannel(self._messages, tag)
        master = RankMasterChannel(self._messages, tag, MPI.Status, MPI.ANY_SOURCE)
        return master, master.own_worker

    def agree(self, limit_s: float) -> bool:
        return _wait(self._ending.Ibarrier(), limit_s)

    def abort(self, code: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        MPI.COMM_WORLD.Abort(code)
        os._exit(code)


class NodeLocks:
    """Locks between processes of a node: byte i of a file that no longer has a name.

    The kernel releases them when a process dies, and no rank needs to make progress in
    MPI for another one to get a lock.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR)

    @contextmanager
    def block(self, i: int) -> Iterator[None]:
        """Hold lock i."""
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, 1, i)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, i)


@contextmanager
def _row_type(rows: NDArray[Any]) -> Iterator[Any]:
    """Make the MPI type of one row, so that counts stay small."""
    n_bytes = rows.dtype.itemsize * math.prod(rows.shape[1:])
    kind = MPI.BYTE.Create_contiguous(n_bytes).Commit()
    try:
        yield kind
    finally:
        kind.Free()


def _wait(request: Any, limit_s: float) -> bool:
    """Wait for a request with sleeps that grow to 2 ms; False where time ran out."""
    start, pause = time.monotonic(), 2e-5
    while not request.Test():
        if time.monotonic() - start > limit_s:
            return False
        time.sleep(pause)
        pause = min(2e-3, pause * 1.5)
    return True

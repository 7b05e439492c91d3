"""The channel of `channel.py` between ranks: byte buffers, sent without waiting.

Communicator and constants come from `mpi`, so this module needs no mpi4py. Every
`run_job` has a tag of its own: a message that came too late for one job is never taken
for one of the next.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.parallel.channel import LocalChannel, Message, WorkerChannel, pack, unpack

ROOT = 0


class _Outbox:
    """Buffers of messages under way; they must live until MPI has taken them."""

    def __init__(self, comm: Any, tag: int) -> None:
        self._comm = comm
        self._tag = tag
        self._pending: list[tuple[Any, NDArray[np.uint8]]] = []

    def send(self, rank: int, message: Message) -> None:
        buffer = np.frombuffer(pack(message), np.uint8)
        self._pending = [entry for entry in self._pending if not entry[0].Test()]
        self._pending.append((self._comm.Isend(buffer, rank, self._tag), buffer))


class RankWorkerChannel:
    """The end of a rank other than 0."""

    def __init__(self, comm: Any, tag: int) -> None:
        self._comm = comm
        self._tag = tag
        self._outbox = _Outbox(comm, tag)

    def send(self, message: Message) -> None:
        """Send to rank 0."""
        self._outbox.send(ROOT, message)

    def receive(self) -> list[Message]:
        """Return what rank 0 has sent."""
        messages = []
        while self._comm.Iprobe(ROOT, self._tag):
            # messages of rank 0 have no text: a fixed size
            buffer = np.empty(24, np.uint8)
            self._comm.Recv(buffer, ROOT, self._tag)
            messages.append(unpack(buffer.tobytes()))
        return messages


class RankMasterChannel:
    """The end of rank 0; its own worker is reached within the process."""

    def __init__(self, comm: Any, tag: int, status_type: Any, any_source: int) -> None:
        self._comm = comm
        self._tag = tag
        self._status = status_type()
        self._any_source = any_source
        self._outbox = _Outbox(comm, tag)
        self._local = LocalChannel()
        self.own_worker: WorkerChannel = self._local.worker

    def send(self, worker: int, message: Message) -> None:
        """Send to a worker."""
        if worker == ROOT:
            self._local.master.send(ROOT, message)
        else:
            self._outbox.send(worker, message)

    def receive(self) -> list[tuple[int, Message]]:
        """Return (rank, message) of all that has arrived."""
        messages = self._local.master.receive()
        status = self._status
        while self._comm.Iprobe(self._any_source, self._tag, status):
            source = status.Get_source()
            buffer = np.empty(status.Get_count(), np.uint8)
            self._comm.Recv(buffer, source, self._tag)
            messages.append((source, unpack(buffer.tobytes())))
        return messages

    def close(self) -> None:
        """Take what workers sent after the end was decided, and drop it."""
        self.receive()

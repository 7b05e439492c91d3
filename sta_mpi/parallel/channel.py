"""Messages between rank 0 (master) and the ranks that compute (workers).

The protocol is small. A worker says what became of a unit, or that it got a stop
signal; the master leases units or asks everybody to pause. `LocalChannel` joins the two
ends within a process (one rank, and rank 0's own worker); `mpi_channel` carries the
same messages as byte buffers between ranks; tests and the discrete-event model use
simulated ones.
"""

import struct
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class Kind(IntEnum):
    """What a message says."""

    DONE = 1
    BAD = 2
    STOP_ASKED = 3
    LEASE = 4
    PAUSE = 5


@dataclass(frozen=True)
class Message:
    """One message, either way.

    Parameters
    ----------
    kind : Kind
    number : int      unit id, or the reason of a pause
    seconds : float   time the unit took
    text : str        message of a bad unit
    """

    kind: Kind
    number: int = 0
    seconds: float = 0.0
    text: str = ""


_HEAD = struct.Struct("<qqd")


def pack(message: Message) -> bytes:
    """Turn a message into bytes: three numbers of 8 bytes, then the text in UTF-8."""
    return _HEAD.pack(message.kind, message.number, message.seconds) + message.text.encode()


def unpack(data: bytes) -> Message:
    """Turn bytes back into the message."""
    kind, number, seconds = _HEAD.unpack_from(data)
    return Message(Kind(kind), number, seconds, data[_HEAD.size:].decode())


class WorkerChannel(Protocol):
    """A worker's end."""

    def send(self, message: Message) -> None:
        """Send to the master, without waiting for it."""

    def receive(self) -> list[Message]:
        """Return what has arrived, possibly nothing, in the order it was sent."""


class MasterChannel(Protocol):
    """The master's end."""

    def send(self, worker: int, message: Message) -> None:
        """Send to a worker, without waiting for it."""

    def receive(self) -> list[tuple[int, Message]]:
        """Return (worker, message) of all that has arrived, possibly nothing."""

    def close(self) -> None:
        """Drop messages that nobody needs any more."""


class LocalChannel:
    """Both ends in one process, with worker number 0."""

    def __init__(self) -> None:
        self._to_master: deque[Message] = deque()
        self._to_worker: deque[Message] = deque()
        self.master: MasterChannel = _LocalMaster(self._to_master, self._to_worker)
        self.worker: WorkerChannel = _LocalWorker(self._to_master, self._to_worker)


class _LocalMaster:
    def __init__(self, inbox: deque[Message], outbox: deque[Message]) -> None:
        self._inbox = inbox
        self._outbox = outbox

    def send(self, worker: int, message: Message) -> None:
        if worker != 0:
            raise ValueError(f"no worker {worker} in a channel within one process")
        self._outbox.append(message)

    def receive(self) -> list[tuple[int, Message]]:
        return [(0, message) for message in _drain(self._inbox)]

    def close(self) -> None:
        self._inbox.clear()


class _LocalWorker:
    def __init__(self, outbox: deque[Message], inbox: deque[Message]) -> None:
        self._outbox = outbox
        self._inbox = inbox

    def send(self, message: Message) -> None:
        self._outbox.append(message)

    def receive(self) -> list[Message]:
        return _drain(self._inbox)


def _drain(queue: deque[Message]) -> list[Message]:
    messages = []
    while queue:
        messages.append(queue.popleft())
    return messages

"""The loop of one rank: take a unit, compute, merge, report; meet the others when asked."""

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from sta_mpi.errors import DataError, WorkerError
from sta_mpi.parallel.accumulators import Accumulators
from sta_mpi.parallel.channel import Kind, Message, WorkerChannel
from sta_mpi.parallel.job import Job, Quarantined, Unit
from sta_mpi.parallel.master import Master
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.parallel.scheduler import Reason

if TYPE_CHECKING:
    from sta_mpi.parallel.checkpoint import CheckpointStore

SHORTEST_SLEEP_S = 2e-5
LONGEST_SLEEP_S = 2e-3


class Worker:
    """One rank at work.

    Attributes
    ----------
    n_units, busy_s, wait_s, checkpoint_s, n_checkpoints   what it did so far
    """

    def __init__(self, job: Job, runtime: Runtime, kept: Accumulators, units: list[Unit],
                 context: Any, channel: WorkerChannel,
                 checkpoints: "CheckpointStore | None") -> None:
        self._job = job
        self._runtime = runtime
        self._kept = kept
        self._units = units
        self._context = context
        self._channel = channel
        self._checkpoints = checkpoints
        self._queue: deque[int] = deque()
        self._pauses: deque[Reason] = deque()
        self._has_told_stop = False
        self.n_units = 0
        self.busy_s = 0.0
        self.wait_s = 0.0
        self.checkpoint_s = 0.0
        self.n_checkpoints = 0
        self.n_messages = 0

    def let_go(self) -> None:
        """Forget what the job prepared: no unit is worked on any more."""
        self._context = None

    def run(self, master: Master | None) -> Reason:
        """Work until the scheduler ends the job; return why. `master` is rank 0's."""
        if master is not None:
            master.start()
        idle_since: float | None = None
        pause_s = SHORTEST_SLEEP_S
        while True:
            self._tell_stop()
            if master is not None:
                master.step()
            self._receive()
            if self._pauses:
                self._count_wait(idle_since)
                idle_since = None
                reason = self._pauses.popleft()
                self._meet(reason, master)
                if reason is not Reason.CHECKPOINT:
                    return reason
            elif self._queue:
                self._count_wait(idle_since)
                idle_since = None
                pause_s = SHORTEST_SLEEP_S
                self._do(self._units[self._queue.popleft()])
            else:
                idle_since = idle_since if idle_since is not None else time.monotonic()
                if time.monotonic() - idle_since > self._runtime.wait_limit_s:
                    raise WorkerError(
                        f"no unit and no word from rank 0 for {self._runtime.wait_limit_s:.0f} s; "
                        "a unit on another rank hangs, or STA_MPI_WAIT_TIMEOUT_S is too short")
                time.sleep(pause_s)
                pause_s = min(LONGEST_SLEEP_S, 1.5 * pause_s)

    def _count_wait(self, idle_since: float | None) -> None:
        if idle_since is not None:
            self.wait_s += time.monotonic() - idle_since

    def _receive(self) -> None:
        for message in self._channel.receive():
            self.n_messages += 1
            if message.kind is Kind.LEASE:
                self._queue.append(message.number)
            else:
                self._pauses.append(Reason(message.number))

    def _tell_stop(self) -> None:
        if self._runtime.stop.is_set and not self._has_told_stop:
            self._has_told_stop = True
            self._send(Message(Kind.STOP_ASKED))

    def _do(self, unit: Unit) -> None:
        start = time.monotonic()
        self._runtime.activity = f"unit {unit.id} ({unit.group}) of job {self._job.name}"
        try:
            with self._runtime.unit():
                partial = self._job.work(self._context, unit)
            self._kept.merge(unit.id, partial)
        except DataError as error:
            self._kept.quarantined.append(Quarantined(unit.id, unit.group, str(error)))
            answer = Message(Kind.BAD, unit.id, text=str(error))
        else:
            answer = Message(Kind.DONE, unit.id, time.monotonic() - start)
        self.n_units += 1
        self._runtime.activity = f"between units of job {self._job.name}"
        self.busy_s += time.monotonic() - start
        self._send(answer)

    def _send(self, message: Message) -> None:
        self.n_messages += 1
        self._channel.send(message)

    def _meet(self, reason: Reason, master: Master | None) -> None:
        """Meet all ranks: write a checkpoint where it is time for one."""
        start = time.monotonic()
        if master is not None:
            master.hold()
        self._runtime.barrier()
        is_end = reason in (Reason.FINISH, Reason.TOO_MANY_BAD)
        if self._checkpoints is not None and not is_end:
            self._runtime.activity = f"checkpoint of job {self._job.name}"
            self._checkpoints.save_sums(self._job, self._runtime, self._kept)
            self.n_checkpoints += 1
        if master is not None:
            master.go_on(reason)
        self.checkpoint_s += time.monotonic() - start

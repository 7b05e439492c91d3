"""Rank 0's side of the channel: feeds the scheduler with events and carries out actions."""

import threading
import time
from collections.abc import Callable

from sta_mpi.errors import WorkerError
from sta_mpi.parallel.abort import report
from sta_mpi.parallel.channel import Kind, MasterChannel, Message
from sta_mpi.parallel.job import ProgressEvent, Unit
from sta_mpi.parallel.runtime import Runtime
from sta_mpi.parallel.scheduler import (
    Action,
    Bad,
    CheckpointDue,
    Done,
    Event,
    Lease,
    Ready,
    Reason,
    Resumed,
    Scheduler,
    StopAsked,
)

PROGRESS_S = 0.25
SHORTEST_SLEEP_S = 2e-4
LONGEST_SLEEP_S = 4e-3


class Master:
    """The queue of a job on rank 0.

    `step` is called by rank 0's own loop between its units, and from a second thread
    while it computes, where `in_thread` allows that; one lock keeps the two apart.

    Attributes
    ----------
    unit_seconds : dict   unit id -> seconds it took
    unit_rank : dict      unit id -> rank that did it
    """

    def __init__(self, name: str, units: list[Unit], scheduler: Scheduler, channel: MasterChannel,
                 runtime: Runtime, progress: Callable[[ProgressEvent], None] | None,
                 interval_s: float | None, in_thread: bool) -> None:
        self._name = name
        self._cost = [unit.cost for unit in units]
        self._scheduler = scheduler
        self._channel = channel
        self._runtime = runtime
        self._progress = progress
        self._interval_s = interval_s
        self._in_thread = in_thread
        self._lock = threading.RLock()
        self._is_over = threading.Event()
        self._start = self._last_checkpoint = self._last_message = time.monotonic()
        self._last_progress = 0.0
        self._n_checkpoints = 0
        self._done_cost = sum(self._cost[i] for i in scheduler.finished)
        self.unit_seconds: dict[int, float] = {}
        self.unit_rank: dict[int, int] = {}

    def start(self) -> None:
        """Lease the first units to all workers and begin to serve."""
        for worker in sorted(self._scheduler.workers):
            self._feed(Ready(worker))
        if self._in_thread:
            threading.Thread(target=self._serve, name="scheduler", daemon=True).start()

    def step(self) -> bool:
        """Serve all messages that have arrived; return whether there were any."""
        with self._lock:
            messages = self._channel.receive()
            for worker, message in messages:
                self._feed(self._event(worker, message))
            now = time.monotonic()
            if messages:
                self._last_message = now
            elif any(self._scheduler.held.values()):
                self._check_silence(now)
            if self._interval_s is not None and now - self._last_checkpoint >= self._interval_s:
                self._last_checkpoint = now
                self._feed(CheckpointDue())
            if self._progress is not None and now - self._last_progress >= PROGRESS_S:
                self._report_progress(now)
            return bool(messages)

    def hold(self) -> None:
        """Keep the second thread from MPI; called by the main thread before it meets others."""
        self._lock.acquire()

    def go_on(self, reason: Reason) -> None:
        """Serve again after a checkpoint, or stop serving at the end."""
        self._last_checkpoint = self._last_message = time.monotonic()
        if reason is Reason.CHECKPOINT:
            self._n_checkpoints += 1
            self._feed(Resumed())
        else:
            self._is_over.set()
            self._channel.close()
            if self._progress is not None:
                self._report_progress(time.monotonic())
        self._lock.release()

    def _event(self, worker: int, message: Message) -> Event:
        if message.kind is Kind.DONE:
            self.unit_seconds[message.number] = message.seconds
            self.unit_rank[message.number] = worker
            self._done_cost += self._cost[message.number]
            return Done(worker, message.number)
        if message.kind is Kind.BAD:
            return Bad(worker, message.number, message.text)
        return StopAsked()

    def _feed(self, event: Event) -> None:
        for action in self._scheduler.handle(event):
            self._carry_out(action)

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Lease):
            self._channel.send(action.worker, Message(Kind.LEASE, action.unit))
        else:
            for worker in range(self._runtime.size):
                self._channel.send(worker, Message(Kind.PAUSE, int(action.reason)))

    def _check_silence(self, now: float) -> None:
        if now - self._last_message > self._runtime.wait_limit_s:
            held = [f"rank {worker}: unit {min(units)}" for worker, units
                    in sorted(self._scheduler.held.items()) if units]
            raise WorkerError(f"no unit was finished for {self._runtime.wait_limit_s:.0f} s "
                              f"({'; '.join(held[:5])}); STA_MPI_WAIT_TIMEOUT_S sets the limit")

    def _report_progress(self, now: float) -> None:
        self._last_progress = now
        scheduler = self._scheduler
        event = ProgressEvent(self._name, len(scheduler.finished), len(self._cost),
                              self._done_cost, sum(self._cost), len(scheduler.quarantined),
                              now - self._start, self._n_checkpoints)
        assert self._progress is not None
        self._progress(event)

    def _serve(self) -> None:
        """Call `step` until the job is over; the second thread of rank 0."""
        pause_s = SHORTEST_SLEEP_S
        while not self._is_over.is_set():
            try:
                has_news = False
                with self._lock:
                    if not self._is_over.is_set():
                        has_news = self.step()
            except BaseException as error:
                report(self._runtime, error)
                self._runtime.abort(WorkerError.exit_code)
            pause_s = SHORTEST_SLEEP_S if has_news else min(LONGEST_SLEEP_S, 1.3 * pause_s)
            time.sleep(pause_s)

"""Who works on which unit: a state machine without MPI, clocks or threads.

Events go in, actions come out. Workers hold up to `1 + look_ahead` units, so that the
next one is there when the last is finished; near the end they hold one, so that all
ranks end together. A lost rank ends the whole run (the checkpoint has what was done),
so no unit is ever leased twice. Units with bad data are set aside, and more than a set
share of them ends the run. Which unit a worker gets is decided by `pool.UnitPool`; no
result depends on it, because sums are exact and rows are disjoint.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from sta_mpi.parallel.job import Quarantined, Unit
from sta_mpi.parallel.pool import UnitPool

TAIL = 3
"""Units left for each worker when workers stop to hold one besides the one in hand."""

OPEN_AHEAD = 4
"""Units a rank of the node that are left of its groups when the node opens the next one."""


class Reason(IntEnum):
    """Why all workers leave their loop after the unit in hand."""

    CHECKPOINT = 1
    STOP = 2
    FINISH = 3
    TOO_MANY_BAD = 4


@dataclass(frozen=True)
class Ready:
    """A worker has started and can hold units."""

    worker: int


@dataclass(frozen=True)
class Done:
    """A worker has finished a unit and merged its result."""

    worker: int
    unit: int


@dataclass(frozen=True)
class Bad:
    """The data of a unit are bad; nothing of it was merged."""

    worker: int
    unit: int
    message: str


@dataclass(frozen=True)
class CheckpointDue:
    """The checkpoint interval is over."""


@dataclass(frozen=True)
class StopAsked:
    """The batch system asked some rank to stop."""


@dataclass(frozen=True)
class Resumed:
    """All workers have left the checkpoint."""


Event = Ready | Done | Bad | CheckpointDue | StopAsked | Resumed


@dataclass(frozen=True)
class Lease:
    """Give a unit to a worker."""

    worker: int
    unit: int


@dataclass(frozen=True)
class Pause:
    """Tell every rank to leave its loop and meet the others."""

    reason: Reason


Action = Lease | Pause


class Scheduler:
    """The queue of one run.

    Parameters
    ----------
    units : sequence of Unit
    node_of : mapping of worker to node   workers that compute, and the node each is on
    finished : iterable of int            ids already done (resume)
    quarantined : sequence                units already set aside (resume)
    look_ahead : int                      units a worker holds besides the one in hand
    max_bad_share : float                 share of bad units that is still accepted
    order : sequence of int or None       lease in this order, without regard to groups
    """

    def __init__(self, units: Sequence[Unit], node_of: Mapping[int, int], *,
                 finished: Iterable[int] = (), quarantined: Sequence[Quarantined] = (),
                 look_ahead: int = 1, max_bad_share: float = 0.05,
                 order: Sequence[int] | None = None,
                 holders: Mapping[int, int] | None = None) -> None:
        self.quarantined = list(quarantined)
        self.finished = set(finished)
        closed = self.finished | {bad.id for bad in self.quarantined}
        self._units = units
        self._node_of = dict(node_of)
        ahead = {node: OPEN_AHEAD * count for node, count in Counter(node_of.values()).items()}
        self._pool = UnitPool(
            units, closed, order, ahead, None if order is not None else holders, self._node_of)
        self._look_ahead = look_ahead
        self._max_bad = max_bad_share * len(units)
        self._held: dict[int, set[int]] = {}
        self._is_paused = False
        self._is_stop_pending = False
        self._ending: Reason | None = None
        self._closed_at_checkpoint = len(closed)

    @property
    def workers(self) -> list[int]:
        """The workers that compute."""
        return list(self._node_of)

    @property
    def held(self) -> dict[int, set[int]]:
        """Units each worker holds now, by worker."""
        return self._held

    @property
    def ending(self) -> Reason | None:
        """Why the run is ending; None while it goes on."""
        return self._ending

    def handle(self, event: Event) -> list[Action]:
        """Take one event and return what to do, in order."""
        if isinstance(event, Ready):
            self._held.setdefault(event.worker, set())
        elif isinstance(event, Done | Bad):
            self._close(event)
        elif isinstance(event, StopAsked):
            self._is_stop_pending = True
        elif isinstance(event, Resumed):
            self._is_paused = False
        if self._is_paused or self._ending is not None:
            return []
        ending = self._why_end()
        if ending is not None:
            self._ending = ending
            return [Pause(ending)]
        if isinstance(event, CheckpointDue):
            n_closed = len(self.finished) + len(self.quarantined)
            if n_closed == self._closed_at_checkpoint:
                return []  # nothing new to keep
            self._closed_at_checkpoint = n_closed
            self._is_paused = True
            return [Pause(Reason.CHECKPOINT)]
        if isinstance(event, Resumed):
            return self._fill(self._held)
        if isinstance(event, Ready | Done | Bad):
            return self._fill((event.worker,))
        return []

    def _close(self, event: Done | Bad) -> None:
        held = self._held.get(event.worker, set())
        if event.unit not in held:
            raise ValueError(f"worker {event.worker} reports unit {event.unit}, which it does not "
                             f"hold (it holds {sorted(held)})")
        held.remove(event.unit)
        if isinstance(event, Done):
            self.finished.add(event.unit)
        else:
            group = self._units[event.unit].group
            self.quarantined.append(Quarantined(event.unit, group, event.message))

    def _why_end(self) -> Reason | None:
        if len(self.quarantined) > self._max_bad:
            return Reason.TOO_MANY_BAD
        if len(self.finished) + len(self.quarantined) == len(self._units):
            return Reason.FINISH
        return Reason.STOP if self._is_stop_pending else None

    def _fill(self, workers: Iterable[int]) -> list[Action]:
        """Lease to workers below their capacity, first one each, then the look-ahead."""
        actions: list[Action] = []
        workers = list(workers)
        for level in range(1, 2 + self._look_ahead):
            for worker in workers:
                is_tail = self._pool.remaining <= TAIL * len(self._node_of)
                if len(self._held[worker]) >= (1 if is_tail else level):
                    continue
                # a unit of another worker is taken when there is nothing else to do, not ahead
                unit = self._pool.take(self._node_of[worker], worker,
                                       may_steal=not self._held[worker])
                if unit is None:
                    continue
                self._held[worker].add(unit)
                actions.append(Lease(worker, unit))
        return actions

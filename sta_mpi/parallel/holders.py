"""Units whose data a worker still has from the round before, and who takes them.

A worker takes the units it holds first: for them nothing is read or cut again. Units that
nobody holds go the ordinary way (`pool.UnitPool`). A worker with nothing left of its own
then steals: from the worker with the most work waiting, of equal ones that on its own node,
the unit which that one would do last. No result depends on it.
"""

import heapq
from collections import deque
from collections.abc import Mapping, Sequence

from sta_mpi.parallel.job import Unit


class HeldUnits:
    """Waiting units by the worker that holds their data.

    Parameters
    ----------
    units : sequence of Unit             waiting units; those without a holder are left out
    holders : mapping of unit id to worker
    node_of : mapping of worker to node   workers that compute; other holders count as none
    small : collection of int            ids that are done last, so that all workers end together
    """

    def __init__(self, units: Sequence[Unit], holders: Mapping[int, int],
                 node_of: Mapping[int, int], small: frozenset[int] = frozenset()) -> None:
        self._node_of = dict(node_of)
        mine: dict[int, list[Unit]] = {}
        for unit in units:
            worker = holders.get(unit.id)
            if worker in self._node_of:
                mine.setdefault(worker, []).append(unit)
        self._queues = {
            worker: deque(sorted(own, key=lambda u: (u.id in small, u.group, -u.cost, u.id)))
            for worker, own in sorted(mine.items())}
        self._cost = {worker: sum(u.cost for u in own) for worker, own in mine.items()}
        # (-work left, worker) of all, and of each node; work only falls, so an entry that is
        # out of date lies too near the top and is put right when it gets there
        self._busiest: dict[int | None, list[tuple[float, int]]] = {}
        for worker, cost in self._cost.items():
            for place in (None, self._node_of[worker]):
                self._busiest.setdefault(place, []).append((-cost, worker))
        for heap in self._busiest.values():
            heapq.heapify(heap)

    @property
    def ids(self) -> set[int]:
        """The units that wait here."""
        return {unit.id for queue in self._queues.values() for unit in queue}

    def take_own(self, worker: int) -> int | None:
        """Remove and return the worker's next own unit; None where it has none left.

        Groups come one after the other, in each the largest units first, small ones last.
        """
        queue = self._queues.get(worker)
        return self._taken(worker, queue.popleft()) if queue else None

    def steal(self, thief: int) -> int | None:
        """Remove and return the unit that the worker with the most work left would do last."""
        victim = self._most_left(None)
        if victim is None:
            return None
        near = self._most_left(self._node_of.get(thief))
        if near is not None and self._cost[near] == self._cost[victim]:
            victim = near
        return self._taken(victim, self._queues[victim].pop())

    def _most_left(self, place: int | None) -> int | None:
        """The worker with the most work waiting, of a node or of all (None)."""
        heap = self._busiest.get(place, [])
        while heap:
            known, worker = heap[0]
            if not self._queues[worker]:
                heapq.heappop(heap)
            elif known != -self._cost[worker]:
                heapq.heapreplace(heap, (-self._cost[worker], worker))
            else:
                return worker
        return None

    def _taken(self, worker: int, unit: Unit) -> int:
        self._cost[worker] -= unit.cost
        return unit.id

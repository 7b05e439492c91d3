"""The units not yet leased, and which of them a node gets next.

Order: units of ordinary size before the small ones of the tail (those that cost at most
half of the largest of their group); within that, the group the node has worked on for
longest, else a group that no node has, else a share of the group with the most work left
for each of its nodes. A node opens its next group a little before the one in hand runs
out: one rank then waits for the data of the new group while the others still have work.
Within a group, largest first. Ties go by group name and unit id, so the order depends on
the events alone. Units whose data a worker holds from an earlier run go to it
(`holders.HeldUnits`) before any of that.
"""

from collections.abc import Collection, Mapping, Sequence

from sta_mpi.parallel.holders import HeldUnits
from sta_mpi.parallel.job import Unit


class _Stage:
    """Units of one stage (ordinary or tail), by group, the largest at the end."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.queues: dict[str, list[Unit]] = {}
        for unit in sorted(units, key=lambda u: (u.cost, -u.id)):
            self.queues.setdefault(unit.group, []).append(unit)
        self.cost = {group: sum(u.cost for u in queue) for group, queue in self.queues.items()}
        self.by_cost = sorted(self.queues, key=lambda g: (self.cost[g], g))

    def pop(self, group: str) -> int:
        unit = self.queues[group].pop()
        self.cost[group] -= unit.cost
        if not self.queues[group]:
            del self.queues[group]
        return unit.id


class UnitPool:
    """Units waiting to be leased.

    Parameters
    ----------
    units : sequence of Unit
    closed : collection of int        ids that are not to be leased
    order : sequence of int or None   fixed order of ids; groups and costs are then ignored
    open_ahead : mapping of node to int   units left at which a node opens its next group
    holders : mapping of unit id to worker   who has the data of a unit; not with an `order`
    node_of : mapping of worker to node   workers that compute; needed for `holders`
    """

    def __init__(self, units: Sequence[Unit], closed: Collection[int] = (),
                 order: Sequence[int] | None = None,
                 open_ahead: Mapping[int, int] | None = None,
                 holders: Mapping[int, int] | None = None,
                 node_of: Mapping[int, int] | None = None) -> None:
        self._open_ahead = open_ahead or {}
        waiting = [unit for unit in units if unit.id not in closed]
        self.remaining = len(waiting)
        self._order: list[int] | None = None
        if order is not None:
            self._order = [i for i in reversed(order) if i not in closed]
            if sorted(self._order) != [unit.id for unit in waiting]:
                raise ValueError("the order given is not a permutation of the unit ids")
        largest: dict[str, float] = {}
        for unit in units:
            largest[unit.group] = max(unit.cost, largest.get(unit.group, 0.0))
        small = frozenset(u.id for u in waiting if u.cost <= 0.5 * largest[u.group])
        self._held = HeldUnits(waiting, holders or {}, node_of or {}, small)
        held = self._held.ids
        free = [u for u in waiting if u.id not in held]
        tail = [u for u in free if u.id in small]
        head = [u for u in free if u.id not in small]
        self._stages = [_Stage(head), _Stage(tail)]
        self._groups_of: dict[int, list[str]] = {}
        self._nodes_on: dict[str, int] = {}

    def take(self, node: int, worker: int | None = None, may_steal: bool = True) -> int | None:
        """Remove and return the unit that a worker of this node does next; None: none for it.

        Its own units come first, then those that nobody holds, then, where it `may_steal`,
        those of others.
        """
        unit = self._choose(node, worker, may_steal)
        self.remaining -= unit is not None
        return unit

    def _choose(self, node: int, worker: int | None, may_steal: bool) -> int | None:
        if self.remaining == 0:
            return None
        if self._order is not None:
            return self._order.pop()
        own = None if worker is None else self._held.take_own(worker)
        if own is not None:
            return own
        stage = next((stage for stage in self._stages if stage.queues), None)
        if stage is not None:
            return self._of_stage(stage, node)
        return self._held.steal(-1 if worker is None else worker) if may_steal else None

    def _of_stage(self, stage: _Stage, node: int) -> int:
        mine = self._groups_of.setdefault(node, [])
        own = [group for group in mine if group in stage.queues]
        left = sum(len(stage.queues[group]) for group in own)
        ahead = self._open_ahead.get(node, 0)
        group = None
        if left <= ahead:
            group = self._fresh(stage) or self._most_left(stage, own, 2 * ahead)
        if group is None:
            return stage.pop(own[0])
        mine.append(group)
        self._nodes_on[group] = self._nodes_on.get(group, 0) + 1
        return stage.pop(group)

    def _fresh(self, stage: _Stage) -> str | None:
        while stage.by_cost:
            group = stage.by_cost.pop()
            if group in stage.queues and group not in self._nodes_on:
                return group
        return None

    def _most_left(self, stage: _Stage, own: list[str], at_least: int) -> str | None:
        """Find a group to share; a node that still has work takes large ones only."""
        others = [group for group, queue in stage.queues.items()
                  if not own or (len(queue) > at_least and group not in own)]
        return max(others, default=None,
                   key=lambda g: (stage.cost[g] / (1 + self._nodes_on.get(g, 0)), g))

"""Tilt series held at once: fewer where the rest of a job needs their memory."""

from types import SimpleNamespace

import pytest

from sta_mpi.jobs.held_series import leave_room
from sta_mpi.jobs.source_tilts import TiltSeriesSource
from sta_mpi.parallel.memory import GiB, MemoryPlan, process_bytes
from sta_mpi.parallel.runtime import Runtime


class Images(TiltSeriesSource):
    """Series of 2 GiB each."""

    def __init__(self, n_slots):
        super().__init__(SimpleNamespace(used_series=range(5)), None, n_slots)

    def bytes_shared(self):
        return int(2 * GiB) * self.n_slots


@pytest.mark.parametrize(("limit_GiB", "ranks", "held"), [
    (100.0, 1, 5), (9.5, 1, 3), (3.5, 1, 1), (0.5, 1, 1), (100.0, 2, 5), (0.5, 2, 2)])
def test_as_many_series_are_held_as_leave_room_for_the_rest(limit_GiB, ranks, held, monkeypatch):
    """Ranks of a node hold two at least: one ends while the next begins."""
    monkeypatch.setattr("sta_mpi.parallel.memory.available_GiB", lambda: 1000.0)
    source, rest = Images(5), MemoryPlan({"sums": 3 * GiB - process_bytes()})
    runtime = Runtime()
    runtime.node_size = ranks
    leave_room(source, runtime, limit_GiB, lambda: rest.plus(
        MemoryPlan({}, {"images": float(source.bytes_shared())})))
    assert source.n_slots == held


def test_other_sources_are_left_alone():
    leave_room(object(), Runtime(), 0.1, lambda: MemoryPlan({"sums": 3 * GiB}))

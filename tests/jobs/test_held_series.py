"""Tilt series held at once: fewer where the rest of a job needs their memory."""

import pytest

from sta_mpi.jobs.held_series import leave_room
from sta_mpi.jobs.source_tilts import TiltSeriesSource
from sta_mpi.parallel.memory import GiB, MemoryPlan, process_bytes
from sta_mpi.parallel.runtime import Runtime


class Images(TiltSeriesSource):
    """Series of 2 GiB each."""

    def __init__(self, n_slots):
        super().__init__(None, None, n_slots)

    def bytes_shared(self):
        return int(2 * GiB) * self.n_slots


@pytest.mark.parametrize(("limit_GiB", "held"), [(100.0, 5), (9.5, 3), (3.5, 1), (0.5, 1)])
def test_as_many_series_are_held_as_leave_room_for_the_rest(limit_GiB, held, monkeypatch):
    monkeypatch.setattr("sta_mpi.parallel.memory.available_GiB", lambda: 1000.0)
    source, rest = Images(5), MemoryPlan({"sums": 3 * GiB - process_bytes()})
    leave_room(source, Runtime(), limit_GiB, lambda: rest.plus(
        MemoryPlan({}, {"images": float(source.bytes_shared())})))
    assert source.n_slots == held


def test_other_sources_are_left_alone():
    leave_room(object(), Runtime(), 0.1, lambda: MemoryPlan({"sums": 3 * GiB}))

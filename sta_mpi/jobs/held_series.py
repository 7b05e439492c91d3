"""How many tilt series a node holds at once: as many as leave room for everything else."""

from collections.abc import Callable
from typing import Any

from sta_mpi.jobs.source_tilts import TiltSeriesSource
from sta_mpi.parallel.memory import MemoryPlan, available_GiB, room_GiB

SHARE_FOR_IMAGES = 0.5
"""Share of the memory of a node that tilt images may take at most."""


def slots_that_fit(source: TiltSeriesSource, max_memory_GiB: float | None) -> int:
    """Tilt series held at once on a node: all, or what half of the memory can hold."""
    n_series = len(source.inputs.used_series)
    budget = SHARE_FOR_IMAGES * 1024**3 * (max_memory_GiB or available_GiB())
    return max(1, min(n_series, int(budget // source.bytes_shared())))


def leave_room(source: Any, runtime: Any, max_memory_GiB: float | None,
               plan: Callable[[], MemoryPlan]) -> None:
    """Hold fewer tilt series where all else that a job keeps needs their memory; collective.

    Several ranks hold two at least: when one series ends, some of them work on the next one, and
    would load in turns what they take from each other.

    Parameters
    ----------
    source : Source       changed where it holds tilt series and nothing was read yet
    plan : callable       all of the job's memory, with the images that `source` then holds
    """
    if not isinstance(source, TiltSeriesSource):
        return
    least = min(2 if runtime.node_size > 1 else 1, len(source.inputs.used_series))
    source.n_slots = max(source.n_slots, least)
    while source.n_slots > least and room_GiB(plan(), runtime.node_size, max_memory_GiB) < 0:
        source.n_slots -= 1
    source.n_slots = min(runtime.allgather(source.n_slots))

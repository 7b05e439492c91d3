"""How much of the particles stays in memory, how much goes to scratch, what is cut again.

Memory is filled first, with what `--max-memory-GiB` (or the node) leaves beside everything
else, next the scratch disk. The plan is a matter of cost alone: the bits of a particle follow
from `--precision`, so half precision is never chosen here, only recommended.
"""

import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from sta_mpi.align.cut import is_visible
from sta_mpi.errors import UsageError
from sta_mpi.jobs.averaging import Setup
from sta_mpi.jobs.sources import gives_boxes, within_dose
from sta_mpi.parallel.allocator import give_back_freed_memory
from sta_mpi.parallel.memory import GiB, MemoryPlan, available_GiB, process_bytes, room_GiB

MiB = 2.0**20

MEMORY_SHARE = 0.9
"""Share of the memory that is left which particles may take."""

SCRATCH_SHARE = 0.8
"""Share of the free scratch space that particles may take."""

IN_MEMORY = ("tmpfs", "ramfs")
"""File systems that are memory themselves."""


@dataclass(frozen=True)
class StoreSizes:
    """What the planner decides from; the same on all ranks.

    Parameters
    ----------
    n_particles : int                   of all ranks together
    workers : int                       ranks that hold particles
    mean_bytes, largest_bytes : float   of one particle in float32
    memory_bytes, scratch_bytes : float   that a rank may use, on the node with least of it
    """

    n_particles: int
    workers: int
    mean_bytes: float
    largest_bytes: float
    memory_bytes: float
    scratch_bytes: float


@dataclass(frozen=True)
class StorePlan:
    """Precision, room and expected use of every rank's store.

    Parameters
    ----------
    mean_bytes, largest_bytes : float                of one particle in this precision
    n_memory, n_scratch, n_recut : int               particles of all ranks together
    memory_limit_bytes, scratch_limit_bytes : float  room of one rank
    advice : str                                     what would keep more; empty: nothing
    """

    precision: str
    workers: int
    mean_bytes: float
    largest_bytes: float
    n_memory: int
    n_scratch: int
    n_recut: int
    memory_limit_bytes: float
    scratch_limit_bytes: float
    scratch_dir: str
    advice: str = ""

    @property
    def level(self) -> str:
        """The costliest place that is used: memory, memory16, scratch or recut."""
        if self.n_recut:
            return "recut"
        if self.n_scratch:
            return "scratch"
        return "memory16" if self.precision == "float16" else "memory"

    def memory(self) -> MemoryPlan:
        """What the particles of a rank are expected to take."""
        return MemoryPlan({"particles": self.n_memory * self.mean_bytes / self.workers})

    def line(self) -> str:
        """One line for the log."""
        total = self.n_memory + self.n_scratch + self.n_recut
        parts = [f"{n} {what}" for n, what in (
            (self.n_memory, "in memory"),
            (self.n_scratch, f"in {self.scratch_dir}"),
            (self.n_recut, "cut again in each round")) if n]
        share = self.n_memory * self.mean_bytes / self.workers / GiB
        return (f"particle store: {total} particles of {self.mean_bytes / MiB:.2f} MiB "
                f"({self.precision}): {', '.join(parts) or 'none'}; {share:.2f} GiB of memory a "
                f"rank.{' ' + self.advice if self.advice else ''}")

    def numbers(self) -> dict[str, Any]:
        """The same for --dry-run and job.json."""
        return {"particle_store": self.level, "particle_precision": self.precision,
                "particle_MiB": self.mean_bytes / MiB, "particles_in_memory": self.n_memory,
                "particles_on_scratch": self.n_scratch, "particles_cut_again": self.n_recut,
                "particles_rank_GiB": self.n_memory * self.mean_bytes / self.workers / GiB,
                **({"particle_store_advice": self.advice} if self.advice else {})}


def plan_store(sizes: StoreSizes, precision: str, scratch_dir: str = "") -> StorePlan:
    """Place particles: memory, scratch, cut again; the same numbers give the same plan."""
    factor = 0.5 if precision == "float16" else 1.0
    n_memory, n_scratch = _places(sizes, factor)
    advice = ""
    if precision == "float32" and n_memory < sizes.n_particles:
        half_memory, half_scratch = _places(sizes, 0.5)
        if half_memory == sizes.n_particles:
            advice = "--precision float16 would keep all in memory."
        elif n_memory + n_scratch < sizes.n_particles <= half_memory + half_scratch:
            advice = "--precision float16 would need no cutting again."
    return StorePlan(
        precision, sizes.workers, factor * sizes.mean_bytes, factor * sizes.largest_bytes,
        n_memory, n_scratch, sizes.n_particles - n_memory - n_scratch,
        max(0.0, sizes.memory_bytes), max(0.0, sizes.scratch_bytes), scratch_dir, advice)


def _places(sizes: StoreSizes, factor: float) -> tuple[int, int]:
    """Particles (in memory, on scratch) of all ranks together."""
    each = math.ceil(sizes.n_particles / sizes.workers)
    in_memory = min(each, _fit(sizes.memory_bytes, factor * sizes.mean_bytes))
    on_scratch = min(each - in_memory, _fit(sizes.scratch_bytes, factor * sizes.largest_bytes))
    n_memory = min(sizes.n_particles, in_memory * sizes.workers)
    return n_memory, min(sizes.n_particles - n_memory, on_scratch * sizes.workers)


def _fit(room_bytes: float, each_bytes: float) -> int:
    return int(max(0.0, room_bytes) // max(each_bytes, 1.0))


def particle_bytes(setup: Setup) -> NDArray[np.float64]:
    """Size (n,) in float32 of each particle when it is kept, 0 for one on no tilt."""
    box, particles = setup.sizes.box_px, setup.inputs.particles
    if gives_boxes(setup.source):
        return np.full(len(particles), 12.0 * box * box * (box // 2 + 1))
    limit = setup.parameters.max_dose_e_per_A2
    counts = np.zeros(len(particles))
    for i, ts in enumerate(setup.inputs.series):
        rows = np.flatnonzero(particles.i_tomo == i)
        if len(rows) == 0:
            continue
        if setup.source.kind == "stacks":
            seen = (np.ones((len(rows), ts.n_tilts), bool) if particles.visible is None
                    else particles.visible[rows, : ts.n_tilts] > 0)
        else:
            assert ts.image_size_px is not None
            position = ts.position_px(particles.xyz_A[rows] + particles.offset_A[rows])
            seen = is_visible(position, ts.image_size_px, box * setup.frame.binning / 2)
        counts[rows] = seen[:, within_dose(np.arange(ts.n_tilts), ts, limit)].sum(axis=1)
    return 8.0 * box * (box // 2 + 1) * counts


def make_store_plan(setup: Setup, runtime: Any, parameters: Any, others: MemoryPlan) -> StorePlan:
    """Measure what the nodes have and plan, the same on all ranks; collective.

    Call it before the first stage: `others` (MemoryPlan of all that is not a particle) counts
    arrays which are not there yet. Rank 0 logs `line()` of the plan.

    Parameters
    ----------
    parameters : has precision, scratch_dir, max_memory_GiB and dedicated_master
    """
    folder, is_asked = _scratch_folder(parameters)
    give_back_freed_memory()
    mine = (process_bytes(), available_GiB(), free_scratch_bytes(folder))
    found = runtime.allgather((runtime.node, *mine))
    _check_scratch(folder, is_asked, [scratch for *_, scratch in found])
    is_idle_root = bool(parameters.dedicated_master) and runtime.size > 1
    memory, scratch = [], []
    for node in sorted({entry[0] for entry in found}):
        own = [entry[1:] for entry in found if entry[0] == node]
        workers = len(own) - (is_idle_root and node == found[0][0])
        if workers:
            room = room_GiB(others, len(own), parameters.max_memory_GiB,
                            max(now for now, _, _ in own), min(free for _, free, _ in own))
            memory.append(MEMORY_SHARE * room * GiB / workers)
            scratch.append(SCRATCH_SHARE * min(max(s, 0.0) for _, _, s in own) / workers)
    sizes = _sizes(setup, len(found) - is_idle_root, min(memory), min(scratch))
    return plan_store(sizes, parameters.precision, str(folder))


def describe_store(setup: Setup, parameters: Any, others: MemoryPlan, ranks_per_node: int = 1,
                   n_nodes: int = 1) -> dict[str, Any]:
    """What --dry-run and `plan` show, for nodes like this one; not collective."""
    folder, is_asked = _scratch_folder(parameters)
    free = free_scratch_bytes(folder)
    _check_scratch(folder, is_asked, [free])
    room = room_GiB(others, ranks_per_node, parameters.max_memory_GiB)
    sizes = _sizes(setup, ranks_per_node * n_nodes, MEMORY_SHARE * room * GiB / ranks_per_node,
                   SCRATCH_SHARE * max(free, 0.0) / ranks_per_node)
    return plan_store(sizes, parameters.precision, str(folder)).numbers()


def _sizes(setup: Setup, workers: int, memory_bytes: float, scratch_bytes: float) -> StoreSizes:
    each = particle_bytes(setup)
    seen = each[each > 0]
    mean, largest = (float(seen.mean()), float(seen.max())) if len(seen) else (0.0, 0.0)
    return StoreSizes(len(seen), workers, mean, largest, memory_bytes, scratch_bytes)


def _scratch_folder(parameters: Any) -> tuple[Path, bool]:
    if parameters.scratch_dir is None:
        return Path(tempfile.gettempdir()), False
    return Path(parameters.scratch_dir), True


def free_scratch_bytes(folder: Path) -> float:
    """Free space of a folder on a disk; 0 in memory, -1 where nothing can be written."""
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        return -1.0
    if _file_system(folder) in IN_MEMORY:
        return 0.0
    return float(shutil.disk_usage(folder).free)


def _file_system(folder: Path) -> str:
    """Type of the file system that holds a folder."""
    place = folder.resolve()
    mounts = {Path(p.mountpoint): p.fstype for p in psutil.disk_partitions(all=True)}
    return next((mounts[path] for path in (place, *place.parents) if path in mounts), "")


def _check_scratch(folder: Path, is_asked: bool, free: list[float]) -> None:
    """UsageError where the folder that was asked for is missing on some node."""
    if is_asked and min(free) < 0:
        raise UsageError(
            f"--scratch-dir {folder} is no folder that can be written on every node (not for "
            f"{sum(f < 0 for f in free)} of {len(free)} ranks). Give a folder on a disk that each "
            "node has, or leave the option out.")

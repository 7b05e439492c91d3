"""Memory: predicted from declared sizes, available on the node, and the measured peak.

The prediction of a rank is what the process holds when it is made (Python, libraries)
plus the arrays that the job declares; the prediction of a node is that times its ranks
plus the arrays that a node holds once. Available memory is the smaller of what the
kernel reports and what the control group of the batch system still allows.
"""

import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sta_mpi.errors import ResourceError

GiB = 1024.0 ** 3


@dataclass(frozen=True)
class MemoryPlan:
    """Declared array sizes of a job [bytes], by what they are for.

    Parameters
    ----------
    rank_bytes : mapping of str to float   arrays that every rank holds at the peak
    node_bytes : mapping of str to float   arrays held once a node
    """

    rank_bytes: Mapping[str, float] = field(default_factory=dict)
    node_bytes: Mapping[str, float] = field(default_factory=dict)

    def plus(self, other: "MemoryPlan") -> "MemoryPlan":
        """Return both plans together; equal names add up."""
        def merged(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
            return {name: a.get(name, 0.0) + b.get(name, 0.0) for name in {**a, **b}}

        return MemoryPlan(merged(self.rank_bytes, other.rank_bytes),
                          merged(self.node_bytes, other.node_bytes))

    def node_peak_GiB(self, ranks: int, process_bytes: float) -> float:
        """Return the predicted peak of a node with that many ranks [GiB]."""
        each = sum(self.rank_bytes.values()) + process_bytes
        return (ranks * each + sum(self.node_bytes.values())) / GiB

    def rank_peak_GiB(self, process_bytes: float) -> float:
        """Return the predicted peak resident size of the rank that fills the node's arrays.

        Pages of shared arrays count for every process that has touched them.
        """
        total = sum(self.rank_bytes.values()) + sum(self.node_bytes.values())
        return (total + process_bytes) / GiB

    def table(self) -> list[tuple[str, str, float]]:
        """Return rows (name, "rank" or "node", GiB), largest first."""
        rows = [(name, "rank", size / GiB) for name, size in self.rank_bytes.items()]
        rows += [(name, "node", size / GiB) for name, size in self.node_bytes.items()]
        return sorted(rows, key=lambda row: -row[2])


def process_bytes(status: Path = Path("/proc/self/status")) -> int:
    """Return what this process holds in memory now [bytes], node-shared arrays left out.

    Those are counted once a node, not for every rank that has touched them.
    """
    resident = int(psutil.Process().memory_info().rss)
    try:
        for line in status.read_text().splitlines():
            if line.startswith("RssShmem:"):
                return max(0, resident - int(line.split()[1]) * 1024)
    except (OSError, ValueError):
        pass
    return resident


def peak_memory_GiB(status: Path = Path("/proc/self/status")) -> float:
    """Return the largest resident size of this process so far [GiB].

    From the kernel's VmHWM: the peak that getrusage reports survives exec, so a program started
    by a large one would inherit that one's peak. getrusage is used where there is no /proc.
    """
    try:
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / GiB
    except (OSError, ValueError):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GiB


def available_GiB(root: Path = Path("/")) -> float:
    """Return the memory that this node can still give [GiB], control group limits included."""
    available = float(psutil.virtual_memory().available)
    for limit, usage in _cgroup_limits(root):
        available = min(available, limit - usage)
    return max(0.0, available) / GiB


def _cgroup_limits(root: Path) -> list[tuple[float, float]]:
    """Return (limit, use) [bytes] of this process's control groups, versions 1 and 2."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        base = root / "sys/fs/cgroup" / ("memory" if controllers else "")
        names = (("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers
                 else ("memory.max", "memory.current"))
        folder = base / path.lstrip("/")
        for level in (folder, *folder.parents):
            limit, usage = (_read_number(level / name) for name in names)
            if limit is not None and usage is not None:
                found.append((limit, usage - _file_cache(level)))
            if level == base:
                break
    return found


def _file_cache(folder: Path) -> float:
    """Return the bytes of a control group that the kernel drops when memory is needed."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0.0
    found = dict(line.split() for line in lines)
    return float(found.get("total_inactive_file", found.get("inactive_file", 0)))


def _read_number(path: Path) -> float | None:
    try:
        return float(path.read_text())
    except (OSError, ValueError):  # no such file, or the word "max"
        return None


def room_GiB(plan: MemoryPlan, ranks: int, max_memory_GiB: float | None = None,
             now_bytes: float | None = None, free_GiB: float | None = None) -> float:
    """Return what a plan leaves of a node's memory [GiB], negative where it does not fit.

    Parameters are those of `check_memory`.
    """
    now = process_bytes() if now_bytes is None else now_bytes
    limit, _ = _limit(ranks, now, available_GiB() if free_GiB is None else free_GiB,
                      max_memory_GiB)
    return limit - plan.node_peak_GiB(ranks, now)


def _limit(ranks: int, now: float, free_GiB: float, max_memory_GiB: float | None
           ) -> tuple[float, str]:
    """(largest peak of a node [GiB], where that number comes from)."""
    # what the ranks hold already is no longer free, but it is part of the peak
    limit = free_GiB + ranks * now / GiB
    if max_memory_GiB is not None and max_memory_GiB < limit:
        return max_memory_GiB, "may use (--max-memory-GiB)"
    return limit, "has"


def check_memory(plan: MemoryPlan, ranks: int, host: str, max_memory_GiB: float | None = None,
                 now_bytes: float | None = None, free_GiB: float | None = None) -> float:
    """Return the predicted peak of a node [GiB]; ResourceError where it does not fit.

    Parameters
    ----------
    plan : MemoryPlan
    ranks : int                       ranks on this node
    max_memory_GiB : float or None    the user's limit for a node
    now_bytes, free_GiB : float or None   size of this process and free memory, measured
                                          when None (given in tests)
    """
    now = process_bytes() if now_bytes is None else now_bytes
    free = available_GiB() if free_GiB is None else free_GiB
    peak = plan.node_peak_GiB(ranks, now)
    limit, source = _limit(ranks, now, free, max_memory_GiB)
    if peak > limit:
        shared = sum(plan.node_bytes.values()) / GiB
        each = plan.node_peak_GiB(1, now) - shared
        fits = int((limit - shared) // each) if limit > shared else 0
        remedy = (f"Use at most {fits} ranks a node" if fits >= 1
                  else "Use a smaller box, more binning, or a node with more memory")
        raise ResourceError(
            f"the plan needs {peak:.1f} GiB on {host} ({ranks} ranks of {each:.2f} GiB and "
            f"{shared:.2f} GiB shared), the node {source} {limit:.1f} GiB. {remedy}.")
    return peak

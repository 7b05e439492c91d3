"""What this process has used so far: processor time and bytes from and to storage."""

import time
from dataclasses import dataclass
from pathlib import Path

from sta_mpi.parallel.memory import GiB


@dataclass(frozen=True)
class Usage:
    """Processor time, user and system together, and traffic with storage.

    Parameters
    ----------
    cpu_s : float
    read_bytes, written_bytes : int   as the kernel counts them for the process: what was still in
                                      its page cache is not read; 0 where there is no /proc
    """

    cpu_s: float = 0.0
    read_bytes: int = 0
    written_bytes: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.cpu_s + other.cpu_s, self.read_bytes + other.read_bytes,
                     self.written_bytes + other.written_bytes)

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.cpu_s - other.cpu_s, self.read_bytes - other.read_bytes,
                     self.written_bytes - other.written_bytes)

    def record(self) -> dict[str, float]:
        """Numbers for job.json."""
        return {"cpu_s": round(self.cpu_s, 3), "read_GiB": round(self.read_bytes / GiB, 4),
                "written_GiB": round(self.written_bytes / GiB, 4)}


def process_usage(io: Path = Path("/proc/self/io")) -> Usage:
    """The usage of this process since it began."""
    counts = {"read_bytes": 0, "write_bytes": 0}
    try:
        for line in io.read_text().splitlines():
            name, _, value = line.partition(":")
            if name in counts:
                counts[name] = int(value)
    except (OSError, ValueError):
        pass
    return Usage(time.process_time(), counts["read_bytes"], counts["write_bytes"])

"""What the bits of a result depend on besides inputs and code: libraries and processor.

Sums are exact, but what one unit computes may round differently with another version of
a library or on another type of processor. Both are recorded in checkpoints; a resume
elsewhere says so.
"""

import platform
from functools import cache
from importlib import metadata
from pathlib import Path

from sta_mpi.version import __version__

LIBRARIES = ("numpy", "scipy", "numba", "pyfftw", "h5py")


@cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = {"sta_mpi": __version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "none"
    found["processor"] = processor()
    return tuple(found.items())


def environment() -> dict[str, str]:
    """Return versions of code and libraries, and the type of processor."""
    return dict(_versions())


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the model of the processor, as the kernel names it."""
    try:
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.machine()


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """Return what differs, as "name: then -> now"."""
    return [f"{name}: {then.get(name, 'unknown')} -> {now.get(name, 'unknown')}"
            for name in sorted({*then, *now}) if then.get(name) != now.get(name)]

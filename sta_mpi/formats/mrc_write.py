"""Writing MRC files, and the check for values that are not finite.

The file goes through a temporary name, so that a killed run leaves no half-written map; its bytes
depend on the arguments alone (no date), so that equal maps are equal files.
"""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.atomic import atomic_file
from sta_mpi.formats.mrc_header import MODES, make_header

_MODE_OF_DTYPE = {"int8": 0, "bool": 0, "uint8": 6, "int16": 1, "uint16": 6, "float16": 12,
                  "float32": 2, "float64": 2}


def write_mrc(path: str | os.PathLike[str], data: NDArray[Any], pixel_A: float,
              mode: int | None = None, is_volume: bool | None = None) -> None:
    """Write a map or an image stack; the file appears complete or not at all.

    Parameters
    ----------
    data : (nz, ny, nx) or (ny, nx) array
    pixel_A : float        edge of a voxel or pixel [Å]
    mode : int             0, 1, 2, 6 or 12; None takes the one of the data type (float: 2)
    is_volume : bool       volume or stack of images in the header; None: a stack where the name
                           ends in .mrcs or .st or the array is one image, else a volume

    Raises
    ------
    InputError             values that the mode cannot hold
    """
    stack = np.asarray(data)
    volume = stack.ndim == 3 and not str(path).endswith((".mrcs", ".st"))
    volume = volume if is_volume is None else is_volume
    stack = stack[None] if stack.ndim == 2 else stack
    if stack.ndim != 3 or stack.size == 0 or not pixel_A > 0:
        raise ValueError(f"cannot write an array of shape {stack.shape} with pixel {pixel_A} Å")
    used_mode = _MODE_OF_DTYPE.get(stack.dtype.name, -1) if mode is None else mode
    if used_mode not in MODES:
        raise ValueError(f"MRC mode {mode} for {stack.dtype} data; known modes: {sorted(MODES)}")
    source = os.fspath(path)
    if source.endswith(".gz"):
        raise ValueError(f"{source}: maps are written unpacked; leave .gz out of the name")
    check_finite(stack, source)
    statistics = _statistics(stack)
    _check_range(statistics, used_mode, source)
    header = make_header(stack.shape, used_mode, float(pixel_A), volume, statistics)
    dtype = np.dtype("<" + MODES[used_mode])
    with atomic_file(path) as stream:
        stream.write(header)
        for section in stack:
            values = np.rint(section) if dtype.kind in "iu" and section.dtype.kind == "f" \
                else section
            stream.write(np.ascontiguousarray(values, dtype).tobytes())


def check_finite(data: NDArray[Any], source: str) -> None:
    """Raise InputError where `data` holds NaN or Inf, with their number and the first place."""
    problem = describe_not_finite(data)
    if problem:
        raise InputError(f"{source}: {problem}. Repeat the job that made it, or "
                         "repair these values.")


def describe_not_finite(data: NDArray[Any]) -> str:
    """How many values are NaN or Inf and where the first lies; empty where all are finite."""
    # A sum meets every NaN and Inf at a fraction of the cost of a mask of the whole array; one
    # that overflows is looked at closely.
    with np.errstate(over="ignore", invalid="ignore"):
        if data.dtype.kind != "f" or np.isfinite(
                np.sum(data, dtype=np.promote_types(data.dtype, np.float32))):
            return ""
    bad = ~np.isfinite(data)
    count = int(bad.sum())
    if not count:
        return ""
    first = np.unravel_index(int(np.argmax(bad)), bad.shape)
    place = ", ".join(str(int(i)) for i in first)
    return f"{count} of {data.size} values are NaN or Inf, the first at index [{place}]"


def _statistics(stack: NDArray[Any]) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and standard deviation, section by section in float64."""
    low, high, total, squares = np.inf, -np.inf, 0.0, 0.0
    for section in stack:
        values = section.astype(np.float64)
        low, high = min(low, float(values.min())), max(high, float(values.max()))
        total += float(values.sum())
        squares += float(np.vdot(values, values))
    mean = total / stack.size
    return low, high, mean, float(np.sqrt(max(squares / stack.size - mean * mean, 0.0)))


def _check_range(statistics: tuple[float, float, float, float], mode: int, source: str) -> None:
    kind = np.dtype(MODES[mode])
    limits = np.iinfo(kind) if kind.kind in "iu" else np.finfo(kind)
    low, high = statistics[:2]
    if kind.kind in "iu":
        low, high = np.rint(low), np.rint(high)
    if low < float(limits.min) or high > float(limits.max):
        raise InputError(f"{source}: values from {low:g} to {high:g} do not fit MRC mode {mode} "
                         f"({limits.min} to {limits.max}). Scale them or write mode 2.")

"""PEET's rotation axes (`_RotAxes.csv`): the twist axis of every particle, x, y, z a line.

Components in tomogram axes, no header, in the order of the model's points.
"""

import os

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.text_files import read_text, write_text


def read_rotation_axes(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Axes (n, 3) as they stand in the file; FormatError for anything but three finite numbers a
    line of which one is not zero."""
    where = os.fspath(path)
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        words = line.replace(",", " ").split()
        try:
            row = [float(word.replace("_", "x")) for word in words]
        except ValueError:
            raise FormatError(f"{where}, line {number}: {line.strip()[:60]!r} is not three "
                              "numbers. Repair it.") from None
        if len(row) != 3 or not np.isfinite(row).all() or not any(row):
            raise FormatError(f"{where}, line {number}: {line.strip()[:60]!r}, expected an axis: "
                              "three finite numbers, not all zero. Repair it.")
        rows.append(row)
    return np.array(rows, np.float64).reshape(-1, 3)


def write_rotation_axes(path: str | os.PathLike[str], axes: ArrayLike) -> None:
    """Write axes (n, 3)."""
    values = np.asarray(axes, np.float64).reshape(-1, 3)
    if not np.isfinite(values).all():
        raise InputError(f"{os.fspath(path)}: an axis that is not finite. Remove its particle.")
    write_text(path, "".join(",".join(f"{v:.9g}" for v in row) + "\n" for row in values))

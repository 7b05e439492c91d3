"""PEET's motive lists (`.csv`): score, shift, orientation and class of every particle.

One header line and 20 columns a particle. Three generations of headers are known: angles named
phi, psi, theta; angles named EulerZ(1), EulerZ(3), EulerX(2), from some version on with a 21st
field in the header alone that names the version; and columns 6, 16 and 20 named adjCCC, oldClass,
class. The columns mean the same in all of them. Values that do not change keep their text.
"""

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.text_files import read_text, write_text

Floats = NDArray[np.float64]

N_COLUMNS = 20
HEADER = ("CCC,reserved,reserved,pIndex,wedgeWT,adjCCC,NA,NA,NA,NA,xOffset,yOffset,zOffset,NA,NA,"
          "oldClass,EulerZ(1),EulerZ(3),EulerX(2),class")
"""Header of the newest generation, without the version."""

DUPLICATE_CLASS = -9999
_CCC, _PARTICLE, _WEIGHT, _ADJUSTED, _OLD_CLASS, _CLASS = 0, 3, 4, 5, 15, 19
_OFFSETS = slice(10, 13)
_ANGLES = [16, 18, 17]
"""Columns of the angles z1, x2, z3."""
_ABSENT = {"NA", "NAN", ""}


@dataclass
class MotiveList:
    """n particles in the order of the model's points.

    Parameters
    ----------
    ccc : (n,) float64                score; NaN where absent
    particle : (n,) int64             number of the model point, from 1
    euler_z1_x2_z3_deg : (n, 3)       see `geometry.peet`
    offset_px : (n, 3)                shift from the model point, tomogram axes [voxels]
    class_number, previous_class : (n,) int64    -9999: a duplicate
    weight, adjusted_ccc : (n,)
    header : str                      first line of the file
    text : list                       cells as read, row by row
    line_end : str
    """

    ccc: Floats
    particle: NDArray[np.int64]
    euler_z1_x2_z3_deg: Floats
    offset_px: Floats
    class_number: NDArray[np.int64]
    previous_class: NDArray[np.int64]
    weight: Floats
    adjusted_ccc: Floats
    header: str = HEADER
    text: list[list[str]] = field(default_factory=list)
    line_end: str = "\n"

    def __len__(self) -> int:
        return len(self.ccc)

    @classmethod
    def fresh(cls, n: int) -> "MotiveList":
        """n particles numbered from 1, with no turns, shifts, scores or classes."""
        return cls(np.zeros(n), np.arange(1, n + 1), np.zeros((n, 3)), np.zeros((n, 3)),
                   np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n), np.zeros(n))


def read_motive_list(path: str | os.PathLike[str]) -> MotiveList:
    """Read a motive list.

    Raises
    ------
    FormatError     no header, rows of another length, text where numbers belong, shifts or angles
                    that are not finite
    """
    text = read_text(path)
    line_end = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").split("\n")
    where = os.fspath(path)
    names = [name.strip() for name in lines[0].split(",")]
    if names[0] != "CCC" or len(names) < N_COLUMNS:
        raise FormatError(f"{where}, line 1: {lines[0][:60]!r}, expected the header of a PEET "
                          f"motive list (CCC, ... {N_COLUMNS} columns). Add it, or check the name.")
    cells = [line.split(",") for line in lines[1:] if line.strip()]
    numbers = np.full((len(cells), N_COLUMNS), np.nan)
    for i, row in enumerate(cells):
        if len(row) != N_COLUMNS:
            raise FormatError(f"{where}, row {i + 1}: {len(row)} values, expected {N_COLUMNS}. "
                              "Repair this row.")
        for j, cell in enumerate(row):
            numbers[i, j] = _number(cell, f"{where}, row {i + 1}, column {j + 1}")
    _require_finite(numbers, where)
    return _from_numbers(numbers, lines[0], cells, line_end)


def _number(cell: str, where: str) -> float:
    word = cell.strip()
    if word.upper() in _ABSENT:
        return np.nan
    try:
        return float(word.replace("_", "x"))
    except ValueError:
        raise FormatError(f"{where}: {word!r} is not a number. Repair it.") from None


def _require_finite(numbers: Floats, where: str) -> None:
    for columns, what in (([_PARTICLE], "pIndex"), ([10, 11, 12], "offset"),
                          (_ANGLES, "Euler angle")):
        bad = np.flatnonzero(~np.isfinite(numbers[:, columns]).all(axis=1))
        if len(bad):
            raise FormatError(f"{where}, row {bad[0] + 1}: {what} is not a finite number "
                              f"({len(bad)} such rows). Repair or remove them.")
    indices = numbers[:, _PARTICLE]
    bad = np.flatnonzero((indices != np.rint(indices)) | (np.abs(indices) > 2**53))
    if len(bad):
        raise FormatError(f"{where}, row {bad[0] + 1}: pIndex {indices[bad[0]]:g} is not a whole "
                          "number. Repair it.")


def _from_numbers(numbers: Floats, header: str, cells: list[list[str]], line_end: str
                  ) -> MotiveList:
    def integers(column: int) -> NDArray[np.int64]:
        values = np.where(np.abs(numbers[:, column]) < 2**53, numbers[:, column], 0.0)
        return np.rint(values).astype(np.int64)
    return MotiveList(
        numbers[:, _CCC], integers(_PARTICLE), numbers[:, _ANGLES], numbers[:, _OFFSETS],
        integers(_CLASS), integers(_OLD_CLASS), numbers[:, _WEIGHT], numbers[:, _ADJUSTED],
        header, cells, line_end)


def write_motive_list(path: str | os.PathLike[str], motives: MotiveList) -> None:
    """Write a motive list; InputError where shifts or angles are not finite."""
    n = len(motives)
    new = np.zeros((n, N_COLUMNS))
    for column, values in ((_CCC, motives.ccc), (_PARTICLE, motives.particle),
                           (_WEIGHT, motives.weight), (_ADJUSTED, motives.adjusted_ccc),
                           (_OLD_CLASS, motives.previous_class), (_CLASS, motives.class_number)):
        new[:, column] = values
    new[:, _OFFSETS] = motives.offset_px
    new[:, _ANGLES] = motives.euler_z1_x2_z3_deg
    for what, columns in (("offset", [10, 11, 12]), ("Euler angle", _ANGLES)):
        if not np.isfinite(new[:, columns]).all():
            raise InputError(f"{os.fspath(path)}: {what} of a particle is not finite. Remove it.")
    known = motives.text if len(motives.text) == n else [None] * n
    lines = [motives.header] + [",".join(_cells(values, row))
                                for values, row in zip(new.tolist(), known, strict=True)]
    write_text(path, motives.line_end.join(lines) + motives.line_end)


_OURS = [_CCC, _PARTICLE, _WEIGHT, _ADJUSTED, 10, 11, 12, _OLD_CLASS, 16, 17, 18, _CLASS]


def _cells(values: list[float], old: list[str] | None) -> list[str]:
    """Text of a row: as read where the value is the same."""
    cells = ["0"] * N_COLUMNS if old is None else list(old)
    for j in _OURS:
        if old is None or not _same(_number(old[j], ""), values[j], j):
            cells[j] = format_number(values[j])
    return cells


def _same(old: float, new: float, column: int) -> bool:
    if np.isnan(old):
        return bool(np.isnan(new)) or (new == 0 and column in (_CLASS, _OLD_CLASS))
    return old == new


def format_number(value: float) -> str:
    """Up to six decimals, none for whole numbers, NA for what is absent."""
    if not np.isfinite(value):
        return "NA"
    text = f"{value:.6f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text

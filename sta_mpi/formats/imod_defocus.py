"""IMOD's `.defocus` files, versions 2 and 3.

A row is `first view, last view, lowest angle, highest angle, defocus ...` in nanometres, views
from 1. Version 2 marks itself by a trailing 2 in its first row. Version 3 starts with a line
`flags 0 0. 0. 0. 3`, whose bits say which columns follow the defocus:

    1 astigmatism: second defocus [nm] and axis angle    2 that angle in radians
    4 phase shift                                        8 in radians
    16 tilt angles with the sign inverted                32 cut-on frequency [1/nm]

A row that covers several views holds for their middle; views between are interpolated.
"""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.number_table import PathLike, numbers_of, read_text, write_lines

Floats = NDArray[np.float64]

ASTIGMATISM, ASTIGMATISM_RADIANS, PHASE, PHASE_RADIANS, INVERTED, CUT_ON = 1, 2, 4, 8, 16, 32
_KNOWN_FLAGS = 63
_LARGEST_VIEW = 100_000
_WHAT = "an IMOD defocus file"


@dataclass(frozen=True)
class DefocusTable:
    """The rows of a `.defocus` file, in our units.

    Parameters
    ----------
    views : (n, 2) int64                first and last view of a row, from 1
    angle_deg : (n, 2)                  lowest and highest tilt angle, as written
    defocus_1_A, defocus_2_A : (n,)     underfocus positive; equal without astigmatism
    astig_deg, phase_shift_deg : (n,)   0 where not given
    cut_on_per_nm : (n,) or None
    version : int                       2 or 3
    flags : int                         0 in version 2
    """

    views: NDArray[np.int64]
    angle_deg: Floats
    defocus_1_A: Floats
    defocus_2_A: Floats
    astig_deg: Floats
    phase_shift_deg: Floats
    cut_on_per_nm: Floats | None = None
    version: int = 2
    flags: int = 0

    def __len__(self) -> int:
        return len(self.views)


def read_defocus(path: PathLike) -> DefocusTable:
    """Read a `.defocus` file of version 2 or 3.

    Raises
    ------
    InputError     missing, or without rows
    FormatError    an unknown version or flag, wrong numbers of columns, views out of order, NaN
    """
    source = os.fspath(path)
    lines = [(i, line.split()) for i, line in enumerate(read_text(path, _WHAT).split("\n"), 1)
             if line.split()]
    if not lines:
        raise InputError(f"{source}: empty, expected {_WHAT}. Repeat the CTF estimation.")
    version, flags, lines = _header(lines, source)
    n_columns = 5 + 2 * bool(flags & ASTIGMATISM) + bool(flags & PHASE) + bool(flags & CUT_ON)
    rows = np.array([numbers_of(cells, f"{source} line {i}", _WHAT, n_columns)
                     for i, cells in lines])
    if not len(rows):
        raise InputError(f"{source}: no rows, expected {_WHAT}. Repeat the CTF estimation.")
    return _table(rows, version, flags, _views(rows, source))


def _header(lines: list[tuple[int, list[str]]], source: str
            ) -> tuple[int, int, list[tuple[int, list[str]]]]:
    """Version, flags, and the lines that hold rows (without the version number)."""
    number, first = lines[0]
    values = numbers_of(first, f"{source} line {number}", _WHAT, len(first))
    if len(first) == 6 and values[1] == 0 and values[5] >= 3:
        if values[5] != 3 or values[0] != int(values[0]) or int(values[0]) & ~_KNOWN_FLAGS:
            raise FormatError(f"{source}: version {values[5]:g} with flags {values[0]:g}, expected "
                              "version 2 or 3 with flags below 64. Save it with a version of IMOD "
                              "that writes these.")
        return 3, int(values[0]), lines[1:]
    if len(first) == 6 and values[5] == 2:
        return 2, 0, [(number, first[:5]), *lines[1:]]
    if len(first) == 5:
        return 2, 0, lines
    raise FormatError(f"{source} line {number}: {len(first)} values ending in {first[-1]}, "
                      "expected a row of version 2 or the header of version 3. Check that this is "
                      "the right file.")


def _views(rows: Floats, source: str) -> NDArray[np.int64]:
    views = rows[:, :2]
    bad = np.flatnonzero((views[:, 0] < 1) | (views[:, 1] < views[:, 0])
                         | (views[:, 1] > _LARGEST_VIEW) | (views != np.round(views)).any(axis=1))
    if len(bad):
        raise FormatError(f"{source}, row {bad[0] + 1}: views {views[bad[0], 0]:g} to "
                          f"{views[bad[0], 1]:g}, expected rising whole numbers from 1. Mend the "
                          "row.")
    middle = views.mean(axis=1)
    order = np.flatnonzero(np.diff(middle) <= 0)
    if len(order):
        raise FormatError(f"{source}, row {order[0] + 2}: its views do not follow those of the row "
                          "before, expected rising views. Sort the rows.")
    return views.astype(np.int64)


def _table(rows: Floats, version: int, flags: int, views: NDArray[np.int64]) -> DefocusTable:
    """Columns in our units."""
    column = 5
    second, angle = rows[:, 4], np.zeros(len(rows))
    if flags & ASTIGMATISM:
        second, angle = rows[:, 5], rows[:, 6]
        angle = np.degrees(angle) if flags & ASTIGMATISM_RADIANS else angle
        column = 7
    phase = np.zeros(len(rows))
    if flags & PHASE:
        phase = np.degrees(rows[:, column]) if flags & PHASE_RADIANS else rows[:, column]
        column += 1
    cut_on = rows[:, column].copy() if flags & CUT_ON else None
    return DefocusTable(views, rows[:, 2:4].copy(), 10.0 * rows[:, 4], 10.0 * second,
                        np.array(angle), np.array(phase), cut_on, version, flags)


def write_defocus(path: PathLike, table: DefocusTable) -> None:
    """Write a table in its own version; angles and phases in the unit that its flags name."""
    lines = []
    if table.version == 3:
        lines.append(f"{table.flags}\t0\t0.0\t0.0\t0.0\t3")
    angle = np.radians(table.astig_deg) if table.flags & ASTIGMATISM_RADIANS else table.astig_deg
    phase = np.radians(table.phase_shift_deg) if table.flags & PHASE_RADIANS \
        else table.phase_shift_deg
    for i in range(len(table)):
        cells = [f"{table.views[i, 0]}", f"{table.views[i, 1]}", f"{table.angle_deg[i, 0]:5.2f}",
                 f"{table.angle_deg[i, 1]:5.2f}", f"{table.defocus_1_A[i] / 10:6.0f}"]
        if table.version == 3:
            cells[4] = f"{table.defocus_1_A[i] / 10:7.1f}"
        if table.flags & ASTIGMATISM:
            cells += [f"{table.defocus_2_A[i] / 10:7.1f}", f"{angle[i]:7.2f}"]
        if table.flags & PHASE:
            cells.append(f"{phase[i]:7.2f}")
        if table.flags & CUT_ON and table.cut_on_per_nm is not None:
            cells.append(f"{table.cut_on_per_nm[i]:7.4f}")
        lines.append("\t".join(cells) + ("   2" if table.version == 2 and i == 0 else ""))
    write_lines(path, lines)


def defocus_of_views(table: DefocusTable, n_views: int, path: PathLike) -> DefocusTable:
    """One row a view: rows that cover several views, and views between rows, are interpolated.

    Parameters
    ----------
    table : DefocusTable
    n_views : int          views of the stack
    path : its file        for messages

    Raises
    ------
    InputError             rows of views that the stack does not have, or no row for its ends
    """
    if table.views[-1, 1] > n_views:
        raise InputError(f"{os.fspath(path)}: a row of view {table.views[-1, 1]}, expected at most "
                         f"{n_views} (views of the stack). Give the file of this series.")
    missing = sorted({1, n_views} - {int(v) for first, last in table.views
                                     for v in (first, last)})
    if missing:
        raise InputError(f"{os.fspath(path)}: no row covers view {missing[0]}, expected rows from "
                         f"view 1 to {n_views}. Estimate the CTF of the whole series.")
    at, view = table.views.mean(axis=1), np.arange(1, n_views + 1)

    def along(values: Floats) -> Floats:
        return np.asarray(np.interp(view, at, values))

    # An axis and its opposite are one axis: interpolate the doubled angle, weighted by astigmatism.
    delta = table.defocus_1_A - table.defocus_2_A
    doubled = np.radians(2 * table.astig_deg)
    real, imaginary = along(delta * np.cos(doubled)), along(delta * np.sin(doubled))
    half = 0.5 * np.hypot(real, imaginary) * np.where(along(delta) < 0, -1, 1)
    mean = along(0.5 * (table.defocus_1_A + table.defocus_2_A))
    sign = np.where(along(delta) < 0, -1, 1)
    astig = 0.5 * np.degrees(np.arctan2(sign * imaginary, sign * real))
    exact = np.isin(view, at)
    astig = np.where(exact, along(table.astig_deg), np.where(np.hypot(real, imaginary) > 0, astig,
                                                             along(table.astig_deg)))
    return DefocusTable(np.stack([view, view], axis=1), np.stack([along(a) for a in
                        table.angle_deg.T], axis=1), mean + half, mean - half, astig,
                        along(table.phase_shift_deg), None, table.version, table.flags)

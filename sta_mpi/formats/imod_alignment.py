"""IMOD's alignment of a tilt series: `.xf`, `.tlt`, `.rawtlt`, `.xtilt`, `.zfac`.

One line a view, in the order of the stack. `.xf` (also `.prexg`, `.tltxf`) holds a11 a12 a21 a22
dx dy of the transform that makes the aligned image from the raw one,

    x' - x_c' = A (x - x_c) + d,

in pixels of the alignment about the centres of the two images. Angles are degrees. `.zfac` holds
two numbers a view, the shift in x and y per unit of height z that `tiltalign` puts there for
what a rotation cannot express (beam tilt, skew). What these make together is in
`sta_mpi.geometry.imod`.
"""

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.number_table import PathLike, read_numbers, write_lines

Floats = NDArray[np.float64]

_LARGEST_ANGLE_DEG = 180.0
_LEAST_DETERMINANT = 0.05
"""A transform that shrinks areas more than this is a damaged line, not an alignment."""


@dataclass(frozen=True)
class Transforms:
    """The lines of an `.xf` file.

    Parameters
    ----------
    matrix : (n, 2, 2) float64    A, raw to aligned image
    shift_px : (n, 2) float64     d, pixels of the alignment
    """

    matrix: Floats
    shift_px: Floats

    def __len__(self) -> int:
        return len(self.matrix)


def read_xf(path: PathLike) -> Transforms:
    """Read 2D transforms.

    Raises
    ------
    InputError, FormatError    missing, empty, not six numbers a line, NaN, or a transform that
                               cannot be inverted
    """
    rows = read_numbers(path, "IMOD transforms (.xf)", 6)
    matrix = rows[:, :4].reshape(-1, 2, 2)
    area = np.abs(np.linalg.det(matrix))
    bad = np.flatnonzero(~((area > _LEAST_DETERMINANT) & (area < 1 / _LEAST_DETERMINANT)))
    if len(bad):
        raise FormatError(f"{os.fspath(path)}, view {bad[0] + 1}: the transform changes areas by "
                          f"{area[bad[0]]:.3g}, expected about 1. Repeat the alignment.")
    return Transforms(matrix, rows[:, 4:].copy())


def write_xf(path: PathLike, transforms: Transforms) -> None:
    """Write 2D transforms as IMOD does: four entries with 7 decimals, two shifts with 3."""
    write_lines(path, [
        "".join(f"{v:12.7f}" for v in matrix.ravel()) + "".join(f"{v:12.3f}" for v in shift)
        for matrix, shift in zip(transforms.matrix, transforms.shift_px, strict=True)])


def read_tilt_angles(path: PathLike) -> Floats:
    """Angles of a `.tlt`, `.rawtlt` or `.xtilt` file, (n,) [degrees].

    Raises
    ------
    InputError, FormatError    missing, empty, not one number a line, NaN, beyond +-180 degrees
    """
    angles = read_numbers(path, "tilt angles (.tlt, .rawtlt, .xtilt)", 1)[:, 0]
    bad = np.flatnonzero(np.abs(angles) > _LARGEST_ANGLE_DEG)
    if len(bad):
        raise FormatError(f"{os.fspath(path)}, view {bad[0] + 1}: {angles[bad[0]]:g} is no angle "
                          "in degrees, expected -180 to 180. Check that this is the right file.")
    return angles


def write_tilt_angles(path: PathLike, angles_deg: ArrayLike) -> None:
    """Write angles as IMOD does: one a line, 2 decimals."""
    write_lines(path, [f"{v:7.2f}" for v in np.asarray(angles_deg, np.float64)])


def read_z_factors(path: PathLike) -> Floats:
    """Shifts in x and y per unit of height of a `.zfac` file, (n, 2)."""
    return read_numbers(path, "Z factors (.zfac)", 2)


def write_z_factors(path: PathLike, factors: ArrayLike) -> None:
    """Write Z factors as IMOD does: two a line, 6 decimals."""
    write_lines(path, [f"{x:12.6f}{y:12.6f}" for x, y in np.asarray(factors, np.float64)])


def require_views(path: PathLike, found: int, expected: int, what: str) -> None:
    """InputError where a file has another number of views than the series."""
    if found != expected:
        raise InputError(f"{os.fspath(path)}: {found} views, expected {expected} ({what}). Files "
                         "of one series must have one line a view of the stack; exclude views with "
                         "--exclude-tilts instead of deleting lines.")

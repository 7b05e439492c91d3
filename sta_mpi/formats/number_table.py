"""Small text tables of numbers, as IMOD and its relatives keep them: one row a line.

Files are read whole, but only up to a size that no true table reaches, and every value must be a
finite number: these files hold angles, shifts and defoci that everything later depends on.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.atomic import atomic_file

Floats = NDArray[np.float64]
PathLike = str | os.PathLike[str]

LARGEST_BYTES = 64 << 20
"""No table of tilts, log of an alignment or XML of a series is near this size."""


def read_text(path: PathLike, what: str) -> str:
    """The text of a file (UTF-8, UTF-16 with a mark, else Latin-1), lines ending in line feeds.

    Raises
    ------
    InputError     no such file
    FormatError    too large, or not text
    """
    raw = read_limited(path, what)
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = raw.decode("utf-16", "replace")
    else:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
    if "\0" in text:
        raise FormatError(f"{os.fspath(path)}: binary data, expected {what} (text). Give the text "
                          "file.")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_limited(path: PathLike, what: str) -> bytes:
    """The bytes of a small file; InputError where it is missing, FormatError where too large."""
    source = os.fspath(path)
    try:
        size = os.stat(path).st_size
        if size > LARGEST_BYTES:
            raise FormatError(f"{source}: {size} bytes, expected {what} of at most "
                              f"{LARGEST_BYTES}. Check that this is the right file.")
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror}). Give {what} that "
                         "exists.") from error


def read_numbers(path: PathLike, what: str, n_columns: int) -> Floats:
    """Rows of exactly `n_columns` finite numbers, separated by blanks or commas.

    Parameters
    ----------
    path : file
    what : str         what the file should be, for messages, e.g. "tilt angles (.tlt)"
    n_columns : int

    Returns
    -------
    (n, n_columns) float64

    Raises
    ------
    InputError     no such file, or no rows
    FormatError    other numbers of columns, text that is no number, NaN or Inf
    """
    rows = []
    for i, line in enumerate(read_text(path, what).split("\n"), start=1):
        cells = line.replace(",", " ").split()
        if cells:
            rows.append(numbers_of(cells, f"{os.fspath(path)} line {i}", what, n_columns))
    if not rows:
        raise InputError(f"{os.fspath(path)}: no rows, expected {what}. Repeat the job that wrote "
                         "it.")
    return np.array(rows, np.float64)


def numbers_of(cells: list[str], where: str, what: str, n_columns: int) -> list[float]:
    """Text cells as finite numbers; FormatError names the line."""
    if len(cells) != n_columns:
        raise FormatError(f"{where}: {len(cells)} values, expected {n_columns} in {what}. Check "
                          "that this is the right file.")
    values = []
    for cell in cells:
        try:
            values.append(float(cell))
        except ValueError:
            raise FormatError(f"{where}: {cell!r} is not a number, expected {what}. Mend the "
                              "line.") from None
    if not np.isfinite(values).all():
        raise FormatError(f"{where}: {' '.join(cells)} holds NaN or Inf, expected {what}. Mend "
                          "the line.")
    return values


def write_lines(path: PathLike, lines: list[str]) -> None:
    """Write lines of text through a temporary name."""
    with atomic_file(path) as stream:
        stream.write("".join(f"{line}\n" for line in lines).encode())

"""The vectors of 0 and 1 that say which tilts see a particle (rlnTomoVisibleFrames)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError

BEYOND = -1
"""Value of `visible` beyond the last tilt of a particle's series."""

_ROWS = 1 << 15


def parse_visible(column: NDArray[Any], where: str) -> NDArray[np.int8]:
    """(n, max_tilts) int8 from `[0,1,1]` cells: 1 seen, 0 not seen, -1 beyond the last tilt.

    Raises
    ------
    FormatError    a cell that is not a vector of 0 and 1, with its row
    """
    parts = [_parse_chunk(column[start:start + _ROWS], where, start)
             for start in range(0, len(column), _ROWS)]
    width = max((part.shape[1] for part in parts), default=0)
    out = np.full((len(column), width), BEYOND, np.int8)
    for i, part in enumerate(parts):
        out[i * _ROWS:i * _ROWS + len(part), :part.shape[1]] = part
    return out


def format_visible(visible: NDArray[np.int8]) -> NDArray[np.bytes_]:
    """`[0,1,1]` cells of rows of `visible`."""
    return np.array(["[" + ",".join("01"[v] for v in row if v != BEYOND) + "]"
                     for row in visible.tolist()], "S")


def _parse_chunk(column: NDArray[Any], where: str, first_row: int) -> NDArray[np.int8]:
    cells = column if column.dtype.kind == "S" else np.array(column.tolist(), "S")
    text = np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), -1)
    digits = (text == ord("0")) | (text == ord("1"))
    count = digits.sum(axis=1)
    length = np.count_nonzero(text, axis=1)
    # [d,d,d]: a digit at every odd place, a comma at every even one between the brackets.
    place = np.arange(text.shape[1])
    good = (length == 2 * count + 1) & (count > 0) & (text[:, 0] == ord("["))
    good &= text[np.arange(len(text)), np.maximum(length - 1, 0)] == ord("]")
    inside = (place > 0) & (place < length[:, None] - 1)
    expected = np.where(place % 2 == 1, digits, text == ord(","))
    good &= (expected | ~inside).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        shown = bytes(cells[row])[:40].decode(errors="replace")
        raise FormatError(f"{where}, row {first_row + row + 1}: rlnTomoVisibleFrames is {shown!r}, "
                          "expected a vector of 0 and 1 such as [0,1,1]. Correct the value.")
    values = text[:, 1::2][:, :int(count.max(initial=0))].astype(np.int8) - np.int8(ord("0"))
    values[np.arange(values.shape[1]) >= count[:, None]] = BEYOND
    return values

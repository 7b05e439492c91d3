"""Rows of a STAR loop to and from columns, fast enough for millions of particles.

Reading cuts chunks of whole lines into tokens with array operations and gathers every column as
fixed-width bytes: nothing is parsed as a number, so no digit is lost. Chunks with quoted values are
cut line by line. Writing pads cells as RELION does and is the inverse.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.star_numbers import NUMBER_WIDTH, TEXT_WIDTH, format_numbers, looks_numeric

CHUNK_BYTES = 4 << 20
CHUNK_ROWS = 8192
_WIDE_CELL = 4096
_TOKEN = re.compile(rb"""(?:"(.*?)"|'(.*?)')(?=[ \t]|$)|([^ \t]+)""")
_QUOTES = (ord('"'), ord("'"))

Column = NDArray[Any]


def read_rows(data: bytes, start: int, n_columns: int, source: str) -> tuple[list[Column], int]:
    """Read rows from byte `start` to the next table.

    Parameters
    ----------
    data : bytes          the file, line feeds only
    n_columns : int       values a row
    source : str          file and table, for messages

    Returns
    -------
    columns : list of (n_rows,) bytes arrays ("S"; object where one cell is very long)
    end : int             first byte after the last row

    Raises
    ------
    FormatError           a row with another number of values, with its line number
    """
    pieces: list[list[Column]] = [[] for _ in range(n_columns)]
    position, end_of_rows = start, start
    while position < len(data):
        stop = data.find(b"\n", min(position + CHUNK_BYTES, len(data) - 1))
        stop = len(data) if stop < 0 else stop + 1
        columns, end, is_last = _read_chunk(data, position, stop, n_columns, source)
        if len(columns[0]):
            end_of_rows = end
            for piece, column in zip(pieces, columns, strict=True):
                piece.append(column)
        position = stop
        if is_last:
            break
    joined = []
    for piece in pieces:
        joined.append(_join(piece))
        piece.clear()
    return joined, end_of_rows


def _read_chunk(data: bytes, start: int, stop: int, n_columns: int, source: str,
                ) -> tuple[list[Column], int, bool]:
    """Columns of data[start:stop], first byte after the rows, and whether a table begins."""
    text = np.frombuffer(data, np.uint8, stop - start, start)
    blank = text <= 32
    before = np.concatenate([[True], blank[:-1]])
    starts = np.flatnonzero(before & ~blank)
    ends = np.flatnonzero(blank & ~before)
    ends = np.append(ends, len(text)) if len(ends) < len(starts) else ends
    feeds = np.flatnonzero(text == 10) + 1
    lines = np.concatenate([[0], feeds])
    first = np.searchsorted(starts, lines)
    count = np.diff(first, append=len(starts))
    lines, first, count = lines[count > 0], first[count > 0], count[count > 0]
    initial = text[starts[first]]
    headers = np.flatnonzero((count == 1) & ((initial == ord("d")) | (initial == ord("l"))))
    stop_line = next((i for i in headers if _is_header(data, start, starts, ends, first[i])), -1)
    is_last = bool(stop_line >= 0)
    keep = initial != ord("#")
    if is_last:
        keep[stop_line:] = False
    lines, first, count = lines[keep], first[keep], count[keep]
    after = int(np.searchsorted(feeds, lines[-1], "right")) if len(lines) else 0
    end = start + int(feeds[after]) if after < len(feeds) else stop
    tokens_of_rows = (first[:, None] + np.arange(n_columns)) if (count == n_columns).all() else None
    if tokens_of_rows is None or np.isin(text[starts[tokens_of_rows]], _QUOTES).any():
        return _read_quoted(data, lines + start, n_columns, source), end, is_last
    return [_gather(text, starts[tokens_of_rows[:, i]], ends[tokens_of_rows[:, i]])
            for i in range(n_columns)], end, is_last


def _is_header(data: bytes, offset: int, starts: Column, ends: Column, token: int) -> bool:
    word = data[offset + int(starts[token]):offset + int(ends[token])]
    return word.startswith(b"data_") or word == b"loop_"


def _gather(text: NDArray[np.uint8], starts: Column, ends: Column) -> Column:
    """Tokens text[starts[i]:ends[i]] as one bytes array."""
    if not len(starts):
        return np.zeros(0, "S1")
    lengths = ends - starts
    width = int(lengths.max())
    if width > _WIDE_CELL:
        raw = text.tobytes()
        out = np.empty(len(starts), object)
        out[:] = [raw[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
        return out
    if len(text) < int(starts.max()) + width:
        text = np.concatenate([text, np.zeros(width, np.uint8)])
    windows = np.lib.stride_tricks.sliding_window_view(text, width)
    cells = windows[starts]
    cells *= np.arange(width) < lengths[:, None]
    return cells.reshape(-1).view(f"S{width}")


def _read_quoted(data: bytes, lines: Column, n_columns: int, source: str) -> list[Column]:
    rows = []
    for line in lines.tolist():
        end = data.find(b"\n", line)
        rows.append(split_line(data[line:len(data) if end < 0 else end], data, line, source))
        if len(rows[-1]) != n_columns:
            raise FormatError(
                f"{source}, line {line_number(data, line)}: {len(rows[-1])} values in a row, "
                f"expected {n_columns} (one a column). Quote values that hold blanks, or complete "
                "the row.")
    columns = []
    for i in range(n_columns):
        column = np.empty(len(rows), object)
        column[:] = [row[i] for row in rows]
        columns.append(column)
    return columns


def split_line(line: bytes, data: bytes, offset: int, source: str) -> list[bytes]:
    """Values of one line; quotes are taken off."""
    values = []
    for match in _TOKEN.finditer(line.strip(b" \t")):
        double, single, plain = match.groups()
        if plain is not None and plain[0] in _QUOTES:
            raise FormatError(f"{source}, line {line_number(data, offset)}: a quote is opened and "
                              "not closed. Close it on the same line.")
        values.append(next(v for v in (double, single, plain) if v is not None))
    return values


def line_number(data: bytes, offset: int) -> int:
    """Line (from 1) that byte `offset` lies in."""
    return data.count(b"\n", 0, offset) + 1


def _join(pieces: list[Column]) -> Column:
    """One column of all pieces; "S" unless padding to the longest cell would waste memory."""
    if not pieces:
        return np.zeros(0, "S1")
    lengths = [max(map(len, p.tolist()), default=0) if p.dtype.kind == "O" else p.dtype.itemsize
               for p in pieces]
    rows = sum(len(p) for p in pieces)
    used = sum(len(p) * n for p, n in zip(pieces, lengths, strict=True))
    if max(lengths) * rows > 4 * used + (1 << 24) or max(lengths) > _WIDE_CELL:
        out = np.empty(rows, object)
        out[:] = [cell for piece in pieces for cell in piece.tolist()]
        return out
    width = f"S{max(max(lengths), 1)}"
    return np.concatenate([piece.astype(width) for piece in pieces]) if len(pieces) > 1 \
        else pieces[0].astype(width)


def write_rows(columns: list[Column], source: str) -> Iterator[bytes]:
    """Text of rows, a chunk at a time, with RELION's widths and number formats."""
    n_rows = len(columns[0]) if columns else 0
    widths = [NUMBER_WIDTH if _is_numeric(column) else TEXT_WIDTH for column in columns]
    for start in range(0, n_rows, CHUNK_ROWS):
        fields = []
        for i, (column, width) in enumerate(zip(columns, widths, strict=True)):
            cells = cell_text(column[start:start + CHUNK_ROWS], source, i == 0)
            fields += _padded(cells, width)
        rows = np.concatenate([*fields, np.full((len(fields[0]), 1), 10, np.uint8)], axis=1)
        yield rows[rows != 0].tobytes()


def _is_numeric(column: Column) -> bool:
    if column.dtype.kind == "O":
        cells = column.tolist()
        return all(cells) and looks_numeric(np.array([b"".join(cells)]))
    return column.dtype.kind != "S" or looks_numeric(column)


def _padded(cells: Column, width: int) -> list[NDArray[np.uint8]]:
    """Padding, text and a blank as byte matrices in which 0 means nothing."""
    text = np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), -1)
    missing = width - np.count_nonzero(text, axis=1)
    padding = (np.arange(width) < missing[:, None]).astype(np.uint8) * np.uint8(32)
    return [padding, text, np.full((len(cells), 1), 32, np.uint8)]


def cell_text(column: Column, source: str, is_first: bool) -> Column:
    """Cells as they stand in the file: numbers formatted, text quoted where it must be."""
    if column.dtype.kind not in "SO":
        return format_numbers(column)
    cells = column if column.dtype.kind == "S" else np.array(column.tolist(), "S")
    if column.dtype.kind == "O" and any(cell.endswith(b"\0") for cell in column.tolist()):
        raise InputError(f"{source}: a text ends in a NUL byte, which STAR cannot hold. Remove it.")
    text = np.ascontiguousarray(cells).view(np.uint8).reshape(len(cells), -1)
    initial = text[:, 0]
    risky = (initial == 0) | ((text <= 32) & (text != 0)).any(axis=1) | np.isin(
        initial, (*_QUOTES, ord("#"), ord(";")))
    if is_first:
        risky |= np.isin(initial, (ord("_"), ord("d"), ord("l")))
    if not risky.any():
        return cells
    quoted = cells.astype(object)
    quoted[risky] = [_quote(cell, source) for cell in cells[risky].tolist()]
    return np.array(quoted.tolist(), "S")


def _quote(cell: bytes, source: str) -> bytes:
    if any(byte < 32 and byte != 9 for byte in cell):
        raise InputError(f"{source}: the text {cell[:40]!r} holds a line feed or control "
                         "character, which STAR cannot hold. Remove it.")
    must = not cell or b" " in cell or b"\t" in cell or cell[:1] in b"\"'#;_" or \
        cell.startswith((b"data_", b"loop_"))
    if not must:
        return cell
    for quote in (b'"', b"'"):
        if not any(quote + blank in cell for blank in (b" ", b"\t")) and not cell.endswith(quote):
            return quote + cell + quote
    raise InputError(f"{source}: the text {cell[:40]!r} holds both kinds of quotes before blanks, "
                     "which STAR cannot hold. Remove one of them.")

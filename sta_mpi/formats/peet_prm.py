"""PEET's parameter files (`.prm`): `key = value` in MATLAB's syntax.

Keys stay in their order; comments, blank lines and keys that this program does not know are kept
and written back, and so is the text of every value that is not changed. `#` and `%` begin comments.
"""

import math
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError, InputWarning
from sta_mpi.formats.matlab_values import Cell, Value, ValueParser, format_value, numbers_of
from sta_mpi.formats.text_files import read_text, write_text

_ASSIGNMENT = re.compile(r"[ \t]*([A-Za-z]\w*)[ \t]*=[ \t]*")
_LINE_REST = re.compile(r"[ \t]*;?[ \t\r]*(?:[%#][^\n]*)?(?:\n|\Z)")
_PASSIVE = re.compile(r"[ \t\r]*(?:[%#][^\n]*)?(?:\n|\Z)")


@dataclass
class _Piece:
    """Text before a value, the value, text after it; without a value a comment or blank line."""

    before: str
    key: str | None = None
    value: Value | None = None
    value_text: str = ""
    after: str = ""

    def text(self) -> str:
        return self.before + self.value_text + self.after


@dataclass
class PrmFile:
    """Keys and values of a parameter file; `prm["dPhi"]`, `"dPhi" in prm`, `for key in prm`.

    Parameters
    ----------
    source : str     file it was read from, for messages
    """

    source: str = "parameters"
    _pieces: list[_Piece] = field(default_factory=list)
    _last: dict[str, _Piece] = field(default_factory=dict)

    def _find(self, key: str) -> _Piece | None:
        return self._last.get(key)

    def _append(self, piece: _Piece) -> None:
        self._pieces.append(piece)
        if piece.key is not None:
            self._last[piece.key] = piece

    def __contains__(self, key: str) -> bool:
        return self._find(key) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._last)

    def __len__(self) -> int:
        return len(self._last)

    def __getitem__(self, key: str) -> Value:
        piece = self._find(key)
        if piece is None or piece.value is None:
            raise InputError(f"{self.source}: {key} is missing. Add a line {key} = ...")
        return piece.value

    def __setitem__(self, key: str, value: Value) -> None:
        piece = self._find(key)
        if piece is None:
            before = "\n" if self._pieces and not self.text().endswith("\n") else ""
            piece = _Piece(f"{before}{key} = ", key, after="\n")
            self._append(piece)
        if piece.value is None or not _equal(piece.value, value):
            piece.value, piece.value_text = value, format_value(value)

    def get(self, key: str, default: Value | None = None) -> Value | None:
        """The value of a key, or `default`."""
        piece = self._find(key)
        return default if piece is None else piece.value

    def cells(self, key: str) -> list[Value]:
        """The items of a cell array; a value that is none is its only item."""
        value = self[key]
        return list(value.items) if isinstance(value, Cell) else [value]

    def strings(self, key: str) -> list[str]:
        """The items of a cell array of strings, or the one string."""
        items = self.cells(key)
        bad = [item for item in items if not isinstance(item, str)]
        if bad:
            raise InputError(f"{self.source}: {key} holds {format_value(bad[0])}, expected text in "
                             "quotes.")
        return [str(item) for item in items]

    def numbers(self, key: str) -> list[NDArray[np.float64]]:
        """Numbers (n_i,) of each item of a cell array, ranges expanded."""
        try:
            return [numbers_of(item) for item in self.cells(key)]
        except FormatError as error:
            raise InputError(f"{self.source}: {key}: {error}") from None

    def number(self, key: str, default: float | None = None) -> float:
        """The one number of a key; `default` where the key is absent or empty."""
        if key not in self and default is not None:
            return default
        values = [v for part in self.numbers(key) for v in part]
        if not values and default is not None:
            return default
        if len(values) != 1:
            raise InputError(f"{self.source}: {key} = {format_value(self[key])}, expected one "
                             "number.")
        return float(values[0])

    def text(self) -> str:
        """The file as text."""
        return "".join(piece.text() for piece in self._pieces)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the file; what was not changed comes back byte for byte."""
        write_text(path, self.text())


def read_prm(path: str | os.PathLike[str]) -> PrmFile:
    """Read a parameter file.

    Raises
    ------
    FormatError     a line that is neither a comment nor `key = value`, expressions, brackets and
                    quotes that are not closed
    """
    return parse_prm(read_text(path), os.fspath(path))


def parse_prm(text: str, source: str = "parameters") -> PrmFile:
    """Like `read_prm`, of text in memory."""
    prm, at = PrmFile(source), 0
    while at < len(text):
        passive = _PASSIVE.match(text, at)
        if passive is not None and passive.end() > at:
            prm._append(_Piece(passive.group()))
            at = passive.end()
            continue
        parser = ValueParser(text, at, source)
        assignment = _ASSIGNMENT.match(text, at)
        if assignment is None:
            raise parser.error("neither a comment nor an assignment")
        key = assignment.group(1)
        start = assignment.end()
        parser.at = start
        value = parser.parse()
        rest = _LINE_REST.match(text, parser.at)
        if rest is None:
            raise parser.error(f"text after the value of {key}")
        if key in prm:
            warnings.warn(f"{source}: {key} is set more than once; the last one counts",
                          InputWarning, stacklevel=2)
        prm._append(_Piece(text[at:start], key, value, text[start:parser.at], rest.group()))
        at = rest.end()
    return prm


def _equal(a: Value, b: Value) -> bool:
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b):
        return True
    return type(a) is type(b) and a == b

"""Values of MATLAB assignments as PEET's parameter files use them, parsed and never evaluated.

Known are numbers (NaN and Inf too), strings in single or double quotes, ranges `a:b` and `a:s:b`,
vectors `[...]` and cell arrays `{...}`, nested; elements are separated by commas, semicolons,
blanks or line ends. There is no arithmetic and there are no names: both are refused.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError

MAX_RANGE = 1_000_000
"""Longest range that is expanded."""
_MAX_DEPTH = 20

_TOKEN = re.compile(
    r"(?P<blank>(?:[ \t\r]|\.\.\.[^\n]*\n)+)|(?P<line>\n)|(?P<comment>[%#][^\n]*)"
    r"|(?P<number>[+-]?(?:\d+\.?\d*(?:[eEdD][+-]?\d+)?|\.\d+(?:[eEdD][+-]?\d+)?|[Nn]a[Nn]|[Ii]nf)"
    r"(?![A-Za-z0-9_]))"
    r"|(?P<text>'(?:[^'\n]|'')*'|\"(?:[^\"\n]|\"\")*\")|(?P<mark>[\[\]{},;:])")


@dataclass(frozen=True)
class Range:
    """`start:step:stop`; `values` are its members as MATLAB counts them."""

    start: float
    step: float
    stop: float
    has_step: bool = True

    @property
    def values(self) -> NDArray[np.float64]:
        """(n,) float64; none where the step leads away from the end or is 0."""
        if not self.step or not all(map(math.isfinite, (self.start, self.step, self.stop))):
            return np.zeros(0)
        # As MATLAB: ends that are missed by rounding alone belong to the range.
        steps = (self.stop - self.start) / self.step * (1 + 4e-16) + 1e-10
        if steps >= MAX_RANGE:
            raise FormatError(f"{self} has more than {MAX_RANGE} members. Correct it.")
        n = math.floor(max(steps, -1.0)) + 1
        return self.start + self.step * np.arange(max(n, 0), dtype=np.float64)

    def __str__(self) -> str:
        middle = [self.step] if self.has_step else []
        return ":".join(format_scalar(v) for v in (self.start, *middle, self.stop))


@dataclass(frozen=True)
class Vector:
    """`[...]`: numbers, ranges, strings."""

    items: tuple["Value", ...]

    def __str__(self) -> str:
        return "[" + ", ".join(format_value(item) for item in self.items) + "]"


@dataclass(frozen=True)
class Cell:
    """`{...}`: one item a tomogram or iteration."""

    items: tuple["Value", ...]

    def __str__(self) -> str:
        return "{" + ", ".join(format_value(item) for item in self.items) + "}"


Value = int | float | str | Range | Vector | Cell


def format_scalar(value: int | float) -> str:
    """A number as MATLAB reads it, shortest form that keeps it."""
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "Inf" if number > 0 else "-Inf"
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)


def format_value(value: Value) -> str:
    """A value as it is written in a parameter file."""
    if isinstance(value, str):
        if "\n" in value:
            raise FormatError(f"{value!r}: a string with a line end cannot be written.")
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, int | float):
        return format_scalar(value)
    return str(value)


def numbers_of(value: Value) -> NDArray[np.float64]:
    """All numbers of a value in order (n,), ranges expanded; FormatError where it holds text."""
    if isinstance(value, str):
        raise FormatError(f"{format_value(value)} is text, expected numbers.")
    if isinstance(value, int | float):
        return np.array([float(value)])
    if isinstance(value, Range):
        return value.values
    parts = [numbers_of(item) for item in value.items]
    return np.concatenate(parts) if parts else np.zeros(0)


class ValueParser:
    """Parses one value that begins at `at` in `text`.

    Parameters
    ----------
    text : str      the whole file
    at : int        where the value begins; after `parse`, where it ended
    where : str     name of the file, for messages
    """

    def __init__(self, text: str, at: int, where: str) -> None:
        self._text, self.at, self._where = text, at, where

    def parse(self) -> Value:
        """The value; FormatError with the line where there is none."""
        self._skip({"blank"})
        return self._ranged(0)

    def _peek(self) -> re.Match[str] | None:
        return _TOKEN.match(self._text, self.at)

    def _skip(self, kinds: set[str]) -> None:
        while (token := self._peek()) is not None and token.lastgroup in kinds:
            self.at = token.end()

    def _ranged(self, depth: int) -> Value:
        """A value, or a range of two or three numbers."""
        first = self._single(depth)
        if not isinstance(first, int | float):
            return first
        parts: list[int | float] = [first]
        while self._takes_colon():
            part = self._single(depth)
            if not isinstance(part, int | float) or len(parts) == 3:
                raise self.error("a range that is not start:step:stop")
            parts.append(part)
        if len(parts) == 1:
            return first
        step = parts[1] if len(parts) == 3 else 1
        return Range(parts[0], step, parts[-1], len(parts) == 3)

    def _takes_colon(self) -> bool:
        before = self.at
        self._skip({"blank"})
        token = self._peek()
        if token is not None and token.group() == ":":
            self.at = token.end()
            self._skip({"blank"})
            return True
        self.at = before
        return False

    def _single(self, depth: int) -> Value:
        token = self._peek()
        if token is None or depth > _MAX_DEPTH:
            raise self.error("a value that is not a number, string, range, [...] or {...}")
        word = token.group()
        if token.lastgroup == "number":
            self.at = token.end()
            return _number(word)
        if token.lastgroup == "text":
            self.at = token.end()
            return word[1:-1].replace(word[0] * 2, word[0])
        if word in ("[", "{"):
            self.at = token.end()
            items = tuple(self._items("]" if word == "[" else "}", depth + 1))
            return Vector(items) if word == "[" else Cell(items)
        raise self.error("no value")

    def _items(self, end: str, depth: int) -> Iterator[Value]:
        separators = {"blank", "line", "comment"}
        while True:
            self._skip(separators)
            token = self._peek()
            if token is None:
                raise self.error(f"a value that is not closed with {end!r}")
            if token.group() in (",", ";"):
                self.at = token.end()
            elif token.group() == end:
                self.at = token.end()
                return
            else:
                yield self._ranged(depth)

    def error(self, what: str) -> FormatError:
        """The error `what` at the present place."""
        line = self._text.count("\n", 0, self.at) + 1
        found = self._text[self.at:self.at + 30].split("\n")[0]
        return FormatError(f"{self._where}, line {line}: {what} (at {found!r}). Write key = value "
                           "with numbers, 'text', [vectors] or {cells}; expressions are not "
                           "evaluated.")


def _number(word: str) -> int | float:
    value = float(word.lower().replace("d", "e"))
    is_whole = not re.search(r"[.a-zA-Z]", word) and abs(value) < 1e15
    return int(value) if is_whole else value

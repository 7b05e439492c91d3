"""STAR files in RELION's dialect: tables of columns, read tolerantly, written as RELION does.

Read: with or without the version comment, tables in any order and with any name (also none),
loops of one row stay loops, unknown columns are kept, CR LF line ends are accepted with a warning,
.gz is unpacked. Refused: lone carriage returns, multi-line text, two tables in one block, rows with
a wrong number of values. Written: line feeds, version comment, RELION's widths and number formats.
Text that was read is written back as it was.
"""

import gzip
import os
import re
import warnings
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from sta_mpi.errors import FormatError, InputError, InputWarning
from sta_mpi.formats.atomic import atomic_file
from sta_mpi.formats.star_rows import cell_text, line_number, read_rows, split_line, write_rows
from sta_mpi.formats.star_table import StarTable

UNVERSIONED = 30000
"""What RELION assumes of a file without a version comment."""

_VERSION = re.compile(rb"#\s*version\s+(\d{1,9})\s*$")
_LIST_PADDING = 12


@dataclass
class StarFile:
    """The tables of a file in order; `star["name"]` finds one by name.

    Parameters
    ----------
    tables : list of StarTable
    source : str                 path it was read from
    comments : list of str       comment lines before the first table, except the version
    """

    tables: list[StarTable] = field(default_factory=list)
    source: str = ""
    comments: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Names of the tables."""
        return [table.name for table in self.tables]

    def __iter__(self) -> Iterator[StarTable]:
        return iter(self.tables)

    def __len__(self) -> int:
        return len(self.tables)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> StarTable:
        """The first table called `name`; InputError with the names there are."""
        for table in self.tables:
            if table.name == name:
                return table
        names = ", ".join(n or "(unnamed)" for n in self.names[:20]) or "none"
        raise InputError(f"{self.source}: no table {name!r}; it has {names}. Check that this is "
                         "the right file.")

    @property
    def first(self) -> StarTable:
        """The first table, whatever its name."""
        if not self.tables:
            raise InputError(f"{self.source}: no table in the file. Repeat the job that wrote it.")
        return self.tables[0]


def read_star(path: str | os.PathLike[str]) -> StarFile:
    """Read every table of a STAR file.

    Returns
    -------
    StarFile

    Raises
    ------
    InputError     the file cannot be opened
    FormatError    it is not a STAR file, with the line and what to do

    Notes
    -----
    Time and memory: see benchmarks/micro/bench_star_read.py; the peak is about twice the file.
    """
    source = os.fspath(path)
    data = _read_bytes(source)
    _check_characters(data, source)
    if b"\r" in data:
        lone = data.replace(b"\r\n", b"\n")
        if b"\r" in lone:
            raise FormatError(f"{source}, line {line_number(lone, lone.find(bytes([13])))}: a "
                              "carriage return without a line feed. Convert the file, for example "
                              "with `tr '\\r' '\\n'`.")
        warnings.warn(f"{source}: CR LF line ends, which RELION refuses; written back with LF",
                      InputWarning, stacklevel=2)
        data = lone
    return _Parser(data, source).parse()


def write_star(path: str | os.PathLike[str], tables: StarFile | Iterable[StarTable]) -> None:
    """Write tables in RELION's dialect; the file appears complete or not at all.

    Raises
    ------
    InputError     a text that STAR cannot hold (line feeds, both kinds of quotes before blanks)
    """
    source = os.fspath(path)
    with atomic_file(path) as stream:
        if isinstance(tables, StarFile):
            stream.writelines(_encode(line) + b"\n" for line in tables.comments)
        for table in tables:
            _write_table(stream, table, f"{source}, table {table.name or '(unnamed)'}")


def _write_table(stream: BinaryIO, table: StarTable, source: str) -> None:
    for name in (table.name, *table.labels):
        if re.search(r"\s", name) or (name != table.name and not name):
            raise ValueError(f"{source}: {name!r} cannot be a name in a STAR file")
    stream.write(b"\n# version %d\n\ndata_%s\n\n" % (table.version, _encode(table.name)))
    labels = [b"_" + _encode(label) for label in table.labels]
    if table.is_loop and labels:
        stream.write(b"loop_ \n")
        stream.writelines(b"%s #%d \n" % (label, i + 1) for i, label in enumerate(labels))
        stream.writelines(write_rows(list(table.columns.values()), source))
    elif labels:
        width = max(map(len, labels)) + _LIST_PADDING
        for label, column in zip(labels, table.columns.values(), strict=True):
            value = cell_text(column, source, False).tolist()[0]
            is_number = re.fullmatch(rb"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", value)
            stream.write(label.ljust(width) + (value.rjust(12) if is_number else value) + b"\n")
    stream.write(b" \n")


class _Parser:
    """Walks through the lines outside loop rows; one use a file."""

    def __init__(self, data: bytes, source: str) -> None:
        self.data, self.source, self.position = data, source, 0
        self.star = StarFile(source=source)
        self.version = UNVERSIONED

    def parse(self) -> StarFile:
        while (found := self._next_line()) is not None:
            line, offset = found
            if line.startswith(b"data_"):
                self._begin_table(line, offset)
            elif not self.star.tables:
                raise self._error(offset, f"{_decode(line[:40])!r} before the first data_ line",
                                  "This is not a STAR file; check its name.")
            elif line == b"loop_":
                self._read_loop(offset)
            elif line.startswith(b"_"):
                self._read_item(line, offset)
            else:
                raise self._error(offset, f"{_decode(line[:40])!r} is neither a label, a table nor "
                                  "part of a loop", "Remove or comment out the line.")
        return self.star

    def _next_line(self) -> tuple[bytes, int] | None:
        """The next line that is not blank or a comment, and where it starts."""
        while self.position < len(self.data):
            offset = self.position
            end = self.data.find(b"\n", offset)
            end = len(self.data) if end < 0 else end
            self.position = end + 1
            line = self.data[offset:end].strip(b" \t")
            if line.startswith(b"#"):
                version = _VERSION.match(line)
                self.version = int(version.group(1)) if version else self.version
                if not version and not self.star.tables:
                    self.star.comments.append(_decode(self.data[offset:end]))
            elif line:
                return line, offset
        return None

    def _begin_table(self, line: bytes, offset: int) -> None:
        words = line.split()
        if len(words) > 1 and not words[1].startswith(b"#"):
            raise self._error(offset, "a table name with blanks", "Use one word after data_.")
        table = StarTable(_decode(words[0][5:]), {}, False, self.source, self.version)
        self.star.tables.append(table)
        self.version = UNVERSIONED

    def _read_loop(self, offset: int) -> None:
        table = self.star.tables[-1]
        if table.columns or table.is_loop:
            raise self._error(offset, f"a second loop or a list before it in table {table.name!r}",
                              "Give each table a data_ line of its own.")
        labels: list[str] = []
        while True:
            before = self.position
            found = self._next_line()
            if found is None or not found[0].startswith(b"_") or (
                    labels and len(split_line(found[0], self.data, found[1], self.source)) > 1
                    and not found[0].split()[1].startswith(b"#")):
                self.position = before if found is None else found[1]
                break
            labels.append(self._label(found[0].split()[0], found[1], labels))
        if not labels:
            raise self._error(offset, "a loop without labels", "Add _label lines after loop_.")
        columns, self.position = read_rows(
            self.data, self.position, len(labels), table.where)
        self.star.tables[-1] = StarTable(
            table.name, dict(zip(labels, columns, strict=True)), True, self.source, table.version)

    def _read_item(self, line: bytes, offset: int) -> None:
        table = self.star.tables[-1]
        if table.is_loop:
            raise self._error(offset, "a label after the rows of a loop",
                              "Give each table a data_ line of its own.")
        words = split_line(line, self.data, offset, self.source)
        label = self._label(words[0], offset, table.labels)
        extra = words[2:]
        if extra and not extra[0].startswith(b"#"):
            raise self._error(offset, f"{label} has {len(words) - 1} values, expected one",
                              "Quote values that hold blanks.")
        table[label] = np.array([words[1] if len(words) > 1 else b""], object)

    def _label(self, word: bytes, offset: int, known: list[str]) -> str:
        label = _decode(word[1:])
        if not label or label in known:
            what = f"the label {label} twice" if label else "a label without a name"
            raise self._error(offset, what, "Remove or rename one of the columns.")
        return label

    def _error(self, offset: int, what: str, what_to_do: str) -> FormatError:
        return FormatError(
            f"{self.source}, line {line_number(self.data, offset)}: {what}. {what_to_do}")


def _read_bytes(source: str) -> bytes:
    try:
        if source.endswith(".gz"):
            with gzip.open(source, "rb") as packed:
                return packed.read()
        with open(source, "rb") as stream:
            return stream.read()
    except (zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise FormatError(f"{source}: not a complete gz file ({error}). Copy it again.") from error
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror}). Check the name and the "
                         "folder the command runs in.") from error


def _check_characters(data: bytes, source: str) -> None:
    for start in range(0, len(data), 1 << 24):
        text = np.frombuffer(data, np.uint8, min(1 << 24, len(data) - start), start)
        bad = (text < 32) & (text != 9) & (text != 10) & (text != 13)
        if bad.any():
            at = start + int(np.argmax(bad))
            raise FormatError(f"{source}, line {line_number(data, at)}: byte 0x{data[at]:02x} "
                              "does not belong in a text file. This is not a STAR file; check its "
                              "name.")


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")

"""One table of a STAR file: named columns that keep the text they were read from.

A column read from a file is a bytes array ("S", or object where lengths differ wildly) and is
turned into numbers only when asked, so that what is not changed is written back as it was. A column
set by the program may be float, integer, bool or text. Labels are used without the underscore.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.star_numbers import format_numbers

Column = NDArray[Any]
LARGEST_EXACT_INTEGER = 2.0**53


class StarTable:
    """Columns of equal length, in order.

    Parameters
    ----------
    name : str              what follows `data_`; may be empty
    columns : mapping of label to sequence
    is_loop : bool          a loop of rows, or a list of one value a label
    source : str            file it came from, for messages
    version : int           number of RELION's version comment
    """

    def __init__(self, name: str, columns: Mapping[str, Any], is_loop: bool = True,
                 source: str = "", version: int = 50001) -> None:
        self.name, self.is_loop, self.source, self.version = name, is_loop, source, version
        self.columns: dict[str, Column] = {}
        for label, values in columns.items():
            self[label] = values
        if not is_loop and self.columns and self.n_rows != 1:
            raise ValueError(f"list table {name!r} with {self.n_rows} rows")

    @property
    def labels(self) -> list[str]:
        """Column labels in order."""
        return list(self.columns)

    @property
    def n_rows(self) -> int:
        """Number of rows; 1 for a list."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    @property
    def where(self) -> str:
        """How messages name the table."""
        return f"{self.source}, table {self.name or '(unnamed)'}" if self.source else \
            f"table {self.name or '(unnamed)'}"

    def __len__(self) -> int:
        return self.n_rows

    def __contains__(self, label: str) -> bool:
        return label in self.columns

    def __setitem__(self, label: str, values: Any) -> None:
        """Set or add a column; a scalar is repeated over the rows."""
        column = _as_column(values, max(self.n_rows, 1))
        others = [value for key, value in self.columns.items() if key != label]
        if others and len(column) != len(others[0]):
            raise ValueError(f"{self.where}: column {label} has {len(column)} rows, "
                             f"others {len(others[0])}")
        self.columns[label] = column

    def drop(self, *labels: str) -> None:
        """Remove columns; absent ones are no error."""
        for label in labels:
            self.columns.pop(label, None)

    def copy(self, **changes: Any) -> "StarTable":
        """A table of its own with the same columns, and other `name`, `is_loop` or `source`."""
        fields = {"name": self.name, "is_loop": self.is_loop, "source": self.source,
                  "version": self.version, **changes}
        return StarTable(columns=self.columns, **fields)

    def select(self, rows: Any) -> "StarTable":
        """The rows `rows` (indices or mask), in that order."""
        return StarTable(self.name, {key: value[rows] for key, value in self.columns.items()},
                         True, self.source, self.version)

    def require(self, *labels: str) -> None:
        """Raise InputError where a column is missing, naming it and the ones there are."""
        missing = [label for label in labels if label not in self.columns]
        if missing:
            raise InputError(f"{self.where}: column {', '.join(missing)} is missing; it has "
                             f"{', '.join(self.labels) or 'no columns'}. Add the column or use the "
                             "output of a later job.")

    def strings(self, label: str, default: str | None = None) -> NDArray[Any]:
        """(n,) object array of str; `default` fills an absent column, None makes it an error."""
        if label not in self.columns and default is not None:
            return np.full(self.n_rows, default, object)
        self.require(label)
        return _decode(self.columns[label])

    def floats(self, label: str, default: float | None = None) -> NDArray[np.float64]:
        """(n,) float64; `default` fills an absent column, None makes it an error.

        Raises
        ------
        InputError    no such column
        FormatError   a value that is not a number, with its row
        """
        if label not in self.columns and default is not None:
            return np.full(self.n_rows, default, np.float64)
        self.require(label)
        column = self.columns[label]
        try:
            return column.astype(np.float64)
        except ValueError:
            row, text = _first_bad_number(column)
            raise FormatError(f"{self.where}, row {row + 1}: {label} is {text!r}, expected a "
                              "number. Correct the value.") from None

    def finite(self, label: str, default: float | None = None) -> NDArray[np.float64]:
        """Like `floats`, but NaN and Inf are an error too."""
        values = self.floats(label, default)
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(np.argmax(bad))
            raise InputError(f"{self.where}, row {row + 1}: {label} is {values[row]} "
                             f"({int(bad.sum())} such rows), expected a finite number. Remove or "
                             "correct these rows.")
        return values

    def integers(self, label: str, default: int | None = None) -> NDArray[np.int64]:
        """(n,) int64; `1.000000` counts as an integer, 1.5 does not."""
        if label in self.columns and self.columns[label].dtype.kind in "iub":
            return self.columns[label].astype(np.int64)
        values = self.finite(label, default)
        bad = (values != np.rint(values)) | (np.abs(values) > LARGEST_EXACT_INTEGER)
        if bad.any():
            row = int(np.argmax(bad))
            raise FormatError(f"{self.where}, row {row + 1}: {label} is {values[row]:g}, expected "
                              "an integer. Correct the value.")
        return values.astype(np.int64)

    def vectors(self, label: str) -> list[NDArray[np.float64]]:
        """One float64 array a row from `[a,b,c]` cells."""
        self.require(label)
        rows = []
        for i, text in enumerate(_decode(self.columns[label])):
            inner = text.strip()
            if not (inner.startswith("[") and inner.endswith("]")):
                raise FormatError(f"{self.where}, row {i + 1}: {label} is {text[:40]!r}, expected "
                                  "a vector [a,b,...]. Correct the value.")
            try:
                rows.append(np.array([float(v) for v in inner[1:-1].split(",") if v.strip()]))
            except ValueError:
                raise FormatError(f"{self.where}, row {i + 1}: {label} holds something that is "
                                  f"not a number: {text[:40]!r}. Correct the value.") from None
        return rows

    def value(self, label: str, default: str | None = None) -> str:
        """The text of `label` in a list table or the first row of a loop."""
        values = self.strings(label, default)
        if len(values) == 0:
            raise InputError(f"{self.where}: the table has no rows, {label} was expected. "
                             "Repeat the job that wrote it.")
        return str(values[0])

    def number(self, label: str, default: float | None = None) -> float:
        """The number of `label` in a list table or the first row of a loop."""
        self.value(label, None if default is None else "")
        return float(self.floats(label, default)[0])

    def update_numbers(self, label: str, values: NDArray[Any], tolerance: float = 0.0) -> None:
        """Set numbers, keeping the text of rows that differ by at most `tolerance`.

        NaN equals NaN. An absent column is added.
        """
        new = np.asarray(values)
        if label not in self.columns or self.columns[label].dtype.kind not in "SO":
            self[label] = new
            return
        old = self.floats(label)
        changed = ~(np.abs(old - new) <= tolerance) & ~(np.isnan(old) & np.isnan(new))
        self.update_text(label, changed, format_numbers(new[changed]))

    def update_text(self, label: str, changed: NDArray[np.bool_], text: Column) -> None:
        """Replace the text of the rows `changed` by `text`, one entry a changed row."""
        if changed.any():
            column = self.columns[label]
            wide = column if column.dtype.kind == "O" else column.astype(
                np.promote_types(column.dtype, text.dtype))
            wide = wide.copy() if wide is column else wide
            wide[changed] = text
            self.columns[label] = wide


def make_list(name: str, values: Mapping[str, Any], source: str = "") -> StarTable:
    """A list table from one value a label."""
    return StarTable(name, {label: [value] for label, value in values.items()}, False, source)


def text_column(values: Iterable[str]) -> Column:
    """Strings as a text column."""
    return np.array([value.encode("utf-8", "surrogateescape") for value in values], object)


def format_vectors(rows: Iterable[NDArray[Any]]) -> Column:
    """Arrays as `[a,b,c]` cells with 12 significant digits."""
    return np.array(["[" + ",".join(f"{v:.12g}" for v in row) + "]" for row in rows], "S")


def _as_column(values: Any, n_rows: int) -> Column:
    """A one-dimensional array of bytes, object bytes, float, integer or bool."""
    if isinstance(values, str | bytes) or np.ndim(values) == 0:
        values = [values] * n_rows
    column = np.asarray(values)
    if column.ndim != 1:
        raise ValueError(f"a column has one axis, got shape {column.shape}")
    if column.dtype.kind in "Sfiub":
        return column
    return np.array([v if isinstance(v, bytes) else str(v).encode("utf-8", "surrogateescape")
                     for v in column.tolist()] or [b""], object)[:len(column)]


def _decode(column: Column) -> NDArray[Any]:
    out = np.empty(len(column), object)
    if column.dtype.kind in "SO":
        out[:] = [v.decode("utf-8", "surrogateescape") for v in column.tolist()]
    else:
        out[:] = [v.decode().strip() for v in format_numbers(column).tolist()]
    return out


def _first_bad_number(column: Column) -> tuple[int, str]:
    for row, text in enumerate(_decode(column)):
        try:
            float(text)
        except ValueError:
            return row, text
    return 0, "?"

"""Values of PEET's keys, with messages that name the line, what was found and what is expected."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.matlab_values import Cell, format_value, numbers_of
from sta_mpi.formats.paths import find_file
from sta_mpi.formats.peet_prm import PrmFile
from sta_mpi.formats.peet_project import tomogram_file

Floats = NDArray[np.float64]


class PrmReader:
    """Values of keys with messages that name their line."""

    def __init__(self, prm: PrmFile, path: Path) -> None:
        self.prm, self.path = prm, path

    def fault(self, key: str, expected: str) -> InputError:
        """What is wrong with the value of a key."""
        if key not in self.prm:
            return InputError(f"{self.path}: {key} is missing, expected {expected}. Add a line "
                              f"{key} = ...")
        lines = self.prm.text().splitlines()
        found = [i for i, line in enumerate(lines, 1) if re.match(rf"\s*{key}\s*=", line)]
        where = f", line {found[-1]}" if found else ""
        return InputError(f"{self.path}{where}: {key} = {format_value(self.prm[key])[:80]}, "
                          f"expected {expected}. Correct the line.")

    def flag(self, key: str, default: bool) -> bool:
        """0 or 1."""
        return bool(self.integer(key, int(default), (0, 1)))

    def integer(self, key: str, default: int, among: tuple[int, ...] | range) -> int:
        """One whole number among some."""
        value = self.number(key, float(default))
        if not np.isfinite(value):
            return default
        if value != int(value) or int(value) not in among:
            shown = (f"{among.start} to {among.stop - 1}" if isinstance(among, range)
                     else " or ".join(map(str, among)))
            raise self.fault(key, shown)
        return int(value)

    def number(self, key: str, default: float) -> float:
        """One number, NaN where the file says so; `default` where absent or empty."""
        if key not in self.prm:
            return default
        values = self.all_numbers(key)
        if len(values) > 1:
            raise self.fault(key, "one number")
        return float(values[0]) if len(values) else default

    def all_numbers(self, key: str) -> Floats:
        """All numbers of a key in order."""
        parts = self.parts(key)
        return np.concatenate(parts) if parts else np.zeros(0)

    def parts(self, key: str) -> list[Floats]:
        """The numbers of each item of a cell array."""
        try:
            return [numbers_of(item) for item in self.prm.cells(key)]
        except FormatError as error:
            raise self.fault(key, "numbers") from error

    def word(self, key: str, default: str, among: tuple[str, ...] | None = None) -> str:
        """A text."""
        if key not in self.prm:
            return default
        value = self.prm[key]
        if not isinstance(value, str) or (among is not None and value not in among):
            raise self.fault(key, "a text in quotes" if among is None else
                             " or ".join(repr(a) for a in among))
        return value

    def files(self, key: str) -> list[Path]:
        """Files named by a key, beside the parameter file where the names lead nowhere."""
        items = self.prm.cells(key) if key in self.prm else []
        if not items or not all(isinstance(item, str) for item in items):
            raise self.fault(key, "a list of file names {'a', 'b'}")
        return [self.file(key, str(item)) for item in items]

    def file(self, key: str, name: str) -> Path:
        """One file."""
        found = find_file(name, self.path) or find_file(tomogram_file(name), self.path)
        if found is None:
            raise self.fault(key, f"files that exist; {name!r} is neither there nor beside the "
                                  "parameter file")
        return found

    def per_iteration(self, key: str, n: int, default: Any) -> list[Any]:
        """One item an iteration; `default` for all where the key is absent or empty.

        Keys of one number an iteration (a scalar default) may be a plain vector.
        """
        if key not in self.prm or not self.prm.cells(key):
            return [np.atleast_1d(default)] * n
        parts = self.parts(key)
        if not isinstance(self.prm[key], Cell) and np.isscalar(default):
            parts = [np.array([v]) for part in parts for v in part]
            if not parts:
                return [np.atleast_1d(default)] * n
        if len(parts) != n:
            raise self.fault(key, f"{n} items, one an iteration as dPhi has")
        return parts

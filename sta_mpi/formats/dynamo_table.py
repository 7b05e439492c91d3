"""Dynamo's tables (`.tbl`) and lists of tomograms (`.doc`).

A row of numbers a particle, at least 26 and up to 42 of them. Coordinates count voxels from 1, as
MATLAB does; `first_voxel` says where they begin for tables that count from 0. The particle is at
x + dx. Values that do not change keep their text.
"""

import os
from dataclasses import dataclass, field
from pathlib import PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import FormatError, InputError
from sta_mpi.formats.foreign_particles import (
    ForeignParticles,
    VolumeGrid,
    describe_lost,
    names_and_indices,
)
from sta_mpi.formats.peet_motive_list import format_number
from sta_mpi.formats.text_files import read_text, write_text
from sta_mpi.geometry.dynamo import dynamo_euler_from_rotation, rotation_from_dynamo_euler

Floats = NDArray[np.float64]

COLUMNS = ("tag", "aligned", "averaged", "dx", "dy", "dz", "tdrot", "tilt", "narot", "cc", "cc2",
           "cpu", "ftype", "ymintilt", "ymaxtilt", "xmintilt", "xmaxtilt", "fs1", "fs2", "tomo",
           "reg", "class", "annotation", "x", "y", "z", "dshift", "daxis", "dnarot", "dcc", "otag",
           "npar", "unused", "ref", "sref", "apix", "def", "eig1", "eig2")
_AT = {name: i for i, name in enumerate(COLUMNS)}
_FEWEST = _AT["z"] + 1
_WRITTEN = 35
_SHIFTS, _ANGLES, _XYZ = slice(3, 6), slice(6, 9), slice(23, 26)
_REQUIRED = ["dx", "dy", "dz", "tdrot", "tilt", "narot", "tomo", "x", "y", "z"]
_DEFAULTS = {"aligned": 1.0, "averaged": 1.0, "ftype": 1.0, "ymintilt": -60.0, "ymaxtilt": 60.0,
             "xmintilt": -60.0, "xmaxtilt": 60.0}
_KEPT = {*_REQUIRED, "tag", "cc", "class", "apix"}


@dataclass
class DynamoTable:
    """Numbers (n, m) of a table, and their text row by row where it was read."""

    numbers: Floats
    text: list[list[str]] = field(default_factory=list)

    def column(self, name: str, default: float = 0.0) -> Floats:
        """(n,) values of a column by Dynamo's name; `default` where the table is too narrow."""
        i = _AT[name]
        return self.numbers[:, i] if i < self.numbers.shape[1] else \
            np.full(len(self.numbers), default)


def read_dynamo_table(path: str | os.PathLike[str]) -> DynamoTable:
    """Read a table; FormatError for ragged rows, text, and poses that are not finite."""
    where = os.fspath(path)
    rows = [line.split() for line in read_text(path).splitlines() if line.strip()]
    numbers: list[list[float]] = []
    for i, row in enumerate(rows):
        if len(row) < _FEWEST or len(row) != len(rows[0]):
            expected = f"{len(rows[0])} as in the first" if len(rows[0]) >= _FEWEST \
                else f"at least {_FEWEST}"
            raise FormatError(f"{where}, row {i + 1}: {len(row)} values, expected {expected}. "
                              "Not a Dynamo table, or damaged.")
        numbers.append([_number(word, f"{where}, row {i + 1}, column {j + 1}")
                        for j, word in enumerate(row)])
    if not rows:
        raise FormatError(f"{where}: no rows. Give a table with particles.")
    table = DynamoTable(np.array(numbers), rows)
    for name in _REQUIRED:
        bad = np.flatnonzero(~np.isfinite(table.column(name)))
        if len(bad):
            raise FormatError(f"{where}, row {bad[0] + 1}: {name} is not a finite number. Repair "
                              "or remove it.")
    return table


def _number(word: str, where: str) -> float:
    """A number; MATLAB's complex ones where they have no imaginary part."""
    try:
        value = complex(word.lower().replace("i", "j") if word[-1:] in "iI" else
                        word.replace("_", "x"))
    except ValueError:
        raise FormatError(f"{where}: {word!r} is not a number. Repair it.") from None
    if value.imag:
        raise FormatError(f"{where}: {word!r} is a complex number. Write the table with real ones.")
    return value.real


def write_dynamo_table(path: str | os.PathLike[str], table: DynamoTable) -> None:
    """Write a table, values separated by blanks."""
    if not np.isfinite(table.numbers[:, :_FEWEST]).all():
        raise InputError(f"{os.fspath(path)}: a value of a particle is not finite. Remove it.")
    lines = []
    known = table.text if len(table.text) == len(table.numbers) else [None] * len(table.numbers)
    for values, old in zip(table.numbers.tolist(), known, strict=True):
        words = [old[j] if old is not None and _number(old[j], "") == value
                 else format_number(value) for j, value in enumerate(values)]
        lines.append(" ".join(words))
    write_text(path, "\n".join(lines) + "\n")


def read_tomogram_list(path: str | os.PathLike[str]) -> dict[int, str]:
    """Files of tomograms by their number in the table: lines of a number and a name."""
    names: dict[int, str] = {}
    for i, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split(None, 1)
        if not words or line.lstrip().startswith(("#", "%")):
            continue
        if len(words) != 2 or not words[0].isdecimal() or len(words[0]) > 9:
            raise FormatError(f"{os.fspath(path)}, line {i}: {line.strip()[:60]!r}, expected a "
                              "number and the name of a tomogram.")
        if int(words[0]) in names:
            raise FormatError(f"{os.fspath(path)}, line {i}: tomogram {words[0]} a second time. "
                              "Remove one of them.")
        names[int(words[0])] = words[1].strip().strip("'\"")
    return names


def write_tomogram_list(path: str | os.PathLike[str], names: dict[int, str]) -> None:
    """Write a list of tomograms."""
    write_text(path, "".join(f"{number} {name}\n" for number, name in names.items()))


def tomogram_stem(name: str) -> str:
    """Name of a tomogram of its file's name, either kind of slashes, without the ending."""
    return PureWindowsPath(name).stem if "\\" in name else PureWindowsPath(
        name.rsplit("/", 1)[-1]).stem


def particles_of_dynamo(table: DynamoTable, first_voxel: int = 1) -> ForeignParticles:
    """Particles of a table; tomograms are called by their numbers."""
    tomo = table.column("tomo")
    names, i_tomo = names_and_indices([f"{v:g}" for v in tomo])
    pixel = table.column("apix", np.nan)
    lost = [line for name in COLUMNS if name not in _KEPT for line in
            describe_lost(f"Dynamo's column {name}", table.column(name, _DEFAULTS.get(name, 0.0)),
                          _DEFAULTS.get(name, 0.0))]
    return ForeignParticles(
        names, i_tomo, table.numbers[:, _XYZ] - first_voxel, table.numbers[:, _SHIFTS].copy(),
        rotation_from_dynamo_euler(table.numbers[:, _ANGLES]), table.column("cc").copy(),
        np.rint(np.nan_to_num(table.column("class"))).astype(np.int64),
        np.zeros(len(tomo), np.int8), np.where(pixel > 0, pixel, np.nan), lost=lost)


def dynamo_of_particles(particles: ForeignParticles, numbers: list[int], first_voxel: int = 1,
                        ) -> tuple[DynamoTable, list[str]]:
    """A table, and what it cannot hold.

    Parameters
    ----------
    numbers : list of int     number of each tomogram of `particles.tomo_names`
    """
    n = len(particles)
    values = np.zeros((n, _WRITTEN))
    for name, default in _DEFAULTS.items():
        values[:, _AT[name]] = default
    values[:, _AT["tag"]] = values[:, _AT["otag"]] = np.arange(1, n + 1)
    values[:, _SHIFTS] = particles.offset_px
    values[:, _ANGLES] = dynamo_euler_from_rotation(particles.R_p2t)
    values[:, _AT["cc"]] = np.nan_to_num(particles.score)
    values[:, _AT["tomo"]] = np.array(numbers)[particles.i_tomo] if n else 0
    values[:, _AT["class"]] = particles.class_number
    values[:, _XYZ] = particles.index_px + first_voxel
    lost = describe_lost("half-sets", particles.half.astype(np.float64))
    return DynamoTable(values), lost


def grids_of_list(names: dict[int, str]) -> dict[str, VolumeGrid]:
    """Volumes that a list of tomograms names, by number as text."""
    return {str(number): VolumeGrid(path=name) for number, name in names.items()}

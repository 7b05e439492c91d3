"""Sets of tomograms as RELION 5 keeps them (a global table and one file a tilt series) and as
RELION 4 does (all tables in one file), read into `TiltSeries` and written in the RELION 5 layout.

Tables stay as they were read; unknown columns survive. Tilt tables and image headers are read when
a series is first asked for.
"""

import os
import warnings
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sta_mpi.data import TiltSeries
from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.mrc import read_header, split_stack_name
from sta_mpi.formats.paths import find_image_folder, join_image_name, require_file
from sta_mpi.formats.reconstructed_tomograms import (
    ReconstructedTomogram,
    reconstructed_from_row,
    table_with_volumes,
)
from sta_mpi.formats.relion_tilt_series import (
    MATRICES,
    PER_SERIES,
    SIZES,
    tilt_series_from_tables,
    tomogram_size_px,
    update_tables,
)
from sta_mpi.formats.star import StarFile, read_star, write_star
from sta_mpi.formats.star_table import StarTable, text_column

_TILT_FILE = "rlnTomoTiltSeriesStarFile"
_STACK = "rlnTomoTiltSeriesName"
_MRC_ENDINGS = (".mrc", ".mrcs", ".st", ".ali", ".map", ".rec", ".mrc.gz")


class TomogramSet:
    """The tomograms of a project; `tilt_series(name)` gives geometry and CTF of one.

    Parameters
    ----------
    table : StarTable              one row a tomogram
    tilt_tables : dict             tables of tilts by tomogram name, as far as they are read
    source : Path or None          file it was read from
    project_dir : Path or None     folder that paths in it are relative to; None: looked for
    """

    def __init__(self, table: StarTable, tilt_tables: dict[str, StarTable] | None = None,
                 source: Path | None = None, project_dir: Path | None = None) -> None:
        table.require("rlnTomoName")
        self.table, self.source, self.project_dir = table, source, project_dir
        self.names: list[str] = [str(name) for name in table.strings("rlnTomoName")]
        repeated = sorted({name for name in self.names if self.names.count(name) > 1})
        if repeated:
            raise InputError(f"{table.where}: tomogram {', '.join(repeated)} more than once. Names "
                             "must be unique; remove or rename rows.")
        self._tilt_tables = dict(tilt_tables or {})
        self._series: dict[str, TiltSeries] = {}

    @classmethod
    def from_tilt_series(cls, series: Iterable[TiltSeries]) -> "TomogramSet":
        """A set made of tilt series alone, for data that did not come from RELION."""
        rows, tilts, made = [], {}, {}
        for ts in series:
            base = StarTable("global", {"rlnTomoName": text_column([ts.name])})
            empty = StarTable(ts.name, {})
            if ts.image_names:
                empty["rlnMicrographName"] = text_column(ts.image_names)
            row, tilts[ts.name] = update_tables(base, empty, None, ts)
            rows.append(row)
            made[ts.name] = ts
        new = cls(_stack_rows(rows), tilts)
        new._series = made
        return new

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def row(self, name: str) -> StarTable:
        """The row of a tomogram in the global table; InputError with the known names."""
        if name not in self.names:
            raise InputError(f"{self.table.where}: no tomogram {name!r} ({describe_names(self)}). "
                             "Correct the name.")
        return self.table.select([self.names.index(name)])

    def tilt_table(self, name: str) -> StarTable:
        """The table of tilts of a tomogram, as it stands in its file."""
        if name not in self._tilt_tables:
            star = read_star(self.tilt_file(name))
            self._tilt_tables[name] = next(
                (table for table in star if table.name == name), star.first)
        return self._tilt_tables[name]

    def tilt_file(self, name: str) -> Path:
        """The file of a tomogram's tilts; InputError where none is named or it does not exist."""
        row = self.row(name)
        row.require(_TILT_FILE)
        return require_file(row.value(_TILT_FILE), f"{row.where}: tilt-series file of {name}",
                            self.source, self.project_dir)

    def table_files(self) -> list[Path]:
        """Files of all tilt tables; none where they stand in the file of the set itself."""
        return [self.tilt_file(name) for name in self.names if name not in self._tilt_tables]

    def tilt_series(self, name: str) -> TiltSeries:
        """Geometry, dose and CTF of a tomogram's tilts, in the order of its table.

        Image names are made openable and the image size is taken from the first image's header
        where it exists; otherwise names stay as they are and image_size_px is None.
        """
        if name not in self._series:
            row, tilts = self.row(name), self.tilt_table(name)
            names, size = self._images(row, tilts)
            self._series[name] = tilt_series_from_tables(row, tilts, names, size)
        return self._series[name]

    def size_px(self, name: str) -> tuple[int, int, int]:
        """Unbinned size x, y, z of a tomogram."""
        return tomogram_size_px(self.row(name))

    def reconstructed(self, name: str) -> ReconstructedTomogram | None:
        """The reconstructed volume of a tomogram; None where its row names none."""
        return reconstructed_from_row(self.row(name), self.size_px(name), self.source,
                                      self.project_dir)

    def with_volumes(self, volumes: dict[str, tuple[str, ...]], binning: float) -> "TomogramSet":
        """A set that names reconstructed volumes; see `table_with_volumes`."""
        new = TomogramSet(table_with_volumes(self.table, volumes, binning), self._tilt_tables,
                          self.source, self.project_dir)
        new._series = dict(self._series)
        return new

    def with_tilt_series(self, series: Iterable[TiltSeries]) -> "TomogramSet":
        """A set in which these series (of the same names and numbers of tilts) are replaced."""
        rows = {name: self.row(name) for name in self.names}
        new = TomogramSet(self.table, self._tilt_tables, self.source, self.project_dir)
        new._series = dict(self._series)
        for ts in series:
            rows[ts.name], new._tilt_tables[ts.name] = update_tables(
                self.row(ts.name), self.tilt_table(ts.name), self.tilt_series(ts.name), ts)
            new._series[ts.name] = ts
        new.table = _stack_rows([rows[name] for name in self.names]).copy(
            name=self.table.name, source=self.table.source, version=self.table.version)
        return new

    def write(self, path: str | os.PathLike[str], project_dir: Path | None = None,
              allow_odd: bool = False) -> None:
        """Write RELION 5 files: `path` and `tilt_series/<name>.star` beside it.

        Parameters
        ----------
        project_dir : Path     folder that the paths in the set are made relative to (default: the
                               current folder); files outside it are named absolutely
        allow_odd : bool       write odd sizes: of volumes alone, which RELION does not use

        Raises
        ------
        InputError             odd tomogram sizes: RELION would move them by half a pixel
        """
        final = Path(path)
        if not allow_odd:
            _refuse_odd_sizes(self.table)
        files, tables = [], []
        for name in self.names:
            tilt_path = final.parent / "tilt_series" / f"{name.replace('/', '_')}.star"
            tilts = self.tilt_table(name)
            if MATRICES[0] in tilts:
                ts = self.tilt_series(name)
                tilts = update_tables(self.row(name), tilts, ts, ts)[1]
            tables.append((tilt_path, tilts.copy(name=name)))
            files.append(_relative(tilt_path, project_dir or Path()))
        for tilt_path, tilts in tables:
            write_star(tilt_path, [tilts])
        table = self.table.copy(name="global", is_loop=True)
        table[_TILT_FILE] = text_column(files)
        write_star(final, [table])

    def _images(self, row: StarTable, tilts: StarTable,
                ) -> tuple[tuple[str, ...], tuple[int, int] | None]:
        """Openable image names and the image size, or the names as they are and None."""
        if "rlnMicrographName" in tilts:
            names = [str(name) for name in tilts.strings("rlnMicrographName")]
        elif _STACK in row:
            names = [f"{i + 1}@{row.value(_STACK)}" for i in range(len(tilts))]
        else:
            return (), None
        folder = find_image_folder(names[0], self.source, self.project_dir) if names else None
        if folder is None:
            return tuple(names), None
        names = [join_image_name(folder, name) for name in names]
        first = split_stack_name(names[0])[1]
        if not first.lower().endswith(_MRC_ENDINGS):
            return tuple(names), None
        header = read_header(first, permissive=True)
        pixel_A = row.number("rlnTomoTiltSeriesPixelSize")
        found_A = header.pixel_xyz_A[0]
        if found_A and abs(found_A - pixel_A) > 0.01 * pixel_A:
            warnings.warn(f"{first}: pixel {found_A:.4f} Å in the header, {pixel_A:.4f} Å in "
                          f"{row.where}; the table is used", InputWarning, stacklevel=3)
        return tuple(names), (header.shape_zyx[2], header.shape_zyx[1])


def read_tomograms(path: str | os.PathLike[str], project_dir: Path | None = None) -> TomogramSet:
    """Read a tomogram set of RELION 5, or of RELION 4 with all tables in one file.

    Parameters
    ----------
    path : the file with the table `global`
    project_dir : folder that paths in it are relative to; None: the current folder, then the
        folder of `path`, then its parents

    Raises
    ------
    InputError, FormatError
    """
    star = read_star(path)
    table = star["global"] if "global" in star else _first_with_names(star)
    tilts = {t.name: t for t in star if t is not table and t.name}
    return TomogramSet(table, tilts, Path(path), project_dir)


def describe_names(tomograms: TomogramSet) -> str:
    """`5 names: a, b, ...` for messages."""
    if not len(tomograms):
        return "an empty table"
    shown = ", ".join(tomograms.names[:10]) + (", ..." if len(tomograms) > 10 else "")
    return f"{len(tomograms)} names: {shown}"


def even_sizes(tomograms: TomogramSet) -> tuple[TomogramSet, dict[str, np.ndarray]]:
    """The same tomograms with even sizes, and what to add to centred coordinates [Å] by name.

    An odd size 2k + 1 becomes 2k: RELION's integer rotation centre k stays where it is, the
    floating centre of coordinates moves by half a pixel, which the returned (3,) arrays undo.
    """
    changed, moves = [], {}
    for name in tomograms.names:
        ts = tomograms.tilt_series(name)
        size = np.array(tomograms.size_px(name))
        moves[name] = 0.5 * ts.pixel_A * (size % 2)
        even = size - size % 2
        P = ts.P.copy()
        P[:, :2, 3] -= P[:, :2, :3] @ moves[name]
        changed.append(replace(ts, P=P, tomogram_size_px=(int(even[0]), int(even[1]),
                                                          int(even[2]))))
    return tomograms.with_tilt_series(changed), moves


def _first_with_names(star: StarFile) -> StarTable:
    for table in star:
        if "rlnTomoName" in table and table.is_loop:
            return table
    return star["global"]


def _stack_rows(rows: list[StarTable]) -> StarTable:
    """One table of one-row tables; a column that some rows lack gets what its absence means."""
    labels = list(dict.fromkeys(label for row in rows for label in row.labels))
    defaults = {label: f"{default or 0:.6f}" for label, default in PER_SERIES.values()}
    columns: dict[str, Any] = {"rlnTomoName": []} if not rows else {}
    for label in labels:
        cells = []
        for row in rows:
            absent = row.value("rlnTomoName") if label == "rlnOpticsGroupName" else \
                defaults.get(label, "0")
            is_text = label in row and row.columns[label].dtype.kind in "SO"
            cells.append(row.columns[label] if is_text else text_column([row.value(label, absent)]))
        columns[label] = np.concatenate(cells)
    return StarTable(rows[0].name if rows else "global", columns)


def _refuse_odd_sizes(table: StarTable) -> None:
    for label in SIZES:
        if label not in table:
            continue
        sizes = table.integers(label)
        odd = np.flatnonzero(sizes % 2)
        if len(odd):
            name = table.strings("rlnTomoName")[odd[0]]
            raise InputError(f"{table.where}: {label} of {name} is {sizes[odd[0]]} px, an odd "
                             "size, which RELION reads half a pixel off. Use even_sizes() and move "
                             "the coordinates as it says.")


def _relative(path: Path, folder: Path) -> str:
    try:
        return str(path.resolve().relative_to(folder.resolve()))
    except ValueError:
        return str(path.resolve())

"""Marked points of `seed`: IMOD models, STAR and CSV files, as objects in Å.

An object is what gets seeds of its own: a point with a radius, or a contour. Coordinates that are
not centred count voxels of the tomogram from 0, so that

    xyz_A = index coordinate_pixel_A - size pixel_A / 2
"""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.imod_model import model_contours, model_point_radii_px, read_imod_model
from sta_mpi.formats.relion_coordinates import CENTRED, CORNER
from sta_mpi.formats.relion_tomograms import TomogramSet, describe_names
from sta_mpi.formats.star import read_star
from sta_mpi.geometry.euler import matrix_from_relion_angles
from sta_mpi.jobs.parameters.seed import SeedParameters

Floats = NDArray[np.float64]

_CSV = {"x", "y", "z", "x_a", "y_a", "z_a", "radius", "radius_a", "tomogram", "contour",
        "half_axis_1_a", "half_axis_2_a", "half_axis_3_a", "rot", "tilt", "psi"}
_STAR_CONTOURS = ("rlnHelicalTubeID", "rlnTomoManifoldIndex")
_LARGEST_CSV = 100_000_000


@dataclass(frozen=True)
class MarkedObject:
    """Points that belong together.

    Parameters
    ----------
    tomo_name : str
    what : str                 how messages and the report name it
    points_A : (m, 3)          from the tomogram centre
    radius_A : float or None
    half_axes_A : (3,) or None; R : (3, 3)      of an ellipsoid whose centre the point is
    """

    tomo_name: str
    what: str
    points_A: Floats
    radius_A: float | None = None
    half_axes_A: Floats | None = None
    R: Floats = field(default_factory=lambda: np.eye(3))


@dataclass(frozen=True)
class _Rows:
    """Points of one file, as they stand in it."""

    names: list[str | None]
    xyz: Floats
    is_centred: bool
    radius: Floats | None
    contour: NDArray[np.intp]
    pixel_A: float | None = None
    half_axes_A: Floats | None = None
    R: Floats | None = None


def read_objects(p: SeedParameters, tomograms: TomogramSet) -> list[MarkedObject]:
    """All objects of all files, in their order.

    Raises
    ------
    InputError   files, tomograms or radii that are missing or not understood
    """
    objects: list[MarkedObject] = []
    for path in p.points:
        if not path.is_file():
            raise InputError(f"no file {path}. Correct --points.")
        objects += _objects_of_file(path, p, tomograms)
    if not objects:
        raise InputError(f"{', '.join(map(str, p.points))}: no points. Mark some.")
    return objects


def tomogram_of_file(path: Path, tomograms: TomogramSet) -> str:
    """The tomogram that the name of a file begins with, the longest one; the only one of a set."""
    fits = [name for name in tomograms.names if path.name.startswith(name)]
    if fits:
        return max(fits, key=len)
    if len(tomograms) == 1:
        return tomograms.names[0]
    raise InputError(f"{path}: its name begins with none of the tomograms "
                     f"({describe_names(tomograms)}). Rename the file after its tomogram.")


def coordinate_pixel_A(p: SeedParameters, tomograms: TomogramSet, name: str,
                       own_A: float | None = None) -> float:
    """What one unit of coordinates is."""
    if p.coordinate_pixel_A is not None:
        return p.coordinate_pixel_A
    if own_A is not None:
        return own_A
    volume = tomograms.reconstructed(name)
    return volume.pixel_A if volume is not None else tomograms.tilt_series(name).pixel_A


def _objects_of_file(path: Path, p: SeedParameters, tomograms: TomogramSet) -> list[MarkedObject]:
    readers = {".mod": _read_model, ".star": _read_star, ".csv": _read_csv}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: ends in {path.suffix!r}, expected .mod, .star or .csv. Convert "
                         "or rename it.")
    rows = readers[path.suffix.lower()](path, p)
    default = None if all(rows.names) else tomogram_of_file(path, tomograms)
    names = [name or str(default) for name in rows.names]
    xyz_A, radius_A = rows.xyz.copy(), None if rows.radius is None else rows.radius.copy()
    for name in dict.fromkeys(names):
        tomograms.row(name)
        own = np.array([n == name for n in names])
        if not rows.is_centred:
            unit_A = coordinate_pixel_A(p, tomograms, name, rows.pixel_A)
            size_A = np.array(tomograms.size_px(name)) * tomograms.tilt_series(name).pixel_A
            xyz_A[own] = rows.xyz[own] * unit_A - 0.5 * size_A
            if radius_A is not None:
                radius_A[own] *= unit_A
    return _group(path, p, names, xyz_A, radius_A, rows)


def _group(path: Path, p: SeedParameters, names: list[str], xyz_A: Floats,
           radius_A: Floats | None, rows: _Rows) -> list[MarkedObject]:
    """Points one by one, or contour by contour."""
    if p.shape in ("sphere", "ellipsoid") and not p.fit:
        found = []
        for i, name in enumerate(names):
            what = f"{path.name}, point {i + 1}"
            radius = None if radius_A is None else float(radius_A[i])
            if radius is not None and not radius > 0:
                raise InputError(f"{path}, point {i + 1}: radius {radius:g} Å, expected more than "
                                 "0. Set its size, or pass --radius-A and a file without sizes.")
            half_axes = None if rows.half_axes_A is None else rows.half_axes_A[i]
            R = np.eye(3) if rows.R is None else rows.R[i]
            found.append(MarkedObject(name, what, xyz_A[i : i + 1], radius, half_axes, R))
        return found
    keys = list(dict.fromkeys(zip(names, rows.contour.tolist(), strict=True)))
    index = np.array([keys.index(key) for key in zip(names, rows.contour.tolist(), strict=True)])
    return [MarkedObject(name, f"{path.name}, contour {number}", xyz_A[index == k])
            for k, (name, number) in enumerate(keys)]


def _read_model(path: Path, p: SeedParameters) -> _Rows:
    model = read_imod_model(path)
    contours = model_contours(model, p.model_object - 1)
    xyz = np.concatenate([np.zeros((0, 3)), *contours])
    numbers = np.repeat(np.arange(1, len(contours) + 1), [len(c) for c in contours])
    radii = model_point_radii_px(model, p.model_object - 1)
    return _Rows([None] * len(xyz), xyz, False, None if p.radius_A else radii, numbers,
                 model.pixel_A)


def _read_star(path: Path, p: SeedParameters) -> _Rows:
    star = read_star(path)
    table = next((t for t in star if CENTRED[0] in t or CORNER[0] in t), star.first)
    is_centred = all(label in table for label in CENTRED)
    labels = CENTRED if is_centred else CORNER
    table.require(*labels)
    xyz = np.stack([table.finite(label) for label in labels], axis=1)
    names: list[str | None] = [None] * len(table)
    if "rlnTomoName" in table:
        names = [str(name) for name in table.strings("rlnTomoName")]
    contour = np.ones(len(table), np.intp)
    for label in _STAR_CONTOURS:
        if label in table:
            contour = table.integers(label).astype(np.intp)
            break
    radius = table.finite("rlnSphereRadius") if "rlnSphereRadius" in table else None
    return _Rows(names, xyz, is_centred, None if p.radius_A else radius, contour)


def _read_csv(path: Path, p: SeedParameters) -> _Rows:
    if path.stat().st_size > _LARGEST_CSV:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_LARGEST_CSV}. "
                         "Split the file.")
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        lines = [line for line in csv.reader(file) if line]
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
    is_centred = {"x_a", "y_a", "z_a"} <= set(header)
    if not is_centred and not {"x", "y", "z"} <= set(header):
        raise InputError(f"{path}: the first line is {', '.join(header)[:80] or 'empty'}, expected "
                         "column names with x, y, z (voxels) or x_A, y_A, z_A (from the centre). "
                         "Add a header line.")
    unknown = sorted(set(header) - _CSV)
    if unknown:
        raise InputError(f"{path}: unknown column {unknown[0]!r}; known are "
                         f"{', '.join(sorted(_CSV))}. Remove or rename it.")
    columns = {name: [line[i].strip() if i < len(line) else "" for line in lines[1:]]
               for i, name in enumerate(header)}
    xyz = np.stack([_numbers(path, columns, f"{axis}_a" if is_centred else axis)
                    for axis in "xyz"], axis=1)
    n = len(xyz)
    axes = [f"half_axis_{i}_a" for i in (1, 2, 3)]
    half_axes = np.stack([_numbers(path, columns, a) for a in axes], axis=1) \
        if set(axes) <= set(header) else None
    angles = np.stack([_numbers(path, columns, a) if a in columns else np.zeros(n)
                       for a in ("rot", "tilt", "psi")], axis=1)
    radius_name = "radius_a" if is_centred else "radius"
    radius = _numbers(path, columns, radius_name) if radius_name in columns else None
    contour = _numbers(path, columns, "contour").astype(np.intp) if "contour" in columns \
        else np.ones(n, np.intp)
    names: list[str | None] = [name or None for name in columns.get("tomogram", [""] * n)]
    return _Rows(names, xyz, is_centred, None if p.radius_A else radius, contour, None, half_axes,
                 matrix_from_relion_angles(angles))


def _numbers(path: Path, columns: dict[str, list[str]], name: str) -> Floats:
    values = np.empty(len(columns[name]))
    for i, text in enumerate(columns[name]):
        try:
            values[i] = float(text)
        except ValueError:
            values[i] = np.nan
        if not np.isfinite(values[i]):
            raise InputError(f"{path}, line {i + 2}: {name} is {text!r}, expected a number. "
                             "Correct the file.")
    return values

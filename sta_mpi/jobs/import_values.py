"""Values of an imported series that may come from an option or from a file, and where each came
from. Nothing is assumed: a value that nobody gave ends in an error that names the option."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Optics
from sta_mpi.errors import InputError
from sta_mpi.formats.ctf_tables import CtfTable, read_ctf_table
from sta_mpi.formats.imod_com import parse_number_list
from sta_mpi.formats.mdoc import Mdoc, pre_exposure, read_mdoc
from sta_mpi.formats.mrc import open_stack
from sta_mpi.formats.number_table import read_numbers
from sta_mpi.jobs.import_sources import SeriesFiles
from sta_mpi.jobs.parameters.project_import import ImportParameters

Floats = NDArray[np.float64]

OPTION = "option"
_MDOC_ANGLE_DEG = 3.0
"""Difference of a view's refined and nominal angle, about their median, that still is one view."""


@dataclass
class Provenance:
    """What was taken from where, and what to look at."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def note(self, what: str, value: object, source: object) -> None:
        """Remember a value and the file or option it came from."""
        self.rows.append((what, str(value), str(source)))


@dataclass(frozen=True)
class StackFacts:
    """The stack of a series: file, size and pixel."""

    path: Path
    n_images: int
    image_size_px: tuple[int, int]
    pixel_A: float


def stack_facts(files: SeriesFiles, parameters: ImportParameters, notes: Provenance) -> StackFacts:
    """Header of the stack, with the pixel of the option or the header."""
    path = files.require("stack", "stack", "tilt stack")
    with open_stack(path, permissive=True) as stack:
        (n_images, height, width), header_A = stack.shape, stack.pixel_A
    pixel_A = parameters.pixel_A or header_A
    if pixel_A is None:
        raise InputError(f"series {files.name}: {path} has no pixel size in its header. Give it "
                         "with --pixel-A.")
    if header_A is not None and abs(header_A - pixel_A) > 0.01 * pixel_A:
        notes.warnings.append(f"series {files.name}: the header of {path} says {header_A:.4f} Å a "
                              f"pixel, the option {pixel_A:.4f} Å; the option is used.")
    notes.note("stack", f"{n_images} images of {width} x {height} px", path)
    notes.note("pixel", f"{pixel_A:.4f} Å", OPTION if parameters.pixel_A else path)
    return StackFacts(path, n_images, (width, height), pixel_A)


def optics_of(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
              known: dict[str, tuple[float | None, object]]) -> Optics:
    """Voltage, aberration and amplitude contrast: the option, else what the files know."""
    values = {}
    for name, unit in (("voltage_kV", " kV"), ("cs_mm", " mm"), ("amplitude_contrast", "")):
        given = getattr(parameters, name)
        value, source = (given, OPTION) if given is not None else known.get(name, (None, ""))
        if value is None:
            raise InputError(f"series {files.name}: {name.split('_')[0]} is in none of its files. "
                             f"Give it with --{name.replace('_', '-')}.")
        notes.note(name.replace("_", " "), f"{value:g}{unit}", source)
        values[name] = float(value)
    return Optics(values["voltage_kV"], values["cs_mm"], values["amplitude_contrast"])


def read_series_mdoc(files: SeriesFiles) -> Mdoc | None:
    """The mdoc of a series, or None."""
    return read_mdoc(files.others["mdoc"]) if "mdoc" in files.others else None


def dose_before(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
                tilt_deg: Floats) -> Floats:
    """Dose before each view: dose file, else mdoc, else dose per tilt and tilt order."""
    n, mdoc = len(tilt_deg), read_series_mdoc(files)
    if "dose_file" in files.others:
        path = files.others["dose_file"]
        dose = read_numbers(path, "doses before the views", 1)[:, 0]
        if len(dose) != n:
            raise InputError(f"{path}: {len(dose)} doses, expected {n} (views of series "
                             f"{files.name}). Give one line a view.")
        if (dose < 0).any():
            raise InputError(f"{path}, line {int(np.flatnonzero(dose < 0)[0]) + 1}: dose "
                             f"{dose.min():g} e/Å^2, expected 0 or more. Mend the line.")
        notes.note("dose", _range(dose, "e/Å²"), path)
        return dose
    per_tilt = parameters.dose_per_tilt_e_per_A2
    if mdoc is not None and parameters.tilt_order is None:
        dose = pre_exposure(mdoc, per_tilt)[views_of_mdoc(mdoc, tilt_deg)]
        notes.note("dose", _range(dose, "e/Å²"),
                   mdoc.source if per_tilt is None else f"{OPTION}, order of {mdoc.source}")
        return dose
    if per_tilt is None:
        raise InputError(f"series {files.name}: no dose in its files. Give --mdoc, --dose-file, or "
                         "--dose-per-tilt-e-per-A2 with --tilt-order.")
    if parameters.tilt_order is None:
        raise InputError(f"series {files.name}: the order in which its views were taken is in none "
                         "of its files. Give --mdoc, or --tilt-order.")
    order = order_of_views(tilt_deg, parameters.tilt_order)
    before = np.zeros(n)
    before[order] = per_tilt * np.arange(n)
    notes.note("dose", _range(before, "e/Å²"), f"{OPTION}, order {parameters.tilt_order}")
    return before


def order_of_views(tilt_deg: Floats, scheme: str) -> NDArray[np.intp]:
    """Indices of views in the order in which they were taken."""
    if scheme == "stack":
        return np.arange(len(tilt_deg))
    start = int(np.argmin(np.abs(tilt_deg)))
    offset = (tilt_deg - tilt_deg[start]) * (1 if scheme.endswith("+") else -1)
    # k-th view of the first side before the k-th of the other: rank |offset|, first side first
    rank = np.zeros(len(tilt_deg))
    for side, half in ((offset > 0, 1.0), (offset < 0, 1.5)):
        rows = np.flatnonzero(side)
        outward = rows[np.argsort(np.abs(offset[rows]), kind="stable")]
        rank[outward] = half + np.arange(len(rows))
    return np.argsort(rank, kind="stable")


def views_of_mdoc(mdoc: Mdoc, tilt_deg: Floats) -> NDArray[np.intp]:
    """For each view of the stack, its section of the mdoc.

    Sections stand in the order of the stack, or of acquisition: the second is found by the order
    of the nominal angles. Refined angles may differ by a common offset.

    Raises
    ------
    InputError    other numbers of views, or angles that do not belong together
    """
    nominal = mdoc.numbers("TiltAngle")
    if len(nominal) != len(tilt_deg):
        raise InputError(f"{mdoc.source}: {len(nominal)} views, expected {len(tilt_deg)} (views of "
                         "the stack). Give the mdoc of the stack, or the doses with --dose-file.")
    by_angle = np.empty(len(nominal), np.intp)
    by_angle[np.argsort(tilt_deg, kind="stable")] = np.argsort(nominal, kind="stable")
    in_stack = np.argsort([section.number or 0 for section in mdoc.views], kind="stable")
    for views in (in_stack, by_angle):
        difference = tilt_deg - nominal[views]
        if np.abs(difference - np.median(difference)).max() < _MDOC_ANGLE_DEG:
            return views
    raise InputError(f"{mdoc.source}: its angles ({_range(nominal, '°')}) are not those of the "
                     f"series ({_range(tilt_deg, '°')}). Give the mdoc of this series.")


def ctf_of(files: SeriesFiles, parameters: ImportParameters, notes: Provenance, n_views: int
           ) -> CtfTable:
    """CTF of all views: its file, else the one defocus of the option."""
    if "ctf" in files.others:
        path = files.others["ctf"]
        table = read_ctf_table(path, n_views)
        notes.note("defocus", _range(0.5 * (table.defocus_u_A + table.defocus_v_A), "Å"), path)
        return table
    if parameters.defocus_A is None:
        raise InputError(f"series {files.name}: no CTF in its files. Give it with --ctf, or one "
                         "defocus with --defocus-A.")
    notes.note("defocus", f"{parameters.defocus_A:g} Å", OPTION)
    same, none = np.full(n_views, parameters.defocus_A), np.zeros(n_views)
    return CtfTable(same, same.copy(), none, none.copy())


def tomogram_size(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
                  stack: StackFacts, known: tuple[tuple[int, int, int], object] | None
                  ) -> tuple[int, int, int]:
    """Size of the tomogram [px of the stack], even: option, thickness, else the files."""
    width, height = stack.image_size_px
    if parameters.tomogram_size_px:
        x, y, z = parameters.tomogram_size_px
        size, source = (x, y, z), "option --tomogram-size-px"
    elif parameters.thickness_A is not None:
        size = (width, height, round(parameters.thickness_A / stack.pixel_A))
        source = "option --thickness-A"
    elif known is not None:
        size, source = known[0], str(known[1])
    else:
        raise InputError(f"series {files.name}: the size of the tomogram is in none of its files. "
                         "Give --thickness-A or --tomogram-size-px.")
    even = (max(2, size[0] + size[0] % 2), max(2, size[1] + size[1] % 2),
            max(2, size[2] + size[2] % 2))
    notes.note("tomogram size", f"{even[0]} x {even[1]} x {even[2]} px"
               f"{'' if even == size else ', made even'}", source)
    return even


def hand_of(files: SeriesFiles, parameters: ImportParameters, notes: Provenance) -> int:
    """The option; InputError where it is not given."""
    if parameters.hand is None:
        raise InputError(f"series {files.name}: an alignment of {files.kind} does not say whether "
                         "defocus grows or falls with depth. Give --hand -1 (most microscopes) or "
                         "--hand 1.")
    notes.note("hand of the defocus", parameters.hand, OPTION)
    return parameters.hand


def alignment_pixel_A(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
                      stack: StackFacts) -> float:
    """Pixel that the shifts of the alignment count [Å]."""
    if parameters.binning is None:
        raise InputError(f"series {files.name}: {files.alignment} counts pixels, but not which. "
                         "Give --binning: 1 where the stack is the one that was aligned, 4 where "
                         "it is binned by 4 against it.")
    pixel_A = stack.pixel_A / parameters.binning
    notes.note("pixel of the alignment", f"{pixel_A:.4f} Å", f"{OPTION} --binning")
    return pixel_A


def excluded_views(files: SeriesFiles, parameters: ImportParameters, n_views: int
                   ) -> NDArray[np.bool_]:
    """(n,) bool: views that the options leave out."""
    out = np.zeros(n_views, bool)
    for text in parameters.exclude_tilts:
        name, colon, numbers = text.rpartition(":")
        if colon and name.strip() != files.name:
            continue
        for view in parse_number_list(numbers.replace(",", " ").split(), "--exclude-tilts"):
            if not 1 <= view <= n_views:
                raise InputError(f"series {files.name}: --exclude-tilts names view {view}, "
                                 f"expected 1 to {n_views}. Correct the number.")
            out[view - 1] = True
    if out.all():
        raise InputError(f"series {files.name}: --exclude-tilts leaves no view. Leave some.")
    return out


def _range(values: Floats, unit: str) -> str:
    """Smallest and largest value, for tables and messages."""
    return f"{values.min():.6g} .. {values.max():.6g} {unit}"

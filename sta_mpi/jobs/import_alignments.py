"""Alignments of other programs, read into projection matrices: IMOD, AreTomo, Warp."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.aretomo import read_aln, sections_of_stack
from sta_mpi.formats.ctf_tables import CtfTable
from sta_mpi.formats.imod_alignment import (
    read_tilt_angles,
    read_xf,
    read_z_factors,
    require_views,
)
from sta_mpi.formats.imod_com import option_numbers, parse_number_list, read_com_options
from sta_mpi.formats.warp_xml import WarpSeries, read_warp_xml
from sta_mpi.geometry.imod import projection_from_imod
from sta_mpi.geometry.projection import projection_from_angles
from sta_mpi.geometry.warp import projection_from_warp
from sta_mpi.jobs.import_sources import ARETOMO, IMOD, SeriesFiles
from sta_mpi.jobs.import_values import (
    OPTION,
    Provenance,
    StackFacts,
    alignment_pixel_A,
    hand_of,
    tomogram_size,
)
from sta_mpi.jobs.parameters.project_import import ImportParameters

Floats = NDArray[np.float64]


@dataclass
class Aligned:
    """What an alignment says; arrays have one row a view that it kept.

    Parameters
    ----------
    P : (n, 3, 4)                projection matrices
    tilt_deg : (n,)              tilt angles as the file has them
    stack_tilt_deg : (m,)        of all views of the stack, NaN where the file has none
    views : (n,) int             0-based views of the stack
    hand : int
    size_px : (3,) int           size of the tomogram
    optics : dict                name -> (value or None, file)
    dose : (n,) or None          None: not in the alignment
    ctf : CtfTable or None       of the kept views
    """


    P: Floats
    tilt_deg: Floats
    stack_tilt_deg: Floats
    views: NDArray[np.intp]
    hand: int
    size_px: tuple[int, int, int]
    optics: dict[str, tuple[float | None, object]]
    dose: Floats | None = None
    ctf: CtfTable | None = None


def read_alignment(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
                   stack: StackFacts) -> Aligned:
    """The alignment of a series, whatever program made it.

    Raises
    ------
    InputError, FormatError    damaged files, counts that differ from the stack's, missing values
    """
    read = {IMOD: _read_imod, ARETOMO: _read_aretomo}.get(files.kind, _read_warp)
    return read(files, parameters, notes, stack)


def _read_imod(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
               stack: StackFacts) -> Aligned:
    n = stack.n_images
    transforms = read_xf(files.alignment)
    require_views(files.alignment, len(transforms), n, f"images of {stack.path}")
    path = files.require("tilt_angles", "tilt-angles", "tilt angles (.tlt)")
    tilt_deg = read_tilt_angles(path)
    require_views(path, len(tilt_deg), n, f"images of {stack.path}")
    pixel_A = alignment_pixel_A(files, parameters, notes, stack)
    notes.note("alignment", f"{n} views", files.alignment)
    notes.note("tilt angles", f"{tilt_deg.min():g} .. {tilt_deg.max():g} °", path)
    x_tilt, factors = np.zeros(n), None
    if "x_tilt" in files.others:
        x_tilt = read_tilt_angles(files.others["x_tilt"])
        require_views(files.others["x_tilt"], len(x_tilt), n, "views of the series")
        if x_tilt.any():
            notes.note("x tilts", f"{x_tilt.min():g} .. {x_tilt.max():g} °", files.others["x_tilt"])
    if "z_factors" in files.others:
        factors = read_z_factors(files.others["z_factors"])
        require_views(files.others["z_factors"], len(factors), n, "views of the series")
        notes.note("z factors", f"up to {np.abs(factors).max():.4f}", files.others["z_factors"])
    specimen = _positioning(files, notes, n)
    size = _size_of_com(specimen, stack, pixel_A)
    known = None if size is None else (size, files.others["tilt_com"])
    if specimen.excluded.any():
        notes.note("left out", " ".join(str(v + 1) for v in np.flatnonzero(specimen.excluded)),
                   files.others["tilt_com"])
    P = projection_from_imod(
        transforms.matrix, transforms.shift_px * pixel_A, tilt_deg + specimen.tilt_offset_deg,
        x_tilt + specimen.x_tilt_deg, stack.image_size_px, stack.pixel_A, factors)
    views = np.flatnonzero(~specimen.excluded)
    return Aligned(P[views], tilt_deg[views], tilt_deg, views, hand_of(files, parameters, notes),
                   tomogram_size(files, parameters, notes, stack, known), {})


@dataclass
class _Positioning:
    """What `tilt.com` adds to the alignment."""

    x_tilt_deg: float
    tilt_offset_deg: float
    thickness_px: float | None
    excluded: NDArray[np.bool_]


def _positioning(files: SeriesFiles, notes: Provenance, n: int) -> _Positioning:
    """Pitch, tilt offset, thickness and excluded views of `tilt.com`, where there is one."""
    excluded = np.zeros(n, bool)
    if "tilt_com" not in files.others:
        return _Positioning(0.0, 0.0, None, excluded)
    path = files.others["tilt_com"]
    options = read_com_options(path, "tilt")
    if not _is_of_series(files, options, notes):
        return _Positioning(0.0, 0.0, None, excluded)
    pitch, offset, thickness = (option_numbers(options, name, path)
                                for name in ("XAXISTILT", "OFFSET", "THICKNESS"))
    for name in ("EXCLUDELIST", "EXCLUDELIST2"):
        for view in parse_number_list(options.get(name, []), f"{path} {name}"):
            if not 1 <= view <= n:
                raise InputError(f"{path}: {name} names view {view}, expected 1 to {n}. Mend the "
                                 "list.")
            excluded[view - 1] = True
    if excluded.all():
        raise InputError(f"{path}: all views are excluded. Mend the list.")
    for name, value in (("pitch (XAXISTILT)", pitch[:1]), ("tilt offset (OFFSET)", offset[:1])):
        if value and value[0] != 0:
            notes.note(name, f"{value[0]:g} °", path)
    shift = option_numbers(options, "SHIFT", path)
    if any(shift) or any(offset[1:2]):
        notes.warnings.append(
            f"series {files.name}: {path} moves IMOD's tomogram (SHIFT {shift}, OFFSET {offset}); "
            "here the tomogram stays on the centre of the alignment. Coordinates picked in IMOD's "
            "must be moved by that.")
    return _Positioning(pitch[0] if pitch else 0.0, offset[0] if offset else 0.0,
                        thickness[0] if thickness else None, excluded)


def _is_of_series(files: SeriesFiles, options: dict[str, list[str]], notes: Provenance) -> bool:
    """Whether a `tilt.com` reconstructs this series, with the tilt angles that are read."""
    path = files.others["tilt_com"]
    images = " ".join(options.get("INPUTPROJECTIONS", [files.name]))
    if not Path(images).name.startswith(files.name):
        notes.warnings.append(f"series {files.name}: {path} is of {images} and is not used.")
        return False
    angles = " ".join(options.get("TILTFILE", []))
    used = files.others["tilt_angles"]
    if angles and Path(angles).name != used.name:
        notes.warnings.append(f"series {files.name}: {path} names the tilt angles {angles}, {used} "
                              "is used. Give the others with --tilt-angles if they are meant.")
    return True


def _size_of_com(specimen: _Positioning, stack: StackFacts, alignment_A: float
                 ) -> tuple[int, int, int] | None:
    """Size of the tomogram from `tilt.com`, which counts unbinned pixels of the alignment."""
    if specimen.thickness_px is None:
        return None
    width, height = stack.image_size_px
    return width, height, max(2, round(specimen.thickness_px * alignment_A / stack.pixel_A))


def _read_aretomo(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
                  stack: StackFacts) -> Aligned:
    alignment = read_aln(files.alignment)
    views = sections_of_stack(alignment, stack.n_images, files.alignment, parameters.first_section)
    pixel_A = alignment_pixel_A(files, parameters, notes, stack)
    notes.note("alignment", f"{len(alignment)} of {stack.n_images} views", files.alignment)
    notes.note("tilt angles", f"{alignment.tilt_deg.min():g} .. {alignment.tilt_deg.max():g} °",
               files.alignment)
    if len(alignment) < stack.n_images:
        left = np.setdiff1d(np.arange(stack.n_images), views)
        notes.note("left out (dark)", " ".join(str(v + 1) for v in left), files.alignment)
    if alignment.n_local:
        notes.warnings.append(f"series {files.name}: {alignment.n_local} rows of local alignment "
                              f"in {files.alignment} are not applied.")
    spread = float(np.ptp(alignment.magnification)) + abs(float(alignment.magnification[0]) - 1)
    if spread > 1e-4:
        notes.warnings.append(f"series {files.name}: magnification up to {spread:.4f} from 1 in "
                              f"{files.alignment} is not applied.")
    size = tomogram_size(files, parameters, notes, stack, None)
    P = projection_from_angles(np.zeros(len(alignment)), alignment.tilt_deg, alignment.axis_deg,
                               alignment.shift_px * pixel_A, size, stack.pixel_A)
    tilt_deg = np.full(stack.n_images, np.nan)
    tilt_deg[views] = alignment.tilt_deg
    return Aligned(P, alignment.tilt_deg, tilt_deg, views, hand_of(files, parameters, notes), size,
                   {})


def _read_warp(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
               stack: StackFacts) -> Aligned:
    warp = read_warp_xml(files.alignment)
    n, source = len(warp.angle_deg), files.alignment
    require_views(source, n, stack.n_images, f"images of {stack.path}")
    notes.note("alignment", f"{n} views", source)
    notes.note("tilt angles", f"{warp.angle_deg.min():g} .. {warp.angle_deg.max():g} °", source)
    if warp.not_applied:
        notes.warnings.append(f"series {files.name}: not applied from {source}: "
                              f"{'; '.join(warp.not_applied)}.")
    hand = warp.hand if parameters.hand is None else parameters.hand
    notes.note("hand of the defocus", hand,
               source if parameters.hand is None else f"{OPTION} --hand")
    views = np.flatnonzero(warp.use)
    if not len(views):
        raise InputError(f"{source}: UseTilt is False for all tilts. Select tilts in Warp.")
    if len(views) < n:
        notes.note("left out", " ".join(str(v + 1) for v in np.flatnonzero(~warp.use)), source)
    P = projection_from_warp(warp.angle_deg, warp.axis_deg, warp.offset_A, warp.level_x_deg,
                             warp.level_y_deg, stack.image_size_px, stack.pixel_A)
    dose = None
    given = parameters.dose_per_tilt_e_per_A2 is not None
    if not given and not {"dose_file", "mdoc"} & set(files.others):
        dose = warp.dose_e_per_A2[views]
        notes.note("dose", f"{dose.min():g} .. {dose.max():g} e/Å²", source)
    optics: dict[str, tuple[float | None, object]] = {
        "voltage_kV": (warp.voltage_kV, source), "cs_mm": (warp.cs_mm, source),
        "amplitude_contrast": (warp.amp_contrast, source)}
    known = None
    if warp.volume_size_A is not None:
        x, y, z = (max(2, round(edge / stack.pixel_A)) for edge in warp.volume_size_A)
        known = ((x, y, z), source)
    return Aligned(P[views], warp.angle_deg[views], warp.angle_deg, views, hand,
                   tomogram_size(files, parameters, notes, stack, known), optics, dose,
                   _warp_ctf(warp, views, files, notes))


def _warp_ctf(warp: WarpSeries, views: NDArray[np.intp], files: SeriesFiles, notes: Provenance
              ) -> CtfTable | None:
    """CTF of the kept views, or None where Warp has not estimated it or a file is given."""
    if "ctf" in files.others or warp.defocus_A is None or warp.defocus_delta_A is None \
            or warp.astig_deg is None or warp.phase_shift_deg is None:
        return None
    mean, half = warp.defocus_A[views], 0.5 * warp.defocus_delta_A[views]
    notes.note("defocus", f"{mean.min():.0f} .. {mean.max():.0f} Å", files.alignment)
    return CtfTable(mean + half, mean - half, warp.astig_deg[views], warp.phase_shift_deg[views])

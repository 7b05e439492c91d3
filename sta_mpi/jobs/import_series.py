"""One imported series: its alignment completed by dose, CTF and optics to a `TiltSeries`."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import TiltSeries
from sta_mpi.errors import InputError
from sta_mpi.formats.mdoc import Mdoc
from sta_mpi.geometry.projection import tilt_angles_from_rotation
from sta_mpi.geometry.rotations import nearest_rotation
from sta_mpi.geometry.warp import mirror_projection
from sta_mpi.jobs.import_alignments import Aligned, read_alignment
from sta_mpi.jobs.import_sources import SeriesFiles
from sta_mpi.jobs.import_values import (
    Provenance,
    StackFacts,
    ctf_of,
    dose_before,
    excluded_views,
    optics_of,
    read_series_mdoc,
    stack_facts,
)
from sta_mpi.jobs.parameters.project_import import ImportParameters

Floats = NDArray[np.float64]

_AXIS_DEG = 20.0
"""Difference of the refined and the nominal tilt axis from which the user is told."""
_LOST_PX = 0.5
"""What RELION's angles cannot hold, at the corner of the image, from which the user is told."""


@dataclass
class ImportedSeries:
    """A series, the stack it was made of, and where everything came from.

    Parameters
    ----------
    ts : TiltSeries               image names are those of the stack, `n@file`
    stack : StackFacts
    views : (n,) int              0-based views of the stack that were kept
    nominal_deg : (n,) float      tilt angle as the file has it
    lost_px : float               largest shift at a corner that the written angles cannot hold
    notes : Provenance
    mdoc : Mdoc or None
    """

    ts: TiltSeries
    stack: StackFacts
    views: NDArray[np.intp]
    nominal_deg: Floats
    lost_px: float
    notes: Provenance
    mdoc: Mdoc | None = None


def import_series(files: SeriesFiles, parameters: ImportParameters) -> ImportedSeries:
    """Read all files of a series.

    Raises
    ------
    InputError, FormatError    damaged files, counts that differ, values that nobody gave
    """
    notes = Provenance()
    stack = stack_facts(files, parameters, notes)
    aligned = read_alignment(files, parameters, notes, stack)
    mdoc = read_series_mdoc(files)
    known = dict(aligned.optics)
    if mdoc is not None and known.get("voltage_kV", (None, ""))[0] is None:
        known["voltage_kV"] = (mdoc.global_number("Voltage"), mdoc.source)
    optics = optics_of(files, parameters, notes, known)
    dose = _dose_of(files, parameters, notes, aligned)
    if len(dose) > 1 and not dose.any():
        raise InputError(f"series {files.name}: the dose before every view is 0 e/Å^2: it was "
                         "never set. Give --dose-file, or --dose-per-tilt-e-per-A2 with "
                         "--tilt-order.")
    ctf = aligned.ctf or ctf_of(files, parameters, notes, stack.n_images).of_views(aligned.views)
    zero, one = np.zeros(len(aligned.views)), np.ones(len(aligned.views))
    names = tuple(f"{v + 1}@{stack.path.resolve()}" for v in aligned.views)
    ts = TiltSeries(
        files.name, stack.pixel_A, optics, aligned.P, dose, ctf.defocus_u_A, ctf.defocus_v_A,
        ctf.astig_deg, ctf.phase_shift_deg, one, zero, aligned.hand,
        tomogram_size_px=aligned.size_px, image_size_px=stack.image_size_px, image_names=names)
    return _finish(files, parameters, notes, stack, ts, aligned, mdoc)


def _dose_of(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
             aligned: Aligned) -> Floats:
    """Dose before the kept views; files of doses have one row a view of the stack."""
    if aligned.dose is not None:
        return aligned.dose
    return dose_before(files, parameters, notes, _filled(aligned.stack_tilt_deg))[aligned.views]


def _filled(tilt_deg: Floats) -> Floats:
    """Angles of all views; unknown ones follow the known ones, just to order the views."""
    known = np.flatnonzero(np.isfinite(tilt_deg))
    view = np.arange(len(tilt_deg))
    if len(known) < 2:
        return np.where(np.isfinite(tilt_deg), tilt_deg, 0.0)
    line = np.polynomial.Polynomial.fit(known, tilt_deg[known], 1)
    return np.asarray(line(view) + np.interp(view, known, tilt_deg[known] - line(known)))


def _finish(files: SeriesFiles, parameters: ImportParameters, notes: Provenance,
            stack: StackFacts, ts: TiltSeries, aligned: Aligned, mdoc: Mdoc | None
            ) -> ImportedSeries:
    """Leave out views, mirror, and look at what does not fit."""
    keep = ~excluded_views(files, parameters, stack.n_images)[aligned.views]
    if not keep.any():
        raise InputError(f"series {files.name}: no view is left. Exclude fewer views.")
    if not keep.all():
        notes.note("left out", " ".join(str(v + 1) for v in aligned.views[~keep]),
                   "option --exclude-tilts")
    ts = ts.select_tilts(np.flatnonzero(keep))
    if parameters.mirror_z:
        ts = replace(ts, P=mirror_projection(ts.P), hand=-ts.hand)
        notes.note("mirrored in z", "yes", "option --mirror-z")
    tilt_deg = aligned.tilt_deg[keep]
    if mdoc is not None:
        _compare_axis(mdoc, ts, notes)
    _warn_of_angles(files, tilt_deg, notes)
    _warn_of_shifts(ts, notes)
    return ImportedSeries(ts, stack, aligned.views[keep], tilt_deg, _lost_px(ts, notes), notes,
                          mdoc)


def _compare_axis(mdoc: Mdoc, ts: TiltSeries, notes: Provenance) -> None:
    """Tell where the alignment's tilt axis is not the microscope's: half a turn is a mirror."""
    nominal = mdoc.tilt_axis_deg
    if nominal is None:
        return
    notes.note("nominal tilt axis", f"{nominal:g} °", mdoc.source)
    axis = float(np.median(tilt_angles_from_rotation(nearest_rotation(ts.rotation))[2]))
    difference = (axis - nominal + 180.0) % 360.0 - 180.0
    if abs(difference) > _AXIS_DEG:
        notes.warnings.append(
            f"series {ts.name}: the tilt axis of the alignment is at {axis:.1f} °, that of "
            f"{mdoc.source} at {nominal:g} °. Half a turn between them makes the tomogram a mirror "
            "image; other differences come from turned or flipped images.")


def _warn_of_angles(files: SeriesFiles, tilt_deg: Floats, notes: Provenance) -> None:
    steps = np.diff(tilt_deg)
    if len(steps) and not ((steps > 0).all() or (steps < 0).all()):
        view = int(np.flatnonzero(np.sign(steps) != np.sign(np.median(steps)))[0]) + 1
        notes.warnings.append(
            f"series {files.name}: the tilt angles do not rise or fall throughout (view {view} to "
            f"{view + 1} of those kept: {tilt_deg[view - 1]:g} to {tilt_deg[view]:g} °): right for "
            "stacks in the order of acquisition, a mistake for sorted ones.")


def _warn_of_shifts(ts: TiltSeries, notes: Provenance) -> None:
    """Shifts beyond the image come from a wrong pixel of the alignment."""
    assert ts.image_size_px is not None
    half_A = 0.5 * np.array(ts.image_size_px) * ts.pixel_A
    beyond = (np.abs(ts.P[:, :2, 3]) > half_A).any(axis=1)
    if beyond.any():
        notes.warnings.append(
            f"series {ts.name}: the centre of the tomogram is off the image in {int(beyond.sum())} "
            f"of {ts.n_tilts} views, first view {int(np.flatnonzero(beyond)[0]) + 1}. Check "
            "--binning and --pixel-A.")


def _lost_px(ts: TiltSeries, notes: Provenance) -> float:
    """Largest shift at a corner of the tomogram that RELION's angles cannot hold [px]."""
    assert ts.tomogram_size_px is not None
    half = 0.5 * np.array(ts.tomogram_size_px)
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    rest = ts.P[:, :2, :3] - nearest_rotation(ts.P[:, :, :3])[:, :2]
    lost = float(np.linalg.norm(np.einsum("fij,nj->fni", rest, corners), axis=2).max())
    if lost > _LOST_PX:
        notes.warnings.append(
            f"series {ts.name}: magnification, stretch or skew of the alignment move points by up "
            f"to {lost:.1f} px at the corners of the tomogram; the angles of a RELION project "
            "cannot hold them.")
    return lost

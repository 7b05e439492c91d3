"""`check`: validate a project before hours are spent on it, and draw where particles are."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from sta_mpi.align.cut import is_visible
from sta_mpi.data import TiltSeries
from sta_mpi.errors import InputError, StaMpiError
from sta_mpi.formats.mrc import read_header, split_stack_name
from sta_mpi.jobs.folder import JobFolder, JobOutcome
from sta_mpi.jobs.inputs import InputSet, load_set, resolve_path, set_files
from sta_mpi.jobs.parameters.check import CheckParameters
from sta_mpi.jobs.tilt_images import check_image_numbers, series_images
from sta_mpi.report.content import Figure, Section, Table
from sta_mpi.report.figures import particles_on_image, tilt_geometry

DEFAULT_BOX_PX = 64
DRAWING_BLUR_A = 15.0
"""Drawn tilt images are smoothed by a Gaussian of this width, so that particles show."""


def input_files(parameters: CheckParameters) -> list[Path]:
    """Files whose content the fingerprint covers."""
    return set_files(parameters)


@dataclass
class _Findings:
    """What was found: errors stop a run, warnings should be looked at."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def run(parameters: CheckParameters, folder: JobFolder, runtime: Any) -> JobOutcome:
    """Collect all findings; InputError at the end where one would stop a run."""
    if not runtime.is_root:
        return JobOutcome()
    inputs = load_set(parameters)
    findings = _Findings()
    for i_tomo in np.unique(inputs.particles.i_tomo):
        ts = inputs.series[i_tomo]
        _check_geometry(ts, findings)
        _check_images(ts, inputs, findings, parameters.max_images)
        _check_positions(i_tomo, ts, inputs, findings)
    _check_particle_images(inputs, findings, parameters.max_images)
    seen = visible_counts(inputs, parameters)
    _check_visibility(inputs, seen, findings)
    results = {
        "particles": len(inputs.particles), "tilt_series": len(inputs.used_series),
        "pixel_A": inputs.pixel_A, "errors": len(findings.errors),
        "warnings": len(findings.warnings),
        "visible_tilts_median": float(np.median(seen)) if (seen >= 0).all() else None}
    sections = [_table(inputs, seen, findings), *_drawings(inputs, parameters)]
    if len(findings.errors) == 1:
        raise InputError(findings.errors[0])
    if findings.errors:
        text = "\n".join(f"  {line}" for line in findings.errors)
        raise InputError(f"{len(findings.errors)} errors in the project:\n{text}")
    return JobOutcome(results, {}, sections, findings.warnings)


def _check_geometry(ts: TiltSeries, findings: _Findings) -> None:
    where = f"tilt series {ts.name}"
    turn = ts.rotation @ ts.rotation.transpose(0, 2, 1) - np.eye(3)
    if np.abs(turn).max() > 1e-3 or (np.linalg.det(ts.rotation) < 0).any():
        findings.errors.append(f"{where}: a tilt's projection is no rotation (largest deviation "
                               f"{np.abs(turn).max():.2g}). Mend the projection columns.")
    tilt = np.degrees(np.arcsin(np.clip(-ts.rotation[:, 2, 0], -1, 1)))
    if len(np.unique(np.round(tilt, 2))) < ts.n_tilts:
        findings.warnings.append(f"{where}: two tilts have the same angle.")
    dose = ts.pre_dose_e_per_A2
    if (dose < 0).any():
        findings.errors.append(f"{where}: negative dose before a tilt ({dose.min():g} e/Å²).")
    if ts.n_tilts > 1 and len(np.unique(dose)) == 1:
        findings.warnings.append(f"{where}: all tilts have the same dose before them "
                                 f"({dose[0]:g} e/Å²); dose weighting will do nothing.")
    elif dose.min() > 0:
        findings.warnings.append(f"{where}: the first tilt already has {dose.min():g} e/Å² before "
                                 "it; the dose may be shifted by one tilt.")
    defocus = 0.5 * (ts.defocus_u_A + ts.defocus_v_A)
    if (defocus <= 0).any():
        findings.warnings.append(f"{where}: {int((defocus <= 0).sum())} tilts have no underfocus; "
                                 "their CTF cannot be corrected.")
    elif defocus.max() > 3 * np.median(defocus):
        findings.warnings.append(f"{where}: defocus {defocus.max():.0f} Å is far from the median "
                                 f"{np.median(defocus):.0f} Å.")


def _check_images(ts: TiltSeries, inputs: InputSet, findings: _Findings, limit: int) -> None:
    beside = [inputs.paths.tomograms, inputs.paths.particles]
    files = sorted({split_stack_name(name)[1] for name in ts.image_names})
    if not files:
        findings.warnings.append(f"tilt series {ts.name}: no tilt images are named; only stacks "
                                 "or boxes can be averaged.")
    missing = [f for f in files if not resolve_path(f, beside).exists()]
    if missing:
        level = findings.warnings if inputs.particles.image_names is not None else findings.errors
        level.append(f"tilt series {ts.name}: {len(missing)} of {len(files)} images are missing, "
                     f"first {missing[0]}. Start in the project folder or mend the paths.")
        return
    for name in files[:limit]:
        try:
            header = read_header(resolve_path(name, beside))
        except StaMpiError as error:
            findings.errors.append(str(error))
            continue
        if name in ts.image_names and header.shape_zyx[0] > 1:
            findings.errors.append(f"tilt series {ts.name}: {name} is a stack of "
                                   f"{header.shape_zyx[0]} images. Name one of them as 1@{name}.")
        pixel_A = header.pixel_xyz_A[0]
        if pixel_A > 0 and abs(pixel_A - ts.pixel_A) > 0.01 * ts.pixel_A:
            findings.warnings.append(f"{name}: its header says {pixel_A:.4f} Å a pixel, "
                                     f"the table {ts.pixel_A:.4f} Å.")
    try:
        check_image_numbers(ts, beside)
    except StaMpiError as error:
        if str(error) not in findings.errors:
            findings.errors.append(str(error))


def _check_positions(i_tomo: int, ts: TiltSeries, inputs: InputSet, findings: _Findings) -> None:
    if ts.tomogram_size_px is None:
        return
    half = 0.5 * np.array(ts.tomogram_size_px) * ts.pixel_A
    rows = np.flatnonzero(inputs.particles.i_tomo == i_tomo)
    outside = (np.abs(inputs.particles.position_A[rows]) > half).any(axis=1)
    if outside.any():
        name = inputs.particles.names[rows[np.flatnonzero(outside)[0]]]
        findings.warnings.append(f"tilt series {ts.name}: {int(outside.sum())} of {len(rows)} "
                                 f"particles lie outside the tomogram, first {name}.")


def _check_particle_images(inputs: InputSet, findings: _Findings, limit: int) -> None:
    particles = inputs.particles
    if particles.image_names is None:
        return
    for row in range(min(limit, len(particles))):
        path = inputs.resolve(str(particles.image_names[row]))
        if not path.exists():
            findings.errors.append(f"particle {particles.names[row]}: no image {path}. Start in "
                                   "the project folder, or pass --source tilt-series later.")
            return
        try:
            header = read_header(path)
        except StaMpiError as error:
            findings.errors.append(str(error))
            return
        if particles.image_size_px not in (None, header.shape_zyx[-1]):
            findings.errors.append(f"{path}: {header.shape_zyx[-1]} px wide, the optics table says "
                                   f"{particles.image_size_px}.")
            return


def visible_counts(inputs: InputSet, parameters: CheckParameters) -> NDArray[np.int64]:
    """Number of tilts that hold each particle's box; -1 where images or shifts are unknown."""
    box = (parameters.box_px or inputs.particles.image_size_px or DEFAULT_BOX_PX)
    counts = np.full(len(inputs.particles), -1)
    for i_tomo, ts in enumerate(inputs.series):
        if not ts.has_positions:
            continue
        rows = np.flatnonzero(inputs.particles.i_tomo == i_tomo)
        assert ts.image_size_px is not None
        position = ts.position_px(inputs.particles.position_A[rows])
        margin = 0.5 * box * parameters.binning
        counts[rows] = is_visible(position, ts.image_size_px, margin).sum(axis=1)
    return counts


def _check_visibility(inputs: InputSet, seen: NDArray[np.int64], findings: _Findings) -> None:
    if (seen == 0).any():
        row = int(np.flatnonzero(seen == 0)[0])
        findings.warnings.append(f"{int((seen == 0).sum())} particles are on no tilt image with "
                                 f"their whole box, first {inputs.particles.names[row]}.")


def _table(inputs: InputSet, seen: NDArray[np.int64], findings: _Findings) -> Section:
    rows = []
    for i_tomo, ts in enumerate(inputs.series):
        own = inputs.particles.i_tomo == i_tomo
        tilt = np.degrees(np.arcsin(np.clip(-ts.rotation[:, 2, 0], -1, 1)))
        rows.append([ts.name, int(own.sum()), ts.n_tilts, f"{tilt.min():.1f} .. {tilt.max():.1f}",
                     f"{ts.pre_dose_e_per_A2.max():.1f}",
                     f"{np.median(ts.defocus_u_A):.0f}", ts.hand,
                     f"{np.median(seen[own]):.0f}" if (seen[own] >= 0).all() else "unknown"])
    columns = ["tilt series", "particles", "tilts", "tilt range [°]", "last dose [e/Å²]",
               "median defocus [Å]", "hand", "visible tilts"]
    text = "No errors." if not findings.errors else "\n".join(findings.errors)
    return Section("Tilt series", text, tables=[Table("Tilt series of the set", columns, rows)])


def _drawings(inputs: InputSet, parameters: CheckParameters) -> list[Section]:
    sections = []
    box = (parameters.box_px or inputs.particles.image_size_px or DEFAULT_BOX_PX)
    beside = [inputs.paths.tomograms, inputs.paths.particles]
    for i_tomo, ts in enumerate(inputs.series[: parameters.draw_series]):
        tilt = np.degrees(np.arcsin(np.clip(-ts.rotation[:, 2, 0], -1, 1)))
        figures = [Figure("Tilts, dose and defocus", tilt_geometry.later(
            tilt, ts.pre_dose_e_per_A2, ts.defocus_u_A, ts.defocus_v_A, title=ts.name))]
        if ts.has_positions:
            try:
                i_tilt = int(np.argmin(np.abs(tilt)))
                image = gaussian_filter(next(series_images(ts, beside, [i_tilt])),
                                        DRAWING_BLUR_A / ts.pixel_A)
                own = inputs.particles.i_tomo == i_tomo
                position = ts.position_px(inputs.particles.position_A[own])[:, i_tilt]
                figures.append(Figure(
                    f"Particles on the {tilt[i_tilt]:.1f}° image", particles_on_image(
                        image, position, pixel_A=ts.pixel_A,
                        diameter_A=box * parameters.binning * ts.pixel_A),
                    "Circles have the size of the box and should sit on the dark particles."))
            except (StaMpiError, OSError) as error:
                figures.append(Figure("Particles on an image", None, f"Not drawn: {error}"))
        sections.append(Section(ts.name, "", figures=figures))
    return sections

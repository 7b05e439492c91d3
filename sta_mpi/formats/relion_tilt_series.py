"""Tilt series between RELION's tables and `TiltSeries`: geometry, dose and CTF of each tilt.

RELION 5 gives angles and shifts a tilt; RELION 4 gives projection matrices (rlnTomoProjX..W), whose
translation needs the size of the images: without it the shifts are NaN. Where both are present the
angles are used. Conventions: spec of RELION 5's `tomogram.cpp`, see sta_mpi.geometry.projection.
"""

import warnings

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Optics, TiltSeries
from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.star_numbers import format_numbers
from sta_mpi.formats.star_table import StarTable, text_column
from sta_mpi.geometry.projection import (
    angles_from_projection,
    projection_from_angles,
    projection_from_relion4,
)

Floats = NDArray[np.float64]

SIZES = ("rlnTomoSizeX", "rlnTomoSizeY", "rlnTomoSizeZ")
ANGLES = ("rlnTomoXTilt", "rlnTomoYTilt", "rlnTomoZRot")
SHIFTS = ("rlnTomoXShiftAngst", "rlnTomoYShiftAngst")
MATRICES = ("rlnTomoProjX", "rlnTomoProjY", "rlnTomoProjZ", "rlnTomoProjW")
PER_TILT = {
    "pre_dose_e_per_A2": ("rlnMicrographPreExposure", None),
    "defocus_u_A": ("rlnDefocusU", None),
    "defocus_v_A": ("rlnDefocusV", None),
    "astig_deg": ("rlnDefocusAngle", None),
    "phase_shift_deg": ("rlnPhaseShift", 0.0),
    "ctf_scale": ("rlnCtfScalefactor", 1.0),
    "ctf_b_factor_A2": ("rlnCtfBfactor", 0.0),
}
"""Column and default of each array of TiltSeries; None: the column must be there."""

PER_SERIES = {
    "hand": ("rlnTomoHand", None),
    "pixel_A": ("rlnTomoTiltSeriesPixelSize", None),
    "defocus_slope": ("rlnTomoDefocusSlope", 1.0),
    "b_factor_per_dose_A2": ("rlnCtfBfactorPerElectronDose", 0.0),
}
OPTICS = {"voltage_kV": "rlnVoltage", "cs_mm": "rlnSphericalAberration",
          "amp_contrast": "rlnAmplitudeContrast"}

_ROUNDING = 1e-7
"""Differences below this come from going through matrices; files carry 6 decimals."""
_AFFINE_WARNING = 1e-3


def tilt_series_from_tables(row: StarTable, tilts: StarTable, image_names: tuple[str, ...] = (),
                            image_size_px: tuple[int, int] | None = None) -> TiltSeries:
    """Make a TiltSeries.

    Parameters
    ----------
    row : StarTable                 the row of the tomogram in the table `global`
    tilts : StarTable               its table with one row a tilt
    image_names : tuple of str      one a tilt, as they can be opened
    image_size_px : (2,) int        width, height; None where the images are not at hand

    Raises
    ------
    InputError                      missing columns or tomogram sizes, values that are not finite
    """
    name = row.value("rlnTomoName")
    if not len(tilts):
        raise InputError(f"{tilts.where}: no tilts. Repeat the job that wrote it.")
    pixel_A = float(row.finite("rlnTomoTiltSeriesPixelSize")[0])
    hand = float(row.finite("rlnTomoHand")[0])
    if not pixel_A > 0:
        raise InputError(f"{row.where}, tomogram {name}: rlnTomoTiltSeriesPixelSize is {pixel_A:g} "
                         "Å, expected more than 0. Correct the table.")
    if hand not in (-1.0, 1.0):
        raise InputError(f"{row.where}, tomogram {name}: rlnTomoHand is {hand:g}, expected 1 or "
                         "-1. Correct the table.")
    size = tomogram_size_px(row)
    arrays = {key: tilts.finite(label, default) for key, (label, default) in PER_TILT.items()}
    _warn_of_what_is_not_used(tilts, arrays["pre_dose_e_per_A2"])
    voltage_kV, cs_mm, amp_contrast = (float(row.finite(label)[0]) for label in OPTICS.values())
    optics = Optics(voltage_kV, cs_mm, amp_contrast, row.value("rlnOpticsGroupName", name))
    return TiltSeries(
        name=name, pixel_A=pixel_A, optics=optics, hand=int(hand),
        P=_projections(tilts, size, pixel_A, image_size_px),
        defocus_slope=float(row.finite("rlnTomoDefocusSlope", 1.0)[0]),
        b_factor_per_dose_A2=float(row.finite("rlnCtfBfactorPerElectronDose", 0.0)[0]),
        tomogram_size_px=size, image_size_px=image_size_px, image_names=image_names, **arrays)


def tomogram_size_px(row: StarTable) -> tuple[int, int, int]:
    """Unbinned size x, y, z of a tomogram; InputError where it is missing or not positive."""
    name = row.value("rlnTomoName")
    missing = [label for label in SIZES if label not in row]
    if missing:
        raise InputError(f"{row.where}, tomogram {name}: {', '.join(missing)} missing, so the "
                         "centre that coordinates refer to is unknown. Use the tomograms.star of "
                         "the reconstruction job.")
    size = [int(row.integers(label)[0]) for label in SIZES]
    if min(size) < 1:
        raise InputError(f"{row.where}, tomogram {name}: size {size} px, expected positive "
                         "numbers. Use the tomograms.star of the reconstruction job.")
    return size[0], size[1], size[2]


def update_tables(row: StarTable, tilts: StarTable, old: TiltSeries | None, new: TiltSeries,
                  ) -> tuple[StarTable, StarTable]:
    """Tables with the values of `new`; text of values that did not change is kept.

    Parameters
    ----------
    row, tilts : StarTable     as in `tilt_series_from_tables`
    old : TiltSeries or None   what they held; None makes every value new
    new : TiltSeries           with as many tilts

    Raises
    ------
    InputError                 odd tomogram sizes (RELION moves such tomograms by half a pixel)
    """
    row, tilts = row.copy(), tilts.copy(name=new.name)
    if new.n_tilts != len(tilts) and tilts.columns:
        raise InputError(f"{tilts.where}: {len(tilts)} tilts in the table, {new.n_tilts} in the "
                         "series to write. Select the rows of the table first.")
    for key, (label, default) in PER_TILT.items():
        values = getattr(new, key)
        if label in tilts or default is None or not np.all(values == default):
            tilts.update_numbers(label, values, _ROUNDING)
    for key, (label, default) in PER_SERIES.items():
        value = float(getattr(new, key))
        if label in row or default is None or value != default:
            row.update_numbers(label, np.array([value]), _ROUNDING)
    for key, label in OPTICS.items():
        row.update_numbers(label, np.array([getattr(new.optics, key)]), _ROUNDING)
    if new.optics.name != new.name or "rlnOpticsGroupName" in row:
        row["rlnOpticsGroupName"] = text_column([new.optics.name])
    if new.tomogram_size_px is not None:
        for label, size in zip(SIZES, new.tomogram_size_px, strict=True):
            row.update_numbers(label, np.array([size]))
    _update_geometry(tilts, old, new)
    return row, tilts


def _projections(tilts: StarTable, size: tuple[int, int, int], pixel_A: float,
                 image_size_px: tuple[int, int] | None) -> Floats:
    if all(label in tilts for label in (*ANGLES[1:], *SHIFTS)):
        x_tilt, y_tilt, z_rot = (tilts.finite(label, 0.0) for label in ANGLES)
        shift_A = np.stack([tilts.finite(label) for label in SHIFTS], axis=1)
        return projection_from_angles(x_tilt, y_tilt, z_rot, shift_A, size, pixel_A)
    if not all(label in tilts for label in MATRICES):
        raise InputError(f"{tilts.where}: neither {', '.join((*ANGLES[1:], *SHIFTS))} nor "
                         f"{', '.join(MATRICES)}: the tilts are not aligned. Use the output of a "
                         "tilt-series alignment.")
    proj = np.stack([_matrix_rows(tilts, label) for label in MATRICES], axis=1)
    P = projection_from_relion4(proj, size, image_size_px or (0, 0), pixel_A)
    error = np.abs(P[:, :, :3] @ P[:, :, :3].transpose(0, 2, 1) - np.eye(3)).max()
    if not error < 0.5:
        raise InputError(f"{tilts.where}: the projection matrices are not near rotations "
                         f"(largest deviation {error:.3g}). Check the alignment.")
    mirrored = np.flatnonzero(np.linalg.det(P[:, :, :3]) < 0)
    if len(mirrored):
        raise InputError(f"{tilts.where}, row {mirrored[0] + 1}: the projection matrix is a mirror "
                         f"({len(mirrored)} such rows), expected a rotation. Check the alignment.")
    if error > _AFFINE_WARNING:
        warnings.warn(f"{tilts.where}: the projection matrices hold stretch or skew "
                      f"({error:.1e}), which RELION 5's angles cannot carry", InputWarning,
                      stacklevel=4)
    if image_size_px is None:
        P[:, :2, 3] = np.nan
        warnings.warn(f"{tilts.where}: the tilt images were not found, so the shifts of RELION 4 "
                      "matrices are unknown (NaN); orientations are used", InputWarning,
                      stacklevel=4)
    return P


def _matrix_rows(tilts: StarTable, label: str) -> Floats:
    rows = tilts.vectors(label)
    bad = [i for i, values in enumerate(rows) if len(values) != 4 or not np.isfinite(values).all()]
    if bad:
        found = "NaN or Inf" if len(rows[bad[0]]) == 4 else f"{len(rows[bad[0]])} values"
        raise InputError(f"{tilts.where}, row {bad[0] + 1}: {label} has {found}, expected 4 finite "
                         "numbers. Correct the table.")
    return np.stack(rows)


def _update_geometry(tilts: StarTable, old: TiltSeries | None, new: TiltSeries) -> None:
    """Angles and shifts of tilts whose P changed; RELION 4 matrices become angles."""
    same = np.zeros(new.n_tilts, bool) if old is None else np.all(
        (np.abs(old.P - new.P) <= _ROUNDING) | (np.isnan(old.P) & np.isnan(new.P)), axis=(1, 2))
    has_angles = all(label in tilts for label in (*ANGLES[1:], *SHIFTS))
    if has_angles and same.all():
        tilts.drop(*MATRICES)
        return
    if not np.isfinite(new.P).all():
        if same.all():
            return
        raise InputError(f"tilt series {new.name}: the shifts are unknown (NaN), so changed "
                         "orientations cannot be written. Make the tilt images available.")
    if new.tomogram_size_px is None:
        raise InputError(f"tilt series {new.name}: the tomogram size is unknown, so the geometry "
                         "cannot be written. Set tomogram_size_px.")
    *angles, shift_A, residual = angles_from_projection(
        new.P, new.tomogram_size_px, new.pixel_A)
    if residual.max() > _AFFINE_WARNING:
        warnings.warn(f"tilt series {new.name}: stretch or skew of up to {residual.max():.1e} is "
                      "lost in RELION's angles", InputWarning, stacklevel=4)
    changed = ~same if has_angles else np.ones(new.n_tilts, bool)
    for label, values in zip((*ANGLES, *SHIFTS), (*angles, *shift_A.T), strict=True):
        if label not in tilts:
            tilts[label] = values if label not in ANGLES[:1] else np.where(changed, values, 0.0)
        else:
            tilts.update_text(label, changed, format_numbers(values[changed]))
    tilts.drop(*MATRICES)


def _warn_of_what_is_not_used(tilts: StarTable, pre_dose: Floats) -> None:
    if pre_dose.min() > 0:
        warnings.warn(f"{tilts.where}: the smallest rlnMicrographPreExposure is "
                      f"{pre_dose.min():g} e/Å^2, not 0: fine where first tilts were removed, "
                      "wrong where the importer counted a tilt's own dose", InputWarning,
                      stacklevel=3)
    label = "rlnTomoDeformationCoefficients"
    if label in tilts and any(np.any(values) for values in tilts.vectors(label)):
        warnings.warn(f"{tilts.where}: image deformations ({label}) are kept in the table but not "
                      "applied", InputWarning, stacklevel=3)

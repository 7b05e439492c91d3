"""Optics groups of particle sets: built from the tomograms, checked against them, aberrations.

RELION compares the optics of particles and tomograms by value within 1e-3; so do we.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sta_mpi.data import Particles, TiltSeries
from sta_mpi.errors import InputError
from sta_mpi.formats.relion_tilt_series import OPTICS
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.formats.star_table import StarTable, text_column

SHARED = ("rlnTomoTiltSeriesPixelSize", *OPTICS.values())
"""Columns that optics groups and tomograms have in common."""
TOLERANCE = 1e-3

_UNITS = {"rlnTomoTiltSeriesPixelSize": "Å", "rlnVoltage": "kV", "rlnSphericalAberration": "mm",
          "rlnAmplitudeContrast": ""}


def optics_from_tomograms(tomograms: TomogramSet) -> tuple[StarTable, NDArray[np.int32]]:
    """An optics table with one group a name, and the group (from 1) of each tomogram.

    Tomograms without rlnOpticsGroupName are a group each, called as they are.
    """
    table = tomograms.table
    names = table.strings("rlnOpticsGroupName") if "rlnOpticsGroupName" in table else \
        np.array(tomograms.names, object)
    groups = list(dict.fromkeys(names))
    first = [int(np.flatnonzero(names == group)[0]) for group in groups]
    optics = StarTable("optics", {
        "rlnOpticsGroup": np.arange(1, len(groups) + 1),
        "rlnOpticsGroupName": text_column(groups)})
    for label in SHARED:
        optics[label] = table.finite(label)[first]
    return optics, np.array([groups.index(name) + 1 for name in names], np.int32)


def check_optics(optics: StarTable, group: NDArray[np.int32], i_tomo: NDArray[np.int32],
                 tomograms: TomogramSet) -> None:
    """Raise InputError where the optics of particles differ from those of their tomogram.

    Parameters
    ----------
    optics : StarTable
    group, i_tomo : (n,)     rlnOpticsGroup and tomogram index of each particle
    """
    numbers = optics.integers("rlnOpticsGroup")
    known = ", ".join(map(str, numbers))
    if len(set(numbers.tolist())) != len(numbers):
        raise InputError(f"{optics.where}: rlnOpticsGroup {known}: numbers must be unique. "
                         "Correct the table.")
    pairs = np.unique(np.stack([group, i_tomo], axis=1), axis=0)
    for number, tomogram in pairs.tolist():
        name = tomograms.names[tomogram]
        if number not in numbers:
            raise InputError(f"{optics.where}: particles of {name} are in optics group {number}, "
                             f"the table has {known}. Correct rlnOpticsGroup.")
        row = int(np.flatnonzero(numbers == number)[0])
        for label in SHARED:
            if label not in optics or label not in tomograms.table:
                continue
            mine, theirs = optics.floats(label)[row], tomograms.table.floats(label)[tomogram]
            if not abs(mine - theirs) <= TOLERANCE:
                unit = f" {_UNITS[label]}".rstrip()
                raise InputError(
                    f"{optics.where}, optics group {number}: {label} is {mine:g}{unit}, tomogram "
                    f"{name} has {theirs:g}{unit}. Use the tomograms that the particles were "
                    "picked in, or correct the table.")


def group_row(optics: StarTable, group: int) -> StarTable:
    """The row of an optics group."""
    rows = np.flatnonzero(optics.integers("rlnOpticsGroup") == group)
    if len(rows) != 1:
        raise InputError(f"{optics.where}: {len(rows)} rows of optics group {group}, expected one. "
                         "Correct the table.")
    return optics.select(rows)


def with_aberrations(series: TiltSeries, optics: StarTable, particles: Particles) -> TiltSeries:
    """The series with the even and odd Zernike coefficients of its particles' optics group.

    Raises
    ------
    InputError    the particles of the series are in several optics groups
    """
    here = particles.i_tomo == particles.tomo_names.index(series.name)
    groups = np.unique(particles.optics_group[here])
    if len(groups) == 0:
        return series
    if len(groups) > 1:
        raise InputError(f"{optics.where}: particles of {series.name} are in optics groups "
                         f"{', '.join(map(str, groups))}, expected one a tomogram. Join them.")
    row = group_row(optics, int(groups[0]))
    none = np.zeros(0)
    even, odd = (row.vectors(label)[0] if label in row else none
                 for label in ("rlnEvenZernike", "rlnOddZernike"))
    return replace(series, optics=replace(series.optics, even_zernike=even, odd_zernike=odd))

"""Detector MTF as RELION keeps it: a STAR table of frequency [1/px] and amplitude."""

import os

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError
from sta_mpi.formats.star import read_star

Floats = NDArray[np.float64]

FREQUENCY, VALUE = "rlnResolutionInversePixel", "rlnMtfValue"


def read_mtf(path: str | os.PathLike[str]) -> tuple[Floats, Floats]:
    """Frequency [1/px of the detector] and MTF value, each (m,) float64, frequency rising.

    Raises
    ------
    InputError   no such table, fewer than two rows, frequencies that do not rise from 0 to 0.5, or
                 values outside 0 to 1.2
    """
    star = read_star(path)
    table = next((t for t in star if FREQUENCY in t and VALUE in t), None)
    if table is None:
        raise InputError(f"{star.source}: no table with {FREQUENCY} and {VALUE}. Give the MTF of "
                         "your detector as RELION keeps it.")
    frequency, value = table.finite(FREQUENCY), table.finite(VALUE)
    if len(frequency) < 2 or (np.diff(frequency) <= 0).any() or frequency[0] < 0 \
            or frequency[-1] > 0.7:
        raise InputError(f"{table.where}: {FREQUENCY} must rise within 0 and 0.5 over at least two "
                         f"rows, found {len(frequency)} rows. Sort and complete them.")
    if (value <= 0).any() or (value > 1.2).any():
        raise InputError(f"{table.where}: {VALUE} runs from {value.min():.3g} to "
                         f"{value.max():.3g}, expected more than 0 and about 1 at most. Normalise "
                         "the curve to 1 at frequency 0.")
    return frequency, value

"""Grey scales of tomograms in numbers of few bits.

The standard deviation of a back-projection of noise is known before a voxel is made: it is the
root of the summed variances of the filtered images. Whole numbers are scaled so that it becomes
`INT16_SD`, or less where the largest values that the images can add up to would not fit; half
precision so that it becomes 1. The factor is told. Single precision keeps the densities.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Mode = Literal["float32", "float16", "int16"]

INT16_SD = 800.0
"""Grey levels of a standard deviation, where 40 of them are enough for gold beads."""

INT16_LARGEST = 32760.0
"""Kept a little below the end of the range, for rounding."""

MRC_MODES = {"float32": 2, "float16": 12, "int16": 1}


def grey_factor(mode: Mode, expected_sd: float, largest: float) -> float:
    """What densities are multiplied by before they are stored.

    Parameters
    ----------
    mode : "float32", "float16" or "int16"
    expected_sd : float     of the densities of noise
    largest : float         no density is beyond plus or minus this
    """
    if mode == "float32" or not (np.isfinite(expected_sd) and expected_sd > 0):
        return 1.0
    if mode == "float16":
        return 1.0 / expected_sd
    return min(INT16_SD / expected_sd, INT16_LARGEST / largest)


def to_grey(planes: NDArray[np.float32], mode: Mode, factor: float) -> NDArray:
    """Planes times the factor, in the numbers of a mode."""
    if mode == "float32":
        return planes
    scaled = planes * np.float32(factor)
    if mode == "int16":
        return np.rint(scaled, out=scaled).astype(np.int16)
    return scaled.astype(np.float16)

"""Positions of particles: RELION 5's centred Å, RELION 4's corner-based pixels.

Both refer to the centre (W, H, D) / 2.0 of the tomogram, with floating halves also where a size is
odd: p = centred / px + size / 2.0.
"""

import warnings

import numpy as np
from numpy.typing import NDArray

from sta_mpi.errors import InputError, InputWarning
from sta_mpi.formats.relion_tomograms import TomogramSet
from sta_mpi.formats.star_table import StarTable

CENTRED = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst",
           "rlnCenteredCoordinateZAngst")
CORNER = ("rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ")

Floats = NDArray[np.float64]


def read_positions(table: StarTable, i_tomo: NDArray[np.int32], tomograms: TomogramSet,
                   optics: StarTable, coordinate_pixel_A: float | None = None) -> Floats:
    """Positions (n, 3) in Å from the tomogram centre.

    Parameters
    ----------
    table : StarTable            particles
    i_tomo : (n,)                index in `tomograms`
    optics : StarTable           to recognise coordinates in binned pixels
    coordinate_pixel_A : float   unit of corner-based coordinates [Å]; None: unbinned pixels

    Raises
    ------
    InputError                   neither kind of columns, or values that are not finite
    """
    if all(label in table for label in CENTRED):
        return np.stack([table.finite(label) for label in CENTRED], axis=1)
    if not all(label in table for label in CORNER):
        raise InputError(f"{table.where}: neither {', '.join(CENTRED)} nor {', '.join(CORNER)}: "
                         "no positions. Add one of the two.")
    corner = np.stack([table.finite(label) for label in CORNER], axis=1)
    sizes, pixels_A = tomogram_frames(tomograms, i_tomo)
    if coordinate_pixel_A is None:
        _warn_if_binned(corner, sizes, optics, table.where)
        unit_A = pixels_A[:, None]
    else:
        unit_A = np.full((1, 1), coordinate_pixel_A)
    return corner * unit_A - 0.5 * sizes * pixels_A[:, None]


def tomogram_frames(tomograms: TomogramSet, i_tomo: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """Tomogram sizes (n, 3) px and pixels (n,) Å of particles."""
    pixels_A = tomograms.table.finite("rlnTomoTiltSeriesPixelSize")
    sizes = np.zeros((len(tomograms), 3))
    for i in np.unique(i_tomo).tolist():
        sizes[i] = tomograms.size_px(tomograms.names[i])
    return sizes[i_tomo], pixels_A[i_tomo]


def _warn_if_binned(corner: Floats, sizes: Floats, optics: StarTable, where: str) -> None:
    label = "rlnTomoSubtomogramBinning"
    if label not in optics or not len(corner):
        return
    binning = float(optics.finite(label).max())
    if binning >= 2 and np.all(corner.max(axis=0) * binning <= sizes.max(axis=0) * 1.01):
        warnings.warn(f"{where}: all rlnCoordinateX/Y/Z lie within the tomogram size divided by "
                      f"the binning {binning:g}: they may count binned pixels, where RELION "
                      "counts unbinned ones. If so, give coordinate_pixel_A.", InputWarning,
                      stacklevel=4)

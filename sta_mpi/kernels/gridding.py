"""Gridding correction: what trilinear interpolation in Fourier space does to the map.

Interpolating a transform linearly between samples that are 1/(pad n) apart multiplies
real space by sinc^2(x / (pad n)) along each axis; dividing by it undoes that.
"""

import numpy as np
from numpy.typing import NDArray

FLOOR = 1e-2
"""The window is never taken smaller than this, so that box corners are not blown up."""


def gridding_correction(n: int, pad: float = 1.0) -> NDArray[np.float64]:
    """Factors of one axis that undo trilinear interpolation: 1 / sinc^2(x / (pad n)).

    Parameters
    ----------
    n : int       box edge [voxels], centre voxel n // 2
    pad : float   samples of the interpolated transform per index unit of the box

    Returns
    -------
    (n,) float64   factor of each voxel coordinate; the volume's is the product of three
    """
    x = np.arange(n) - n // 2
    return np.asarray(1.0 / np.maximum(np.sinc(x / (n * pad)) ** 2, FLOOR))


def correct_gridding(volume: NDArray[np.float32], pad: float = 1.0) -> NDArray[np.float32]:
    """The (nz, ny, nx) volume multiplied by the factors of its three axes."""
    z, y, x = (gridding_correction(n, pad) for n in volume.shape)
    factor = z[:, None, None] * y[:, None] * x
    return (volume * factor).astype(np.float32)

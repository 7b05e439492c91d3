"""Projection matrices of tilts that IMOD aligned, and back.

A point X [pixels from the centre of the aligned volume] is seen at the aligned image position

    x' = S X,   S = first two rows of Ry(tilt) Rx(x_tilt), plus z factors in its third column,

where x_tilt is the view's own (`.xtilt`) plus that of the whole volume (XAXISTILT of `tilt`), and
`.xf` took the raw image there, x' = A x + d. The raw position is therefore x = A^-1 (S X - d).
Rotations are active and right-handed: a positive tilt moves points with z > 0 to larger x. This was
checked with the measured bead positions of a real alignment: prediction plus the file's residual
is the measured position to the rounding of the files.

IMOD's centres are the *true* centres, (n - 1) / 2 in 0-based indices, of images and volumes. Ours
are pixel n // 2 of an image and n / 2 of a volume (RELION). The offsets are put into P, so that a
volume of the same size has the same content in the same voxels as IMOD's.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.geometry.projection import tilt_rotation

Floats = NDArray[np.float64]


def projection_from_imod(
    matrix: ArrayLike,
    shift_A: ArrayLike,
    tilt_deg: ArrayLike,
    x_tilt_deg: ArrayLike,
    image_size_px: tuple[int, int],
    pixel_A: float,
    z_factors: ArrayLike | None = None,
) -> Floats:
    """Projection matrices P (n, 3, 4) of views that IMOD aligned.

    Parameters
    ----------
    matrix : (n, 2, 2)             A of the `.xf` file, raw to aligned
    shift_A : (n, 2)               d of the `.xf` file times the pixel of the alignment [Å]
    tilt_deg, x_tilt_deg : (n,)    `.tlt`, and `.xtilt` plus XAXISTILT
    image_size_px : (2,) int       width, height of the images that are read
    pixel_A : float                pixel of these images, and of the volume [Å]
    z_factors : (n, 2)             `.zfac`; none: 0

    Returns
    -------
    (n, 3, 4) float64              as in `sta_mpi.data.TiltSeries`

    Examples
    --------
    With no turn in plane, a point 100 A above the centre moves by sin(30 deg) times 100 A:

    >>> P = projection_from_imod([np.eye(2)], [[0.0, 0.0]], [30.0], [0.0], (101, 101), 1.0)
    >>> (P[0, :2, :3] @ [0.0, 0.0, 100.0]).round(6)
    array([50.,  0.])
    """
    inverse = np.linalg.inv(np.asarray(matrix, np.float64))
    specimen = tilt_rotation(x_tilt_deg, tilt_deg, 0.0)
    seen = specimen[:, :2].copy()
    if z_factors is not None:
        seen[:, :, 2] += np.asarray(z_factors, np.float64)
    P = np.zeros((len(inverse), 3, 4))
    P[:, :2, :3] = inverse @ seen
    P[:, 2, :3] = specimen[:, 2]
    P[:, :2, 3] = (P[:, :2, :3].sum(axis=2) * _VOLUME_CENTRE_PX * pixel_A
                   - np.einsum("nij,nj->ni", inverse, np.asarray(shift_A, np.float64))
                   + _image_centre_A(image_size_px, pixel_A))
    return P


def imod_from_projection(P: ArrayLike, image_size_px: tuple[int, int], pixel_A: float
                         ) -> tuple[Floats, Floats, Floats, Floats]:
    """IMOD's description of projection matrices: the inverse of `projection_from_imod`.

    Parameters
    ----------
    P : (n, 3, 4)                  rotations with or without magnification or stretch
    image_size_px : (2,) int
    pixel_A : float

    Returns
    -------
    matrix : (n, 2, 2)             A, raw to aligned
    shift_A : (n, 2)               d [Å]
    tilt_deg, x_tilt_deg : (n,)    of S = Ry(tilt) Rx(x_tilt); both from the depth row of P
    """
    matrices = np.asarray(P, np.float64)
    depth = matrices[:, 2, :3] / np.linalg.norm(matrices[:, 2, :3], axis=1)[:, None]
    # The last row of Ry(t) Rx(x) is (-sin t, cos t sin x, cos t cos x).
    tilt_deg: Floats = np.degrees(np.arctan2(-depth[:, 0], np.hypot(depth[:, 1], depth[:, 2])))
    x_tilt_deg: Floats = np.degrees(np.arctan2(depth[:, 1], depth[:, 2]))
    specimen = tilt_rotation(x_tilt_deg, tilt_deg, 0.0)[:, :2]
    inverse = matrices[:, :2, :3] @ specimen.transpose(0, 2, 1)
    matrix = np.asarray(np.linalg.inv(inverse), np.float64)
    at_centre_A = (matrices[:, :2, :3].sum(axis=2) * _VOLUME_CENTRE_PX * pixel_A
                   + _image_centre_A(image_size_px, pixel_A) - matrices[:, :2, 3])
    return matrix, np.einsum("nij,nj->ni", matrix, at_centre_A), tilt_deg, x_tilt_deg


_VOLUME_CENTRE_PX = 0.5
"""From IMOD's centre of a volume, index (n - 1) / 2, to ours, n / 2."""


def _image_centre_A(image_size_px: tuple[int, int], pixel_A: float) -> Floats:
    """From our centre of an image, pixel n // 2, to IMOD's, (n - 1) / 2 [Å]."""
    size = np.asarray(image_size_px)
    return np.asarray(((size - 1) / 2 - size // 2) * pixel_A)

"""Projection matrices of tilts that Warp or M aligned.

Warp sees a point X [Å from the centre of its volume] at the image position

    x = Rz(axis) Ry(-(angle + level_y)) Rx(level_x) X + axis offset,

about the centre of the image, with active right-handed rotations: at equal angles its volumes are
the mirror images, z to -z, of IMOD's. Its defocus is defocus + depth, or defocus - depth where
`AreAnglesInverted` is set; that sign is our `hand`. Read from the positions of Warp's own library.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.geometry.projection import tilt_rotation

Floats = NDArray[np.float64]


def projection_from_warp(
    angle_deg: ArrayLike,
    axis_deg: ArrayLike,
    offset_A: ArrayLike,
    level_x_deg: float,
    level_y_deg: float,
    image_size_px: tuple[int, int],
    pixel_A: float,
) -> Floats:
    """Projection matrices P (n, 3, 4) of tilts as Warp's XML describes them.

    Parameters
    ----------
    angle_deg, axis_deg : (n,)          Angles, AxisAngle
    offset_A : (n, 2)                   AxisOffsetX, AxisOffsetY
    level_x_deg, level_y_deg : float    LevelAngleX, LevelAngleY
    image_size_px : (2,) int            width, height of the images
    pixel_A : float                     their pixel

    Returns
    -------
    (n, 3, 4) float64                   as in `sta_mpi.data.TiltSeries`; Warp's volume centre is
                                        half its size, as ours

    Examples
    --------
    >>> P = projection_from_warp([30.0], [0.0], [[0.0, 0.0]], 0.0, 0.0, (100, 100), 1.0)
    >>> P[0, :2].dot([0.0, 0.0, 100.0, 1.0]).round(6)
    array([-50.,   0.])
    """
    angles = np.asarray(angle_deg, np.float64)
    P = np.zeros((len(angles), 3, 4))
    P[:, :, :3] = tilt_rotation(level_x_deg, -(angles + level_y_deg), axis_deg)
    size = np.asarray(image_size_px)
    P[:, :2, 3] = np.asarray(offset_A, np.float64) + (size / 2 - size // 2) * pixel_A
    return P


def mirror_projection(P: ArrayLike) -> Floats:
    """P (n, 3, 4) of the tomogram mirrored in z: the same images, the other hand.

    The depth changes its sign with the volume, so `hand` must be changed as well.
    """
    flip = np.array([1.0, 1.0, -1.0])
    mirrored = np.array(P, np.float64)
    mirrored[:, :, :3] *= flip
    mirrored[:, 2] *= -1
    return mirrored

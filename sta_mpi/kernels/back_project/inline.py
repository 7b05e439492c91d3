"""Scalar maths of back-projection, compiled for CPU and GPU.

Coordinates along a row are float32: with images of up to 8192 px a sample is placed to better
than 1e-3 of a pixel.
"""

import numpy as np

ZERO = np.float32(0.0)
ONE = np.float32(1.0)
BORDER = 1
"""Pixels of zeros before the first one of a framed image; there are two after the last."""


def row_start(y, z, a, b, c, d):
    """(start, step) of one pixel coordinate along a row of voxels, in the framed image.

    a x + b y + c z + d is the coordinate in the image of voxel (x, y, z).
    """
    return np.float32(b * y + c * z + d + BORDER), np.float32(a)


def clamp(coordinate, last):
    """The coordinate, moved into the zeros of the frame where it lies beyond them."""
    inside = coordinate if coordinate > ZERO else ZERO
    return inside if inside < last else last


def bilinear(v00, v01, v10, v11, fx, fy):
    """Value between four neighbours, (row, column) = 00, 01, 10, 11."""
    near = v00 + fx * (v01 - v00)
    far = v10 + fx * (v11 - v10)
    return near + fy * (far - near)

"""Back-projection in plain numpy and double precision."""

import numpy as np


def back_project(images, matrices, z0, shape):
    """Sum over images of their bilinear values where voxels project; see `back_project`.

    Parameters
    ----------
    images : (m, h, w)        zero outside
    matrices : (m, 2, 4)      voxel index xyz to pixel index xy
    z0 : int                  first plane
    shape : (3,) int          planes, rows, columns

    Returns
    -------
    (nz, ny, nx) float64
    """
    z, y, x = np.indices(shape).astype(float)
    z = z + z0
    total = np.zeros(shape)
    for image, matrix in zip(images.astype(float), matrices, strict=True):
        framed = np.pad(image, ((1, 2), (1, 2)))
        px, py = (np.clip(a * x + b * y + c * z + d + 1, 0, side + 1)
                  for (a, b, c, d), side in zip(matrix, image.shape[::-1], strict=True))
        ix, iy = px.astype(int), py.astype(int)
        fx, fy = px - ix, py - iy
        total += (framed[iy, ix] * (1 - fx) * (1 - fy) + framed[iy, ix + 1] * fx * (1 - fy)
                  + framed[iy + 1, ix] * (1 - fx) * fy + framed[iy + 1, ix + 1] * fx * fy)
    return total

"""Back-projection of images into planes of a volume: each voxel sums what it projects onto."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.back_project import cpu
from sta_mpi.kernels.options import check_device

__all__ = ["FRAME_PX", "back_project", "frame_images", "frame_inside"]

Real = NDArray[np.float32]
Floats = NDArray[np.float64]

FRAME_PX = 3
"""Rows and columns that a framed image has more: one of zeros before, two after."""

LARGEST_IMAGE = 1 << 31
"""Pixels of a framed image that 32-bit indices reach."""


def frame_images(images: NDArray[Any]) -> Real:
    """Images (m, h, w) in frames of zeros (m, h + 3, w + 3), as `back_project` reads them."""
    m, h, w = images.shape
    framed = np.zeros((m, h + FRAME_PX, w + FRAME_PX), np.float32)
    frame_inside(framed)[...] = images
    return framed


def frame_inside(framed: NDArray[Any]) -> NDArray[Any]:
    """The images (..., h, w) within their frames (..., h + 3, w + 3), as a view."""
    return framed[..., 1:-2, 1:-2]


def back_project(framed: Real, matrices: Floats, z0: int, out: Real, device: str = "cpu") -> Real:
    """Sum images over the points where voxels project, by bilinear interpolation.

    Parameters
    ----------
    framed : (m, h + 3, w + 3) float32   images in frames of zeros (`frame_images`); beyond the
                                         last pixel an image falls linearly to 0 within a pixel.
                                         With a GPU the array is uploaded once: do not change it.
    matrices : (m, 2, 4) float64         voxel index (x, y, z, 1) of the whole volume to pixel
                                         index (x, y) of the image without its frame
    z0 : int                             plane of the volume that is out[0]
    out : (nz, ny, nx) float32           overwritten
    device : "cpu" or "gpu"

    Returns
    -------
    out : images are added in their order, in float32, whatever slab a voxel is in

    Notes
    -----
    2 to 3 ns a voxel and image on one core of an AMD Zen 4, fastest where rows of voxels project
    onto rows of pixels.
    """
    matrices = np.ascontiguousarray(matrices, np.float64)
    if framed.ndim != 3 or min(framed.shape[1:]) <= FRAME_PX or framed.dtype != np.float32 \
            or not framed.flags.c_contiguous:
        raise ValueError(f"framed images are {framed.dtype} {framed.shape}, expected C-ordered "
                         "float32 (m, h + 3, w + 3)")
    if framed.shape[1] * framed.shape[2] >= LARGEST_IMAGE:
        raise ValueError(f"images of {framed.shape[2]} x {framed.shape[1]} px are too large")
    if matrices.shape != (len(framed), 2, 4):
        raise ValueError(f"matrices have shape {matrices.shape}, expected ({len(framed)}, 2, 4)")
    if out.ndim != 3 or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(f"out is {out.dtype} {out.shape}, expected C-ordered float32 (nz, ny, nx)")
    kernel: Any = cpu.back_project
    if check_device(device):
        from sta_mpi.kernels.back_project import cuda

        kernel = cuda.back_project
    kernel(framed, matrices, z0, out)
    return out

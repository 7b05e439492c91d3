"""Back-projection on a CUDA GPU: one thread a voxel."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from sta_mpi.kernels.back_project import inline
from sta_mpi.kernels.device import KeptByIdentity, free_dropped, launch, upload
from sta_mpi.kernels.options import cuda_inline, cuda_kernel

row_start = cuda_inline(inline.row_start)
clamp = cuda_inline(inline.clamp)
bilinear = cuda_inline(inline.bilinear)


@cuda_kernel
def back_project_kernel(images, matrices, z0, out):
    """Fill out (nz, ny, nx) from framed images (m, h + 3, w + 3)."""
    m, h, w = images.shape
    nz, ny, nx = out.shape
    i = cuda.grid(1)
    if i >= nz * ny * nx:
        return
    j, y, x = i // (ny * nx), (i // nx) % ny, i % nx
    k = np.float32(x)
    last_x, last_y = np.float32(w - 2), np.float32(h - 2)
    total = np.float32(0.0)
    for f in range(m):
        a = matrices[f]
        x0, ux = row_start(y, z0 + j, a[0, 0], a[0, 1], a[0, 2], a[0, 3])
        y0, uy = row_start(y, z0 + j, a[1, 0], a[1, 1], a[1, 2], a[1, 3])
        px, py = clamp(x0 + k * ux, last_x), clamp(y0 + k * uy, last_y)
        ix, iy = int(px), int(py)
        total += bilinear(images[f, iy, ix], images[f, iy, ix + 1], images[f, iy + 1, ix],
                          images[f, iy + 1, ix + 1], px - np.float32(ix), py - np.float32(iy))
    out[j, y, x] = total


def _upload_images(images: Any) -> Any:
    free_dropped()
    return upload(images)


# One copy a process and array: all slabs of a tomogram read the same images.
device_images: Callable[[Any], Any] = KeptByIdentity(_upload_images)


def back_project(images, matrices, z0, out):
    """Fill out (nz, ny, nx) on the host; images are uploaded the first time they are met."""
    found = cuda.device_array(out.shape, np.float32)
    launch(back_project_kernel, out.size, device_images(images), upload(matrices), z0, found)
    if out.size:
        found.copy_to_host(out)

"""Back-projection on the CPU: image by image, so that one image stays in the cache.

A row of voxels is done in two passes: cells and fractions of its samples are found first, in a
loop that LLVM vectorises; then the four neighbours are read.
"""

import numpy as np

from sta_mpi.kernels.back_project import inline
from sta_mpi.kernels.options import cpu_inline, cpu_kernel

row_start = cpu_inline(inline.row_start)
clamp = cpu_inline(inline.clamp)
bilinear = cpu_inline(inline.bilinear)


@cpu_kernel
def back_project(images, matrices, z0, out):
    """Fill out (nz, ny, nx) from framed images (m, h + 3, w + 3)."""
    m, h, w = images.shape
    nz, ny, nx = out.shape
    last_x, last_y = np.float32(w - 2), np.float32(h - 2)
    width, below, beside = np.int32(w), np.uint32(w), np.uint32(1)
    cells = np.empty(nx, np.int32)
    fx, fy = np.empty(nx, np.float32), np.empty(nx, np.float32)
    out[:] = 0
    for f in range(m):
        pixels, a = images[f].ravel(), matrices[f]
        for j in range(nz):
            for y in range(ny):
                x0, ux = row_start(y, z0 + j, a[0, 0], a[0, 1], a[0, 2], a[0, 3])
                y0, uy = row_start(y, z0 + j, a[1, 0], a[1, 1], a[1, 2], a[1, 3])
                for x in range(nx):
                    k = np.float32(np.int32(x))
                    px, py = clamp(x0 + k * ux, last_x), clamp(y0 + k * uy, last_y)
                    ix, iy = np.int32(px), np.int32(py)
                    cells[x] = iy * width + ix
                    fx[x], fy[x] = px - np.float32(ix), py - np.float32(iy)
                row = out[j, y]
                for x in range(nx):
                    # unsigned: numba would test for negative indices otherwise
                    o = np.uint32(cells[x])
                    row[x] += bilinear(pixels[o], pixels[o + beside], pixels[o + below],
                                       pixels[o + below + beside], fx[x], fy[x])

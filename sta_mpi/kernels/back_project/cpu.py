"""Back-projection on the CPU: image by image and tile by tile, so that what a tile sees of an
image stays in the cache whatever the direction of the tilt axis.

A row of a tile is done in two passes: cells and fractions of its samples are found first, in a
loop that LLVM vectorises; then the four neighbours are read.
"""

import numpy as np

from sta_mpi.kernels.back_project import inline
from sta_mpi.kernels.options import cpu_inline, cpu_kernel

TILE_X, TILE_Y = 128, 32
"""Voxels of a tile: about 25 kB of an image."""

row_start = cpu_inline(inline.row_start)
clamp = cpu_inline(inline.clamp)
bilinear = cpu_inline(inline.bilinear)


@cpu_kernel
def back_project(images, matrices, z0, out):
    """Fill out (nz, ny, nx) from framed images (m, h + 3, w + 3)."""
    nz, ny, nx = out.shape
    cells = np.empty(TILE_X, np.int32)
    fractions = np.empty((2, TILE_X), np.float32)
    out[:] = 0
    for f in range(len(images)):
        for y0 in range(0, ny, TILE_Y):
            for x0 in range(0, nx, TILE_X):
                for j in range(nz):
                    for y in range(y0, min(y0 + TILE_Y, ny)):
                        _add_row(images[f], matrices[f], x0, y, z0 + j,
                                 out[j, y, x0 : x0 + TILE_X], cells, fractions)


@cpu_inline
def _add_row(image, a, first, y, z, row, cells, fractions):
    """Add an image to voxels first, first + 1, ... of a row."""
    h, w = image.shape
    last_x, last_y = np.float32(w - 2), np.float32(h - 2)
    width, below, beside = np.int32(w), np.uint32(w), np.uint32(1)
    start_x, step_x = row_start(y, z, a[0, 0], a[0, 1], a[0, 2], a[0, 3])
    start_y, step_y = row_start(y, z, a[1, 0], a[1, 1], a[1, 2], a[1, 3])
    for i in range(len(row)):
        k = np.float32(np.int32(first + i))
        px, py = clamp(start_x + k * step_x, last_x), clamp(start_y + k * step_y, last_y)
        ix, iy = np.int32(px), np.int32(py)
        cells[i] = iy * width + ix
        fractions[0, i], fractions[1, i] = px - np.float32(ix), py - np.float32(iy)
    pixels = image.ravel()
    for i in range(len(row)):
        # unsigned: numba would test for negative indices otherwise
        o = np.uint32(cells[i])
        row[i] += bilinear(pixels[o], pixels[o + beside], pixels[o + below],
                           pixels[o + below + beside], fractions[0, i], fractions[1, i])

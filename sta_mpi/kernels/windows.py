"""Windows of images in and out of the buffers of transforms; on the CPU alone.

In a buffer the origin is at index 0: offsets 0, 1, ... come first, then those from -(n // 2) on.
"""

import numpy as np

from sta_mpi.kernels.options import cpu_kernel


@cpu_kernel
def fill_window(image, x_px, y_px, mean, out):
    """Fill out (n, n) float32 with image (h, w) around a pixel, less the mean.

    Beyond the image its edge pixels are repeated.
    """
    n, (h, w) = len(out), image.shape
    first = n - n // 2
    is_inside = x_px >= n // 2 and x_px + first <= w
    for i in range(n):
        y = y_px + (i if i < first else i - n)
        row = image[min(max(y, 0), h - 1)]
        if is_inside:
            for j in range(first):
                out[i, j] = np.float32(row[x_px + j]) - mean
            for j in range(first, n):
                out[i, j] = np.float32(row[x_px + j - n]) - mean
        else:
            for j in range(n):
                x = x_px + (j if j < first else j - n)
                out[i, j] = np.float32(row[min(max(x, 0), w - 1)]) - mean


@cpu_kernel
def fill_masked(window, mask, out):
    """Fill out (b, b) with the part of window (n, n) about the origin times mask (b, b).

    All have their origin at index 0.
    """
    n, b = len(window), len(out)
    first = b - b // 2
    for i in range(b):
        row = window[i if i < first else i - b + n]
        for j in range(first):
            out[i, j] = row[j] * mask[i, j]
        for j in range(first, b):
            out[i, j] = row[j - b + n] * mask[i, j]


@cpu_kernel
def fill_masked_box(box, mask, out):
    """Fill out (n, n, n), origin at index 0, with box times mask, origins at n // 2."""
    n = len(out)
    c = n // 2
    first = n - c
    for i in range(n):
        z = i + c if i < first else i - first
        for j in range(n):
            y = j + c if j < first else j - first
            for k in range(first):
                out[i, j, k] = box[z, y, k + c] * mask[z, y, k + c]
            for k in range(c):
                out[i, j, k + first] = box[z, y, k] * mask[z, y, k]

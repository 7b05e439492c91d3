"""Cut patches around particles out of tilt images.

RELION's extraction (its B.0): a window of whole pixels around the rounded position,
edge pixels replicated beyond the image, and the remainder of the rounding given back
for a phase shift. Nothing here knows about CTF or noise.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def cut_patches(
    images: Sequence[NDArray], positions_px: NDArray[np.float64], size_px: int
) -> tuple[Image, NDArray[np.float64]]:
    """Cut one square patch an image, centred at the rounded position.

    Parameters
    ----------
    images : m arrays (h, w)             any real dtype; sizes may differ
    positions_px : (m, 2) float64        x, y of the particle in each image
    size_px : int                        edge of the patches

    Returns
    -------
    patches : (m, size, size) float32    pixel size // 2 is the rounded position
    remainder_px : (m, 2) float64        position minus rounded position, in [-0.5, 0.5)
    """
    rounded = np.floor(positions_px + 0.5).astype(np.int64)
    patches = np.empty((len(images), size_px, size_px), np.float32)
    for patch, image, at in zip(patches, images, rounded, strict=True):
        patch[...] = window_of(image, at, size_px)
    return patches, positions_px - rounded


def window_of(image: NDArray, at_px: NDArray[np.int64], size_px: int) -> NDArray:
    """The window (size, size) of an image whose pixel size // 2 is `at_px` (x, y).

    A view where the window lies inside the image; else edge pixels are repeated.
    """
    x0, y0 = (int(at) - size_px // 2 for at in at_px)
    rows, above = _inside(y0, size_px, image.shape[0])
    columns, left = _inside(x0, size_px, image.shape[1])
    inner = image[rows, columns]
    if inner.shape == (size_px, size_px):
        return inner
    h, w = inner.shape
    window = np.empty((size_px, size_px), image.dtype)
    window[above : above + h, left : left + w] = inner
    window[above : above + h, :left] = inner[:, :1]
    window[above : above + h, left + w :] = inner[:, -1:]
    window[:above] = window[above]
    window[above + h :] = window[above + h - 1]
    return window


def _inside(start: int, size: int, length: int) -> tuple[slice, int]:
    """What of start .. start + size lies in 0 .. length, and how many before repeat its first.

    One element at least: the nearest one, where none lies inside.
    """
    first, last = (min(max(at, 0), length - 1) for at in (start, start + size - 1))
    return slice(first, last + 1), min(max(-start, 0), size - 1)


def is_visible(
    positions_px: NDArray[np.float64], image_size_px: tuple[int, int], margin_px: float
) -> NDArray[np.bool_]:
    """Whether positions (..., 2) lie inside an image (width, height) by more than a margin."""
    size = np.asarray(image_size_px, float)
    inside = (positions_px > margin_px) & (positions_px < size - margin_px)
    return np.asarray(inside.all(axis=-1))

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
    for patch, image, corner in zip(patches, images, rounded - size_px // 2, strict=True):
        _copy_window(patch, image, int(corner[0]), int(corner[1]))
    return patches, positions_px - rounded


def _copy_window(patch: Image, image: NDArray, x0: int, y0: int) -> None:
    """Fill `patch` with the window of `image` whose first pixel is (x0, y0)."""
    height, width = image.shape
    size = len(patch)
    if x0 >= 0 and y0 >= 0 and x0 + size <= width and y0 + size <= height:
        patch[...] = image[y0 : y0 + size, x0 : x0 + size]
        return
    rows = np.clip(np.arange(y0, y0 + size), 0, height - 1)
    columns = np.clip(np.arange(x0, x0 + size), 0, width - 1)
    patch[...] = image[rows[:, None], columns[None, :]]


def is_visible(
    positions_px: NDArray[np.float64], image_size_px: tuple[int, int], margin_px: float
) -> NDArray[np.bool_]:
    """Whether positions (..., 2) lie inside an image (width, height) by more than a margin."""
    size = np.asarray(image_size_px, float)
    inside = (positions_px > margin_px) & (positions_px < size - margin_px)
    return np.asarray(inside.all(axis=-1))

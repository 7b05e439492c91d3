"""Binning of whole images in Fourier space."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Image = NDArray[np.float32]

_ROWS = 64
"""Rows that are transformed together; they stay in the cache."""


def binned_image(image: Image, binning: int, fill: float) -> Image:
    """The band-limited mean of an image over binning × binning pixels.

    The image is padded with `fill` to a size that suits the transform, and the transform is cut
    at the new Nyquist frequency. Binned pixel k lies on pixel k × binning.

    Parameters
    ----------
    image : (h, w) float32    pixels that are no numbers are taken as `fill`, and every binned
                              pixel that covers one of them becomes NaN
    binning : int             1: the image as it is
    fill : float              grey level beyond the edges; the mean of the image

    Returns
    -------
    (h // binning, w // binning) float32
    """
    if binning == 1:
        return image
    kept = tuple(n // binning for n in image.shape)
    rows, columns = (_fast_even(-(-n // binning)) for n in image.shape)
    half, has_bad = _transformed_rows(image, fill, binning * rows, binning * columns, columns)
    half = scipy.fft.fft(half, axis=0, overwrite_x=True, workers=1)
    cut = np.concatenate([half[: rows // 2], half[-(rows // 2):]])
    # a wave at the new Nyquist frequency has lost its other half
    cut[rows // 2] = 0
    cut[:, columns // 2] = 0
    cut *= np.float32(1.0 / binning**2)
    small = scipy.fft.irfft2(cut, s=(rows, columns), workers=1)
    out = np.asarray(small[: kept[0], : kept[1]] + np.float32(fill), np.float32)
    if has_bad:
        bad = ~np.isfinite(image)
        blocks = bad[: kept[0] * binning, : kept[1] * binning]
        out[blocks.reshape(kept[0], binning, kept[1], binning).any(axis=(1, 3))] = np.nan
    return out


def _transformed_rows(image: Image, fill: float, height: int, width: int, kept: int
                      ) -> tuple[NDArray[np.complex64], bool]:
    """Rows of an image less `fill`, padded to (height, width), transformed and cut at kept // 2.

    Whether there are pixels that are no numbers comes second; they count as `fill`. A few rows at
    a time: they stay in the cache.
    """
    half, has_bad = np.zeros((height, kept // 2 + 1), np.complex64), False
    for first in range(0, len(image), _ROWS):
        part = image[first : first + _ROWS] - np.float32(fill)
        with np.errstate(over="ignore", invalid="ignore"):
            is_bad = not np.isfinite(part.sum(dtype=np.float64))
        if is_bad:
            part[~np.isfinite(part)] = 0
            has_bad = True
        half[first : first + len(part)] = scipy.fft.rfft(
            part, width, axis=1, workers=1)[:, : kept // 2 + 1]
    return half, has_bad


def _fast_even(least: int) -> int:
    """The smallest even length from `least` on that transforms like."""
    n = scipy.fft.next_fast_len(least, real=True)
    while n % 2:
        n = scipy.fft.next_fast_len(n + 1, real=True)
    return int(n)

"""Binning of whole images in Fourier space."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Image = NDArray[np.float32]


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
    padded_shape = tuple(binning * _fast_even(-(-n // binning)) for n in image.shape)
    padded = np.zeros(padded_shape, np.float32)
    np.subtract(image, np.float32(fill), out=padded[: image.shape[0], : image.shape[1]])
    bad = ~np.isfinite(padded)
    has_bad = bool(bad.any())
    if has_bad:
        padded[bad] = 0
    rows, columns = (n // binning for n in padded_shape)
    half = scipy.fft.rfft2(padded, overwrite_x=True, workers=1)
    cut = np.concatenate([half[: rows // 2, : columns // 2 + 1],
                          half[-(rows // 2):, : columns // 2 + 1]])
    # a wave at the new Nyquist frequency has lost its other half
    cut[rows // 2] = 0
    cut[:, columns // 2] = 0
    cut *= np.float32(1.0 / binning**2)
    small = scipy.fft.irfft2(cut, s=(rows, columns), workers=1)
    out = np.asarray(small[: kept[0], : kept[1]] + np.float32(fill), np.float32)
    if has_bad:
        blocks = bad[: kept[0] * binning, : kept[1] * binning]
        out[blocks.reshape(kept[0], binning, kept[1], binning).any(axis=(1, 3))] = np.nan
    return out


def _fast_even(least: int) -> int:
    """The smallest even length from `least` on that transforms like."""
    n = scipy.fft.next_fast_len(least, real=True)
    while n % 2:
        n = scipy.fft.next_fast_len(n + 1, real=True)
    return int(n)

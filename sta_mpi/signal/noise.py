"""Noise power spectra of tilt images.

A tilt image is nearly all noise, so its own power spectrum, averaged over many tiles, is the
noise spectrum that weights the data of its particles:

    P(s) = mean over tiles and over shell s of |FFT(w x)|^2 / sum(w^2)

with tiles that overlap by half (less in large images) and a taper w that keeps their edges from
leaking into all frequencies. Division by sum(w^2) makes up for the power the taper takes: white
noise of variance s2 gives s2 in every shell, in the units of orthonormal transforms (`signal.fft`),
whatever the tile. Transforms are scipy.fft, single precision, one thread.

Gold beads, ice and empty borders are not noise: the robust estimate leaves out tiles whose
power is far from that of the others.
"""

from itertools import product

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import InputError
from sta_mpi.kernels.images import add_shell_power
from sta_mpi.signal.fourier_grid import shell_index_rft

Image = NDArray[np.float32]
Floats = NDArray[np.float64]

_OUTLIER_SIGMAS = 4.0
"""A tile is left out when the log of its power in some band is this many (robust) standard
deviations from the median. Of tiles of clean noise fewer than 1 in 1000 are."""

_EMPTY = 1e-6
"""Share of the largest power at high frequency below which a tile is a constant fill."""

_MOST_TILES_A_SIDE = 16
"""256 tiles of 256 px: from shell 30 on the power is known to 1 %; more only take time."""

_FEWEST_TILES_TO_JUDGE = 16
"""With fewer tiles a median and its spread say too little to leave any out."""


def noise_spectrum(image: Image, tile_px: int, robust: bool = True) -> Floats:
    """Radial noise power spectrum of an image.

    Parameters
    ----------
    image : (h, w) float32
    tile_px : int    edge of the square tiles, at most that of the image; the box of the
                     particles is a good size
    robust : bool    leave out tiles whose power is an outlier (gold, contamination, borders)

    Returns
    -------
    (tile_px//2+1,) float64
        Power per orthonormal Fourier coefficient at 0, 1 ... tile_px // 2 cycles a tile.

    Notes
    -----
    The mean of the image is removed, not that of each tile, so shell 0 holds the power of
    slow variations too. A Hann taper mixes neighbouring shells: structure narrower than two
    shells is smoothed.
    """
    _check_image(image, tile_px)
    powers = _tile_powers(image, tile_px)
    if robust and len(powers) >= _FEWEST_TILES_TO_JUDGE:
        powers = powers[_ordinary_tiles(powers)]
    return np.asarray(powers.mean(axis=0))


def interpolate_spectrum(spectrum: ArrayLike, n: int) -> Floats:
    """Resample a spectrum (m//2+1,) of tiles of m pixels to shells (n//2+1,) of a box of n.

    Parameters
    ----------
    spectrum : (m//2+1,)   from an even tile size m
    n : int                box with the same pixel; shell j lies at j m / n of the spectrum

    Notes
    -----
    Power per orthonormal coefficient does not depend on the box: values are interpolated
    linearly and not scaled. An odd box ends just below the last shell of the spectrum.

    Examples
    --------
    >>> interpolate_spectrum([5.0, 3.0, 2.0, 2.0, 2.0], 4).tolist()
    [5.0, 2.0, 2.0]
    """
    values = np.asarray(spectrum, np.float64)
    m = 2 * (len(values) - 1)
    return np.asarray(np.interp(np.arange(n // 2 + 1) * (m / n), np.arange(len(values)), values))


def _tile_powers(image: Image, tile_px: int) -> Floats:
    """Radial mean power of every tile: (n_tiles, tile_px//2+1)."""
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * (np.arange(tile_px) + 0.5) / tile_px)
    taper = (hann[:, None] * hann).astype(np.float32)
    scale = 1.0 / float((taper.astype(np.float64) ** 2).sum())
    mean = np.float32(image.mean(dtype=np.float64))
    half = (tile_px, tile_px // 2 + 1)
    shells, weights = shell_index_rft(half), _multiplicity(tile_px)
    counts = np.bincount(shells.ravel(), np.broadcast_to(weights, half).ravel())
    starts = list(product(_starts(image.shape[0], tile_px), _starts(image.shape[1], tile_px)))
    powers = np.zeros((len(starts), len(counts)))
    for (y, x), power in zip(starts, powers, strict=True):
        tile = image[y:y + tile_px, x:x + tile_px] - mean
        tile *= taper
        add_shell_power(scipy.fft.rfft2(tile, workers=1), shells, weights, power)
    return (powers * (scale / counts))[:, : half[1]]


def _ordinary_tiles(powers: Floats) -> NDArray[np.bool_]:
    """Tiles whose power is like that of most, in the low, middle and high third of the shells.

    The log of the power makes bright and empty tiles equally visible; the median and the
    median absolute deviation do not move with a few percent of outliers. Empty tiles (a
    constant fill at the border) have no say, or half an empty image would make it all empty.
    """
    bands = np.array_split(powers[:, 1:], 3, axis=1)
    detail = bands[-1].sum(axis=1)
    has_detail = detail > _EMPTY * detail.max()
    keep = has_detail.copy()
    for band in bands if has_detail.any() else []:
        log_power = np.log(np.maximum(band.sum(axis=1), np.finfo(np.float64).tiny))
        distance = np.abs(log_power - np.median(log_power[has_detail]))
        keep &= distance <= _OUTLIER_SIGMAS * 1.4826 * np.median(distance[has_detail])
    return keep if keep.any() else np.ones(len(powers), bool)


def _starts(length: int, tile_px: int) -> list[int]:
    """First pixels of half-overlapping tiles, or of `_MOST_TILES_A_SIDE` evenly spread ones.

    The last tile ends with the image.
    """
    starts = list(range(0, length - tile_px + 1, max(1, tile_px // 2)))
    if len(starts) > _MOST_TILES_A_SIDE:
        starts = [round(i * (length - tile_px) / (_MOST_TILES_A_SIDE - 1))
                  for i in range(_MOST_TILES_A_SIDE)]
    if starts[-1] != length - tile_px:
        starts.append(length - tile_px)
    return starts


def _multiplicity(n: int) -> Floats:
    """How many samples of a full transform those along the last axis of its half stand for."""
    weights = np.full(n // 2 + 1, 2.0)
    weights[0] = 1.0
    if n % 2 == 0:
        weights[-1] = 1.0
    return weights


def _check_image(image: Image, tile_px: int) -> None:
    if image.ndim != 2:
        raise InputError(f"the image has {image.ndim} axes, expected 2 (y, x).")
    if not 8 <= tile_px <= min(image.shape) or tile_px % 2:
        raise InputError(
            f"noise tiles of {tile_px} px do not fit an image of {image.shape[1]} x "
            f"{image.shape[0]} px: use an even size from 8 to {min(image.shape)} px.")
    with np.errstate(invalid="ignore"):
        is_finite = np.isfinite(image.sum(dtype=np.float64))
    if not is_finite:
        raise InputError("the image holds NaN or infinite pixels: correct or exclude the tilt.")

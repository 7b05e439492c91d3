"""The map one looks at: merged halves over the MTF, weighted by the FSC, sharpened, low-passed.

    F_out(k) = F(k) / MTF(s) * sqrt(2 FSC / (1 + FSC)) * exp(-B s^2 / 4) * lowpass(s)

The weight is taken per shell (|k| rounded), the others at |k| itself; the order of steps and the
amplitudes noted after each are those of RELION's postprocess. Samples beyond Nyquist (the corners
of the transform) have no FSC and are set to zero.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import InputError
from sta_mpi.post.guinier import GuinierFit, fit_guinier, log_amplitudes
from sta_mpi.signal.filters import b_factor_damping, raised_cosine_lowpass
from sta_mpi.signal.fourier_grid import radius_rft

Map = NDArray[np.float32]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sharpening:
    """What is done to the merged map.

    Parameters
    ----------
    weight : (n//2+1,) or None     factor of each shell; None: no FSC weighting
    mtf : (n//2+1,) or None        divided by
    b_factor_A2 : float or None    None: none, or fitted where `auto_b_factor`
    auto_b_factor : bool           fit B to the weighted amplitudes
    fit_low_A, fit_high_A          range of that fit, see `fit_guinier`
    lowpass_A : float or None      None: no low-pass
    lowpass_edge_shells : float
    """

    weight: Floats | None = None
    mtf: Floats | None = None
    b_factor_A2: float | None = None
    auto_b_factor: bool = False
    fit_low_A: float = 10.0
    fit_high_A: float | None = None
    lowpass_A: float | None = None
    lowpass_edge_shells: float = 2.0


@dataclass(frozen=True)
class Sharpened:
    """A sharpened map and the Guinier plot of every step.

    Parameters
    ----------
    map : (n, n, n) float32
    b_factor_A2 : float                what was used, 0 for none
    fit : GuinierFit or None           where B was fitted
    s2_per_A2 : (n//2+1,) float64
    log_amplitudes : dict of (n//2+1,)  "original", "mtf_corrected", "weighted", "sharpened"; a
                                        step that was not done is left out
    """

    map: Map
    b_factor_A2: float
    fit: GuinierFit | None
    s2_per_A2: Floats
    log_amplitudes: dict[str, Floats]


def sharpen(merged: Map, voxel_A: float, how: Sharpening) -> Sharpened:
    """Apply `how` to the mean of two half maps (n, n, n).

    Notes
    -----
    Two transforms of the map; about six maps of memory at the peak.
    """
    n = merged.shape[0]
    rft = np.asarray(scipy.fft.rfftn(np.asarray(merged, np.float32), workers=1), np.complex64)
    k = radius_rft(rft.shape).astype(np.float32)
    shell = np.floor(k + 0.5).astype(np.int32)
    s2 = (np.arange(n // 2 + 1) / (n * voxel_A)) ** 2
    plot = {"original": log_amplitudes(rft)}
    if how.mtf is not None:
        mtf = _checked_mtf(how.mtf)
        rft /= np.interp(k, np.arange(len(mtf)), mtf).astype(np.float32)
        plot["mtf_corrected"] = log_amplitudes(rft)
    if how.weight is not None:
        rft *= _by_shell(how.weight, shell)
        plot["weighted"] = log_amplitudes(rft)
    fit = None
    b_factor_A2 = how.b_factor_A2 or 0.0
    if how.auto_b_factor:
        fit = fit_guinier(s2, list(plot.values())[-1], how.fit_low_A, how.fit_high_A)
        b_factor_A2 = fit.b_factor_A2
    if b_factor_A2:
        rft *= b_factor_damping(k / (n * voxel_A), b_factor_A2).astype(np.float32)
        plot["sharpened"] = log_amplitudes(rft)
    if how.lowpass_A is not None:
        rft *= raised_cosine_lowpass(
            k, n * voxel_A / how.lowpass_A, how.lowpass_edge_shells).astype(np.float32)
    rft[k > n // 2] = 0.0
    out = np.asarray(scipy.fft.irfftn(rft, s=merged.shape, workers=1), np.float32)
    return Sharpened(out, b_factor_A2, fit, s2, plot)


def mtf_of_shells(frequency_per_px: ArrayLike, mtf: ArrayLike, mtf_pixel_A: float, box_px: int,
                  voxel_A: float) -> Floats:
    """Detector MTF at the shells of a map.

    Parameters
    ----------
    frequency_per_px : (m,)   rising, 0 to 0.5 cycles a detector pixel
    mtf : (m,)                amplitude, 1 at frequency 0
    mtf_pixel_A : float       detector pixel at the specimen [A]
    box_px, voxel_A           of the map

    Returns
    -------
    (box_px//2+1,) float64    linear between the points, the last value beyond them
    """
    shells_per_px = np.arange(box_px // 2 + 1) * mtf_pixel_A / (box_px * voxel_A)
    return np.asarray(np.interp(shells_per_px, np.asarray(frequency_per_px, np.float64),
                                np.asarray(mtf, np.float64)))


def _checked_mtf(mtf: Floats) -> Floats:
    if not (mtf > 0.01).all():
        raise InputError(
            f"the MTF falls to {float(mtf.min()):.3g} within the frequencies of the map: dividing "
            "by it would blow up noise. Check the pixel size of the MTF (--mtf-pixel-A).")
    return mtf


def _by_shell(factors: Floats, shell: NDArray[np.int32]) -> Map:
    """Factor of every voxel; the corners get the last one until they are set to zero."""
    return np.asarray(factors, np.float32)[np.minimum(shell, len(factors) - 1)]

"""Fourier shell correlation of two half maps: unmasked, masked, corrected, and resolution.

    FSC(s) = sum Re(F1 conj F2) / sqrt(sum |F1|^2  sum |F2|^2)    over the samples of shell s

A tight mask correlates the two halves by itself. Randomising the phases beyond a shell
leaves only that part, FSC_n, and what the mask did not make is (Chen et al. 2013,
Ultramicroscopy 135, 24)

    FSC_true = (FSC_masked - FSC_n) / (1 - FSC_n).

Shells are those of `kernels.shells`: the samples whose |k| rounds to the number, up to
Nyquist. Its sums run in double precision in one fixed order, so a curve has the same bits
on any number of ranks. Transforms are scipy.fft, single precision, one thread; the place of
the origin and the scale cancel in an FSC.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import InputError
from sta_mpi.kernels.shells import ShellSums, shell_sums
from sta_mpi.signal.fourier_grid import shell_index_rft

Volume = NDArray[np.float32]
Complex = NDArray[np.complex64]
Floats = NDArray[np.float64]

RANDOMISE_BELOW = 0.8
"""Phases are randomised from the first shell whose unmasked FSC is below this (RELION)."""

_SHELLS_BEFORE_CORRECTION = 2
"""The mask smears the randomised part over neighbouring shells: the correction starts this
many shells after the first randomised one (RELION)."""


@dataclass(frozen=True)
class FscResult:
    """The four curves of a pair of half maps, each (n//2+1,) float64, and what made them.

    Parameters
    ----------
    unmasked, masked, randomised, corrected : (n//2+1,) float64
    randomised_from_shell : int or None   None: the unmasked FSC never falls far enough;
                                          then nothing is randomised and corrected = masked
    voxel_A : float
    box_px : int                          edge n of the maps
    """

    unmasked: Floats
    masked: Floats
    randomised: Floats
    corrected: Floats
    randomised_from_shell: int | None
    voxel_A: float
    box_px: int

    def resolution_A(self, threshold: float = 0.143, rule: str = "last_shell") -> float:
        """Resolution [A] of the corrected curve; see `resolution_A`."""
        return resolution_A(self.corrected, self.voxel_A, self.box_px, threshold, rule)

    def mean_crossing_shell(self, threshold: float = 0.143) -> float:
        """Shell that the corrected curve reaches; see `mean_crossing_shell`."""
        return mean_crossing_shell(self.corrected, threshold)


def fsc(map1: Volume, map2: Volume) -> Floats:
    """FSC of two maps.

    Parameters
    ----------
    map1, map2 : (n, n, n) float32

    Returns
    -------
    (n//2+1,) float64; shell 0 is 1 by definition, a shell without power is 0
    """
    _check_maps(map1, map2)
    return fsc_from_sums(shell_sums(_transform(map1), _transform(map2)))


def fsc_masked(map1: Volume, map2: Volume, mask: Volume) -> Floats:
    """FSC of two maps multiplied by a mask (n, n, n) with values in [0, 1]."""
    _check_maps(map1, map2)
    _check_mask(mask, map1.shape)
    return fsc(map1 * mask, map2 * mask)


def fsc_from_sums(sums: ShellSums) -> Floats:
    """FSC from sums over shells, for callers that hold transforms already."""
    power = np.sqrt(sums.power_a * sums.power_b)
    curve = np.divide(sums.cross, power, out=np.zeros_like(power), where=power > 0.0)
    curve[0] = 1.0
    return curve


def phase_randomise(map_: Volume, from_shell: int, rng: np.random.Generator) -> Volume:
    """Replace the phases of all shells >= from_shell by random ones, amplitudes kept.

    Parameters
    ----------
    map_ : (n, n, n) float32
    from_shell : int
    rng : numpy Generator

    Returns
    -------
    (n, n, n) float32

    Notes
    -----
    The phases are those of a volume of white noise: uniform, and Hermitian by themselves.
    """
    transform = _transform(map_)
    beyond = shell_index_rft(transform.shape) >= from_shell
    noise = _transform(rng.standard_normal(map_.shape, np.float32))[beyond]
    transform[beyond] = np.abs(transform[beyond]) * np.exp(1j * np.angle(noise))
    return np.asarray(
        scipy.fft.irfftn(transform, s=map_.shape, workers=1), np.float32)


def corrected_fsc(
    map1: Volume,
    map2: Volume,
    mask: Volume,
    voxel_A: float,
    rng: np.random.Generator,
    randomise_at_A: float | None = None,
    randomise_at_fsc: float = RANDOMISE_BELOW,
) -> FscResult:
    """FSC of two half maps under a mask, corrected for what the mask itself correlates.

    Parameters
    ----------
    map1, map2 : (n, n, n) float32   independent half maps
    mask : (n, n, n) float32         values in [0, 1]
    voxel_A : float
    rng : numpy Generator            draws the random phases of both halves
    randomise_at_A : float or None   randomise from here; None: from the first shell whose
                                     unmasked FSC is below `randomise_at_fsc`
    randomise_at_fsc : float

    Returns
    -------
    FscResult

    Notes
    -----
    Four transforms of a map pair and two of noise; about six maps of memory at the peak.
    """
    unmasked, masked = fsc(map1, map2), fsc_masked(map1, map2, mask)
    n = map1.shape[0]
    if randomise_at_A is None:
        low = np.flatnonzero(unmasked[1:] < randomise_at_fsc)
        from_shell = int(low[0]) + 1 if low.size else None
    else:
        from_shell = max(1, round(n * voxel_A / randomise_at_A))
    if from_shell is None or from_shell > n // 2:
        return FscResult(unmasked, masked, masked.copy(), masked.copy(), None, voxel_A, n)
    randomised = fsc_masked(
        phase_randomise(map1, from_shell, rng), phase_randomise(map2, from_shell, rng), mask)
    corrected = true_fsc(masked, randomised, from_shell)
    return FscResult(unmasked, masked, randomised, corrected, from_shell, voxel_A, n)


def unavailable_fsc(box_px: int, voxel_A: float) -> FscResult:
    """All curves NaN: one of the half maps is empty."""
    curve = np.full(box_px // 2 + 1, np.nan)
    return FscResult(curve, curve, curve, curve, None, voxel_A, box_px)


def true_fsc(masked: Floats, randomised: Floats, from_shell: int) -> Floats:
    """(t - n) / (1 - n) from two shells beyond `from_shell` on, the masked FSC before."""
    corrected = np.array(masked, np.float64)
    start = from_shell + _SHELLS_BEFORE_CORRECTION
    t, n = corrected[start:], np.asarray(randomised, np.float64)[start:]
    corrected[start:] = np.where(n < 1.0, (t - n) / np.where(n < 1.0, 1.0 - n, 1.0), 0.0)
    return corrected


def resolution_shell(curve: ArrayLike, threshold: float = 0.143, rule: str = "last_shell") -> float:
    """Shell at which a curve first falls below the threshold.

    Parameters
    ----------
    curve : (n//2+1,)
    threshold : float
    rule : "last_shell" or "interpolated"
        The last shell before the first one below (RELION), or the crossing of the straight
        line between these two.

    Returns
    -------
    float; 0 where shell 1 is already below, n // 2 where the curve never falls below, NaN for a
    curve that is not available (all NaN)
    """
    values = np.asarray(curve, np.float64)
    if np.isnan(values[1:]).all():
        return float("nan")
    below = np.flatnonzero(values[1:] < threshold)
    if not below.size:
        return float(len(values) - 1)
    last = int(below[0])
    if rule == "last_shell" or last == 0:
        return float(last)
    if rule != "interpolated":
        raise ValueError(f"rule is '{rule}', expected 'last_shell' or 'interpolated'")
    high, low = values[last], values[last + 1]
    return last + float((high - threshold) / (high - low))


def mean_crossing_shell(curve: ArrayLike, threshold: float = 0.143) -> float:
    """Shell at which a curve falls, averaged over thresholds from half the given one to twice it.

    Within a few shells of `resolution_shell`, and steady: where a curve lies along the threshold,
    changes of 0.003 move the crossing by two shells, this mean by less than 0.1. For comparing
    maps of the same data, not for stating a resolution.

    The mean over thresholds of the number of shells above them is a sum over shells,

        sum_s clip((F_s - t / 2) / (2 t - t / 2), 0, 1)    up to the first F_s < t / 2.

    Parameters
    ----------
    curve : (n//2+1,)
    threshold : t

    Returns
    -------
    float in shells, 0 to n // 2; NaN for a curve that is not available (all NaN)
    """
    values = np.asarray(curve, np.float64)[1:]
    if np.isnan(values).all():
        return float("nan")
    low, high = threshold / 2, 2 * threshold
    below = np.flatnonzero(values < low)
    end = int(below[0]) if below.size else len(values)
    return float(np.clip((values[:end] - low) / (high - low), 0.0, 1.0).sum())


def resolution_A(
    curve: ArrayLike,
    voxel_A: float,
    box_px: int,
    threshold: float = 0.143,
    rule: str = "last_shell",
) -> float:
    """Resolution [A] at which an FSC curve falls below a threshold; inf below shell 1.

    NaN for a curve that is not available.

    `rule` is that of `resolution_shell`. Shell s of a box of n voxels stands for
    n * voxel_A / s.

    Examples
    --------
    >>> resolution_A([1.0, 0.9, 0.5, 0.1], voxel_A=2.0, box_px=6)
    6.0
    """
    shell = resolution_shell(curve, threshold, rule)
    return box_px * voxel_A / shell if shell != 0 else float("inf")


def snr_from_fsc(curve: ArrayLike, of_merged: bool = False) -> Floats:
    """Signal to noise power per shell, F / (1 - F) of a half map or twice that of the mean.

    F is kept within 0.001 and 0.999, as RELION does, so the ratio is positive and finite.
    """
    clamped = np.clip(np.asarray(curve, np.float64), 0.001, 0.999)
    return np.asarray((2.0 if of_merged else 1.0) * clamped / (1.0 - clamped))


def fsc_weight(curve: ArrayLike) -> Floats:
    """Expected correlation of the merged map with the truth, sqrt(2 F / (1 + F)).

    0 from the first shell on where F < 1e-4 (Rosenthal & Henderson 2003, JMB 333, 721).
    """
    values = np.asarray(curve, np.float64)
    gone = np.flatnonzero(values < 1e-4)
    positive = np.clip(values, 0.0, 1.0)
    weight = np.sqrt(2.0 * positive / (1.0 + positive))
    if gone.size:
        weight[gone[0]:] = 0.0
    return np.asarray(weight)


def _transform(map_: Volume) -> Complex:
    return np.asarray(scipy.fft.rfftn(np.asarray(map_, np.float32), workers=1), np.complex64)


def _check_maps(map1: Volume, map2: Volume) -> None:
    if map1.shape != map2.shape or map1.ndim != 3 or len(set(map1.shape)) != 1:
        raise InputError(
            f"half maps have shapes {map1.shape} and {map2.shape} (z, y, x): "
            "an FSC needs two cubic maps of one size.")
    for name, map_ in (("half map 1", map1), ("half map 2", map2)):
        if not np.isfinite(map_).all():
            raise InputError(f"{name} holds NaN or infinite voxels: reconstruct it again.")


def _check_mask(mask: Volume, shape: tuple[int, ...]) -> None:
    if mask.shape != shape:
        raise InputError(f"the mask is {mask.shape} (z, y, x), the maps are {shape}: resample it.")
    low, high = float(mask.min()), float(mask.max())
    if not (low >= -1e-5 and high <= 1.0 + 1e-5 and high > 0.0):
        raise InputError(
            f"mask values run from {low:.4g} to {high:.4g}: they must lie within 0 and 1 "
            "and not all be 0.")

"""Loss of signal with dose: critical exposure, or B-factors; and the band that is left.

Amplitudes at frequency s (1/Å) after dose N (e/Å^2) are multiplied by exp(-N / (2 Nc(s)))
with the critical exposure Nc(s) = 0.245 s^-1.665 + 2.81 (Grant & Grigorieff, eLife 2015,
300 kV), or by the Gaussian exp(-B N s^2 / 4) where a B-factor per dose is given.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def critical_exposure_e_per_A2(s_per_A: ArrayLike) -> Floats:
    """Dose after which amplitudes at s (1/Å) fell by exp(-1/2); infinite at s = 0."""
    s = np.asarray(s_per_A, float)
    with np.errstate(divide="ignore"):
        return np.asarray(0.245 * s**-1.665 + 2.81)


def dose_damping(pre_dose_e_per_A2: ArrayLike, s_per_A: ArrayLike,
                 b_factor_per_dose_A2: float = 0.0, ctf_b_factor_A2: ArrayLike = 0.0) -> Floats:
    """Amplitude factor of tilts after their pre-exposure.

    Parameters
    ----------
    pre_dose_e_per_A2 : scalar or (m,)   dose before each tilt; NaN or negative: not known
    s_per_A : array                      spatial frequencies
    b_factor_per_dose_A2 : float         > 0: exp(-B N s^2 / 4); 0: critical exposure
    ctf_b_factor_A2 : scalar or (m,)     exp(-B s^2 / 4) of tilts whose dose is not known

    Returns
    -------
    float64 of shape (shape of pre_dose) + (shape of s)
    """
    s = np.asarray(s_per_A, float)
    shape = np.shape(pre_dose_e_per_A2)
    column = (*shape, *([1] * s.ndim))
    dose = np.asarray(pre_dose_e_per_A2, float).reshape(column)
    b_factor = np.broadcast_to(np.asarray(ctf_b_factor_A2, float), shape).reshape(column)
    is_known = dose >= 0
    amount = np.where(is_known, dose, 0.0)
    if b_factor_per_dose_A2 > 0:
        exponent = b_factor_per_dose_A2 * amount * s**2 / 4
    else:
        exponent = 0.5 * amount / critical_exposure_e_per_A2(s)
    return np.asarray(np.exp(-np.where(is_known, exponent, b_factor * s**2 / 4)))


def band_limit_from_dose(pre_dose_e_per_A2: ArrayLike, n: int, pixel_A: float,
                         cutoff_fract: float = 0.01, b_factor_per_dose_A2: float = 0.0
                         ) -> NDArray[np.intp]:
    """Largest shell of each tilt whose dose factor is at least `cutoff_fract`.

    Parameters
    ----------
    pre_dose_e_per_A2 : (m,) float   NaN or negative (not known) limits nothing
    n : int                          image size [px]
    pixel_A : float
    cutoff_fract : float             amplitude below which a shell is ignored
    b_factor_per_dose_A2 : float     as for `dose_damping`

    Returns
    -------
    (m,) int   shells from 0 to n // 2
    """
    shells = np.arange(n // 2 + 1) / (n * pixel_A)
    damping = dose_damping(pre_dose_e_per_A2, shells, b_factor_per_dose_A2)
    # damping falls with frequency, so the shells that pass are the first ones
    return np.asarray((damping >= cutoff_fract).sum(axis=-1) - 1).clip(0)

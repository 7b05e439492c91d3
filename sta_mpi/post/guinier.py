"""Guinier plot of a map and the B-factor that a straight line through it gives.

    ln <|F|>(s) = intercept + slope s^2 ,   B = 4 slope      (Rosenthal & Henderson 2003)

s in 1/A. B is negative where amplitudes fall with s; multiplying by exp(-B s^2 / 4) makes the
fitted part flat. Amplitudes are those of the transform over the number of voxels, averaged over
a shell, as in RELION's table `guinier`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.errors import InputError
from sta_mpi.kernels.shells import shell_sums

Floats = NDArray[np.float64]

NO_AMPLITUDE = -99.0
"""What stands for the logarithm of zero, in RELION's tables as well."""

LEAST_SHELLS = 3
"""A line through fewer points than these says nothing."""


@dataclass(frozen=True)
class GuinierFit:
    """A straight line through a Guinier plot.

    Parameters
    ----------
    slope_A2, intercept : float
    r_squared : float           share of the variance that the line explains
    first_shell, last_shell : int   shells that were used, both included
    """

    slope_A2: float
    intercept: float
    r_squared: float
    first_shell: int
    last_shell: int

    @property
    def b_factor_A2(self) -> float:
        """4 slope; negative for maps whose amplitudes fall."""
        return 4.0 * self.slope_A2


def log_amplitudes(rft: NDArray[np.complex64]) -> Floats:
    """Logarithm of the mean amplitude in each shell.

    Parameters
    ----------
    rft : (n, n, n//2+1) complex64   numpy's unscaled half transform of a map, any origin

    Returns
    -------
    (n//2+1,) float64; `NO_AMPLITUDE` in shells of zeros
    """
    n = rft.shape[0]
    # a shell sum of |a|^2 with a = sqrt(|F|) is the sum of |F|
    root = np.sqrt(np.abs(rft)).astype(np.complex64)
    sums = shell_sums(root, root)
    mean = sums.power_a / np.maximum(sums.count, 1.0) / float(n) ** 3
    return np.where(mean > 0.0, np.log(np.maximum(mean, 1e-300)), NO_AMPLITUDE)


def fit_guinier(s2_per_A2: ArrayLike, ln_amplitude: ArrayLike, low_A: float = 10.0,
                high_A: float | None = None) -> GuinierFit:
    """Fit a line to a Guinier plot.

    Parameters
    ----------
    s2_per_A2 : (n_shells,)      squared frequency of each shell
    ln_amplitude : (n_shells,)   shells at `NO_AMPLITUDE` are left out
    low_A : float                fit from here
    high_A : float or None       to here; None: every shell that has an amplitude, as RELION

    Raises
    ------
    InputError
        When fewer than three shells lie in the range.
    """
    s2, y = np.asarray(s2_per_A2, np.float64), np.asarray(ln_amplitude, np.float64)
    used = (s2 >= low_A**-2) & (y > NO_AMPLITUDE)
    if high_A is not None:
        used &= s2 <= high_A**-2
    shells = np.flatnonzero(used)
    if len(shells) < LEAST_SHELLS:
        text = "the end of the curve" if high_A is None else f"{high_A:g} Å"
        raise InputError(
            f"{len(shells)} Fourier shells with signal lie between {low_A:g} Å and {text}: a "
            f"B-factor needs at least {LEAST_SHELLS}. Start the fit at lower resolution "
            "(--b-fit-low-A), or give the B-factor (--b-factor-A2).")
    x, y = s2[shells], y[shells]
    slope, intercept = np.polyfit(x - x.mean(), y, 1)
    intercept -= slope * x.mean()
    spread = float(np.var(y))
    r2 = 1.0 - float(np.var(y - slope * x - intercept)) / spread if spread > 0.0 else 1.0
    return GuinierFit(float(slope), float(intercept), r2, int(shells[0]), int(shells[-1]))


def b_factor_beyond_doubt(s2_per_A2: ArrayLike, ln_amplitude: ArrayLike, fit: GuinierFit,
                          low_A: float, limit_A: float, tolerance: float = 0.2) -> float | None:
    """The B-factor fitted up to the resolution alone, where it differs from that of `fit`.

    Parameters
    ----------
    s2_per_A2, ln_amplitude : (n_shells,)   what was fitted
    fit : GuinierFit                        over all shells with a weight
    low_A : float                           where the fit begins
    limit_A : float                         resolution
    tolerance : float                       share of B that counts as no difference

    Returns
    -------
    float or None   None: no difference, or too few shells up to the resolution
    """
    try:
        within = fit_guinier(s2_per_A2, ln_amplitude, low_A, limit_A * (1.0 - 1e-6))
    except InputError:
        return None
    change = abs(within.b_factor_A2 - fit.b_factor_A2)
    return within.b_factor_A2 if change > tolerance * abs(fit.b_factor_A2) else None

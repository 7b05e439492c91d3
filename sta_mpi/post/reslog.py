"""Resolution against the number of particles, and how far it can be trusted.

With r(s) = F / (1 - F) / N the signal-to-noise ratio that one particle of N adds to a half
map, n particles of the same quality would give

    F_n(s) = n r / (1 + n r) ,

which predicts the curve from one pair of half maps. Measured points come from half maps of
subsets. The slope of ln n against 1/d^2 is B/2 with B the overall B-factor of the
experiment (Rosenthal & Henderson 2003, JMB 333, 721; Stagg et al. 2014, J. Struct. Biol. 185, 418).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sta_mpi.signal.fsc import resolution_A

Floats = NDArray[np.float64]

FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0)
LEAST_PARTICLES = 2.0


@dataclass(frozen=True)
class ResLogFit:
    """A line through ln n against 1/d^2.

    Parameters
    ----------
    b_factor_A2 : float    2 d(ln n) / d(1/d^2); inf where the resolution does not change
    doubling_A : float     resolution that twice the largest number of particles would give
    """

    b_factor_A2: float
    doubling_A: float


@dataclass(frozen=True)
class Spread:
    """Numbers of several equal experiments."""

    mean: float
    sd: float
    lowest: float
    highest: float
    n: int


def predicted_reslog(fsc: ArrayLike, n_particles: float, voxel_A: float, box_px: int,
                     fractions: Sequence[float] = FRACTIONS, threshold: float = 0.143
                     ) -> tuple[Floats, Floats]:
    """Resolution that other numbers of the same particles would give.

    Parameters
    ----------
    fsc : (n_shells,)          corrected FSC of two half maps of n_particles in all
    n_particles : float
    voxel_A, box_px            of the maps
    fractions : floats         of n_particles; above 1 extrapolates

    Returns
    -------
    counts, resolution_A : (m,) float64   interpolated between shells; inf where no shell reaches
                                          the threshold, Nyquist at best

    Notes
    -----
    Poses are taken as they are: fewer particles would also align worse. Beyond the shell where the
    FSC meets noise the extrapolation is a lower limit of what more particles give.
    """
    curve = np.clip(np.asarray(fsc, np.float64), 0.0, 0.9999)
    per_particle = curve / (1.0 - curve) / n_particles
    counts = np.array([n_particles * f for f in fractions if n_particles * f >= LEAST_PARTICLES])
    found = []
    for n in counts:
        expected = n * per_particle / (1.0 + n * per_particle)
        expected[0] = 1.0
        found.append(resolution_A(expected, voxel_A, box_px, threshold, "interpolated"))
    return counts, np.array(found)


def fit_reslog(counts: ArrayLike, resolution_A: ArrayLike) -> ResLogFit | None:
    """Line through ln n against 1/d^2; None with fewer than two usable points.

    Examples
    --------
    >>> n = np.array([100.0, 200.0, 400.0])
    >>> round(fit_reslog(n, (np.log(n) / 300.0) ** -0.5).b_factor_A2, 6)
    600.0
    """
    n, d = np.asarray(counts, np.float64), np.asarray(resolution_A, np.float64)
    usable = np.isfinite(d) & (d > 0) & (n > 0)
    x, y = np.log(n[usable]), d[usable] ** -2.0
    if len(x) < 2 or np.ptp(x) == 0.0:
        return None
    slope, intercept = np.polyfit(x - x.mean(), y, 1)
    s2 = slope * (np.log(2.0) + x.max() - x.mean()) + intercept
    b_factor = 2.0 / slope if slope > 1e-12 else float("inf")
    return ResLogFit(float(b_factor), float(s2**-0.5) if s2 > 0 else float("inf"))


def spread(values: ArrayLike) -> Spread:
    """Mean, standard deviation and range of the finite values."""
    v = np.asarray(values, np.float64)
    v = v[np.isfinite(v)]
    if not v.size:
        return Spread(float("nan"), float("nan"), float("nan"), float("nan"), 0)
    sd = float(v.std(ddof=1)) if v.size > 1 else 0.0
    return Spread(float(v.mean()), sd, float(v.min()), float(v.max()), int(v.size))

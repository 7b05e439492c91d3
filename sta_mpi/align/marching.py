"""Frequency marching: which bands a polish goes through, from the widest optimum to the sharpest.

A band of radius r [index units of the box n] has an optimum about n / (4 rho r) wide [rad] for
an object of radius rho: 7 index units hold starts of a rotation grid of 15 degrees. A lower
first band does harm: there a nearly symmetric object has no information about the turn that
its near-symmetry hides, neighbours decide, and the polish walks to another of the nearly
equal poses. With a first band of 3, 7 % of the crowded particles of a nearly sixfold object
left the right optimum from 4 degrees away, and as many were lost by the global search; with
6 or more, none (`benchmarks/accuracy/real_conditions.py`).

The last band is by far the dearest: the one before it reaches half as far, so that two or three
passes are left from there. Below it radii grow slowly, for particles of low signal: the noise
moves the optimum of a band further than the next one's optimum is wide where the radii are too
far apart. `band_after` leaves out the bands that a particle's signal does not need.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sta_mpi.kernels.polish import climb

Floats = NDArray[np.float64]

FIRST_PX = 7.0
"""Radius of the first band [index units]; as that of the global search."""

SMALLEST_RATIO = 1.25
"""A last band that is hardly wider than the first is the only one."""

LARGEST_RATIO = 2.6
"""Of the radii of neighbouring bands."""

_LAST_RATIO = 2.0


def marching_radii(r_max_px: float) -> list[float]:
    """Outer radii of the bands of a polish, the last one r_max_px.

    Parameters
    ----------
    r_max_px : float    largest |k| used [index units of the box]

    Examples
    --------
    >>> marching_radii(6.0)
    [6.0]
    >>> marching_radii(24.0)
    [7.0, 12.0, 24.0]
    >>> [round(r, 1) for r in marching_radii(80.0)]
    [7.0, 16.7, 40.0, 80.0]
    """
    r_max = float(r_max_px)
    if r_max < SMALLEST_RATIO * FIRST_PX:
        return [r_max]
    if r_max <= LARGEST_RATIO * FIRST_PX:
        return [FIRST_PX, r_max]
    ratio = r_max / _LAST_RATIO / FIRST_PX
    n_steps = int(np.ceil(np.log(ratio) / np.log(LARGEST_RATIO) - 1e-9))
    return [*map(float, FIRST_PX * ratio ** (np.arange(n_steps + 1) / n_steps)), r_max]


def band_after(radii: Sequence[float] | Floats, i: int, score: float) -> int:
    """The band that a polish goes on with from band i, where it reached a log-likelihood.

    Parameters
    ----------
    radii : (m,) increasing floats    outer radii of the bands
    i : int                           from 0
    score : float                     log-likelihood of the pose over no particle; -inf: no leap

    Returns
    -------
    int    the furthest one whose optimum holds the pose found so far; i + 1 at least

    Notes
    -----
    Near its optimum the log-likelihood L of a band falls like L exp(-(kappa t)^2 / 2) in the
    turn t, kappa growing no faster than the radius. The information is L kappa^2, so the turn found
    is wrong by 1 / (kappa sqrt(L)), to be compared with the width of the other band's optimum,
    r / (kappa R): their ratio, squared, is (R / r)^2 / L. `climb.LEAP_SCORE`, L over
    (R / r)^2, leaves two standard deviations of room; at 3.4 / 1 (24 and 7 index units) it is a
    log-likelihood of 50. No leap is wider than `climb.LARGEST_LEAP`.

    Examples
    --------
    >>> band_after([7.0, 12.0, 24.0], 0, 40.0), band_after([7.0, 12.0, 24.0], 0, 60.0)
    (1, 2)
    """
    return int(climb.band_after(np.asarray(radii, np.float64), i, float(score)))

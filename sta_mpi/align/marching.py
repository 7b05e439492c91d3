"""Frequency marching: which bands a polish goes through, from the widest optimum to the sharpest.

A band of radius r [index units of the box n] has an optimum about n / (4 rho r) wide [rad] for
an object of radius rho: 7 index units hold starts of a rotation grid of 15 degrees. A lower
first band does harm: there a nearly symmetric object has no information about the turn that
its near-symmetry hides, neighbours decide, and the polish walks to another of the nearly
equal poses. With a first band of 3, 7 % of the crowded particles of a nearly sixfold object
left the right optimum from 4 degrees away, and as many were lost by the global search; with
6 or more, none (`benchmarks/accuracy/real_conditions.py`).

The last band is by far the dearest. Where there are more than two, the one before it reaches
half as far: at r = 80 two or three passes are left from there, three to six from less than a
third.
"""

import numpy as np

FIRST_PX = 7.0
"""Radius of the first band [index units]; as that of the global search."""

SMALLEST_RATIO = 1.25
"""A last band that is hardly wider than the first is the only one."""

LARGEST_RATIO = 6.0
"""Of the radii of neighbouring bands."""

_LAST_RATIO, _TWO_BANDS = 2.0, 4.0


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
    [7.0, 24.0]
    >>> marching_radii(80.0)
    [7.0, 40.0, 80.0]
    """
    r_max = float(r_max_px)
    if r_max < SMALLEST_RATIO * FIRST_PX:
        return [r_max]
    if r_max <= _TWO_BANDS * FIRST_PX:
        return [FIRST_PX, r_max]
    ratio = r_max / _LAST_RATIO / FIRST_PX
    n_steps = int(np.ceil(np.log(ratio) / np.log(LARGEST_RATIO) - 1e-9))
    return [*map(float, FIRST_PX * ratio ** (np.arange(n_steps + 1) / n_steps)), r_max]

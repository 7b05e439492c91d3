"""Frequency marching: which bands a polish goes through, from the widest optimum to the sharpest.

A band of radius r [index units of the box n] has an optimum about n / (4 rho r) wide [rad] for
an object of radius rho: 7 index units hold starts of a rotation grid of 15 degrees. A lower
first band does harm: there a nearly symmetric object has no information about the turn that
its near-symmetry hides, neighbours decide, and the polish walks to another of the nearly
equal poses. With a first band of 3, 7 % of the crowded particles of a nearly sixfold object
left the right optimum from 4 degrees away, and as many were lost by the global search; with
6 or more, none (`benchmarks/accuracy/real_conditions.py`).
"""

import numpy as np

FIRST_PX = 7.0
"""Radius of the first band [index units]; as that of the global search."""

LARGEST_RATIO = 3.5
"""Of the radii of neighbouring bands. Twice as many bands cost more and end no nearer."""

SMALLEST_RATIO = 1.25
"""A last band that is hardly wider than the first is the only one."""


def marching_radii(r_max_px: float) -> list[float]:
    """Outer radii of the bands of a polish, the last one r_max_px.

    Parameters
    ----------
    r_max_px : float    largest |k| used [index units of the box]

    Examples
    --------
    >>> marching_radii(24.0)
    [7.0, 24.0]
    >>> [round(r, 1) for r in marching_radii(80.0)]
    [7.0, 23.7, 80.0]
    >>> marching_radii(6.0)
    [6.0]
    """
    ratio = r_max_px / FIRST_PX
    if ratio < SMALLEST_RATIO:
        return [float(r_max_px)]
    n_steps = int(np.ceil(np.log(ratio) / np.log(LARGEST_RATIO) - 1e-9))
    radii = FIRST_PX * ratio ** (np.arange(n_steps + 1) / n_steps)
    return [*map(float, radii[:-1]), float(r_max_px)]

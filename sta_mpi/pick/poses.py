"""Angles between orientations that a symmetry makes equivalent.

A particle of orientation R_p2t and symmetry group G is as well described by R_p2t S for every S
of G, so the angle between two particles is the smallest over the group.
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.geometry.rotations import angular_distance_deg

Floats = NDArray[np.float64]

_CHUNK = 200_000
"""Matrices compared at once."""


def pose_distance_deg(R1: Floats, R2: Floats, operators: Floats) -> Floats:
    """Smallest angle [degrees] between R1 S and R2 over the operators S of a group.

    Parameters
    ----------
    R1, R2 : (n, 3, 3) float64       R_p2t of two lists of particles
    operators : (g, 3, 3) float64    the group, identity included

    Returns
    -------
    (n,) float64, 0 to 180

    Examples
    --------
    >>> quarter = np.array([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    >>> float(pose_distance_deg(np.eye(3)[None], quarter, np.concatenate([np.eye(3)[None],
    ...     quarter])).round(6)[0])
    0.0
    """
    best = np.full(len(R1), 180.0)
    rows = max(1, _CHUNK // max(len(operators), 1))
    for start in range(0, len(R1), rows):
        part = slice(start, start + rows)
        turned = R1[part, None] @ operators
        best[part] = angular_distance_deg(turned, R2[part, None]).min(axis=1)
    return best


def nearest_mates(R: Floats, to: Floats, operators: Floats) -> Floats:
    """The equivalent R S (n, 3, 3) of each orientation that is nearest to `to` (n or 1, 3, 3)."""
    turned = R[:, None] @ operators
    i_best = angular_distance_deg(turned, to[:, None]).argmin(axis=1)
    return np.asarray(turned[np.arange(len(R)), i_best])

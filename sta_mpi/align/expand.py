"""Symmetry expansion: one particle, several equivalent poses.

A particle of orientation R and symmetry operators S is as well described by R S at the same place.
In a helix along z, the subunit j steps on is turned by j times the twist and lies j times the rise
along z: orientation R H_j, position p + R (0, 0, j rise).
"""

import numpy as np
from numpy.typing import NDArray

from sta_mpi.geometry.rotations import rotation_from_vector

Floats = NDArray[np.float64]


def helical_turns(n_units: int, twist_deg: float, rise_A: float) -> tuple[Floats, Floats]:
    """Turns (u, 3, 3) and heights (u,) [Å] of the subunits around one, itself first."""
    steps = np.arange(n_units) - (n_units - 1) // 2
    steps = steps[np.argsort(np.abs(steps), kind="stable")]
    vectors = np.zeros((n_units, 3))
    vectors[:, 2] = np.radians(twist_deg) * steps
    return rotation_from_vector(vectors), np.asarray(rise_A * steps, np.float64)


def expand_poses(R_p2t: Floats, offset_A: Floats, operators: Floats, turns: Floats,
                 rises_A: Floats) -> tuple[NDArray[np.intp], Floats, Floats]:
    """All equivalent poses of n particles, those of a particle together, its own first.

    Parameters
    ----------
    R_p2t, offset_A : (n, 3, 3), (n, 3) float64
    operators : (g, 3, 3)             point group, identity first
    turns, rises_A : (u, 3, 3), (u,)  helical subunits, itself first

    Returns
    -------
    rows : (n u g,) int          particle of each pose
    R_p2t, offset_A : (n u g, 3, 3), (n u g, 3)
    """
    n, u, g = len(R_p2t), len(turns), len(operators)
    turned = R_p2t[:, None, None] @ (turns[:, None] @ operators)[None]
    along = R_p2t[:, :, 2]
    moved = offset_A[:, None] + along[:, None] * rises_A[None, :, None]
    rows = np.repeat(np.arange(n), u * g)
    return (rows, turned.reshape(-1, 3, 3),
            np.repeat(moved[:, :, None], g, axis=2).reshape(-1, 3))

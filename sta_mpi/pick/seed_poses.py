"""Orientations of seeds: the particle's z axis along the normal, and a rule for the twist about it.

The twist is counted from the shortest turn that takes the tomogram's z axis to the normal.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sta_mpi.pick.even_points import GOLDEN_TURN

Floats = NDArray[np.float64]
Twist = Literal["free", "zero", "random"]

_OPPOSITE = 1e-12


def shortest_turns(normal: Floats) -> Floats:
    """R_p2t (n, 3, 3) that take z to unit normals (n, 3) by the shortest way; about x where the
    normal is -z."""
    x, y, z = np.asarray(normal, np.float64).T
    is_down = 1.0 + z < _OPPOSITE
    c = 1.0 / np.where(is_down, 1.0, 1.0 + z)
    R = np.stack([
        np.stack([1.0 - c * x * x, -c * x * y, x], axis=-1),
        np.stack([-c * x * y, 1.0 - c * y * y, y], axis=-1),
        np.stack([-x, -y, z], axis=-1)], axis=1)
    R[is_down] = np.diag([1.0, -1.0, -1.0])
    return R


def twisted(R: Floats, twist_deg: Floats) -> Floats:
    """Orientations (n, 3, 3) turned about the particle's own z axis by angles (n,)."""
    c, s = np.cos(np.radians(twist_deg)), np.sin(np.radians(twist_deg))
    about_z = np.zeros_like(R)
    about_z[:, 0, 0], about_z[:, 0, 1] = c, -s
    about_z[:, 1, 0], about_z[:, 1, 1] = s, c
    about_z[:, 2, 2] = 1.0
    return R @ about_z


def seed_orientations(normal: Floats, twist: Twist, rng: np.random.Generator) -> Floats:
    """R_p2t (n, 3, 3) of seeds.

    Parameters
    ----------
    normal : (n, 3)    unit vectors
    twist : "zero" the shortest turn; "random" uniform; "free" spread evenly over the circle by
        golden turns from seed to seed, so that no twist is preferred
    """
    R = shortest_turns(normal)
    if twist == "zero":
        return R
    n = len(R)
    turns = rng.uniform(0.0, 360.0, n) if twist == "random" else \
        np.degrees(GOLDEN_TURN) * np.arange(n) % 360.0
    return twisted(R, turns)
